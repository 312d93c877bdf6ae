"""Tables for a paper: LaTeX (booktabs) and Markdown."""

import re
from collections.abc import Iterable, Sequence

_GREEK = {"λ": r"$\lambda$", "μ": r"$\mu$", "ν": r"$\nu$"}  # noqa: RUF001
_LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "±": r"$\pm$", **_GREEK,
}  # fmt: skip


def latex(caption: str, columns: str, heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table whose caption and cells are LaTeX.

    Args:
        columns: their alignment, as `lrr`.
    """
    return "\n".join(
        [
            "% Needs \\usepackage{booktabs}.",
            r"\begin{table}",
            r"\centering",
            rf"\caption{{{caption}}}",
            rf"\begin{{tabular}}{{{columns}}}",
            r"\toprule",
            " & ".join(heads) + r" \\",
            r"\midrule",
            *(" & ".join(cells) + r" \\" for cells in rows),
            r"\bottomrule",
            r"\end{tabular}",
            r"\end{table}",
            "",
        ]
    )


def markdown(caption: str, heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table whose caption and cells are Markdown."""
    lines = [f"| {' | '.join(cells)} |" for cells in rows]
    return "\n".join([caption, "", f"| {' | '.join(heads)} |", f"|{'---|' * len(heads)}", *lines, ""])


def tex(text: str) -> str:
    """Plain words, for LaTeX."""
    return "".join(_LATEX.get(letter, letter) for letter in text)


def md(text: str) -> str:
    """Plain words, for Markdown."""
    return re.sub(r"([\\`*_|<>\[\]])", r"\\\1", text)
