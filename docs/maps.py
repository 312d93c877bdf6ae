"""Draw the maps of λ and μ in docs/recipes.md, both on one colour scale: `python3 start.py run python docs/maps.py`."""

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from mmssl.experiments.charts import write
from mmssl.report import charts

FOLDER = Path(__file__).resolve().parent
FILES = {"grid": "all labels, some 12 a class", "grid-few": "one label a class"}


def tables() -> list[dict[tuple[str, str], float]]:
    """The page's two tables of both modalities, with all labels and with one a class: per cent by λ and μ."""
    text = (FOLDER / "recipes.md").read_text("utf-8")
    found: list[dict[tuple[str, str], float]] = []
    for head, body in re.findall(r"^\| both: λ \\ μ \|(.*)\|\n\|[-|]+\|\n((?:\|.*\n)+)", text, re.MULTILINE):
        lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in body.splitlines()]
        columns = [cell.strip() for cell in head.split("|")]
        found.append({(line[0], mu): float(cell) for line in lines for mu, cell in zip(columns, line[1:], strict=True)})
    return found


def rows(means: dict[tuple[str, str], float]) -> list[dict[str, Any]]:
    """Cells as the page of a study has them; the highest is framed."""
    return [
        {
            "id": f"{lambda_} {mu}",
            "xs": lambda_,
            "ys": mu,
            "mean": mean / 100,
            "state": "complete",
            "mark": charts.MARKS[0 if mean == max(means.values()) else 2],
            "first": f"{mean:.1f}",
            "second": "",
            "brief": f"{mean:.1f}",
        }
        for (lambda_, mu), mean in means.items()
    ]


def _axis(label: str, values: list[str]) -> Any:
    return SimpleNamespace(label=label, values=values)


def main() -> None:
    parts = [rows(means) for means in tables()]
    values = [list(dict.fromkeys(row[key] for row in parts[0])) for key in ("xs", "ys")]
    x, y = (_axis(name, some) for name, some in zip("λμ", values, strict=True))
    content: Any = SimpleNamespace(measure="accuracy")
    # Colours span what is drawn, so all cells are given to the chart, and to each file its own.
    spec = charts.cells(content, x, y, [row for part in parts for row in part])
    for (name, labels), part in zip(FILES.items(), parts, strict=True):
        write(FOLDER / "pictures" / f"{name}.svg", spec, f"UTD-MHAD with {labels}", part, width=460)


if __name__ == "__main__":
    main()
