"""The Ray that trials run on: what fits where, who is let in, and nodes that cannot take part."""

import os
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import psutil
import pytest
import small
from ray_head import ROOT, Head, running_head

import mmssl
from mmssl import Recordings
from mmssl.errors import UserError
from mmssl.search import nodes, on_ray, trainable
from mmssl.search import resources as cluster
from mmssl.search.setting import Setting
from mmssl.search.share import MOST_CPUS, Growth, Resources, Share, fit
from mmssl.study.folder import Study

BIG, SMALL, HEAD = {"CPU": 8.0, "GPU": 2.0}, {"CPU": 3.0}, {"CPU": 0.0}


def space(points: int) -> str:
    return small.space(100, grid={"objective.mu": list(range(1, points + 1))}, folds=[["ben"]])


@pytest.mark.parametrize(
    ("asked", "there", "share"),
    [
        (Resources(), [SMALL], Share(1, 0, 3, waits=False)),
        (Resources(2), [SMALL, SMALL], Share(2, 0, 2, waits=False)),  # one on each: 6 CPUs, but not on one node
        (Resources(2), [HEAD, BIG], Share(2, 0.25, 4, waits=False)),
        (Resources(1), [HEAD, BIG], Share(1, 0.25, 8, waits=False)),
        (Resources(1, 0), [HEAD, BIG, SMALL], Share(1, 0, 11, waits=False)),
        (Resources(1, 0.3), [BIG], Share(1, 0.3, 6, waits=False)),  # three on each of two GPUs
        (Resources(0.1, 0), [SMALL], Share(0.1, 0, 30, waits=False)),
        (Resources(1, 0.1), [{"CPU": 64, "GPU": 1}], Share(1, 0.1, 10, waits=False)),
        (Resources(1, 2), [BIG, BIG], Share(1, 2, 2, waits=False)),
        (Resources(1, 0, 2), [SMALL], Share(1, 0, 2, waits=False)),
    ],
)
def test_trials_are_counted_node_by_node(asked: Resources, there: list[dict[str, float]], share: Share) -> None:
    assert fit(asked, 100, there) == share


@pytest.mark.parametrize(
    ("trials", "there", "cpus"),
    [
        (36, [SMALL], 1),
        (3, [SMALL], 1),
        (2, [SMALL], 1),
        (1, [SMALL], 3),
        (1, [{"CPU": 64}], MOST_CPUS),
        (16, [{"CPU": 64}], 4),
        (32, [{"CPU": 64}], 2),
        (3, [SMALL, SMALL], 2),
        (1, [HEAD, SMALL, {"CPU": 2}], 2),  # on whichever node it comes to run
        (1, [BIG], 1),  # the GPU does the work
        (0, [SMALL], 3),
    ],
)
def test_few_trials_get_the_cpus_that_would_be_idle(trials: int, there: list[dict[str, float]], cpus: int) -> None:
    assert fit(Resources(), trials, there).cpus == cpus
    assert fit(Resources(1), trials, there).cpus == 1, "what is asked for is given"


@pytest.mark.parametrize(
    ("asked", "there"),
    [
        (Resources(4), [SMALL, SMALL]),
        (Resources(1, 1), [SMALL, HEAD]),
        (Resources(1, 3), [BIG, BIG]),
        (Resources(4, 1), [{"CPU": 8}, {"CPU": 2, "GPU": 1}]),
        (Resources(), [HEAD]),
    ],
)
def test_more_than_any_node_has_is_refused(asked: Resources, there: list[dict[str, float]]) -> None:
    with pytest.raises(UserError, match="ask for no more"):
        fit(asked, 100, there)


def test_what_an_autoscaler_may_add_counts() -> None:
    gpu = Growth(3, {"CPU": 8, "GPU": 1})
    assert fit(Resources(), 100, [HEAD], [gpu]) == Share(1, 0.25, 12, waits=True)
    assert fit(Resources(1, 0), 100, [SMALL], [gpu]) == Share(1, 0, 3 + 24, waits=False)
    assert fit(Resources(), 100, [HEAD], [Growth(2, {})]) == Share(1, 0, 200, waits=True), "nobody knows how large"
    with pytest.raises(UserError, match="8 CPUs, 1 GPUs on any one node"):
        fit(Resources(16), 100, [HEAD], [gpu])


def test_what_ray_up_leaves_on_the_head_says_what_may_come(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster.state, "get_cluster_config", lambda: None)
    monkeypatch.delenv("RAY_USAGE_STATS_KUBERAY_IN_USE", raising=False)
    assert cluster.growth(tmp_path / "absent.yaml") == []
    path = tmp_path / "ray_bootstrap_config.yaml"
    shutil.copy(ROOT / "cluster.yaml", path)
    assert cluster.growth(path) == [Growth(8, {})]
    path.write_text(path.read_text().replace("resources: {}", "resources: {CPU: 8, GPU: 1}"))
    assert cluster.growth(path) == [Growth(8, {"CPU": 8, "GPU": 1})]


@pytest.mark.parametrize(
    "address", ["nonsense", "http://x:1", "ray://127.0.0.1:1", "127.0.0.1:1", "127.0.0.1:99999999"]
)
def test_an_address_where_no_cluster_is_is_refused_at_once(address: str, tmp_path: Path) -> None:
    started = time.monotonic()
    with pytest.raises(UserError, match="--address"):
        cluster.start(address, tmp_path)
    assert time.monotonic() - started < 15


def test_a_study_that_asks_for_more_than_ray_has_leaves_nothing(
    tmp_path: Path, tiny: Recordings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(on_ray, "_connected", lambda *_: nullcontext())
    monkeypatch.setattr(on_ray, "nodes", lambda: [SimpleNamespace(resources={"CPU": 2.0})])
    tiny.save(tmp_path / "tiny.parquet")
    with pytest.raises(UserError, match=r"--gpus-per-trial 1: .* ask for no more"):
        mmssl.launch({"folds": [["ben"]], "grid": {"objective.mu": [1]}}, str(tmp_path / "tiny.parquet"),
                     storage=tmp_path, gpus_per_trial=1)  # fmt: skip
    assert [path.name for path in tmp_path.iterdir()] == ["tiny.parquet"]


def test_workers_of_a_cluster_look_for_no_module_where_the_driver_was_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There may be another mmssl, or a `random.py`; what they are told instead is tried in `test_inherited`."""
    begun: list[dict[str, Any]] = []
    monkeypatch.setattr(cluster.ray, "init", lambda **given: begun.append(given))
    monkeypatch.setattr(cluster, "answers", lambda address: None)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    cluster._join("127.0.0.1:1")
    [given] = begun
    job = given["job_config"]
    job._py_driver_sys_path = [str(tmp_path)]  # As Ray does.
    job._serialize()
    assert job._py_driver_sys_path == []


def test_the_token_is_for_its_owner_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    path = tmp_path / ".ray" / "auth_token"
    cluster._make_token()
    made = path.read_text()
    assert len(made) == 64
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.chmod(0o644)
    cluster._make_token()
    assert path.read_text() == made
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_machine_that_sees_another_study_runs_no_trial(tmp_path: Path) -> None:
    def terms(root: str, plan: str) -> nodes.Agreement:
        return nodes.Agreement(nodes.programs(), str(tmp_path / root), "s", plan)

    for root in ("here", "there"):
        (tmp_path / root / "s").mkdir(parents=True)
        (tmp_path / root / "s" / "plan.json").write_text(root)
    here = Study(tmp_path / "here", "s").plan_digest()
    assert nodes.fault(terms("here", here)) == ""
    assert "another study s" in nodes.fault(terms("there", here))
    assert "file system that all nodes share" in nodes.fault(terms("nowhere", here))
    old = nodes.Agreement((*nodes.programs()[:2], ("torch", "1.0"), nodes.programs()[3]), "", "", None)
    assert "where the driver has 1.0; install the same" in nodes.fault(old)
    with pytest.raises(UserError, match=r"node .* cannot run this study: study s is not to be read"):
        trainable.trial(
            {},
            terms=terms("nowhere", here),
            setting=Setting("", "s", {}, {}, "val", False, None, at_once=1, threads=1, device="cpu"),
        )


def launch(folder: Path, tiny: Recordings, name: str, *more: object, points: int = 12) -> list[str]:
    tiny.save(folder / "tiny.parquet")
    (folder / "space.yaml").write_text(space(points))
    words = [
        "launch", folder / "space.yaml", "--dataset", folder / "tiny.parquet",
        "--storage", folder / "studies", "--name", name, *more,
    ]  # fmt: skip
    return small.tune(*words)


def wait_for_record(study: Study, process: "subprocess.Popen[str]") -> None:
    while not list(study.folder.glob("trials/*/record.json")):
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)


@pytest.mark.ray
def test_a_ray_of_ones_own_is_reached_from_this_machine_alone_and_stop_ends_it(
    tmp_path: Path, tiny: Recordings
) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    environment |= {"HOME": str(tmp_path), "NO_COLOR": "1"}
    words = launch(tmp_path, tiny, "own", "--max-concurrent", 1)
    study = Study(tmp_path / "studies", "own")
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment) as process:
        wait_for_record(study, process)
        processes = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
        commands = " ".join(word for one in processes for word in one.cmdline())
        servers = ("dashboard/dashboard.py", "monitor.py", "log_monitor.py")
        assert not [server for server in servers if server in commands], "nobody asks them"
        listening = {
            (one.name(), socket.laddr.ip.removeprefix("::ffff:"), socket.laddr.port)
            for one in processes
            for socket in one.net_connections()
            if socket.status == psutil.CONN_LISTEN
        }
        assert {"gcs_server", "raylet"} <= {name for name, _, _ in listening}
        assert {ip for _, ip, _ in listening} == {"127.0.0.1"}
        (gcs,) = {port for name, _, port in listening if name == "gcs_server"}
        ask = "import sys; from ray._raylet import GcsClient; GcsClient(sys.argv[1]).internal_kv_keys(b'', None)"
        answers: list[int] = []
        for token in (environment.get("no"), "0" * 64, (tmp_path / ".ray" / "auth_token").read_text()):
            theirs = {**environment, "HOME": "/nowhere"}
            theirs |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token} if token else {}
            asked = [sys.executable, "-c", ask, f"127.0.0.1:{gcs}"]
            answers.append(subprocess.run(asked, env=theirs, capture_output=True, timeout=60).returncode)
        assert answers == [1, 1, 0], "no token, another, its own"
        assert stat.S_IMODE((tmp_path / ".ray" / "auth_token").stat().st_mode) == 0o600
        stopped = subprocess.run(
            small.tune("stop", "own", "--storage", tmp_path / "studies"),
            capture_output=True,
            text=True,
            env=environment,
        )
        out, err = process.communicate(timeout=100)
    assert stopped.returncode == 0, stopped.stderr
    assert "mmssl-tune resume own" in stopped.stdout
    assert process.returncode == 130, out + err
    assert "mmssl-tune resume own" in out
    assert "Traceback" not in out + err
    assert "RUNNING" not in set(pd.read_parquet(study.folder / "trials.parquet")["status"])


@pytest.mark.ray
@pytest.mark.slow
def test_a_second_ctrl_c_ends_it_whole_too(tmp_path: Path, tiny: Recordings) -> None:
    study = Study(tmp_path / "studies", "twice")
    with subprocess.Popen(
        launch(tmp_path, tiny, "twice", "--max-concurrent", 1),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        wait_for_record(study, process)
        for _ in range(2):
            os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to the whole process group
            time.sleep(0.3)
        second = time.monotonic()
        out, err = process.communicate(timeout=100)
    assert time.monotonic() - second < 20, "it waited for what runs"
    assert process.returncode == 130, out + err
    assert "mmssl-tune resume twice" in out
    assert "Traceback" not in out + err
    assert "RUNNING" not in set(pd.read_parquet(study.folder / "trials.parquet")["status"])
    assert not study.in_use()
    kept = {path: path.stat().st_mtime_ns for path in study.folder.glob("trials/*/record.json")}
    words = small.tune("resume", "twice", "--storage", study.folder.parent)
    assert subprocess.run(words, capture_output=True).returncode == 0
    assert {path: path.stat().st_mtime_ns for path in kept} == kept, "what had ended was run again"
    assert set(pd.read_parquet(study.folder / "trials.parquet")["status"]) == {"COMPLETE"}


@pytest.mark.ray
def test_on_a_cluster_a_study_runs_in_the_environment_of_its_driver(
    head: Head, tmp_path: Path, tiny: Recordings
) -> None:
    words = launch(tmp_path, tiny, "joined", "--address", head.address, "--set", "pretrain.epochs=20", points=3)
    study = Study(tmp_path / "studies", "joined")
    environment = {**head.environment, "MALLOC_ARENA_MAX": "3", "RAY_ADDRESS": "http://127.0.0.1:1"}
    with subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, cwd=tmp_path
    ) as process:
        wait_for_record(study, process)
        workers = [one for one in psutil.process_iter() if "ray::ImplicitFunc" in title(one)]
        assert any(one.environ().get("MALLOC_ARENA_MAX") == "3" for one in workers)
        out, err = process.communicate(timeout=200)
    assert process.returncode == 0, out + err
    assert set(pd.read_parquet(study.folder / "trials.parquet")["status"]) == {"COMPLETE"}


@pytest.fixture
def own_head() -> Iterator[Head]:
    with running_head() as started:
        yield started


@pytest.mark.ray
@pytest.mark.slow
def test_nodes_with_other_programs_or_another_disk_are_named(own_head: Head, tmp_path: Path, tiny: Recordings) -> None:
    other = tmp_path / "other"
    shutil.copytree(ROOT / "mmssl", other / "mmssl", ignore=shutil.ignore_patterns("__pycache__"))
    with (other / "mmssl" / "errors.py").open("a") as stream:
        stream.write("# one line more\n")
    own_head.join(PYTHONPATH=str(other))
    (tmp_path / "studies").mkdir()
    apart = ["unshare", "--mount", "sh", "-c", f'mount -t tmpfs tmpfs {tmp_path}/studies && exec "$@"', "sh"]
    mounts = subprocess.run([*apart, "true"], capture_output=True).returncode == 0
    if mounts:  # Only root may.
        own_head.join(*apart)
    refused = subprocess.run(
        launch(tmp_path, tiny, "spread", "--address", own_head.address),
        capture_output=True, text=True, env=own_head.environment, cwd=tmp_path,
    )  # fmt: skip
    assert refused.returncode == 2, refused.stdout + refused.stderr
    reasons = refused.stderr.splitlines()[1:]
    assert len(reasons) == 1 + mounts
    assert sum("mmssl 0.1.0, code" in line and "install the same on every node" in line for line in reasons) == 1
    assert sum("is not to be read" in line and "that all nodes share" in line for line in reasons) == mounts
    assert not list((tmp_path / "studies" / "spread").glob("trials/*")), "no trial was begun"


def title(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""
