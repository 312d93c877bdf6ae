"""What the driver does for each trial of a study of many, by how many have ended; and what reading its results costs.

python3 start.py run python benchmarks/scale.py [TRIALS]

Nothing is trained: made-up outcomes go the way real ones go, through records and tables, on disk.
"""

import resource
import subprocess
import sys
import time
from datetime import UTC, datetime
from tempfile import TemporaryDirectory

from made_up import recordings
from measure import machine

from mmssl.study.folder import Study
from mmssl.study.plan import Dataset, Plan, make_plan
from mmssl.study.record import Record
from mmssl.study.space import Space
from mmssl.study.tables import Tables

EPOCHS, PREDICTIONS, BLOCKS = 30, 20, 10


def plan_of(trials: int) -> Plan:
    made = recordings(8)
    grid = {
        "objective.lambda": [float(i + 1) for i in range(50)],
        "objective.mu": [i + 0.5 for i in range(trials // 200)],
    }
    space = Space(name="many", grid=grid)
    bases = space.bases("utd_mhad")
    folds = [(subject,) for subject in "1357"]
    dataset = Dataset(
        source="utd_mhad",
        folder=None,
        name="utd_mhad",
        fingerprint=made.fingerprint,
        recordings=431,
        train_subjects=("1", "3", "5", "7"),
        test_subjects=("2",),
    )
    return make_plan("many", space, bases, dataset, folds, space.points(bases))


def outcome(trial_id: str, number: int) -> Record:
    now = datetime.now(UTC)
    curve = dict.fromkeys(("train.loss", "train.invariance", "train.variance", "train.covariance"), 0.5)
    ranks = dict.fromkeys(("train.imu.effective_rank", "train.skeleton.effective_rank"), 20.0)
    prediction = {"split": "val", "subject": "1", "label": "wave", "predicted": "wave", "confidence": 0.5}
    return Record(
        trial_id=trial_id,
        status="COMPLETE",
        started=now,
        finished=now,
        facts={"val.accuracy": (number * 7919 % 1000) / 1000, "val.f1": 0.5, **curve},
        epochs=[{"phase": "pretrain", "epoch": epoch + 1, **curve, **ranks} for epoch in range(EPOCHS)],
        predictions=[{"recording_id": f"r{i}", **prediction} for i in range(PREDICTIONS)],
    )


def main(trials: int) -> None:
    print(machine(1))
    with TemporaryDirectory() as root:
        plan = plan_of(trials)
        study = Study(root, "many")
        study.create(plan)
        tables = Tables(study, plan)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        block = len(plan.trials) // BLOCKS
        started = time.perf_counter()
        for number, planned in enumerate(plan.trials, 1):
            record = outcome(planned.trial_id, number)
            study.keep(record)
            tables.put(record)
            tables.write_if_due()
            if number % block == 0:
                now = time.perf_counter()
                grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
                cost = 1000 * (now - started) / block
                print(f"{number:6} trials: {cost:.1f} ms and {grown / number:.0f} kB of memory a trial")
                started = time.perf_counter()
        started = time.perf_counter()
        tables.settle()
        print(f"all tables written once more: {time.perf_counter() - started:.2f} s")
        for words in (["results", "many", "--storage", root, "--json"], ["--help"]):
            spent = resource.getrusage(resource.RUSAGE_CHILDREN)
            started = time.perf_counter()
            subprocess.run([sys.executable, "-m", "mmssl.cli", *words], check=True, stdout=subprocess.DEVNULL)
            now = resource.getrusage(resource.RUSAGE_CHILDREN)
            cpu = now.ru_utime + now.ru_stime - spent.ru_utime - spent.ru_stime
            print(f"{words[0]}: {time.perf_counter() - started:.2f} s, {cpu:.2f} s of CPU")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000)
