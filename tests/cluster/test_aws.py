"""`cluster.yaml` against Ray's own checks, and `ray up` in an account that is pretended; no cloud is asked."""

import copy
import json
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config

ROOT = Path(__file__).resolve().parents[2]
PATH = ROOT / "cluster.yaml"


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


def test_results_lie_in_a_bucket(config: dict[str, Any]):
    for setup in ("head_setup_commands", "worker_setup_commands"):
        assert any("export MMSSL_STORAGE=s3://" in command for command in config[setup])


def test_cloudformation_has_nothing_to_say_against_the_roles():
    lint = [Path(sys.executable).with_name("cfn-lint"), ROOT / "clusters" / "aws.roles.yaml"]
    assert subprocess.run(lint, capture_output=True, text=True).stdout == ""


@pytest.fixture(scope="module")
def account(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What is in an AWS account that moto pretends once `ray up` waits for the head, and a worker that it starts."""
    alone = ["unshare", "--net", "--pid", "--fork", "--kill-child"]
    tried = subprocess.run([*alone, "ip", "link", "set", "lo", "up"], capture_output=True, text=True)
    if tried.returncode:
        pytest.skip(f"a network namespace, out of which nothing leads, needs root: {tried.stderr.strip()}")
    folder = tmp_path_factory.mktemp("aws")
    script = [sys.executable, Path(__file__).with_name("pretend_aws.py"), folder]
    ran = subprocess.run(
        [*alone, "sh", "-c", 'ip link set lo up && exec "$@"', "sh", *script], capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return json.loads((folder / "account.json").read_text())


def tags(instance: dict[str, Any]) -> dict[str, str]:
    return {tag["Key"]: tag["Value"] for tag in instance["Tags"]}


def test_ray_up_starts_a_head_as_the_file_says(account: dict[str, Any], written: dict[str, Any]):
    (head,) = account["instances"]
    assert head["InstanceType"] == written["available_node_types"]["head"]["node_config"]["InstanceType"]
    assert head["ImageId"] == account["config"]["available_node_types"]["head"]["node_config"]["ImageId"]
    assert head["IamInstanceProfile"]["Arn"].endswith(":instance-profile/mmssl-tune-head")
    assert head["KeyName"] == f"ray-autoscaler_{written['provider']['region']}"
    assert "InstanceLifecycle" not in head
    assert all(disk["Ebs"]["DeleteOnTermination"] for disk in head["BlockDeviceMappings"])
    assert {
        "ray-cluster-name": "mmssl-tune",
        "ray-node-type": "head",
        "ray-node-status": "waiting-for-ssh",
        "Name": "ray-mmssl-tune-head",
    }.items() <= tags(head).items()


def test_from_outside_only_ssh_is_open(account: dict[str, Any]):
    (group,) = account["security_groups"]
    outside = [rule for rule in group["IpPermissions"] if rule["IpRanges"] or rule["Ipv6Ranges"]]
    assert [(rule["IpProtocol"], rule["FromPort"], rule["ToPort"]) for rule in outside] == [("tcp", 22, 22)]
    within = [pair["GroupId"] for rule in group["IpPermissions"] for pair in rule["UserIdGroupPairs"]]
    assert within == [group["GroupId"]]


def test_the_head_may_start_and_end_a_spot_worker_with_a_gpu(account: dict[str, Any]):
    worker = account["worker"]
    assert worker["instance"]["InstanceType"] == "g6.2xlarge"
    assert worker["instance"]["InstanceLifecycle"] == "spot"
    assert worker["instance"]["IamInstanceProfile"]["Arn"].endswith(":instance-profile/mmssl-tune-worker")
    assert worker["instance"]["SecurityGroups"] == account["instances"][0]["SecurityGroups"]
    assert all(disk["Ebs"]["DeleteOnTermination"] for disk in worker["instance"]["BlockDeviceMappings"])
    assert tags(worker["instance"])["ray-node-status"] == "up-to-date"
    assert worker["resources"]["GPU"] == 1
    assert worker["left"] == []


def test_head_and_workers_may_use_the_bucket_and_little_else(account: dict[str, Any]):
    results = ["write", "list", "read", "remove"]
    assert account["worker"]["head_may"] == [*results, "see instances"]
    assert account["worker"]["worker_may"] == results
