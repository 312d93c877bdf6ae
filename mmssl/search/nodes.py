"""Whether the machines of a cluster may run a study's trials: the same programs, and the study within reach."""

import platform
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from typing import Any

import ray
from ray.exceptions import GetTimeoutError, RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from mmssl.errors import UserError
from mmssl.study.folder import Study
from mmssl.version import trial_code

_SECONDS_TO_ANSWER = 120
"""A worker that imports torch from a cold disk takes most of it."""


@dataclass(frozen=True)
class Agreement:
    """What a node must have in common with the driver."""

    programs: tuple[tuple[str, str], ...]
    """Name and version."""
    root: str
    study: str
    plan: str | None
    """The plan's SHA-256; None where there is none yet."""


@dataclass(frozen=True)
class Node:
    """A machine of the cluster."""

    node_id: str
    name: str
    resources: dict[str, float]


def nodes() -> list[Node]:
    """The nodes of the Ray that this process is connected to."""
    return [
        Node(node["NodeID"], f"{node['NodeManagerHostname']} ({node['NodeManagerAddress']})", node["Resources"])
        for node in ray.nodes()
        if node["Alive"]
    ]


def agreement(study: Study) -> Agreement:
    """What every node must have in common with this process to run a study's trials."""
    return Agreement(programs(), study.root, study.name, study.plan_digest())


def check(study: Study) -> None:
    """Ask every node whether it may run a study's trials.

    Raises:
        UserError: one may not; says which, why, and what would be right.
    """
    found = faults(study, nodes(), agreement(study))
    if found:
        raise UserError("not every node of the cluster can run this study:\n  " + "\n  ".join(found))


def faults(study: Study, where: Sequence[Node], terms: Agreement | None = None) -> list[str]:
    """Why nodes may not run a study's trials, one line for each that may not.

    Args:
        study: what the nodes are to write into, and this process to see.
        terms: what they must have in common with this process; by default what a study without a plan needs.

    Raises:
        OSError: this process itself cannot write there.
    """
    terms = terms or Agreement(programs(), study.root, study.name, None)
    token = uuid.uuid4().hex
    study.put_note("node-driver", {"token": token})
    study.drop_note("node-driver")
    found: list[str] = []
    for node, answer in on_each(_answer, where, terms, token):
        if isinstance(answer, Exception):
            found.append(f"{node.name}: {last_line(answer)}")
        elif answer:
            found.append(f"{node.name}: {answer}")
        elif study.note(f"node-{node.node_id}") != {"token": token}:
            found.append(
                f"{node.name}: what it writes under {terms.root} is not seen here: each has a folder of its own there; "
                "give --storage on a file system that all nodes share, or s3://BUCKET/PREFIX"
            )
        study.drop_note(f"node-{node.node_id}")
    return found


def begun_on(node_id: str, function: Any, *arguments: Any, **options: Any) -> Any:
    """The reference of a Ray task that runs on one node or not at all; it takes no CPU unless `options` say so."""
    placed = NodeAffinitySchedulingStrategy(node_id, soft=False)
    task: Any = ray.remote(function)
    return task.options(num_cpus=0, max_retries=0, scheduling_strategy=placed, **options).remote(*arguments)


def on_each(function: Any, where: Sequence[Node], *arguments: Any, **options: Any) -> list[tuple[Node, Any]]:
    """What a function gives on each node, or the exception that it ends with there.

    Args:
        function: called with the node's id and `arguments`.
        options: of the Ray task, as `num_gpus`; by default it takes no CPU.
    """
    waiting = [(node, begun_on(node.node_id, function, node.node_id, *arguments, **options)) for node in where]
    ray.wait([reference for _, reference in waiting], num_returns=len(waiting), timeout=_SECONDS_TO_ANSWER)
    answers: list[tuple[Node, Any]] = []
    for node, reference in waiting:
        try:
            answers.append((node, ray.get(reference, timeout=0)))
        except GetTimeoutError:
            answers.append((node, TimeoutError(f"does not answer in {_SECONDS_TO_ANSWER} s")))
        except RayError as error:
            answers.append((node, error))
    return answers


def last_line(error: Exception | str) -> str:
    """The last line of an error from another process, which has what happened."""
    # Ray ends some with a full stop on a line of its own.
    lines = [line for line in str(error).splitlines() if line.strip(" .")]
    if any("No module named 'mmssl" in line for line in lines):
        return "mmssl is not installed there; install this version of it on every node"
    return lines[-1].strip() if lines else type(error).__name__


@cache
def fault(terms: Agreement) -> str:
    """Why the machine of this process may not run a study's trials; nothing where it may."""
    theirs = dict(programs())
    differ = [
        f"{name} {theirs[name]}, where the driver has {wanted}"
        for name, wanted in terms.programs
        if theirs[name] != wanted
    ]
    if differ:
        return f"{'; '.join(differ)}; install the same on every node"
    if terms.plan is None:
        return ""
    try:
        found = Study(terms.root, terms.study).plan_digest()
    except OSError as error:
        return (
            f"study {terms.study} is not to be read under {terms.root} ({error.strerror or error}); give --storage on "
            "a file system that all nodes share, or s3://BUCKET/PREFIX"
        )
    if found != terms.plan:
        return f"another study {terms.study} lies under {terms.root} there; give --storage that all nodes share"
    return ""


def require(terms: Agreement) -> None:
    """Raises UserError: the machine of this process may not run a study's trials."""
    reason = fault(terms)
    if reason:
        raise UserError(f"node {platform.node()} cannot run this study: {reason}")


def refusal(text: str) -> str:
    """Why a worker was not to run a trial, where that is what it ended with."""
    return last_line(text).partition(" cannot run this study: ")[2] if " cannot run this study: " in text else ""


@cache
def programs() -> tuple[tuple[str, str], ...]:
    """The versions of what a trial's outcome depends on."""
    return (
        ("Python", platform.python_version()),
        ("mmssl", f"{version('mmssl-tune')}, code {trial_code()}"),
        # What follows the + names the device it was built for, in which a head without GPUs may differ.
        ("torch", version("torch").partition("+")[0]),
        ("ray", version("ray")),
    )


def _answer(node_id: str, terms: Agreement, token: str) -> str:
    reason = fault(terms)
    if reason:
        return reason
    try:
        Study(terms.root, terms.study).put_note(f"node-{node_id}", {"token": token})
    except OSError as error:
        return f"study {terms.study} cannot be written under {terms.root} ({error.strerror or error})"
    return ""
