"""The JSON Schema of a space, judged by jsonschema on spaces that `load` takes and on such that it refuses."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from mmssl.recipe import Recipe, knob_names
from mmssl.study import space
from mmssl.study.json_schema import knob_schemas, meanings, space_schema

ROOT = Path(__file__).resolve().parents[2]
SHIPPED = sorted((ROOT / "search_spaces").glob("*.yaml"))
GRID: dict[str, Any] = {"grid": {"objective.mu": [1, 5.5]}}


def complaints(document: Any) -> list[str]:
    # As an editor has it: what came out of YAML, as JSON.
    return [
        error.message for error in Draft202012Validator(space_schema()).iter_errors(json.loads(json.dumps(document)))
    ]


def loads(document: Any, tmp_path: Path) -> bool:
    path = tmp_path / "one.yaml"
    path.write_text(yaml.safe_dump(document))
    try:
        space.load(str(path))
    except space.UserError:
        return False
    return True


def test_it_is_a_schema() -> None:
    Draft202012Validator.check_schema(space_schema())


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_it_admits_the_spaces_that_come_with_the_package(path: Path) -> None:
    # PyYAML reads 3e-4 as text; `plain_yaml` reads it as the number that an editor, by YAML 1.2, takes it for.
    text = re.sub(r"(\d)e-(\d)", r"\1.0e-\2", path.read_text())
    assert complaints(yaml.safe_load(text)) == []


@pytest.mark.parametrize(
    "document",
    [
        GRID,
        {
            **GRID,
            "systems": "cmc",
            "where": "mu > 1",
            "folds": [7, [1, "3"]],
            "fixed": {"data.train_subjects": [1, "b"]},
        },
        {"systems": ["vicreg", "untrained"], "folds": "test", "seeds": [0], "keep_models": "none"},
        {"sampler": "tpe", "budget": 3, "ranges": {"pretrain.lr": {"low": 1e-4, "high": 1, "log": True}}},
        {**GRID, "prune": {"probe": "halving", "every": 5, "folds": 0.1}},
        {"grid": {"pretrain.hidden_classes": [[], ["wave"]]}},
    ],
)
def test_it_admits_what_loads(document: dict[str, Any], tmp_path: Path) -> None:
    assert loads(document, tmp_path)
    assert complaints(document) == []


@pytest.mark.parametrize(
    "document",
    [
        {**GRID, "seed": [1]},
        {"grid": {"objective.my": [1]}},
        {"grid": {"objective.mu": [-1]}},
        {"grid": {"objective.mu": []}},
        {"grid": {"objective.mu": 5}},
        {"grid": {"data.protocol": ["cross_scene"]}},
        {**GRID, "fixed": {"seed": 3}},
        {**GRID, "fixed": {"data.modalities": ["imu"]}},
        {**GRID, "fixed": {"pretrain.batch_size": 1}},
        {**GRID, "fixed": {"encoder.imu.dropout": 1}},
        {**GRID, "systems": "vicrag"},
        {**GRID, "systems": ["vicreg", "vicrag"]},
        {**GRID, "folds": "all"},
        {**GRID, "folds": []},
        {**GRID, "seeds": 28},
        {**GRID, "metric": "test.accuracy"},
        {**GRID, "prune": {"folds": 1}},
        {"sampler": "tpe", "budget": 3, "ranges": {"objective.name": {"low": 1, "high": 2}}},
        {"sampler": "tpe", "budget": 3, "ranges": {"pretrain.lr": {"low": 1, "high": 2, "step": 0}}},
        {"sampler": "tpe", "budget": 0, "ranges": {"pretrain.lr": {"low": 1, "high": 2}}},
    ],
    ids=str,
)
def test_it_refuses_what_does_not_load(document: dict[str, Any], tmp_path: Path) -> None:
    assert not loads(document, tmp_path)
    assert complaints(document)


def test_every_knob_and_entry_says_what_it_means() -> None:
    knobs = knob_schemas()
    assert list(knobs) == knob_names()
    assert all(knob["description"] for knob in knobs.values())
    assert set(meanings(space.Space)) == set(space.Space.model_fields)


def test_defaults_are_those_of_a_recipe() -> None:
    assert {name: knob["default"] for name, knob in knob_schemas().items()} == Recipe().knobs()


def test_inherited_fields_are_described() -> None:
    assert knob_schemas()["augment.imu.jitter.probability"]["description"].startswith("Chance")
