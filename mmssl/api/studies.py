"""Studies from Python, as the commands have them: launched, taken up, read, exported."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from mmssl import experiments
from mmssl.data.recordings import Recordings
from mmssl.data.sources import open_dataset
from mmssl.errors import UserError
from mmssl.experiments import Result, planned
from mmssl.export.encoders import Exported, export
from mmssl.search.share import Resources
from mmssl.storage import storage_at
from mmssl.study.folder import Study
from mmssl.study.lookup import find, free_name
from mmssl.study.plan import Plan
from mmssl.study.planning import (
    STORAGE,
    created,
    extend_plan,
    name_of,
    plan_study,
    recordings_of,
    space_with,
    starting_from,
    usable,
    with_all,
)
from mmssl.study.results import Best, best_of, metric_of, points_in, ranked
from mmssl.study.space import Space, changed, load
from mmssl.study.status import StudyStatus, study_status
from mmssl.trackers.registry import check

_RECORDINGS = ".recordings"
"""Beside the studies: what was given in memory, so that a study can be taken up without it."""


class OpenStudy:
    """A study in its folder or bucket.

    Every answer is read anew, so that a study can be watched while another process runs it.
    """

    def __init__(self, study: Study) -> None:
        self._study = study

    def __repr__(self) -> str:
        return f"<study {self.name} in {self.place}>"

    @property
    def name(self) -> str:
        return self._study.name

    @property
    def place(self) -> str:
        """Where it lies: a folder, or s3://BUCKET/PREFIX/NAME."""
        return self._study.place

    def status(self) -> StudyStatus:
        """Its status: its state, how many trials have which status, who runs it, how long it may still take."""
        return study_status(self._study)

    def results(self, metric: str | None = None) -> pa.Table:
        """Its points, the best first: a row for each, over all seeds and folds.

        Columns: `point_id`; each searched knob; `mean` of the metric, with `low` and `high` of its 95 % interval and
        `std` (fractions from 0 to 1, null where there is none); `n` trials of `planned` that count; `failures`, the
        trials without a result; `statuses`, how many have which, as a list of (status, count).

        Args:
            metric: such as val.f1, val.wrist.accuracy, unlabelled; the study's own by default.

        Raises:
            UserError: there is no such metric.
        """
        plan = self._study.plan()
        rows = ranked(points_in(self._study, plan, metric_of(metric, plan)))
        listed = [{**row, "statuses": sorted(row["statuses"].items())} for row in (point.row() for point in rows)]
        return _table(listed)

    def trials(self) -> pa.Table:
        """`trials.parquet`: a row for each planned trial; its columns are in docs/reference/tables.md."""
        return self._study.table("trials.parquet")

    def best(self, by: str | None = None, cost: str | None = None) -> Best:
        """The best point by validation, those tied with it, and what to know of the choice.

        Args:
            by: `unlabelled`, to choose without labels, or another score than the study's own.
            cost: `encoders.parameters` or `encoders.flops`, for the points of which none is better and cheaper.

        Raises:
            UserError: no point is complete, or the study scored the test subjects.
        """
        return best_of(self._study, self._study.plan(), by, cost)

    def export(
        self,
        folder: str | Path | None = None,
        *,
        refit: bool = False,
        test: bool = True,
        by: str | None = None,
        data: str | Path | None = None,
        say: Callable[[str], None] = lambda line: None,
    ) -> Exported:
        """Write the best point's encoders to a folder, and check them in a new process.

        The test subjects are scored once for each checkpoint, and the look is recorded.

        Args:
            folder: by default inside the study, or exports/STUDY where that lies in a bucket.
            refit: retrain on all training subjects.
            test: score the test subjects; else they are not looked at.
            by: as in `best`.
            data: where the recordings are, if not where they were.

        Raises:
            UserError: as `best`; or the folder holds something else.
        """
        plan = self._study.plan()
        recordings = recordings_of(plan, _path(data))
        best = best_of(self._study, plan, by)
        return export(
            self._study, plan, recordings, best.choice, best.metric, _path(folder), refit=refit, test=test, say=say
        )

    def resume(
        self,
        *,
        retry: bool = False,
        data: str | Path | None = None,
        say: Callable[[str], None] | None = None,
        **run: Any,
    ) -> "OpenStudy":
        """Run what it still lacks.

        Args:
            retry: run trials that FAILED once more.
            data: where the recordings are, if not where they were.
            run: as in `launch`: local, trackers, cpus_per_trial ...
        """
        with self._study.locked():
            plan = self._study.plan()
            _run(self._study, plan, recordings_of(plan, _path(data)), say, retry=retry, **run)
        return self

    def extend(
        self,
        *,
        seeds: Sequence[int] | None = None,
        values: Mapping[str, Sequence[Any]] | None = None,
        folds: Sequence[Sequence[str]] | None = None,
        budget: int | None = None,
        data: str | Path | None = None,
        say: Callable[[str], None] | None = None,
        **run: Any,
    ) -> "OpenStudy":
        """Add seeds, values, folds or points, and run what they add; nothing that has ended is run again.

        Args:
            seeds: further ones.
            values: further values by searched knob.
            folds: further groups of training subjects to hold out.
            budget: how many points a sampler may choose in all.
            run: as in `launch`: local, trackers, cpus_per_trial ...

        Raises:
            UserError: nothing is to be added, or it cannot be.
        """
        more = {knob: list(added) for knob, added in values.items()} if values else None
        with self._study.locked():
            plan, recordings = extend_plan(self._study, seeds, more, folds, budget, _path(data))
            _run(self._study, plan, recordings, say, **run)
        return self


def open_study(place: str | Path) -> OpenStudy:
    """A study by its place: its folder, or s3://BUCKET/PREFIX/NAME.

    Raises:
        UserError: there is none.
    """
    root, _, name = str(place).rstrip("/").rpartition("/")
    study = Study(root or ("/" if str(place).startswith("/") else "."), name)
    study.plan()
    return OpenStudy(study)


def launch(
    space: str | Path | Space | Mapping[str, Any],
    recordings: str | Path | Recordings = "synthetic",
    *,
    data: str | Path | None = None,
    name: str | None = None,
    storage: str | Path = STORAGE,
    settings: Mapping[str, Any] | None = None,
    values: Mapping[str, Sequence[Any]] | None = None,
    systems: Sequence[str] | None = None,
    recipe: str | None = None,
    seeds: Sequence[int] | None = None,
    folds: str | Sequence[Sequence[str]] | None = None,
    budget: int | None = None,
    skip_bad: bool = False,
    pretrain_on: Sequence[str | Path | Recordings] = (),
    warm_start: str | None = None,
    say: Callable[[str], None] | None = None,
    **run: Any,
) -> OpenStudy:
    """Plan a study and run it to its end; Ctrl-C leaves it whole, and `resume` goes on.

    Args:
        space: name or file of a space, or what its file would hold.
        recordings: a data set's name, a recordings file, or recordings, which are kept beside the study.
        data: the data set's folder.
        name: of the study; from space and data set by default.
        storage: where studies lie: a folder, or s3://BUCKET/PREFIX.
        settings: knobs of the recipe that are changed, by name.
        values: by knob, what is searched instead of what the space has of it.
        systems: instead of the space's.
        recipe: where the knobs start from: default or paper.
        seeds: instead of the space's.
        folds: instead of the space's: groups of training subjects, each held out in turn, "leave_one_subject_out", or
            "test".
        budget: how many points a sampler chooses, instead of the space's.
        skip_bad: leave faulty recordings out.
        pretrain_on: further recordings that only pre-train, labelled or not, each as `recordings`.
        warm_start: of a race: a study in the same storage, on any recordings, from whose scores it starts.
        say: gets notes meanwhile, a line each.
        run: `local` (without Ray: one trial after the other in this process, to the same bits), `cpus_per_trial`,
            `gpus_per_trial`, `max_concurrent`, `address` (of a cluster that this machine is a node of), `together`;
            `trackers`, of tensorboard, mlflow, trackio and wandb; `notify`, the address of a webhook; `watch`, called
            with each planned trial and its record whenever that changes.

    Raises:
        UserError: one message with what is wrong; nothing stays of a study that is refused.
    """
    report = say or (lambda line: None)
    named = list(systems) if systems else None
    searched = space_with(_space(space), settings, named, recipe, values, seeds, budget, folds)
    found, source, skipped = _recordings(recordings, _path(data), skip_bad, str(storage))
    found, more = with_all(found, [_recordings(one, None, False, str(storage))[1] for one in pretrain_on], report)
    found = usable(found, searched.systems, report)
    called = found.description.name if isinstance(recordings, Recordings) else name_of(source)
    plan = plan_study(
        name or free_name(storage, f"{searched.name}-{called}"), searched, found, source, _path(data), skipped, more
    )
    plan = starting_from(plan, find(str(storage), warm_start) if warm_start else None)
    study = Study(storage, plan.name)
    with created(study, plan) as kept:
        _run(study, kept, found, say, **run)
    return OpenStudy(study)


def reproduce(
    experiment: str,
    recordings: str | Path | Recordings = "synthetic",
    *,
    study: str | None = None,
    data: str | Path | None = None,
    storage: str | Path = STORAGE,
    name: str | None = None,
    folds: str | None = None,
    seeds: Sequence[int] | None = None,
    settings: Mapping[str, Any] | None = None,
    systems: Sequence[str] | None = None,
    recipe: str | None = None,
    hide: Sequence[Sequence[str]] | None = None,
    figures: Sequence[str] = (),
    say: Callable[[str], None] | None = None,
    **run: Any,
) -> Result:
    """Make a table of the paper: plan its study, or take the one there is, run what it lacks, and compute.

    Args:
        experiment: table2, ablation, few_labels, hidden_classes, retrieval, features, health or unlabelled.
        recordings: as in `launch`.
        study: an existing study to make it from.
        folds: leave_one_subject_out, or test; by default test where the test subjects' recordings are here.
        seeds: the space's by default.
        hide: of hidden_classes: the groups to hide.
        figures: kinds of pictures, of png, svg and pdf.
        run: as in `launch`: local, trackers, cpus_per_trial ...

    Returns:
        The tables by name (the first is the one to show), caption and notes; they are written into the study too.

    Raises:
        UserError: there is no such experiment, or its study cannot be.
        KeyboardInterrupt: its study was interrupted; called again, it goes on.
    """
    selected = experiments.find(experiment)
    if study is not None:
        found = planned.existing(selected, str(storage), study, _path(data))
    else:
        opened, source, skipped = _recordings(recordings, _path(data), False, str(storage))
        found = planned.planned(
            selected, opened, source, _path(data), skipped, storage=str(storage), name=name, folds=folds, seeds=seeds,
            settings=settings, systems=list(systems) if systems else None, recipe=recipe, hide=hide,
            say=say or (lambda line: None),
        )  # fmt: skip
    plan = found.plan
    if not found.planned:
        with created(found.study, plan) as kept:
            _run(found.study, kept, found.recordings, say, **run)
    elif len(found.study.records(plan)) < plan.total:
        with found.study.locked():
            _run(found.study, found.study.plan(), found.recordings, say, **run)
    plan = found.study.plan()
    if len(found.study.records(plan)) < plan.total:
        raise KeyboardInterrupt
    result = experiments.analyse(selected, found.study, plan, found.recordings, tuple(figures))
    experiments.save(found.study, result)
    experiments.save_for_paper(found.study, result)
    return result


def _run(
    study: Study,
    plan: Plan,
    recordings: Recordings,
    say: Callable[[str], None] | None,
    *,
    retry: bool = False,
    trackers: Sequence[str] = (),
    notify: str | None = None,
    watch: Callable[..., None] = lambda planned, record: None,
    **options: Any,
) -> None:
    from mmssl.search.launch import run

    check(trackers, study.root, notify)
    try:
        resources = Resources(**options)
    except TypeError as error:
        raise UserError(str(error).replace("Resources.__init__()", "launch")) from error
    report = say or (lambda line: None)
    run(study, plan, recordings, resources, watch, retry=retry, programs=trackers, notify=notify, say=report)


def _space(space: str | Path | Space | Mapping[str, Any]) -> Space:
    if isinstance(space, Space):
        return space
    if isinstance(space, Mapping):
        entries = {"systems": ["vicreg"], **space}
        started = Space(name=str(entries.pop("name", "space")), systems=["vicreg"])
        return changed(started, **entries)
    return load(str(space))


def _recordings(
    given: str | Path | Recordings, data: Path | None, skip_bad: bool, storage: str
) -> tuple[Recordings, str, list[str]]:
    """Recordings, the word by which they are found again, and what was left out."""
    if not isinstance(given, Recordings):
        found, skipped = open_dataset(str(given), data, skip_bad=skip_bad)
        return found, str(given), skipped
    local = storage_at(storage).local
    if local is None:
        raise UserError(f"{storage}: recordings in memory are kept beside the study on this machine; save them first")
    file = local / _RECORDINGS / f"{given.fingerprint[:16]}.parquet"
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        given.save(file)
    return given, str(file), []


def _path(given: str | Path | None) -> Path | None:
    return None if given is None else Path(given).expanduser()


def _table(rows: list[dict[str, Any]]) -> pa.Table:
    if not rows:
        return pa.table({})
    statuses = pa.list_(pa.struct([("status", pa.string()), ("count", pa.int64())]))
    columns = {name: [row[name] for row in rows] for name in rows[0]}
    pairs = [[{"status": one, "count": count} for one, count in row] for row in columns.pop("statuses")]
    return pa.table({**columns, "statuses": pa.array(pairs, statuses)})
