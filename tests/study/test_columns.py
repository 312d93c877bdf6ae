"""Every column of the tables stands in one row, with a meaning."""

import pytest

from mmssl.objectives import OBJECTIVES
from mmssl.recipe import knob_names
from mmssl.study.columns import TABLES, ColumnSpec, is_score, schemas

SPECS = {spec.name: spec for specs in TABLES.values() for spec in specs}


@pytest.mark.parametrize("spec", SPECS.values(), ids=lambda spec: spec.name)
def test_meanings_are_lines(spec: ColumnSpec) -> None:
    assert spec.meaning
    assert "\n" not in spec.meaning


@pytest.mark.parametrize("table", TABLES)
def test_every_column_of_a_table_is_of_one_row(table: str) -> None:
    named = [field.name for spec in TABLES[table] for field in spec.fields()]
    assert sorted(named) == sorted(schemas()[table].names)
    assert len(set(named)) == len(named)


def test_rows_for_several() -> None:
    assert [field.name for field in SPECS["val.MODALITY.f1"].fields()] == ["val.imu.f1", "val.skeleton.f1"]
    assert [field.name for field in SPECS["param.KNOB"].fields()] == [f"param.{name}" for name in knob_names()]
    assert list(filter(is_score, schemas()["trials"].names))[:6] == [
        "val.accuracy",
        "val.f1",
        "val.interval.accuracy",
        "val.interval.f1",
        "val.imu.accuracy",
        "val.imu.f1",
    ]


@pytest.mark.parametrize("name", OBJECTIVES)
def test_every_term_of_an_objective_has_a_column_that_names_it(name: str) -> None:
    for term in OBJECTIVES[name].terms:
        assert f"train.{term}" in schemas()["trials"].names
        assert name in SPECS[f"train.{term}"].meaning.partition(":")[0].split(", ")
