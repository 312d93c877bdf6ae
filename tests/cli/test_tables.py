"""Tables at every width: nothing is broken or lost, and numbers stand below numbers."""

import io
import re
import shlex
import subprocess

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

from mmssl.cli import tables
from mmssl.cli.tables import measured, show_table
from mmssl.cli.terminal import coloured, say

COMPARED = ["point", "read from", "accuracy (%)", "seeds ± (%)", "F1 (%)", "n", "pairs", "difference (%)"]
ROWS = [
    ["changes:paper", "imu+skeleton", "55.6 [45.6, 65.1]", "1.0", "53.6 [43.7, 63.2]", "12", "-", "-"],
    ["changes:pooled", "skeleton", "5.7 [4.7, 165.2]", "10.5", "53.7 [43.8, 63.3]", "9", "12", "-0.1 [-3.6, 3.8]"],
]


def shown(header: list[str], rows: list[list[str]], width: int) -> list[str]:
    console = Console(file=io.StringIO(), width=width, force_terminal=True, color_system=None, highlight=False)
    show_table("", header, rows, console)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().splitlines()


@pytest.mark.parametrize("width", [60, 80, 200])
def test_a_table_of_intervals_is_whole(width: int) -> None:
    lines = shown(COMPARED, ROWS, width)
    assert max(map(cell_len, lines)) <= width
    text = "\n".join(lines)
    for row in ROWS:
        assert all(cell in text for cell in row)
    for word in {word for head in COMPARED for word in head.split()}:
        assert word in text.split()
    firsts = [line for line in lines if line.startswith(" changes:p")]
    assert len(firsts) == len(ROWS) * text.count(" point "), "each part names its rows"
    one, other = (next(line for line in lines if cell in line) for cell in ("1.0 ", "10.5 "))
    assert one.index("1.0 ") + 3 == other.index("10.5 ") + 4, "the right ends of numbers are below each other"


def test_each_part_has_the_columns_that_tell_rows_apart() -> None:
    header = ["system", "read from", "labels", "accuracy", "over supervised", "over untrained"]
    numbers = ["62.0 [51.5, 79.9]"] * 3
    rows = [[system, "imu", share, *numbers] for system in ("vicreg", "untrained") for share in ("1.0", "50.0")]
    lines = shown(header, rows, 60)
    parts = [line for line in lines if line.startswith(" system")]
    assert len(parts) > 1 and all("labels" in part for part in parts)


WORDS = st.text("abcdefgh /.", max_size=40)
NUMBERS = st.one_of(st.floats(0, 100).map("{:.1f}".format), st.just("-"), st.just("62.0 [1.5, 99.9]"))


@example(["name"], [["x" * 200]], 20)
@example(["a" * 8, "a" * 8], [["a", "0.0"]], 20)  # Neither may be narrower, and rich takes a cell of the edge.
@given(
    st.lists(st.text("abc ", min_size=1, max_size=12).map(str.strip), min_size=1, max_size=9),
    st.lists(st.lists(st.one_of(WORDS, NUMBERS), min_size=9, max_size=9), min_size=1, max_size=4),
    st.integers(20, 220),
)
def test_a_table_fits_and_loses_nothing(header: list[str], rows: list[list[str]], width: int) -> None:
    cells = [row[: len(header)] for row in rows]
    lines = shown(header, cells, width)
    assert max(map(cell_len, lines)) <= width
    letters = re.sub(r"\s", "", "".join(lines))
    for row in cells:
        assert all(set(re.sub(r"\s", "", cell)) <= set(letters) for cell in row)


@given(
    st.lists(st.text("abc ", min_size=1, max_size=12).map(str.strip), min_size=1, max_size=5),
    st.lists(st.lists(WORDS | NUMBERS | st.just("日本 FAILED"), min_size=5, max_size=5), min_size=1, max_size=4),
)
def test_a_table_that_needs_no_folding_is_that_of_rich(header: list[str], rows: list[list[str]]) -> None:
    columns = [tables._Column(head, [row[i] for row in rows]) for i, head in enumerate(header)]
    widths = tables._widths(columns, 500)
    console = Console(file=io.StringIO(), width=500, force_terminal=True, color_system=None, highlight=False)
    console.print(tables._folded(columns, widths))
    assert isinstance(console.file, io.StringIO)
    assert shown(header, rows, 500) == console.file.getvalue().splitlines()


def said(line: str, width: int) -> str:
    console = Console(file=io.StringIO(), width=width, force_terminal=True, color_system=None, highlight=False)
    say(line, console=console)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_no_command_and_no_path_is_broken() -> None:
    command = "mmssl-tune best vicreg_grid-utd_mhad-1 --storage '/a folder --of studies' --export"
    assert f"\n{command}\n" in said(f"kept in a place; next: {command}", 90)
    for width in (40, 60, 80):
        first, *continued = said(f"kept in a place; next: {command}", width).splitlines()
        assert first == "kept in a place; next:" and max(map(len, continued)) <= width
        shell = ["sh", "-c", "set -- " + "\n".join(continued) + "\nprintf '%s\\n' \"$@\""]
        read = subprocess.run(shell, capture_output=True, text=True, check=True).stdout.splitlines()
        assert read == shlex.split(command), "a shell takes its lines for one"
    ticked = "`mmssl-tune resume vicreg_grid-utd_mhad-1 --storage /x`"
    lines = said(f"this has been stopped, {ticked} runs what it still lacks of all its trials", 60).splitlines()
    assert any(ticked in line for line in lines) and max(map(len, lines)) <= 60
    path = "/somewhere/" + "deep/" * 20
    assert path in said(f"kept in {path}", 60)
    assert "chance\nis 8.3 %;" in said("all 6 other points are tied with it; chance is 8.3 %; " + "word " * 9, 44)


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [
        ("val.accuracy", 0.9606, "96.1 %"),
        ("val.imu.f1.mean", 0.5, "50.0 %"),
        ("val.accuracy.std", 0.01751, "1.8 %"),
        ("val.accuracy.n", 4, "4"),
        ("train.loss", 12.34567, "12.35"),
    ],
)
def test_scores_their_means_and_deviations_are_in_per_cent(name: str, value: float, shown: str) -> None:
    assert measured(name, value).split(maxsplit=1) == [name, shown]


def test_colours_say_what_words_say() -> None:
    def styles(words: str) -> list[tuple[str, str]]:
        text = coloured(words)
        return [(text.plain[span.start : span.end], str(span.style)) for span in text.spans]

    assert styles("8 of 16 trials DIVERGED: epoch 1") == [("DIVERGED", "bold red")]
    assert styles("2 FAILED, 1 PRUNED") == [("FAILED", "bold red"), ("PRUNED", "magenta")]
    assert styles("note: one seed") == [("note:", "yellow")]
    assert styles("best so far: lambda=1") == [("best so far:", "bold cyan")]
    assert styles("the best of 3; not a note: none; UNFAILED") == []


def test_a_column_without_a_number_yet_stands_as_numbers_do() -> None:
    lines = shown(["point", "std", "n"], [["one", "-", "1/1"], ["other", "-", "1/1"]], 60)
    ends = {line.index("-") for line in lines if "1/1" in line}
    head = next(line for line in lines if "std" in line)
    assert ends == {head.index("std") + 2}


def test_a_long_name_stands_apart_from_its_number() -> None:
    """`effective_rank2.489` would be read as another number."""
    name = "embedding.skeleton.effective_rank"
    assert measured(name, 2.489).split() == [name, "2.489"]
    assert measured("val.accuracy", 0.5) == f"  {'val.accuracy':<32}50.0 %"
