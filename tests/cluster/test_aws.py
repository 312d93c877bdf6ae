"""The cluster file against Ray's own checks; nothing is started and no cloud is asked."""

import copy
import shlex
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config

PATH = Path(__file__).resolve().parents[1] / "cluster.yaml"


@pytest.fixture
def written() -> dict[str, Any]:
    return yaml.safe_load(PATH.read_text())


@pytest.fixture
def config(written: dict[str, Any]) -> dict[str, Any]:
    return prepare_config(copy.deepcopy(written))


def test_ray_accepts_it(config: dict[str, Any]):
    validate_config(config)
    assert config["provider"]["type"] == "aws"


@pytest.mark.parametrize("entry", ["max_worker", "idle_timeout"])
def test_ray_would_name_a_misspelt_entry(written: dict[str, Any], entry: str):
    with pytest.raises(jsonschema.ValidationError, match=entry):
        validate_config(prepare_config(written | {entry: 1}))


def test_it_costs_nothing_but_the_head_while_no_trial_waits(config: dict[str, Any]):
    types = config["available_node_types"]
    head = types.pop(config["head_node_type"])
    assert head["node_config"]["InstanceType"][0] not in "gp"
    assert "InstanceMarketOptions" not in head["node_config"]
    assert head["max_workers"] == 0
    assert types
    for worker in types.values():
        assert worker["min_workers"] == 0
        assert 0 < worker["max_workers"] <= config["max_workers"]
        assert worker["node_config"]["InstanceType"][0] in "gp"
        assert worker["node_config"]["InstanceMarketOptions"] == {"MarketType": "spot"}
    assert 0 < config["idle_timeout_minutes"] <= 15
    assert config["provider"]["cache_stopped_nodes"] is False


def test_every_node_has_the_token_and_asks_for_it(config: dict[str, Any]):
    assert {"~/.ray/auth_token": "~/.ray/auth_token"}.items() <= config["file_mounts"].items()
    for setup in ("head_setup_commands", "worker_setup_commands"):
        assert any("RAY_AUTH_MODE=token" in command for command in config[setup])
    (start,) = [command for command in config["head_start_ray_commands"] if "ray start" in command]
    assert "--dashboard-host=127.0.0.1" in shlex.split(start)


def test_every_node_installs_the_locked_environment(config: dict[str, Any]):
    for setup in ("head_setup_commands", "worker_setup_commands"):
        commands = " ; ".join(config[setup])
        assert commands.index("git clone") < commands.index("python3 start.py sync")


def test_commands_are_commands(config: dict[str, Any]):
    for name, commands in config.items():
        if name.endswith("_commands"):
            for command in commands:
                assert shlex.split(command)


def test_the_name_is_one_ray_can_use(config: dict[str, Any]):
    assert ":" not in config["cluster_name"]
    assert " " not in config["cluster_name"]
