"""What Ray Tune reports of trials, taken to the recorder; and which of them it runs again, or stops."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ray import tune
from ray.tune.schedulers import FIFOScheduler

from mmssl.search.failures import OutOfMemoryKills, is_lost, node_of
from mmssl.search.nodes import refusal
from mmssl.search.recorder import Recorder
from mmssl.search.resources import MOVES, RESTARTS
from mmssl.search.searcher import PlanSearcher


class RecordingCallback(tune.Callback):
    """Takes Tune's reports of trials to the recorder, and has a trial run again whose worker died.

    Args:
        alone: whether the trials run on this machine alone.
    """

    def __init__(self, recorder: Recorder, searcher: PlanSearcher, *, alone: bool) -> None:
        self.recorder, self._searcher, self._alone = recorder, searcher, alone
        self._nodes: dict[str, str] = {}
        self._kills = OutOfMemoryKills()
        self._deaths: dict[str, list[tuple[str, str]]] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tune pickles what it is given, for a restore that a study never needs.

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        planned = self._searcher.planned[trial.trial_id]
        self._nodes[planned.trial_id] = node = node_of(trial.temporary_state.ray_actor)
        self._kills.watch(node)
        self.recorder.begin(planned)

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        self.recorder.report(self._searcher.planned[trial.trial_id], result)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """The worker died, or never came up: what a trial raises is reported, not raised.

        Raises:
            MemoryError: the kernel killed it, as memory ran out; the trial is not recorded for it.
            OSError: it has other code than this process, and there is no other machine to run the trial.
        """
        planned = self._searcher.planned[trial.trial_id]
        if self.recorder.has_ended(planned):
            return
        deaths = self._deaths.setdefault(planned.trial_id, [])
        text = Path(trial.error_file).read_text("utf-8") if trial.error_file else ""
        node = self._nodes.pop(planned.trial_id, "")
        if self._kills.happened(node):
            raise MemoryError
        if self._alone and (reason := refusal(text)):
            raise OSError(
                f"the package has changed since the study was started: {reason.partition('; install')[0]}; "
                "what has ended is kept: `mmssl-tune resume` runs the rest with the code that is there now"
            )
        deaths.append((node, text.strip()))
        if len(deaths) <= RESTARTS or (len(deaths) <= MOVES and self._survived(deaths) <= RESTARTS):
            self.recorder.put_back(planned)
            return
        texts = [text for _, text in deaths]
        self.recorder.fail(planned, _cause(texts), "\n\n".join(texts))

    def _survived(self, deaths: Sequence[tuple[str, str]]) -> int:
        """How many of a trial's deaths its node has survived: the others were not the trial's doing."""
        lost = {node: is_lost(node) for node, _ in deaths}
        return sum(not lost[node] for node, _ in deaths)


class Scheduler(FIFOScheduler):
    """Stops the trials of points that are pruned."""

    def __init__(self, recorder: Recorder, searcher: PlanSearcher) -> None:
        super().__init__()
        self._recorder, self._searcher = recorder, searcher

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        # Tune has flattened the result; a trial that has come to its end is not stopped any more.
        ended = any(name.partition("/")[0] == "end" for name in result)
        stop = not ended and self._recorder.prunes(self._searcher.planned[trial.trial_id], result.get("epochs", []))
        return FIFOScheduler.STOP if stop else FIFOScheduler.CONTINUE

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tune pickles what it is given, for a restore that a study never needs.


def _cause(texts: Sequence[str]) -> str:
    """Why a trial's workers died, as far as Ray reports each; its texts have headings with the time."""
    lines = [line for line in texts[-1].splitlines() if not line.startswith("Failure # ")]
    # Ray does not know who killed a process: the kernel does it when memory runs out.
    killed = any("OOM killer" in text for text in texts)
    perhaps = "; perhaps it was killed because memory ran out" if killed else ""
    return f"the worker died{f': {lines[0]}' if lines else ''} (it was started {len(texts)} times{perhaps})"
