"""What is written down of programs and machine is what there is."""

import json
import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pyarrow as pa
import pytest
import torch

from mmssl.environment import digest_of, machine, packages, programs
from mmssl.study.columns import schemas

TOP = Path(__file__).resolve().parents[1]


def test_all_of_it_has_columns_of_these_types() -> None:
    row = {**programs(), **machine("cpu")}
    assert set(row) <= set(schemas()["trials"].names)
    assert pa.Table.from_pylist([row], schema=schemas()["trials"]).select(list(row)).to_pylist() == [row]


def test_the_flags_are_torchs_own_at_that_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    assert machine("cpu")["determinism.algorithms"] is False
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True)
    try:
        facts = machine("cpu")
    finally:
        torch.use_deterministic_algorithms(False)
    assert facts["determinism.algorithms"] is True
    assert facts["determinism.cublas_workspace"] == ":4096:8"
    assert facts["hardware.cores"] == os.cpu_count()
    assert facts["device"] == "cpu"


def test_the_list_of_packages_is_that_of_pip() -> None:
    installed = packages()
    assert all(installed[name] == version(name) for name in ("torch", "numpy", "ray", "mmssl-tune", "scikit-learn"))
    assert digest_of(installed) == digest_of(dict(reversed(installed.items())))
    assert digest_of(installed) != digest_of({**installed, "numpy": "0"})
    code = "import json, ray; from mmssl.environment import packages; print(json.dumps(packages()))"
    beside_ray = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=TOP)
    assert json.loads(beside_ray.stdout) == installed, "what Ray brings along for itself is not installed"


def test_the_commit_is_that_of_the_checkout() -> None:
    def git(*words: str) -> str:
        return subprocess.run(["git", "-C", str(TOP), *words], capture_output=True, text=True).stdout.strip()

    if git("rev-parse", "--show-toplevel") == str(TOP):
        assert programs()["git.commit"] == git("rev-parse", "HEAD")
