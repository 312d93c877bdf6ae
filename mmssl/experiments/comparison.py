"""Experiments that compare scores; they read only a study's tables."""

import math
import statistics
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import pyarrow as pa

from mmssl.data.recordings import UNLABELLED, Recordings
from mmssl.data.sources import data_set_of
from mmssl.errors import UserError, few
from mmssl.experiments import (
    SCORES,
    Result,
    TableColumn,
    charts,
    knobs_of,
    missing,
    names,
    otherwise,
    protocol,
    recipes_of,
    repeats,
)
from mmssl.experiments.published import BRINZEA, FEW_LABELS, HIDDEN, PUBLISHED, YANG, Published, hidden_groups
from mmssl.recipe import Recipe, scored_inputs
from mmssl.study.folder import Study
from mmssl.study.paired import change, columns, complete, ends, mean_ends, scored_in, scores_of, summary
from mmssl.study.plan import Key, Plan
from mmssl.study.presets import parsed
from mmssl.study.results import stand_beside
from mmssl.study.scores import Scores, estimate, mean, paired, recordings_of
from mmssl.study.words import SYSTEM, percent


def linear_evaluation(study: Study, plan: Plan, recordings: Recordings, pictures: tuple[str, ...]) -> Result:
    """Each system's scores on the scored split, and its gain over untrained encoders.

    Encoders of several modalities have a row for all together, one for each alone, and one for each subset with a head
    of its own. The mean is over seeds and folds, with its 95 % interval (`estimate`) over folds, or over seeds where
    there is one fold. The standard deviation is that of the seeds' means over the folds. The gain is the mean
    difference from untrained encoders with the same networks and heads, paired by seed and fold, with its 95 % interval
    (`scores.difference`). In a study of variants the column `difference` compares with the first variant of the same
    system and recipe; that variant itself is compared with the first of the system.
    """
    split, rows = plan.space.scored_split, complete(study)
    by_point: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        by_point[row["point_id"]].append(row)
    published = _published(plan)
    chance = 1 / len(recordings.description.classes)
    planned = Counter(trial.point_id for trial in plan.trials)
    called, trial_of = names(plan), {trial.point_id: trial for trial in plan.trials}
    recipes = {point_id: plan.recipe(trial) for point_id, trial in trial_of.items()}
    never_trained = [name for name, trial in trial_of.items() if parsed(plan.system(trial))[0] == "untrained"]
    usual = repeats(plan, draws=False)
    table: list[dict[str, Any]] = []
    notes: list[str] = []
    leads: dict[tuple[str | None, ...], str] = {}
    for point_id, trial in trial_of.items():
        system = plan.system(trial)
        method, modalities = parsed(system)[0], recipes[point_id].data.modalities
        baselines = [name for name in never_trained if stand_beside(recipes[name], recipes[point_id])]
        untrained = [row for name in baselines for row in by_point[name]]
        first, of_recipe = (
            leads.setdefault((system, recipe, str(knobs_of(trial))), point_id)
            for recipe in (None, plan.recipe_name(trial))
        )
        lead = first if of_recipe == point_id else of_recipe
        compared = by_point[lead] if lead != point_id else []
        for inputs, prefix in scored_inputs(split, recipes[point_id]):
            accuracy = scores_of(by_point[point_id], f"{prefix}.accuracy")
            f1 = scores_of(by_point[point_id], f"{prefix}.f1")
            counts = scored_in(by_point[point_id], "+".join(inputs))
            count = recordings_of(counts.items())
            gain = paired(accuracy, scores_of(untrained, f"{prefix}.accuracy")) if method != "untrained" else {}
            from_lead: dict[str, Any] = {}
            if plan.space.variants:
                from_lead = {
                    "compared_with": plan.variant(trial_of[lead]) if lead != point_id else None,
                    **change("difference", paired(accuracy, scores_of(compared, f"{prefix}.accuracy")), counts),
                    **change("difference.f1", paired(f1, scores_of(compared, f"{prefix}.f1")), counts),
                }
            row = {
                "system": called[point_id],
                "variant": plan.variant(trial),
                "method": method,
                "trained_on": "+".join(modalities),
                "read_from": "+".join(inputs),
                **summary("accuracy", accuracy, count),
                **summary("f1", f1, count),
                "n": len(accuracy),
                "planned": planned[point_id],
                **change("gain", gain, counts),
                **from_lead,
                "chance": chance,
                **_stated(published.get(system, []) if inputs == modalities else []),
                "note": "",
            }
            over = otherwise(estimate(accuracy, count), usual)
            row["note"] = "; ".join([*_remarks(row), *over, *_few_steps(recipes[point_id], by_point[point_id])])
            if row["note"]:
                notes.append(f"{row['system']}, read from {row['read_from']}: {row['note']}")
            table.append(row)
    lengths = {recipe.pretrain.epochs for recipe in recipes.values()} - {0}
    epochs = f"; {'/'.join(map(str, sorted(lengths)))} epoch{'s' * (lengths != {1})} of pre-training" if lengths else ""
    head = "/".join(str(n) for n in sorted({recipe.finetune.rounds for recipe in recipes.values()}))
    fixed = ", ".join(f"{knob}={value}" for knob, value in plan.space.fixed.items())
    fixed = f"; set to other than the recipe's values: {fixed}" if fixed else ""
    caption = (
        f"Linear evaluation: {protocol(plan)}{epochs}, {head} of fine-tuning; {recipes_of(plan)}{fixed}. "
        f"Mean over seeds and folds with its 95 % interval over {usual}, "
        "standard deviation of the seeds' means; gain over untrained encoders."
    )
    notes += _no_comparison(plan, bool(published))
    return Result(
        caption,
        {"ablation" if plan.space.variants else "table2": pa.Table.from_pylist(table)},
        (
            TableColumn("system", ("system",)),
            TableColumn("read from", ("read_from",)),
            *SCORES,
            *(
                [TableColumn("difference", ends("difference"), percent=True), TableColumn("from", ("compared_with",))]
                if plan.space.variants
                else []
            ),
            TableColumn("over untrained", ends("gain"), percent=True),
            *(_published_columns(table) if published else []),
        ),
        notes,
    )


def few_labels(study: Study, plan: Plan, recordings: Recordings, pictures: tuple[str, ...]) -> Result:
    """Scores by the share of the labels that fine-tuning uses (Figure 5), from all modalities and from each alone.

    Differences from supervised learning and from untrained encoders are paired by labels, seed and fold; supervised
    encoders are those of the modalities that a row reads alone, where the study has them, else of all. Intervals are
    over folds, or over draws of labels where there is one fold (`groups`). For comparison there are the scores with all
    labels from the paper's Table 2, since Figure 5 has no numbers in print.
    """
    _searches_only(plan, "finetune.labels", "finetune.label_draw")
    usual = repeats(plan)
    split, _, what = plan.space.scored.partition(".")
    published, recipes = _published(plan), {plan.system(trial): plan.recipe(trial) for trial in plan.trials}
    gathered: dict[tuple[str, str, float], dict[Key, float]] = defaultdict(dict)
    rows: dict[tuple[str, float], list[dict[str, Any]]] = defaultdict(list)
    for row in complete(study):
        system, share = row["system"], row["param.finetune.labels"]
        rows[system, share].append(row)
        for inputs, prefix in scored_inputs(split, recipes[system]):
            if (score := row[f"{prefix}.{what}"]) is not None:
                key = row["seed"], row["fold"], row["param.finetune.label_draw"]
                gathered[system, "+".join(inputs), share][key] = score
    planned = Counter((plan.system(trial), plan.recipe(trial).finetune.labels) for trial in plan.trials)
    notes = [
        f"{system}, {100 * share:g} % of the labels: {missing(there, count)}"
        for (system, share), count in planned.items()
        if 0 < (there := len(rows.get((system, share), ()))) < count
    ]
    labelled = {at: statistics.fmean(row["recordings.labelled"] for row in found) for at, found in rows.items()}
    systems = {(parsed(name)[0], recipes[name].data.modalities): name for name in plan.space.systems}
    table: list[dict[str, Any]] = []
    together: list[str] = []
    for system in plan.space.systems:
        method, modalities = parsed(system)[0], recipes[system].data.modalities
        for inputs, _ in scored_inputs(split, recipes[system]):
            read_from = "+".join(inputs)
            for share in sorted(share for *at, share in gathered if at == [system, read_from]):
                scores = gathered[system, read_from, share]
                counts = scored_in(rows[system, share], read_from)
                found = estimate(scores, recordings_of(counts.items()))
                at = f"{system}, read from {read_from}, {100 * share:g} % of the labels"
                notes += [f"{at}: {note}" for note in otherwise(found, usual)]
                # Encoders that labels train for both modalities are worse at either than those trained for it alone.
                supervised = systems.get(("supervised", inputs)) or systems.get(("supervised", modalities))
                untrained = systems.get(("untrained", modalities))
                above, beside = (
                    paired(scores, gathered.get((other, read_from, share), {}))
                    if other and method != parsed(other)[0]
                    else {}
                    for other in (supervised, untrained)
                )
                trained_for = "+".join(recipes[supervised].data.modalities) if supervised and above else None
                if trained_for and trained_for != read_from:
                    together.append(
                        f"over supervised, read from {read_from}: labels trained these encoders for {trained_for}; "
                        f"for {read_from} alone they may do better (the system supervised_{read_from})"
                    )
                table.append(
                    {
                        "system": system,
                        "trained_on": "+".join(modalities),
                        "read_from": read_from,
                        "labels": share,
                        "recordings.labelled": labelled[system, share],
                        **columns(("mean", "low", "high"), found),
                        "draws": len({draw for *_, draw in scores}),
                        **change("over_supervised", above, counts),
                        "over_supervised.trained_on": trained_for,
                        **change("over_untrained", beside, counts),
                        **_stated(published.get(system, []) if inputs == modalities else []),
                    }
                )
    notes += dict.fromkeys(together)
    notes += [
        f"shares {first:g} and {second:g} use the same number of labels, one a class at least"
        for system in plan.space.systems[:1]
        for first, second in pairwise(sorted(share for name, share in labelled if name == system))
        if labelled[system, first] == labelled[system, second]
    ]
    if published:
        notes += [FEW_LABELS, "published figures are with all labels", *_no_comparison(plan, True)]
    figures: list[str] = []
    if pictures:
        for name, (spec, title) in few_label_charts(table, plan.dataset.name, plan.space.scored).items():
            figures += charts.drawn(study, name, pictures, spec, title)
    return Result(
        f"Few labels: {protocol(plan)}; {recipes_of(plan)}; {plan.space.scored}, mean and 95 % interval over "
        f"{usual}, of scores and of differences.",
        {"few_labels": pa.Table.from_pylist(table)},
        (
            TableColumn("system", ("system",)),
            TableColumn("read from", ("read_from",)),
            TableColumn("share of labels", ("labels",), percent=True),
            TableColumn("labels", ("recordings.labelled",)),
            TableColumn(plan.space.scored, ("mean", "low", "high"), percent=True),
            TableColumn("draws", ("draws",)),
            TableColumn("over supervised", ends("over_supervised"), percent=True),
            TableColumn("over untrained", ends("over_untrained"), percent=True),
            *(_published_columns(table) if published else []),
        ),
        notes,
        figures,
    )


def few_label_charts(
    table: Sequence[Mapping[str, Any]], dataset: str, metric: str
) -> dict[str, tuple[dict[str, Any], str]]:
    """Charts of the table from `few_labels` with their titles, by name; one for the inputs of each head."""
    by_inputs: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for row in table:
        by_inputs[row["read_from"]].append(row)
    return {
        f"few_labels-{name.replace('+', '-')}": (charts.few_labels(rows, metric), f"Few labels, {dataset}, {name}")
        for name, rows in by_inputs.items()
    }


def hidden_classes(study: Study, plan: Plan, recordings: Recordings, pictures: tuple[str, ...]) -> Result:
    """Accuracy where pre-training did not see some classes, on these and on the others (Tables 3 and 4).

    The baseline is the same system pre-trained on all classes, scored on the same ones. The difference is paired by
    seed and fold, with its interval over folds (`change`).
    """
    _searches_only(plan, "pretrain.hidden_classes")
    rows = {row["trial_id"]: row for row in complete(study)}
    hits: dict[str, dict[str, list[bool]]] = defaultdict(lambda: defaultdict(list))
    units: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for prediction in study.table("predictions.parquet").to_pylist():
        if prediction["trial_id"] in rows:
            trial_id, label = prediction["trial_id"], prediction["label"]
            hits[trial_id][label].append(label == prediction["predicted"])
            units[trial_id][label].add(prediction.get("unit") or prediction["recording_id"])  # Older: no windows.
    trials: dict[str, dict[tuple[str, ...], dict[Key, str]]] = defaultdict(lambda: defaultdict(dict))
    for trial_id, row in rows.items():
        hidden = tuple(row["param.pretrain.hidden_classes"])
        trials[row["system"]][hidden][row["seed"], row["fold"]] = trial_id

    def hits_in(classes: Iterable[str], trial_ids: Mapping[Key, str]) -> dict[Key, list[bool]]:
        found = {key: [hit for name in classes for hit in hits[one][name]] for key, one in trial_ids.items()}
        return {key: some for key, some in found.items() if some}

    def accuracy(found: Mapping[Key, Sequence[bool]]) -> Scores:
        return {key: statistics.fmean(some) for key, some in found.items()}

    every = recordings.description.classes
    groups_of_paper = {group.classes: group for group in hidden_groups(every)}
    published = HIDDEN.get(_data_set(plan), {}) if _published(plan) and _protocol(plan) == "cross_subject" else {}
    f1 = {trial_id: row[f"{plan.space.scored_split}.f1"] for trial_id, row in rows.items()}
    planned = Counter((plan.system(one), tuple(plan.recipe(one).pretrain.hidden_classes)) for one in plan.trials)
    table: list[dict[str, Any]] = []
    notes = [
        f"{system}, pre-trained {f'without {few(hidden)}' if hidden else 'on all'}: {missing(there, count)}"
        for (system, hidden), count in planned.items()
        if 0 < (there := len(trials.get(system, {}).get(hidden, {}))) < count
    ]
    for system, groups in trials.items():
        for hidden, trial_ids in groups.items():
            for name, classes in (
                ("all", every),
                ("hidden", hidden),
                ("others", tuple(one for one in every if one not in hidden)),
            ):
                if not classes or (not hidden and name != "all"):
                    continue
                found = hits_in(classes, trial_ids)
                scores, of_all = accuracy(found), accuracy(hits_in(classes, groups.get((), {})))
                lost = paired(scores, of_all) if hidden else {}
                # Windows of one interval, or views of one movement, are no separate answers.
                counts = {key[1]: sum(len(units[trial_ids[key]][one]) for one in classes) for key in found}
                count = recordings_of(counts.items())
                group = groups_of_paper.get(hidden)
                stated = published.get(system, {}).get(group.column) if group and name == "all" else None
                table.append(
                    {
                        "system": system,
                        "hidden": ", ".join(hidden) or "none",
                        "reading": group.reading if group else None,
                        "classes": name,
                        **summary("accuracy", scores, count),
                        **summary(
                            "f1", {key: f1[one] for key, one in trial_ids.items()} if name == "all" else {}, count
                        ),
                        "n": len(scores),
                        "pretrained_on_all": mean(of_all),
                        **change("change", lost, counts),
                        **_stated([stated] if stated else []),
                    }
                )
    unknown = int((recordings.labels == UNLABELLED).sum())
    never = f"Pre-training never sees {'recordings labelled as ' * bool(unknown)}the hidden classes"
    may_show = f"{unknown} recordings without a label may pre-train, whatever they show: hidden classes too"
    return Result(
        f"Hidden classes: {protocol(plan)}. {never}, fine-tuning sees all.",
        {"hidden_classes": pa.Table.from_pylist(table)},
        (
            TableColumn("system", ("system",)),
            TableColumn("hidden in pre-training", ("hidden",)),
            TableColumn("the paper's", ("reading",)),
            TableColumn("scored on", ("classes",)),
            TableColumn("accuracy", mean_ends("accuracy"), percent=True),
            TableColumn("F1", mean_ends("f1"), percent=True),
            TableColumn("pre-trained on all", ("pretrained_on_all",), percent=True),
            TableColumn("change", ends("change"), percent=True),
            *(_published_columns(table) if published else []),
        ),
        [*notes, *_no_comparison(plan, bool(published)), *([may_show] if unknown else [])],
    )


def _searches_only(plan: Plan, *knobs: str) -> None:
    """Check that a study searches no other knobs: points that differ in those would count as one.

    Raises:
        UserError: it searches others.
    """
    others = [knob for knob in plan.space.searched if knob not in (SYSTEM, *knobs)]
    if others:
        raise UserError(
            f"study {plan.name} also searches {', '.join(others)}: this experiment compares {', '.join(knobs)}"
        )


def _remarks(row: Mapping[str, Any]) -> list[str]:
    """Notes on a row: missing trials, a mean at chance or below, a mean below untrained encoders."""
    mean, remarks = row["accuracy.mean"], list[str]()
    if row["n"] < row["planned"]:
        remarks.append(missing(row["n"], row["planned"]))
    if mean is not None and mean <= row["chance"]:
        remarks.append(f"not above chance ({percent(row['chance'])} %)")
    if row["gain"] is not None and row["gain"] < 0:
        sure = row["gain.high"] is not None and row["gain.high"] < 0
        remarks.append("below untrained encoders" if sure else "below untrained encoders, within the noise")
    return remarks


def _few_steps(recipe: Recipe, rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """A note where training was too short for batch norm's running averages."""
    if recipe.finetune.batch_norm == "renewed":
        return []
    steps = min((_steps(row) for row in rows), default=0)
    # Each step replaces a tenth of them (torch's default); they began at mean 0 and variance 1.
    left = 0.9**steps
    if steps == 0 or left < 0.01:
        return []
    return [f"{steps} steps of training: batch norm's running averages still hold {left:.0%} of their first values"]


def _steps(row: Mapping[str, Any]) -> int:
    """Optimizer steps that the encoders of a trial took."""
    trained = row["param.finetune.encoders"] == "trained"
    part, count = ("finetune", row["recordings.labelled"]) if trained else ("pretrain", row["recordings.train"])
    return row[f"param.{part}.epochs"] * math.ceil(count / row[f"param.{part}.batch_size"])


def _data_set(plan: Plan) -> str:
    """The data set's name in published figures: `mmact` also for `mmact_36`."""
    return data_set_of(plan.dataset.name) or plan.dataset.name


def _published(plan: Plan) -> Mapping[str, Sequence[Published]]:
    """Published figures by system, for the study's data set and protocol; none for a study of variants."""
    return {} if plan.space.variants else PUBLISHED.get((_data_set(plan), _protocol(plan)), {})


def _protocol(plan: Plan) -> str:
    return next(iter(plan.bases.values())).data.protocol


def _no_comparison(plan: Plan, published: bool) -> list[str]:
    if not published or plan.space.scored_split == "test":
        return []
    return ["published figures are of the test subjects, these are not: they cannot be compared"]


_STATED = {
    f"published.{name}.{measure}": (source, measure, f"{source}, {heading}")
    for name, source in (("yang", YANG), ("brinzea", BRINZEA))
    for measure, heading in (("accuracy", "accuracy"), ("f1", "F1"))
}
"""Columns of published figures: source, measure and heading."""


def _stated(figures: Iterable[Published]) -> dict[str, float | None]:
    by_source = {figure.source: figure for figure in figures}
    return {name: getattr(by_source.get(source), measure, None) for name, (source, measure, _) in _STATED.items()}


def _published_columns(table: Sequence[Mapping[str, Any]]) -> list[TableColumn]:
    """The columns of published figures that are not empty."""
    return [
        TableColumn(heading, (name,), percent=True)
        for name, (_, _, heading) in _STATED.items()
        if any(row[name] is not None for row in table)
    ]
