#!/usr/bin/env bash
# Ray Tune's ASHA never stops a trial whose score became NaN, and Optuna under it takes a stopped trial's early score
# for a final one.
#
# ray 2.60.0 and optuna 5.0.0, seen 2026-11-29. Guessed: NaN is the first to be stopped, and a trial that was stopped
# early is PRUNED for Optuna. Seen: what reports NaN from its second epoch on runs all 16 epochs (all 12 or 13 that
# pass the first), as NaN is not below the cut; for Optuna a trial that ASHA stopped is COMPLETE with its score after
# one epoch, and one that ends in NaN stays RUNNING for ever. What it costs: diverged trials take the most time of
# all, and a sampler takes scores after one epoch for final ones and never hears of what diverged.
set -euo pipefail
folder=$(mktemp -d) && trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet --disable-pip-version-check "ray[tune]==2.60.0" optuna==5.0.0
cat > "$folder/study.py" <<'PYTHON'
import collections
import os

import optuna
import ray
from ray import tune
from ray.tune.schedulers import ASHAScheduler
from ray.tune.search.optuna import OptunaSearch


def train(config):
    for epoch in range(1, 17):
        bad = config["weight"] > 12 and epoch > 1
        tune.report({"score": float("nan") if bad else config["weight"] * epoch, "epoch": epoch})


ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
search = OptunaSearch(sampler=optuna.samplers.RandomSampler(seed=0), metric="score", mode="max")
results = tune.Tuner(
    train,
    param_space={"weight": tune.uniform(0, 25)},
    tune_config=tune.TuneConfig(
        search_alg=search, scheduler=ASHAScheduler("epoch", max_t=16, grace_period=1, reduction_factor=2),
        metric="score", mode="max", num_samples=24, max_concurrent_trials=2,
    ),
    run_config=tune.RunConfig(storage_path=os.environ["FOLDER"], verbose=0),
).fit()
epochs = {True: [], False: []}
for result in results:
    epochs[result.config["weight"] > 12].append(result.metrics["epoch"])
trials = search._ot_study.trials  # What the search keeps has no public name.
states = {
    bad: dict(collections.Counter(t.state.name for t in trials if (t.params["weight"] > 12) == bad)) for bad in (True, False)
}
early = [e for e in epochs[False] if e < 16]
print(f"ray {ray.__version__}, optuna {optuna.__version__}: with NaN {sorted(epochs[True])} epochs, {states[True]}; "
      f"without {sorted(epochs[False])}, {states[False]}")
went_on = [e for e in epochs[True] if e > 1]
assert went_on and set(went_on) == {16}, "changed: NaN is stopped"
assert early and "PRUNED" not in states[False], "changed: what is stopped early is another state"
assert states[True].get("RUNNING"), "changed: a trial that ends in NaN is told to Optuna"
PYTHON
cd "$folder"
FOLDER="$folder/results" RAY_USAGE_STATS_ENABLED=0 TUNE_DISABLE_AUTO_CALLBACK_LOGGERS=1 "$folder/env/bin/python" -W ignore study.py 2> "$folder/log" ||
    { cat "$folder/log" >&2; exit 1; }
