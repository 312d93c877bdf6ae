#!/usr/bin/env bash
# A model card that huggingface_hub writes gives the accuracy from the IMU alone, and that from the skeleton alone, as
# accuracies from both.
#
# huggingface_hub 2.4.0, seen 2026-11-29. Guessed: three results that differ in `dataset_args` ({"read from": "both"},
# "imu", "skeleton") stand in the card's `model-index` as three, each with its arguments. Seen: ModelCardData puts them
# into one entry, under the arguments of the first, with three values of accuracy (97.1, 87.9, 96.2) that nothing tells
# apart; read back, all three say "both". What two results are told apart by is task, data set, config, split and
# revision; `dataset_config` (or `dataset_split`) in place of the arguments keeps them. What it costs: published, the
# weaker modality's score is one of both, or the best of three is taken for the model's.
set -euo pipefail
folder=$(mktemp -d) && trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet --disable-pip-version-check huggingface_hub==2.4.0
HF_HUB_OFFLINE=1 "$folder/env/bin/python" -W ignore - <<'PYTHON'
import huggingface_hub
from huggingface_hub import EvalResult, ModelCard, ModelCardData

SCORES = {"both": 97.1, "imu": 87.9, "skeleton": 96.2}


def read_back(key, value_of):
    """The results of a card, written and read again, by what they were read from."""
    results = [
        EvalResult(
            task_type="other", dataset_type="utd_mhad", dataset_name="UTD-MHAD", metric_type="accuracy",
            metric_value=score, **{key: value_of(name)},
        )
        for name, score in SCORES.items()
    ]
    written = ModelCardData(model_name="encoders", eval_results=results)
    read = ModelCard(f"---\n{written.to_yaml()}\n---\n# encoders\n").data.eval_results
    return [(getattr(one, key), one.metric_value) for one in read]


by_arguments = read_back("dataset_args", lambda name: {"read from": name})
by_config = read_back("dataset_config", lambda name: name)
print(f"huggingface_hub {huggingface_hub.__version__}: by arguments {by_arguments}, by config {by_config}")
assert by_config == list(SCORES.items()), "changed: the config does not keep them apart"
assert by_arguments == [({"read from": "both"}, score) for score in SCORES.values()], "changed: something else is kept"
PYTHON
