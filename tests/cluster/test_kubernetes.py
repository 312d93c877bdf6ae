"""`clusters/kubernetes.yaml` against published schemas, and against this project; there is no Kubernetes here."""

import re
import tomllib
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
DOCKERFILE = (ROOT / "clusters" / "Dockerfile").read_text()
KUBERNETES = "1.30"


def exactly(required: dict[str, Any], optional: dict[str, Any] | None = None) -> dict[str, Any]:
    """The schema of an object that has these entries and no others."""
    entries = required | (optional or {})
    return {"type": "object", "properties": entries, "required": list(required), "additionalProperties": False}


TEXT, COUNT, PODS = {"type": "string"}, {"type": "integer", "minimum": 0}, {"type": "object"}
TEXTS = {"type": "object", "additionalProperties": TEXT}
# What this file uses of KubeRay's own RayCluster (ray.io/v1, the same since 1.1); pods have Kubernetes' own schema.
RAY_CLUSTER = exactly(
    {
        "apiVersion": {"const": "ray.io/v1"},
        "kind": {"const": "RayCluster"},
        "metadata": exactly({"name": TEXT}),
        "spec": exactly(
            {
                "headGroupSpec": exactly({"rayStartParams": TEXTS, "template": PODS}),
                "workerGroupSpecs": {
                    "type": "array",
                    "items": exactly(
                        {"groupName": TEXT, "rayStartParams": TEXTS, "template": PODS},
                        {"replicas": COUNT, "minReplicas": COUNT, "maxReplicas": COUNT},
                    ),
                },
            },
            {
                "rayVersion": TEXT,
                "enableInTreeAutoscaling": {"type": "boolean"},
                "autoscalerOptions": exactly({}, {"idleTimeoutSeconds": COUNT, "env": {"type": "array"}}),
            },
        ),
    }
)


@pytest.fixture(scope="module")
def documents() -> dict[str, Any]:
    found = list(yaml.safe_load_all((ROOT / "clusters" / "kubernetes.yaml").read_text()))
    return {document["kind"]: document for document in found}


@pytest.fixture(scope="module")
def pods(documents: dict[str, Any]) -> dict[str, Any]:
    """The pods of head and workers."""
    spec = documents["RayCluster"]["spec"]
    groups = {"head": spec["headGroupSpec"]} | {group["groupName"]: group for group in spec["workerGroupSpecs"]}
    return {name: group["template"] for name, group in groups.items()}


def test_it_holds_what_it_should(documents: dict[str, Any]) -> None:
    assert set(documents) == {"PersistentVolumeClaim", "NetworkPolicy", "RayCluster"}
    jsonschema.validate(documents["RayCluster"], RAY_CLUSTER)


def test_kubernetes_would_take_it(documents: dict[str, Any], pods: dict[str, Any]) -> None:
    for kind in ("PersistentVolumeClaim", "NetworkPolicy"):
        kubernetes_validate.validate(documents[kind], KUBERNETES, strict=True)
    for name, template in pods.items():
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, **template}
        kubernetes_validate.validate(pod, KUBERNETES, strict=True)


def test_the_check_sees_a_misspelt_entry(pods: dict[str, Any]) -> None:
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "head"},
        "spec": {**pods["head"]["spec"], "volume": []},
    }
    with pytest.raises(kubernetes_validate.ValidationError, match="volume"):
        kubernetes_validate.validate(pod, KUBERNETES, strict=True)


def test_every_container_has_the_token_from_the_secret(documents: dict[str, Any], pods: dict[str, Any]) -> None:
    containers = [container for pod in pods.values() for container in pod["spec"]["containers"]]
    for holder in (*containers, documents["RayCluster"]["spec"]["autoscalerOptions"]):
        env = {entry["name"]: entry for entry in holder["env"]}
        assert env["RAY_AUTH_MODE"]["value"] == "token"
        assert env["RAY_AUTH_TOKEN"]["valueFrom"] == {"secretKeyRef": {"name": "mmssl-tune", "key": "auth_token"}}


def test_all_pods_share_the_studies_and_run_one_image_as_nobody_special(
    documents: dict[str, Any], pods: dict[str, Any]
) -> None:
    assert documents["PersistentVolumeClaim"]["spec"]["accessModes"] == ["ReadWriteMany"]
    for pod in pods.values():
        (container,) = pod["spec"]["containers"]
        assert container["image"] == f"YOUR-REGISTRY/mmssl-tune:{PROJECT['version']}"
        assert {"name": "studies", "mountPath": "/studies"} in container["volumeMounts"]
        claims = [volume.get("persistentVolumeClaim", {}).get("claimName") for volume in pod["spec"]["volumes"]]
        assert documents["PersistentVolumeClaim"]["metadata"]["name"] in claims
        assert pod["spec"]["securityContext"]["runAsNonRoot"]


def test_trials_run_on_gpu_workers_that_come_and_go(documents: dict[str, Any], pods: dict[str, Any]) -> None:
    spec = documents["RayCluster"]["spec"]
    assert spec["rayVersion"] == version("ray")
    assert spec["headGroupSpec"]["rayStartParams"] == {"num-cpus": "0", "dashboard-host": "127.0.0.1"}
    (group,) = spec["workerGroupSpecs"]
    assert spec["enableInTreeAutoscaling"] and group["minReplicas"] == group["replicas"] == 0 < group["maxReplicas"]
    assert pods["gpu-worker"]["spec"]["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == "1"


def test_the_image_has_a_python_that_the_project_takes_and_installs_what_is_locked() -> None:
    (base,) = re.findall(r"^FROM python:(3\.\d+)-", DOCKERFILE, re.MULTILINE)
    low, high = (tuple(map(int, bound.split("."))) for bound in re.findall(r"3\.\d+", PROJECT["requires-python"]))
    assert low <= tuple(map(int, base.split("."))) < high
    setup = yaml.safe_load((ROOT / "cluster.yaml").read_text())["setup_commands"]
    (install,) = re.findall(r"python3 start.py sync.*", DOCKERFILE)
    assert any(command.endswith(install) for command in setup)
    assert f"mmssl-tune:{PROJECT['version']}" in DOCKERFILE
