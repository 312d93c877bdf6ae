"""Brings `cluster.yaml` up in an account that moto pretends, and writes to FOLDER/account.json what is in it then.

Run in a network namespace that has nothing but loopback: moto's instances have addresses that belong to others, and
Ray tries to reach them by SSH. That is as far as `ray up` goes here.
"""

import argparse
import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import boto3
import httpx
import yaml
from botocore.exceptions import ClientError
from hosts import ROOT, wait
from ray.autoscaler._private.aws.node_provider import AWSNodeProvider
from ray.autoscaler._private.commands import _bootstrap_config
from ray.autoscaler.tags import TAG_RAY_NODE_KIND, TAG_RAY_NODE_STATUS, TAG_RAY_USER_NODE_TYPE

PORT = 5000
ENDPOINT = f"http://127.0.0.1:{PORT}"
BUCKET = "lab-results"


def main(folder: Path) -> dict[str, Any]:
    os.environ |= {
        "AWS_ACCESS_KEY_ID": "owner",
        "AWS_SECRET_ACCESS_KEY": "owner",
        "AWS_ENDPOINT_URL": ENDPOINT,
        "AWS_EC2_METADATA_DISABLED": "true",
        "HOME": str(folder),
        "TMPDIR": str(folder),
        "NO_COLOR": "1",
        "MOTO_IAM_LOAD_AWS_MANAGED_POLICIES": "true",
    }
    with (folder / "moto.log").open("wb") as log:
        server = [sys.executable, "-m", "moto.server", "--host", "127.0.0.1", "--port", str(PORT)]
        moto = subprocess.Popen(server, stdout=log, stderr=log)
    try:
        wait(answers, 120, (folder / "moto.log").read_text)
        config = filled_in()
        deploy((ROOT / "clusters" / "aws.roles.yaml").read_text())
        path = folder / "cluster.yaml"
        path.write_text(yaml.safe_dump(config))
        (folder / ".ray").mkdir()
        (folder / ".ray" / "auth_token").write_text("0" * 64)
        up(path, folder / "up.log")
        return account(config) | {"worker": worker(path)}
    finally:
        moto.kill()
        moto.wait()


def filled_in() -> dict[str, Any]:
    """The cluster file with a bucket, and an image that there is."""
    config = yaml.safe_load((ROOT / "cluster.yaml").read_text().replace("YOUR-BUCKET", BUCKET))
    os.environ["AWS_DEFAULT_REGION"] = config["provider"]["region"]
    image = boto3.client("ec2").describe_images(Owners=["amazon"])["Images"][0]["ImageId"]
    for node in config["available_node_types"].values():
        node["node_config"]["ImageId"] = image
    return config


def deploy(template: str) -> None:
    boto3.client("s3").create_bucket(Bucket="another")
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
        wait(lambda: "SSH still not available" in log.read_text() or process.poll() is not None, 120, log.read_text)
    finally:
        process.kill()
        process.wait()


def account(config: dict[str, Any]) -> dict[str, Any]:
    ec2 = boto3.client("ec2")
    instances = [instance for group in ec2.describe_instances()["Reservations"] for instance in group["Instances"]]
    groups = ec2.describe_security_groups(GroupIds=[group["GroupId"] for group in instances[0]["SecurityGroups"]])
    return {"config": config, "instances": instances, "security_groups": groups["SecurityGroups"]}


def worker(path: Path) -> dict[str, Any]:
    """What a worker is when the head starts one with what its role allows, and what both roles may do besides."""
    head, its_worker = role_of("mmssl-tune-head"), role_of("mmssl-tune-worker")
    config = _bootstrap_config(yaml.safe_load(path.read_text()))
    # From here on moto lets nobody do what their role does not allow; as the owner was let so far.
    with httpx.Client() as client:
        client.post(f"{ENDPOINT}/moto-api/reset-auth", content=b"0").raise_for_status()
    provider = AWSNodeProvider(config["provider"] | {"aws_credentials": head}, config["cluster_name"])
    kind = config["available_node_types"]["gpu_worker"]
    tags = {TAG_RAY_NODE_KIND: "worker", TAG_RAY_USER_NODE_TYPE: "gpu_worker", TAG_RAY_NODE_STATUS: "uninitialized"}
    provider.create_node(kind["node_config"], tags, 1)
    (node,) = provider.non_terminated_nodes({TAG_RAY_NODE_KIND: "worker"})
    provider.set_node_tags(node, {TAG_RAY_NODE_STATUS: "up-to-date"})
    described = boto3.client("ec2", **head).describe_instances(InstanceIds=[node])["Reservations"][0]["Instances"][0]
    provider.terminate_node(node)
    return {
        "instance": described,
        "resources": kind["resources"],
        "left": provider.non_terminated_nodes({TAG_RAY_NODE_KIND: "worker"}),
        "head_may": may(head),
        "worker_may": may(its_worker),
    }


def role_of(profile: str) -> dict[str, str]:
    """Credentials as an instance with this profile has them."""
    role = boto3.client("iam").get_instance_profile(InstanceProfileName=profile)["InstanceProfile"]["Roles"][0]
    given = boto3.client("sts").assume_role(RoleArn=role["Arn"], RoleSessionName=profile)["Credentials"]
    return {
        "aws_access_key_id": given["AccessKeyId"],
        "aws_secret_access_key": given["SecretAccessKey"],
        "aws_session_token": given["SessionToken"],
    }


def may(role: dict[str, str]) -> list[str]:
    """What of some acts a role allows."""
    s3 = boto3.client("s3", **role)
    acts = {
        "write": lambda: s3.put_object(Bucket=BUCKET, Key="studies/x", Body=b""),
        "list": lambda: s3.list_objects_v2(Bucket=BUCKET),
        "read": lambda: s3.get_object(Bucket=BUCKET, Key="studies/x"),
        "remove": lambda: s3.delete_object(Bucket=BUCKET, Key="studies/x"),
        "write elsewhere": lambda: s3.put_object(Bucket="another", Key="x", Body=b""),
        "see instances": lambda: boto3.client("ec2", **role).describe_instances(),
        "see users": lambda: boto3.client("iam", **role).list_users(),
    }
    allowed: list[str] = []
    for name, act in acts.items():
        try:
            act()
        except ClientError as error:
            assert error.response["Error"]["Code"] in ("AccessDenied", "UnauthorizedOperation"), error
        else:
            allowed.append(name)
    return allowed


def answers() -> bool:
    try:
        httpx.get(f"{ENDPOINT}/moto-api/")
    except httpx.TransportError:
        return False
    return True


if __name__ == "__main__":
    if [name for _, name in socket.if_nameindex()] != ["lo"]:
        sys.exit("there is a way out of this namespace")
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    (folder / "account.json").write_text(json.dumps(main(folder), default=str))
