"""What came out of a study, in one sentence, and what to do next."""

from collections import Counter
from dataclasses import dataclass

from mmssl.study.baseline import Baseline, baseline_command, baselines, chance
from mmssl.study.folder import Study
from mmssl.study.plan import Plan
from mmssl.study.planning import at_storage
from mmssl.study.results import LABEL_FREE, Best, Choice, best_of, is_untrained, metric_words, points_in
from mmssl.study.words import TERMINAL, percent, point_words


@dataclass(frozen=True)
class Conclusion:
    """A study's verdict."""

    words: str
    """One sentence."""
    notes: tuple[str, ...]
    """What to know before trusting it, two at most."""
    chance: float | None
    """The accuracy of guessing."""
    above_chance: bool | None
    """Whether the best point is, beyond the noise; None without a best point or without chance."""
    untrained: Baseline | None
    """The baseline: untrained encoders with the same head."""
    baseline_command: str
    """The command that scores the baseline; empty where it is scored, or where it does not apply."""
    next_command: str
    """What to do next."""


def conclude(study: Study, plan: Plan, best: Best | None = None, *, running: bool = False) -> Conclusion:
    """What came out of a study so far.

    Args:
        best: if it has been chosen already, perhaps by another score than the study's own.
        running: whether a process runs it.
    """
    undecided = ""
    if best is None and plan.space.scored_split == "test":
        undecided = "scored the test subjects, by which nothing may be chosen"
    elif best is None and not any(point.complete for point in points_in(study, plan)):
        undecided = "no point has all its trials complete"
    else:
        best = best or best_of(study, plan)
    choice, metric = (best.choice, best.metric) if best else (None, plan.space.scored)
    guessing, untrained = beside(study, plan, metric, choice)
    itself = choice is not None and best_is_untrained(plan, choice)
    statuses = Counter(study.table("trials.parquet", ["status"])["status"].to_pylist())
    whole = sum(statuses[status] for status in TERMINAL) == plan.total
    result = _best_words(choice, metric, whole=whole) if choice else undecided
    above = is_above(choice, guessing)
    harmed = untrained is not None and untrained.gain.mean is not None and untrained.gain.mean < 0
    lacking = choice is not None and metric not in LABEL_FREE and untrained is None and not itself
    first, *others = (choice.caveats if choice else []) or [""]
    return Conclusion(
        "; ".join([result, *beside_words(guessing, None if itself else untrained, itself=itself, above=above)]),
        tuple(note for note in (first, "; ".join(others)) if note),
        guessing,
        above,
        untrained,
        baseline_command(plan, choice, at_storage(study)) if lacking else "",
        _next(
            study,
            plan,
            best,
            in_vain=harmed or above is False,
            whole=whole,
            failed=bool(statuses["FAILED"]),
            running=running,
        ),
    )


def _best_words(choice: Choice, metric: str, *, whole: bool) -> str:
    best, others, tied = choice.best, choice.compared, len(choice.tied)
    mean = f"{percent(best.mean)} %" if best.bounded else f"{best.mean:.4g}"
    estimate = best.estimate
    sure = f" (95 % interval {percent(estimate.low)} to {percent(estimate.high)}, over {estimate.over})"
    called = point_words(best.values) or "the only point"
    words = f"best{'' if whole else ' so far'}: {called}, {metric_words(metric)} {mean}"
    points = "point" if others == 1 else "points"
    if not others:
        ties = "no other point is complete to compare it with"
    elif choice.noise is None:
        ties = f"with one trial each there is no test of whether the {others} other {points} are worse"
    elif tied == others:
        ties = f"{'the other point is' if others == 1 else f'all {others} other points are'} statistically tied with it"
    elif not tied:
        ties = f"the {others} other {points} {'is' if others == 1 else 'are'} worse beyond the noise"
    else:
        ties = f"{tied} of the {others} other {points} {'is' if tied == 1 else 'are'} statistically tied with it"
    return f"{words}{sure if estimate.over else ''}; {ties}"


def beside(study: Study, plan: Plan, metric: str, choice: Choice | None = None) -> tuple[float | None, Baseline | None]:
    """What to compare a score with: chance and the untrained baseline, each None where there is none.

    Args:
        choice: its best point's gain over the baseline is given.
    """
    if metric in LABEL_FREE:
        return None, None
    # Of points of several systems or variants, each has untrained encoders of its own.
    one = choice is not None or len(plan.bases) == 1
    found = baselines(study, plan, choice, metric) if one else []
    return chance(study, plan, metric), found[0] if found else None


def is_above(choice: Choice | None, guessing: float | None) -> bool | None:
    """Whether the best point's interval, or where it has none its mean, is above chance."""
    if choice is None or guessing is None or choice.best.mean is None:
        return None
    low = choice.best.estimate.low
    return (choice.best.mean if low is None else low) > guessing


def beside_words(
    guessing: float | None, untrained: Baseline | None, *, itself: bool = False, above: bool | None = None
) -> list[str]:
    """Chance and the untrained baseline in words.

    Args:
        above: whether the best is above chance; None where unknown.
    """
    words = [f"chance is {percent(guessing)} %"] if guessing is not None else []
    if above is False:
        words = [f"the best is not above chance ({percent(guessing)} %) beyond the noise"]
    if itself:
        words.append("the best encoders are untrained ones")
    elif untrained:
        gain, difference = untrained.gain, ""
        if gain.mean is not None:
            apart = f"{percent(abs(gain.mean))} points {'less' if gain.mean >= 0 else 'more'}"
            if untrained.partly:
                apart += f" in the {untrained.partly} trials that pair"
            sure = f", {'within' if gain.within_noise else 'beyond'} the noise" if gain.over else ""
            difference = f" ({apart}{sure})"
            if gain.mean < 0:
                words.append("pre-training has not helped")
        words.append(f"untrained encoders have {percent(untrained.mean)} %{difference}")
    return words


def best_is_untrained(plan: Plan, choice: Choice) -> bool:
    """Whether the best point's encoders stay as initialised."""
    return is_untrained(plan.recipe(plan.candidates[choice.best.point_id][0]))


def _next(
    study: Study, plan: Plan, best: Best | None, *, in_vain: bool, whole: bool, failed: bool, running: bool
) -> str:
    where = f"{study.name}{at_storage(study)}"
    if running:
        return f"mmssl-tune watch {where}"
    if not whole:
        return f"mmssl-tune resume {where}"
    if best is not None and not in_vain:
        by = f" --by {best.metric}" if best.metric != plan.space.scored else ""
        return f"mmssl-tune best {where}{by} --export"
    if best is not None or plan.space.scored_split == "test":
        return f"mmssl-tune report {where}"
    return f"mmssl-tune {'retry' if failed else 'logs'} {where}"
