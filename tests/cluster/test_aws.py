"""`cluster.yaml`: what it costs, and `ray up` in an account that moto pretends; no cloud is asked."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from ray.autoscaler._private.util import prepare_config

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def written() -> dict[str, Any]:
    return yaml.safe_load((ROOT / "cluster.yaml").read_text())


def test_it_costs_nothing_but_the_head_while_no_trial_waits(written: dict[str, Any]) -> None:
    config = prepare_config(written)
    assert config["provider"]["type"] == "aws"
    types = config["available_node_types"]
    head = types.pop(config["head_node_type"])
    assert head["resources"]["CPU"] == 0
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


def test_results_lie_in_a_bucket(written: dict[str, Any]) -> None:
    assert any("export MMSSL_STORAGE=s3://" in command for command in written["setup_commands"])


def test_cloudformation_has_nothing_to_say_against_the_roles() -> None:
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


def test_ray_up_starts_a_head_as_the_file_says(account: dict[str, Any], written: dict[str, Any]) -> None:
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


def test_from_outside_only_ssh_is_open(account: dict[str, Any]) -> None:
    (group,) = account["security_groups"]
    outside = [rule for rule in group["IpPermissions"] if rule["IpRanges"] or rule["Ipv6Ranges"]]
    assert [(rule["IpProtocol"], rule["FromPort"], rule["ToPort"]) for rule in outside] == [("tcp", 22, 22)]
    within = [pair["GroupId"] for rule in group["IpPermissions"] for pair in rule["UserIdGroupPairs"]]
    assert within == [group["GroupId"]]


def test_the_head_may_start_and_end_a_spot_worker_with_a_gpu(account: dict[str, Any]) -> None:
    worker = account["worker"]
    assert worker["instance"]["InstanceType"] == "g6.2xlarge"
    assert worker["instance"]["InstanceLifecycle"] == "spot"
    assert worker["instance"]["IamInstanceProfile"]["Arn"].endswith(":instance-profile/mmssl-tune-worker")
    assert worker["instance"]["SecurityGroups"] == account["instances"][0]["SecurityGroups"]
    assert all(disk["Ebs"]["DeleteOnTermination"] for disk in worker["instance"]["BlockDeviceMappings"])
    assert tags(worker["instance"])["ray-node-status"] == "up-to-date"
    assert worker["resources"]["GPU"] == 1
    assert worker["left"] == []


def test_head_and_workers_may_use_the_bucket_and_little_else(account: dict[str, Any]) -> None:
    results = ["write", "list", "read", "remove"]
    assert account["worker"]["head_may"] == [*results, "see instances"]
    assert account["worker"]["worker_may"] == results
