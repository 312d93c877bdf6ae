"""The model card of an export, README.md as the Hugging Face Hub takes it: front matter for its index, then for people.

Its numbers are those of the facts in model.json; nothing is computed here.
"""

import html
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import yaml

from mmssl.recipe import readings_of
from mmssl.training.model import FACTS, WEIGHTS, Model

LIBRARY = "mmssl-tune"
_MEASURES = {"accuracy": "accuracy", "f1": "F1"}
_SIDES = {"val": "validation", "test": "test"}
_METHOD = (
    "Yang, H., Ren, Z., Yuan, H., Xu, Z., Zhou, J.: Contrastive self-supervised representation learning without "
    "negative samples for multimodal human action recognition. Frontiers in Neuroscience 17, 2023, "
    "doi:10.3389/fnins.2023.1225312"
)
_SOURCES = {
    "utd_mhad": "Chen, C., Jafari, R., Kehtarnavaz, N.: UTD-MHAD: A multimodal dataset for human action recognition "
    "utilizing a depth camera and a wearable inertial sensor. ICIP 2015",
    "mmact": "Kong, Q. et al.: MMAct: A large-scale dataset for cross modal human action understanding. ICCV 2019",
}
_KNOWN_LIMITS = {
    "utd_mhad": "In UTD-MHAD the one inertial sensor is on the right wrist for actions 1 to 21 and on the right thigh "
    "for 22 to 27: what the IMU encoder knows of an action is tied to where the sensor was, and the placement itself "
    "gives away which of the two groups an action is of.",
    "synthetic": "These recordings are made up by a program: good for a first look, not for conclusions about people.",
}
_PLACES = 4


def card(model: Model, facts: Mapping[str, Any]) -> str:
    """The text of the card, front matter first.

    Args:
        facts: what an export keeps in model.json beside the model.
    """
    front = yaml.safe_dump(_front_matter(model, facts), sort_keys=False, allow_unicode=True, width=120)
    body = "\n\n".join("\n".join(lines) for lines in _sections(model, facts))
    return f"---\n{front}---\n\n{body}\n"


def _front_matter(model: Model, facts: Mapping[str, Any]) -> dict[str, Any]:
    recipe, data = model.recipe, facts["data"]
    modalities = list(recipe.data.modalities)
    method = [recipe.objective.name] if recipe.pretrain.epochs else []
    dataset = re.sub(r"[^A-Za-z0-9._-]+", "_", data["name"]).strip("._-") or "own"
    return {
        "library_name": LIBRARY,
        "tags": ["human-action-recognition", "self-supervised-learning", *modalities, *method, LIBRARY],
        "datasets": [dataset],
        "metrics": list(_MEASURES),
        "model-index": [
            {
                "name": f"{'+'.join(modalities)} encoders of study {facts['study']}",
                "results": list(_results(facts, dataset)),
            }
        ],
    }


def _results(facts: Mapping[str, Any], dataset: str) -> Iterator[dict[str, Any]]:
    """The scores in the Hub's schema: of the point, and of these weights on who was held out and on who tests."""
    data, selection, tested = facts["data"], facts["selection"], facts["tested"]
    of_point = {
        name: (f"mean over {_counted(score['n'], 'seed x fold', 'seeds x folds')}", score["mean"], score)
        for name, score in selection["scores"].items()
    }
    own = {name: ("these weights", value, None) for name, value in facts["metrics"].items() if name in of_point}
    asked = tested["metrics"] if tested else {}
    held_out = "+".join(facts["held_out"])
    for scores, who in (
        (of_point, "each fold's held-out subjects"),
        ({name: score for name, score in own.items() if name not in asked}, f"subject {held_out}, held out"),
        ({name: ("these weights", value, None) for name, value in asked.items()}, ""),
    ):
        for side, split in _SIDES.items():
            metrics = [
                {
                    "type": name.rpartition(".")[2],
                    "name": f"{_label(name)}, {what}",
                    "value": value,
                    **({"args": {"std": score["std"], "n": score["n"]}} if score else {}),
                }
                for name, (what, value, score) in scores.items()
                if name.startswith(f"{side}.")
            ]
            if metrics:
                yield {
                    "task": {"type": "other", "name": "human action recognition"},
                    "dataset": {
                        "type": dataset,
                        "name": " ".join(data["name"].split()),
                        "split": split,
                        "args": {
                            "scored": "test subjects" if side == "test" else who,
                            "fingerprint": data["fingerprint"],
                        },
                    },
                    "metrics": metrics,
                }


def _sections(model: Model, facts: Mapping[str, Any]) -> Iterator[list[str]]:
    recipe, data, selection = model.recipe, facts["data"], facts["selection"]
    start = f"Pre-trained without labels by {recipe.objective.name}" if recipe.pretrain.epochs else "Not pre-trained"
    then = (
        "then frozen; heads were fine-tuned on labels"
        if recipe.finetune.encoders == "frozen"
        else "then trained together with a head on labels"
    )
    searched = ", ".join(f"{_plain(k)} = {_plain(v)}" for k, v in selection["point"].items() if k != "system")
    yield [f"# {' + '.join(recipe.data.modalities)} encoders from study {_plain(facts['study'])}"]
    yield [
        f"Encoders of human actions for {' and '.join(recipe.data.modalities)}, with heads that name one of "
        f"{len(model.description.classes)} classes. {start}{f' ({searched})' if searched else ''}, {then}."
    ]
    yield ["## How it was chosen", "", *_chosen(facts)]
    yield ["## What it scores", "", *_scored(model, facts)]
    yield ["## What to know before trusting these numbers", "", *_caveats(facts)]
    yield ["## Data", "", *_data(model, data)]
    yield ["## Use", "", *_use(model)]
    yield ["## Recipe and origin", "", *_origin(model, facts)]
    yield ["## Citation", "", *_citation(data)]


def _chosen(facts: Mapping[str, Any]) -> list[str]:
    selection = facts["selection"]
    metric, tied = selection["metric"], selection["tied"]
    score = selection["chosen_by"]
    how = {
        "val": f"validation alone: {_counted(len(selection['folds']), 'fold')} of held-out training subjects "
        f"({_plain(', '.join(selection['folds']))})",
        "test": "the score of the test subjects themselves: nothing below was measured on people who had no part in it",
    }.get(metric.partition(".")[0], f"{metric}, a measure without labels, on training recordings")
    n = score["n"]
    lines = [
        f"- Chosen by {how}; {metric} is that of the last epoch.",
        f"- {selection['size']}; {selection['complete']} of {_counted(selection['points'], 'point')} complete. "
        f"Trials without a result: {selection['no_result'] or 'none'}. "
        f"Seeds: {', '.join(map(str, selection['seeds']))}.",
        f"- {metric} of the point: {_spread(score)} (n = {n} seeds x folds).",
    ]
    if tied:
        lines.append(
            f"- {_counted(tied, 'other point')} tied with it ({selection['test']}): any of them may be as good."
        )
    if selection["threshold"]:
        lines.append(f"- {selection['threshold'].capitalize()}.")
    if selection["interval"]:
        lines.append("- 95 % interval {low:.4f} to {high:.4f}, over {over}.".format(**selection["interval"]))
    return [*lines, f"- Checkpoint: {_plain(facts['checkpoint'])}."]


def _scored(model: Model, facts: Mapping[str, Any]) -> list[str]:
    selection, tested = facts["selection"], facts["tested"]
    asked = tested["metrics"] if tested else {}
    sides = ["val", *(["test"] if asked or any(name.startswith("test.") for name in selection["scores"]) else [])]
    over = f"{selection['chosen_by']['n']} seeds x folds"
    lines = [f"| | by | the point, mean ± std over {over} | these weights |", "|---|---|---|---|"]
    for side in sides:
        for reading, prefix in readings_of(side, model.recipe.data.modalities):
            for measure, title in _MEASURES.items():
                name = f"{prefix}.{measure}"
                point, own = selection["scores"].get(name), facts["metrics"].get(name)
                lines.append(
                    f"| {_SIDES[side]} {title} | {' + '.join(reading)} | {_spread(point) if point else '-'} | "
                    f"{'-' if own is None else f'{own:.{_PLACES}f}'} |"
                )
    if tested:
        lines += [
            "",
            f"Test subjects {_plain(', '.join(tested['subjects']))}: {tested['recordings']} recordings; "
            f"look no. {tested['look']} of this study at its test subjects, {tested['when']}; "
            f"{_counted(facts['looks'], 'look')} so far.",
        ]
    else:
        why = facts.get("untested") or "their recordings were not present"
        lines += ["", f"The test subjects were not evaluated: {_plain(why)}."]
    if any(name.startswith("test.") for name in selection["scores"]):
        lines += [
            "",
            "Every trial of this study scored the test subjects: the point's test scores are of several looks.",
        ]
    lines += ["", *_untrained(facts)]
    return lines


def _untrained(facts: Mapping[str, Any]) -> list[str]:
    """What the same networks give without any pre-training."""
    baselines = facts["selection"]["untrained"]
    if not baselines:
        return [
            "No untrained encoders of these modalities stand in this study: what pre-training adds to them is not "
            "known; their scores can be far better than chance."
        ]
    return [
        f"Untrained encoders in the same study ({_plain(one['system'])}): "
        + ", ".join(f"{_label(name)} {_spread(score)}" for name, score in one["scores"].items())
        + f"; n = {next(iter(one['scores'].values()))['n']}. What pre-training adds is the difference to them."
        for one in baselines
    ]


def _caveats(facts: Mapping[str, Any]) -> list[str]:
    data, selection = facts["data"], facts["selection"]
    people = len(data["train_subjects"])
    lines = [*selection["caveats"]]
    if selection["points"] > 1:
        lines.append(
            f"the point's mean is the highest of {selection['complete']}, in each of which chance has a part: "
            "it promises too much"
        )
    if facts["held_out"]:
        lines.append(
            "these weights are one of several trials of the point; their own score is of the people they left out"
        )
    else:
        lines.append("these weights were trained on all training subjects: no validation score is theirs")
    lines.append(f"{_counted(people, 'person', 'people')} trained and chose them: other people may move otherwise")
    known = [text for name, text in _KNOWN_LIMITS.items() if _is(data["name"], name)]
    return [f"- {_plain(line[:1].upper() + line[1:].rstrip('.'))}." for line in (*lines, *known)]


def _data(model: Model, data: Mapping[str, Any]) -> list[str]:
    return [
        "| | |",
        "|---|---|",
        f"| data set | {_plain(data['name'])}, {data['recordings']} recordings |",
        f"| fingerprint | {data['fingerprint']} |",
        f"| training subjects | {_plain(', '.join(data['train_subjects']))} |",
        f"| test subjects | {_plain(', '.join(data['test_subjects'])) or 'none'} |",
        f"| classes | {_plain(', '.join(model.description.classes))} |",
    ]


def _use(model: Model) -> list[str]:
    description = model.description
    parts: list[str] = []
    if "skeleton" in model.recipe.data.modalities:
        shape = f"{len(description.joints)} joints x {len(description.coordinates)}"
        parts.append(f"skeletons of {shape} ({_plain(description.skeleton_unit) or 'any unit'})")
    if "imu" in model.recipe.data.modalities:
        units = description.imu_units or ("any unit",) * len(description.imu_channels)
        channels = ", ".join(f"{c} ({u})" for c, u in zip(description.imu_channels, units, strict=True))
        parts.append(f"IMU channels {_plain(channels)}")
    return [
        f"For recordings of single actions of one person, cut to their length: {' and '.join(parts)}, joints, axes and "
        "channels as in training. The features are meant as the start of a classifier for classes of your own, with "
        "few labels. Not meant, and not tested, for streams that are not cut, for people unlike those above, or for "
        "decisions about a person's health, work or identity.",
        "",
        "```python",
        "import mmssl",
        "from huggingface_hub import snapshot_download",
        "",
        'encoders = mmssl.load_encoders(snapshot_download("you/your-encoders"))  # or a folder of this machine',
        'recordings = mmssl.Recordings.load("my_recordings.parquet")',
        "encoders.features(recordings)  # by modality: (recordings, width)",
        "encoders.predict(recordings)  # class names",
        "```",
        "",
        "```sh",
        "mmssl-tune predict FOLDER my_recordings.parquet --out classes.csv",
        "mmssl-tune embed FOLDER my_recordings.parquet --out features.parquet",
        "mmssl-tune convert FOLDER --to onnx",
        "```",
        "",
        f"Weights: `{WEIGHTS}`; recipe, IMU statistics, class names and these numbers: `{FACTS}`. `model.onnx` and "
        "`model.pt2`, where they are, were converted from them for programs without the package.",
    ]


def _origin(model: Model, facts: Mapping[str, Any]) -> list[str]:
    made = facts["environment"]
    commit = made.get("git.commit")
    code = f"mmssl-tune {made.get('version.mmssl', 'of unknown version')}"
    if commit:
        code += f", commit {commit}{'' if made.get('git.clean') else ', with changes that are not in it'}"
    versions = ", ".join(
        f"{name} {made[f'version.{name}']}" for name in ("python", "torch") if made.get(f"version.{name}")
    )
    knobs = model.recipe.knobs()
    before = ["objective.name", *(f"objective.{name}" for name in model.recipe.objective.loss.knobs)]
    shown = [
        *([*before, *(k for k in knobs if k.startswith("pretrain."))] if model.recipe.pretrain.epochs else []),
        *(name for name in knobs if name.startswith("finetune.") or name == "seed"),
    ]
    again = (
        f"mmssl-tune reproduce {facts['trial_id']} --study {facts['study']}"
        if facts["trial_id"]
        else f"mmssl-tune best {facts['study']} --export --refit"
    )
    return [
        f"- Made with {_plain(code)}{f' ({_plain(versions)})' if versions else ''} "
        f"on {_plain(made.get('device') or 'cpu')} ({_plain(made.get('hardware.cpu') or 'not recorded which')}); "
        f"exported {facts['exported']}.",
        f"- System {_plain(facts['selection']['system'])}, recipe {_plain(facts['selection']['recipe'])}. "
        + ", ".join(f"`{name}` {_plain(knobs[name])}" for name in shown)
        + f"; all knobs are in `{FACTS}`.",
        f"- With the study's folder, `{again}` trains it again and compares.",
        "- The package's code is under Apache-2.0. Under what licence the weights are given is for whoever publishes "
        "them to say (`license:` above), within what the data's own licence allows.",
    ]


def _citation(data: Mapping[str, Any]) -> list[str]:
    sources = [text for name, text in _SOURCES.items() if _is(data["name"], name)]
    return [f"- {text}." for text in (_METHOD, *sources)]


def _is(dataset: str, name: str) -> bool:
    return dataset == name or dataset.startswith(f"{name}_")


def _label(column: str) -> str:
    """A column of scores in words: `val.imu.f1` is validation F1 by imu alone."""
    side, *reading, measure = column.split(".")
    alone = f" by {reading[0]} alone" if reading else ""
    return f"{_SIDES[side]} {_MEASURES[measure]}{alone}"


def _spread(score: Mapping[str, Any]) -> str:
    spread = "" if score["std"] is None else f" ± {score['std']:.{_PLACES}f}"
    return f"{score['mean']:.{_PLACES}f}{spread}"


def _counted(count: int, noun: str, many: str = "") -> str:
    return f"{count} {noun if count == 1 else many or f'{noun}s'}"


def _plain(value: Any) -> str:
    """Somebody's words as nothing but words: no line, markup or table of theirs comes into the card."""
    words: Sequence[str] = str(value).split()
    return re.sub(r"([\\`*_\[\]|#~])", r"\\\1", html.escape(" ".join(words), quote=False))
