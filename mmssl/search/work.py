"""What is left of a study, however its trials are run."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mmssl.data.recordings import Recordings
from mmssl.search.pruning import Pruning
from mmssl.search.queue import TrialQueue
from mmssl.search.recorder import Recorder, Watch
from mmssl.search.sampler import PointSampler
from mmssl.search.setting import Setting
from mmssl.study.folder import Study
from mmssl.study.plan import Plan, PlannedTrial
from mmssl.study.record import Record
from mmssl.study.tables import Tables
from mmssl.study.words import LEFT
from mmssl.training.prepared import Prepared

if TYPE_CHECKING:
    from mmssl.search.race import Race

Abandon = Callable[[str, Callable[[], None]], None]
"""Ends the process, given the reason and what clears away what is left of Ray, which may end the process first."""


@dataclass
class Work:
    """What is left of a study, however its trials are run: in this process, or by one Ray after another."""

    study: Study
    plan: Plan
    recordings: Recordings
    records: dict[str, Record]
    """Of the trials that have ended, by id."""
    tables: Tables
    watch: Watch
    say: Callable[[str], None]

    def begin(self) -> tuple[TrialQueue, Recorder, Pruning]:
        """The trials that have not ended, who records them, and which points are pruned."""
        plan, records = self.plan, self.records
        sampler = PointSampler(plan, self.study.choices(), records) if plan.space.sampled else None
        reopen(self.study, plan, records)
        race = self._race() if plan.space.sampler == "race" else None
        left = [] if race else [trial for trial in plan.trials if trial.trial_id not in records]
        pruning = Pruning(plan, records)

        def choose() -> list[PlannedTrial]:
            if race:
                trials = race.next(records)
                if race.over and not race.awaits(records):
                    left_out = [trial for trial in plan.trials if trial.trial_id not in records]
                    recorder.leave(left_out, LEFT + race.over)
                    if left_out:
                        self.say(f"{LEFT}{race.over}; {len(left_out)} of {plan.total} trials are left out")
                return trials
            return _sampled(self.study, plan, sampler) if sampler else []

        queue = TrialQueue(left, choose)
        recorder = Recorder(self.study, plan, self.tables, queue, records, self.watch, pruning, sampler)
        return queue, recorder, pruning

    def _race(self) -> "Race":
        from mmssl.search.race import Race  # With scipy, which other studies need not wait for.

        return Race(self.plan)

    def setting(self, *, at_once: int, threads: int, device: str, elsewhere: bool = False) -> Setting:
        """What the trials have in common.

        Args:
            elsewhere: whether trials may run on other machines, which do not have this one's files.
        """
        plan, bases = self.plan, list(self.plan.bases.values())
        modalities = sorted({name for base in bases for name in base.data.modalities})
        steps = set(plan.space.grid.get("data.steps", [base.data.steps for base in bases]))
        prepared = {length: Prepared.of(self.recordings, length, modalities, self.say) for length in steps}
        return Setting(
            root=self.study.root,
            study=self.study.name,
            prepared={length: one.in_memory() if elsewhere else one for length, one in prepared.items()},
            splits=plan.splits(self.recordings),
            scored_split=plan.space.scored_split,
            keep_models=plan.space.keep_models != "none",
            probe_every=plan.space.probe_every,
            at_once=at_once,
            threads=threads,
            device=device,
        )


def reopen(study: Study, plan: Plan, records: dict[str, Record]) -> None:
    """Forget what a race left out that was over, and has more to run by now, or is over for another reason."""
    left = {trial_id: record.cause for trial_id, record in records.items() if record.cause.startswith(LEFT)}
    if plan.space.sampler != "race" or not left:
        return
    from mmssl.search.race import Race  # With scipy, a quarter of a second that other studies need not wait.

    race = Race(plan)
    # With more to spend it may end by the noise, and the tables would go on to name the old budget.
    if race.next(records) or {*left.values()} != {LEFT + race.over}:
        for trial_id in left:
            study.forget(trial_id)
            del records[trial_id]


def _sampled(study: Study, plan: Plan, sampler: PointSampler) -> list[PlannedTrial]:
    """Choose points until trials come of one; each is kept before any of them runs."""
    while plan.open_points:
        choice = sampler.ask()
        trials = plan.trials_at(choice.point)
        study.keep_choice(choice.model_copy(update={"trials": tuple(trials)}))
        if added := plan.add(choice.point, trials):
            return added
    return []
