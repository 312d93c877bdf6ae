"""The files for `ray up` against Ray's own checks, and against what every cluster of this project must be."""

import copy
import shlex
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(params=["cluster.yaml", "cluster.onprem.yaml"])
def written(request: pytest.FixtureRequest) -> dict[str, Any]:
    return yaml.safe_load((ROOT / request.param).read_text())


@pytest.fixture
def config(written: dict[str, Any]) -> dict[str, Any]:
    return prepare_config(copy.deepcopy(written))


def starts(config: dict[str, Any], node: str) -> str:
    """The command that starts Ray on a head or a worker."""
    (command,) = [one for one in config[f"{node}_start_ray_commands"] if "ray start" in one]
    return command


def test_ray_accepts_it(config: dict[str, Any]) -> None:
    validate_config(config)


@pytest.mark.parametrize("entry", ["max_worker", "idle_timeout"])
def test_ray_would_name_a_misspelt_entry(written: dict[str, Any], entry: str) -> None:
    with pytest.raises(jsonschema.ValidationError, match=entry):
        validate_config(prepare_config(written | {entry: 1}))


def test_every_node_has_the_token_and_asks_for_it(config: dict[str, Any]) -> None:
    assert {"~/.ray/auth_token": "~/.ray/auth_token"}.items() <= config["file_mounts"].items()
    for setup in ("head_setup_commands", "worker_setup_commands"):
        assert any("RAY_AUTH_MODE=token" in command for command in config[setup])


def test_the_dashboard_is_on_loopback_and_nothing_is_reported(config: dict[str, Any]) -> None:
    words = shlex.split(starts(config, "head"))
    assert {"--dashboard-host=127.0.0.1", "--disable-usage-stats"} <= set(words)


def test_every_node_installs_the_locked_environment_and_knows_where_studies_lie(config: dict[str, Any]) -> None:
    for setup in ("head_setup_commands", "worker_setup_commands"):
        commands = " ; ".join(config[setup])
        assert commands.index("git clone") < commands.index("python3 start.py sync")
        assert "export MMSSL_STORAGE=" in commands


def test_rays_folder_is_for_its_owner_alone_before_ray_starts(config: dict[str, Any]) -> None:
    for node in ("head", "worker"):
        export = next(one for one in config[f"{node}_setup_commands"] if "RAY_TMPDIR=" in one)
        assert "RAY_TMPDIR=/tmp/mmssl-tune-$UID" in shlex.split(shlex.split(export)[-3])
        commands = config[f"{node}_start_ray_commands"]
        assert commands.index('install -d -m 700 "$RAY_TMPDIR"') < commands.index(starts(config, node))
        assert "--temp-dir" not in starts(config, node)


def test_commands_are_commands(config: dict[str, Any]) -> None:
    for name, commands in config.items():
        if name.endswith("_commands"):
            for command in commands:
                assert shlex.split(command)


def test_the_name_is_one_ray_can_use(config: dict[str, Any]) -> None:
    assert ":" not in config["cluster_name"]
    assert " " not in config["cluster_name"]


def test_a_lab_s_machines_use_the_same_ports() -> None:
    config = prepare_config(yaml.safe_load((ROOT / "cluster.onprem.yaml").read_text()))
    head, worker = (
        {word for word in shlex.split(starts(config, node)) if "-port=" in word} for node in ("head", "worker")
    )
    assert head - worker == {"--port=6379", "--ray-client-server-port=10001"}
    assert worker <= head
    # The autoscaler that Ray starts by default brings no worker of such a cluster up.
    assert "RAY_enable_autoscaler_v2=0 ray start" in starts(config, "head")
