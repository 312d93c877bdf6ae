"""Optuna's view of a study, without Ray."""

from collections.abc import Callable

from mmssl.search.queue import TrialQueue
from mmssl.search.searcher import PlanSearcher
from mmssl.study.plan import Plan


def test_the_searcher_hands_out_what_has_not_ended_and_then_finishes(plan_of: Callable[..., Plan]) -> None:
    plan = plan_of([1.0, 5.0], [2.0])
    searcher = PlanSearcher(plan, TrialQueue([trial for trial in plan.trials if trial != plan.trials[1]]))
    handed: list[str] = []
    for i in range(5):
        given = searcher.suggest(f"ray{i}")
        assert isinstance(given, dict)
        handed.append(given["trial_id"])
        assert searcher.planned[f"ray{i}"].trial_id == given["trial_id"]
    assert handed == [t.trial_id for i, t in enumerate(plan.trials) if i != 1]
    for i in range(5):
        assert searcher.suggest("ray99") is None, "one that runs may be put back"
        searcher.on_trial_complete(f"ray{i}")
    assert searcher.suggest("ray99") == "FINISHED"


def test_a_trial_that_is_put_back_comes_next(plan_of: Callable[..., Plan]) -> None:
    plan = plan_of([1.0], [2.0])
    searcher = PlanSearcher(plan, TrialQueue(plan.trials))
    first = searcher.suggest("ray0")
    searcher.on_trial_complete("ray0", error=True)
    searcher.queue.put_back(searcher.planned["ray0"])
    assert searcher.suggest("ray1") == first
