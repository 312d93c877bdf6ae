"""The model card of an export, README.md as the Hugging Face Hub takes it: front matter for its index, then for people.

Its numbers are those of the facts in model.json; nothing is computed here.
"""

import html
import re
from collections.abc import Iterator, Mapping, Sequence
from importlib.resources import files
from typing import Any, cast

import yaml
from jinja2 import Environment, StrictUndefined

from mmssl.data.description import Signal, Skeleton
from mmssl.data.sources import READERS, Reader, data_set_of
from mmssl.recipe import scored_inputs
from mmssl.study.columns import is_score
from mmssl.study.results import is_untrained
from mmssl.training.model import FACTS, WEIGHTS, Model

LIBRARY = "mmssl-tune"
_MEASURES = {"accuracy": "accuracy", "f1": "F1"}
_SPLITS = {"val": "validation", "test": "test"}
_METHOD = (
    "Yang, H., Ren, Z., Yuan, H., Xu, Z., Zhou, J.: Contrastive self-supervised representation learning without "
    "negative samples for multimodal human action recognition. Frontiers in Neuroscience 17, 2023, "
    "doi:10.3389/fnins.2023.1225312"
)
_PLACES = 4


def card(model: Model, facts: Mapping[str, Any]) -> str:
    """The text of the card, front matter first.

    Args:
        facts: what an export keeps in model.json beside the model.
    """
    front = yaml.safe_dump(_front_matter(model, facts), sort_keys=False, allow_unicode=True, width=120)
    words = Environment(trim_blocks=True, undefined=StrictUndefined, keep_trailing_newline=True)  # noqa: S701 - Markdown
    cast("dict[str, Any]", words.filters).update(plain=_plain, spread=_spread, counted=_counted, label=_label)
    text = files("mmssl.export").joinpath("card.md").read_text("utf-8")
    return f"---\n{front}---\n\n{words.from_string(text).render(_words(model, facts))}"


def _front_matter(model: Model, facts: Mapping[str, Any]) -> dict[str, Any]:
    recipe, data = model.recipe, facts["data"]
    modalities = list(recipe.data.modalities)
    method = [recipe.objective.name] if recipe.pretrain.epochs else []
    dataset = re.sub(r"[^A-Za-z0-9._-]+", "_", data["name"]).strip("._-") or "own"
    return {
        "library_name": LIBRARY,
        "license": "unknown",  # The Hub's word for it, until whoever publishes the weights says which.
        "pipeline_tag": "feature-extraction",
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
    """The scores in the Hub's schema: of the point, and of these weights on the held-out and on the test subjects."""
    data, selection, tested = facts["data"], facts["selection"], facts["tested"]
    of_point = {
        name: (f"mean over {_counted(score['n'], 'trial')}", score["mean"], score)
        for name, score in selection["scores"].items()
    }
    own = {name: ("these weights", value, None) for name, value in facts["metrics"].items() if name in of_point}
    of_tests = tested["metrics"] if tested else {}
    held_out = "+".join(facts["held_out"])
    for scores, who in (
        (of_point, "each fold's held-out subjects"),
        ({name: score for name, score in own.items() if name not in of_tests}, f"subject {held_out}, held out"),
        ({name: ("these weights", value, None) for name, value in of_tests.items()}, ""),
    ):
        for split, title in _SPLITS.items():
            metrics = [
                {
                    "type": name.rpartition(".")[2],
                    "name": f"{_label(name)}, {what}",
                    "value": value,
                    **({"args": {"std": score["std"], "n": score["n"]}} if score else {}),
                }
                for name, (what, value, score) in scores.items()
                if name.startswith(f"{split}.")
            ]
            if metrics:
                yield {
                    "task": {"type": "other", "name": "human action recognition"},
                    "dataset": {
                        "type": dataset,
                        "name": " ".join(data["name"].split()),
                        # By split and config the Hub's library tells results apart, not by their arguments.
                        "config": "the point" if scores is of_point else "these weights",
                        "split": title,
                        "args": {
                            "scored": "test subjects" if split == "test" else who,
                            "fingerprint": data["fingerprint"],
                        },
                    },
                    "metrics": metrics,
                }


def _words(model: Model, facts: Mapping[str, Any]) -> dict[str, Any]:
    """The variables of the template: the facts, and what is derived from them."""
    recipe, description, selection = model.recipe, model.description, facts["selection"]
    knobs, made = recipe.knobs(), facts["environment"]
    by_objective = ["objective.name", *(f"objective.{name}" for name in recipe.objective.loss.knobs)]
    shown = [
        *([*by_objective, *(k for k in knobs if k.startswith("pretrain."))] if recipe.pretrain.epochs else []),
        *(name for name in knobs if name.startswith("finetune.") or name == "seed"),
    ]
    reader = READERS.get(data_set_of(facts["data"]["name"]) or "")
    return {
        **facts,
        "recipe": recipe,
        "description": description,
        "searched": {knob: value for knob, value in selection["point"].items() if knob != "system"},
        "split": selection["metric"].partition(".")[0],
        "scored": list(_scored(model, facts)),
        "all_tested": any(name.startswith("test.") for name in selection["scores"]),
        "untested": facts.get("untested"),
        "never_trained": is_untrained(recipe),
        "caveats": [line[:1].upper() + line[1:].rstrip(".") for line in _caveats(facts, reader)],
        "takes": [f"{name}, {_taken(description.modalities[name])}" for name in recipe.data.modalities],
        "environment": {
            **dict.fromkeys(("version.mmssl", "git.commit", "git.clean", "device", "hardware.cpu")),
            **made,
        },
        "versions": [
            f"{name} {made[f'version.{name}']}" for name in ("python", "torch") if made.get(f"version.{name}")
        ],
        "knobs": {name: knobs[name] for name in shown},
        "sources": [
            _METHOD,
            *([recipe.objective.loss.source] if recipe.pretrain.epochs else []),
            *([reader.source] if reader and reader.source else []),
        ],
        "weights": WEIGHTS,
        "facts_file": FACTS,
    }


def _taken(modality: Skeleton | Signal) -> str:
    """The input that a modality takes, in words."""
    if isinstance(modality, Skeleton):
        return (
            f"skeletons of {len(modality.joints)} joints x {len(modality.coordinates)} ({modality.unit or 'any unit'})"
        )
    units = modality.units or ("any unit",) * len(modality.channels)
    channels = [f"{name} ({unit})" for name, unit in zip(modality.channels, units, strict=True)]
    return f"channels {', '.join(channels)}"


def _scored(model: Model, facts: Mapping[str, Any]) -> Iterator[tuple[str, tuple[str, ...], str, Any, float | None]]:
    """Rows of scores: split, modalities of the head's inputs, measure, score of the point, score of these weights."""
    scores, tested = facts["selection"]["scores"], facts["tested"]
    also = (tested and tested["metrics"]) or any(name.startswith("test.") for name in scores)
    for split in ("val", "test") if also else ("val",):
        for inputs, prefix in scored_inputs(split, model.recipe):
            for measure, title in _MEASURES.items():
                name = f"{prefix}.{measure}"
                yield _SPLITS[split], inputs, title, scores.get(name), facts["metrics"].get(name)


def _caveats(facts: Mapping[str, Any], reader: Reader | None) -> Iterator[str]:
    selection, people = facts["selection"], len(facts["data"]["train_subjects"])
    yield from selection["caveats"]
    if selection["points"] > 1 and is_score(selection["metric"]):
        yield (
            f"the point's mean is the highest of {selection['complete']}, in each of which chance has a part: "
            "it promises too much"
        )
    if facts["held_out"]:
        yield "these weights are one of several trials of the point; their own score is of the people they left out"
    else:
        yield "these weights were trained on all training subjects: no validation score is theirs"
    yield f"{_counted(people, 'person', 'people')} trained and chose them: other people may move otherwise"
    if reader and reader.limits:
        yield reader.limits


def _label(column: str) -> str:
    """A column of scores in words: `val.wrist.f1` is validation F1 by wrist alone."""
    split, *inputs, measure = column.split(".")
    alone = f" by {' + '.join(inputs[0].split('+'))} alone" if inputs else ""
    return f"{_SPLITS[split]} {_MEASURES[measure]}{alone}"


def _spread(score: Mapping[str, Any]) -> str:
    spread = "" if score["std"] is None else f" ± {score['std']:.{_PLACES}f}"
    return f"{score['mean']:.{_PLACES}f}{spread}"


def _counted(count: int, noun: str, many: str = "") -> str:
    return f"{count} {noun if count == 1 else many or f'{noun}s'}"


def _plain(value: Any) -> str:
    """Text from elsewhere in one line, escaped for Markdown and HTML."""
    words: Sequence[str] = str(value).split()
    return re.sub(r"([\\`*_\[\]|#~])", r"\\\1", html.escape(" ".join(words), quote=False))
