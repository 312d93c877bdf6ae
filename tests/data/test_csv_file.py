"""The same numbers in every shape that programs give a table."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmssl.data.csv_file import layout_of, line_of, sheet_of

VALUES = np.round(np.random.default_rng(0).normal(size=(30, 3)), 4)


def written(delimiter: str = ",", end: str = "\n", decimal: str = ".") -> str:
    return "".join(delimiter.join(f"{v:.4f}".replace(".", decimal) for v in row) + end for row in VALUES)


SHAPES = {
    "plain": "acc_x,acc_y,acc_z\n" + written(),
    "units in brackets": '"acc_x (m/s^2)","acc_y [m/s²]",acc_z (m/s²)\n' + written(),
    "unit row": "acc_x,acc_y,acc_z\nm/s^2,m/s^2,m/s^2\n" + written(),
    "unit row in brackets": "acc_x,acc_y,acc_z\n(g),(g),(g)\n" + written(),
    "preamble": "Device: watch 3\nRate 100 Hz\n\nacc_x,acc_y,acc_z\n" + written(),
    "preamble of cells": "Subject,anna\nRate,100,Hz,yes\nacc_x,acc_y,acc_z\n" + written(),
    "marks": "# made by a program, version 1\n// and another\n% a third\nacc_x,acc_y,acc_z\n" + written(),
    "marks within": "acc_x,acc_y,acc_z\n" + written().replace("\n", "\n# paused, for a while\n", 3),
    "a marked header": "# acc_x,acc_y,acc_z\n" + written(),
    "a marked header of words": "%acc_x acc_y acc_z\n" + written(" "),
    "several lines": "wrist,,\nacc_x,acc_y,acc_z\n" + written(),
    "spaces": "acc_x acc_y acc_z\n" + written(" "),
    "columns of spaces": "  acc_x    acc_y  acc_z\n" + written("    ").replace("\n", "  \n   "),
    "tabs": "acc_x\tacc_y\tacc_z\n" + written("\t"),
    "tabs and decimal commas": "acc_x\tacc_y\tacc_z\n" + written("\t", decimal=","),
    "semicolons and decimal commas": "acc_x;acc_y;acc_z\r\n" + written(";", "\r\n", ","),
    "comma and space": "acc_x, acc_y, acc_z\n" + written(", "),
    "a delimiter behind": "acc_x,acc_y,acc_z\n" + written(end=",\n"),
    "a delimiter behind all": "acc_x,acc_y,acc_z,\n" + written(end=",\n"),
    "old line ends": "acc_x,acc_y,acc_z\r" + written(end="\r"),
    "bars": "acc_x|acc_y|acc_z\n" + written("|"),
    "blank lines": "\n\nacc_x,acc_y,acc_z\n\n" + written(end="\n\n"),
    "a byte order mark": "\ufeffacc_x,acc_y,acc_z\n" + written(),
    "no header": written(),
    "no header, spaces": written(" "),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape_gives_the_numbers_under_their_names(tmp_path: Path, shape: str) -> None:
    path = tmp_path / "a.csv"
    path.write_text(SHAPES[shape], "utf-8", newline="")
    names = ("acc_x", "acc_y", "acc_z")
    layout = layout_of(path, names if "no header" in shape else ())
    assert [name for name in layout.names if name] == [*names]
    sheet = sheet_of(path, layout, names)
    np.testing.assert_array_equal(sheet.values, VALUES)
    if "unit" in shape:
        assert {unit.replace("²", "^2") for unit in sheet.units} <= {"m/s^2", "g"}
    for row in (0, 7, 29):
        lines = path.read_bytes().replace(b"\r\n", b"\n").split(b"\n")
        if shape != "old line ends":
            shown = lines[line_of(path, layout, row) - 1].decode().replace(",", ".") if "decimal" in shape else ""
            shown = shown or lines[line_of(path, layout, row) - 1].decode()
            assert f"{VALUES[row, 0]:.4f}" in shown


@given(st.integers(0, 3), st.integers(0, 2), st.sampled_from([",", ";", "\t", " "]), st.booleans())
def test_several_header_lines_of_groups_become_one_name_each(
    tmp_path_factory: pytest.TempPathFactory, preamble: int, levels: int, delimiter: str, merged: bool
) -> None:
    path = tmp_path_factory.mktemp("any") / "a.csv"
    groups = ["left", "", "right", ""] if merged and delimiter != " " else ["left", "left", "right", "right"]
    above = [["body", "body", "body", "body"]] * levels + [groups]
    rows = [delimiter.join(row) for row in (*above, ["x", "y", "x", "y"], *[["1.5", "2.5", "3.5", "4.5"]] * 4)]
    path.write_text("\n".join([f"line {i} of a report" for i in range(preamble)] + rows) + "\n")
    layout = layout_of(path)
    assert layout.names == ("left_x", "left_y", "right_x", "right_y")
    assert sheet_of(path, layout, ["right_x"]).values.tolist() == [[3.5]] * 4


def test_pose_tables_of_three_header_lines(tmp_path: Path) -> None:
    """As DeepLabCut writes them."""
    path = tmp_path / "a.csv"
    path.write_text(
        "scorer,net,net,net,net,net,net\nbodyparts,nose,nose,nose,tail,tail,tail\n"
        "coords,x,y,likelihood,x,y,likelihood\n0,1.5,2.5,0.9,3.5,4.5,0.8\n1,1.5,2.5,0.9,3.5,4.5,0.8\n"
    )
    names = layout_of(path).names
    assert names[1:] == ("nose_x", "nose_y", "nose_likelihood", "tail_x", "tail_y", "tail_likelihood")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1,2\n3,4\n", "line 1 holds numbers: a header with the columns' names is expected; name them with --columns"),
        ("0.5,nan,walk\n0.6,1,walk\n", "line 1 holds numbers"),
        ("Rate\n1,2\n3,4\n", "line 2 holds numbers, and no line above it names its 2 columns"),
        ("a,b\n1,2,3\n4,5,6\n", "line 2: 3 cells, and the header has 2"),
        ("left,left,left\nx,y,z\n1,2,3\n", "column left stands more than once in the header"),
        ("a,b,a\n1,2,3\n", "column a stands more than once in the header"),
    ],
)
def test_a_missing_header_is_reported(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(ValueError, match=message):
        layout_of(tmp_path / "a.csv")


def test_faults_name_the_line_as_an_editor_counts(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("# made\n\na,b\n\n1,2\n# pause\n\n3,4\n5,x\n7,8\n9,1\n")
    with pytest.raises(ValueError, match="line 9: b is no number: 'x'"):
        sheet_of(path, layout_of(path), ["a", "b"])
    path.write_text("a b\n\n1 2\n3 4 5\n5 6\n7 8\n")
    with pytest.raises(ValueError, match="line 4: 3 cells, and the header has 2"):
        sheet_of(path, layout_of(path), ["a", "b"])


def test_degrees_and_squares_of_an_old_spreadsheet(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes("acc_x (m/s²);gyro_x (°/s)\r\n1,5;2\r\n2,5;3\r\n".encode("cp1252"))
    layout = layout_of(path)
    assert (layout.names, layout.units) == (("acc_x", "gyro_x"), ("m/s²", "°/s"))
    assert sheet_of(path, layout, layout.names).values.tolist() == [[1.5, 2], [2.5, 3]]
