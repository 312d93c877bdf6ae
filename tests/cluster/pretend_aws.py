"""Brings `cluster.yaml` up in an account that moto pretends, and prints as JSON what is in it then.

Run in a network namespace that has nothing but loopback: moto's instances have addresses that belong to others, and
Ray tries to reach them by SSH. That is as far as `ray up` goes here.
"""

import argparse
import copy
import json
import os
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

import boto3
import yaml
from ray.autoscaler._private.aws.node_provider import AWSNodeProvider
from ray.autoscaler._private.commands import _bootstrap_config
from ray.autoscaler.tags import TAG_RAY_NODE_KIND, TAG_RAY_NODE_STATUS, TAG_RAY_USER_NODE_TYPE

ROOT = Path(__file__).resolve().parents[2]
PORT = 5000
BUCKET = "lab-results"
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "owner", "AWS_SECRET_ACCESS_KEY": "owner"}


def main(folder: Path) -> dict[str, Any]:
    os.environ |= {
        **CREDENTIALS,
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{PORT}",
        "AWS_EC2_METADATA_DISABLED": "true",
        "HOME": str(folder),
        "TMPDIR": str(folder),
        "NO_COLOR": "1",
        "MOTO_IAM_LOAD_AWS_MANAGED_POLICIES": "true",
    }
    config = filled_in(yaml.safe_load((ROOT / "cluster.yaml").read_text()))
    os.environ["AWS_DEFAULT_REGION"] = config["provider"]["region"]
    moto = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import flask,traceback; flask.Flask.log_exception=lambda self,e: traceback.print_exception(*e); from moto.server import main; main()",
            "--host",
            "127.0.0.1",
            "--port",
            str(PORT),
        ],
        stdout=(folder / "moto.log").open("wb"),
        stderr=subprocess.STDOUT,
    )
    try:
        wait_for(answers, folder / "moto.log")
        deploy((ROOT / "clusters" / "aws.roles.yaml").read_text())
        config = with_image(config)
        path = folder / "cluster.yaml"
        path.write_text(yaml.safe_dump(config))
        (folder / ".ray").mkdir()
        (folder / ".ray" / "auth_token").write_text("0" * 64)
        up(path, folder / "up.log")
        return account(config) | {"said": (folder / "up.log").read_text()} | {"worker": worker(path)}
    finally:
        moto.kill()
        moto.wait()


def filled_in(config: dict[str, Any]) -> dict[str, Any]:
    text = json.dumps(config).replace("YOUR-BUCKET", BUCKET)
    return json.loads(text)


def with_image(config: dict[str, Any]) -> dict[str, Any]:
    """An image that there is, for both kinds of node."""
    config = copy.deepcopy(config)
    image = boto3.client("ec2").describe_images(Owners=["amazon"])["Images"][0]["ImageId"]
    for node in config["available_node_types"].values():
        node["node_config"]["ImageId"] = image
    return config


def deploy(template: str) -> None:
    cloudformation = boto3.client("cloudformation")
    cloudformation.create_stack(
        StackName="mmssl-tune",
        TemplateBody=template,
        Parameters=[{"ParameterKey": "Bucket", "ParameterValue": BUCKET}],
        Capabilities=["CAPABILITY_NAMED_IAM"],
    )
    (stack,) = cloudformation.describe_stacks(StackName="mmssl-tune")["Stacks"]
    assert stack["StackStatus"] == "CREATE_COMPLETE", stack


def up(path: Path, log: Path) -> None:
    """Run `ray up` until it waits for the head's SSH server."""
    ray = Path(sys.executable).with_name("ray")
    with log.open("wb") as stream:
        process = subprocess.Popen([ray, "up", "--yes", path], stdout=stream, stderr=stream, stdin=subprocess.DEVNULL)
    try:
        wait_for(lambda: "SSH still not available" in log.read_text() or process.poll() is not None, log)
    finally:
        process.kill()
        process.wait()


def account(config: dict[str, Any]) -> dict[str, Any]:
    ec2 = boto3.client("ec2")
    instances = [instance for group in ec2.describe_instances()["Reservations"] for instance in group["Instances"]]
    groups = ec2.describe_security_groups(GroupIds=[group["GroupId"] for group in instances[0]["SecurityGroups"]])
    return {"config": config, "instances": instances, "security_groups": groups["SecurityGroups"]}


def worker(path: Path) -> dict[str, Any]:
    """What a worker is when the head starts one, with what its role allows and no more, and whether it ends it."""
    iam, sts = boto3.client("iam"), boto3.client("sts")
    profile = iam.get_instance_profile(InstanceProfileName="mmssl-tune-head")["InstanceProfile"]
    role = sts.assume_role(RoleArn=profile["Roles"][0]["Arn"], RoleSessionName="head")["Credentials"]
    config = _bootstrap_config(yaml.safe_load(path.read_text()))
    address, kind = f"http://127.0.0.1:{PORT}/moto-api/reset-auth", {"Content-Type": "text/plain"}
    enforce = urllib.request.Request(address, data=b"0", headers=kind, method="POST")
    with urllib.request.urlopen(enforce):
        pass
    credentials = {
        "aws_access_key_id": role["AccessKeyId"],
        "aws_secret_access_key": role["SecretAccessKey"],
        "aws_session_token": role["SessionToken"],
    }
    provider = AWSNodeProvider(config["provider"] | {"aws_credentials": credentials}, config["cluster_name"])
    kind = config["available_node_types"]["gpu_worker"]
    tags = {TAG_RAY_NODE_KIND: "worker", TAG_RAY_USER_NODE_TYPE: "gpu_worker", TAG_RAY_NODE_STATUS: "uninitialized"}
    provider.create_node(kind["node_config"], tags, 1)
    (node,) = provider.non_terminated_nodes({TAG_RAY_NODE_KIND: "worker"})
    provider.set_node_tags(node, {TAG_RAY_NODE_STATUS: "up-to-date"})
    ec2 = boto3.client("ec2", **credentials)
    described = ec2.describe_instances(InstanceIds=[node])["Reservations"][0]["Instances"][0]
    refused = ""
    try:
        boto3.client("iam", **credentials).list_users()
    except iam.exceptions.ClientError as error:
        refused = error.response["Error"]["Code"]
    provider.terminate_node(node)
    return {
        "instance": described,
        "resources": kind["resources"],
        "refused": refused,
        "left": provider.non_terminated_nodes({TAG_RAY_NODE_KIND: "worker"}),
    }


def answers() -> bool:
    try:
        urllib.request.urlopen(f"http://127.0.0.1:{PORT}/moto-api/").close()
    except OSError:
        return False
    return True


def wait_for(condition: Any, log: Path) -> None:
    until = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < until, log.read_text()
        time.sleep(0.3)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    (folder / "account.json").write_text(json.dumps(main(folder), default=str))
