"""TensorBoard's event files of a study: `tensorboard/TRIAL_ID/` in it, by tensorboardX.

Ray's own callback does not fit: trials report epochs in batches, of which it would make empty histograms.
"""

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from tensorboardX import SummaryWriter
from tensorboardX.summary import hparams

from mmssl.study.folder import Study
from mmssl.study.plan import Plan, PlannedTrial
from mmssl.study.record import Record
from mmssl.trackers.forwarding import Epoch, numbers, scores

_FOLDER, _WHOLE = "tensorboard", "whole"


class TensorBoard:
    """Writes a trial's files while it runs; for a study in a bucket, uploads them when the trial has ended."""

    def __init__(self, study: Study, plan: Plan) -> None:
        self._study, self._plan = study, plan
        self._scratch = TemporaryDirectory(prefix="mmssl-") if study.files.local is None else None
        self._whole = {name for name in study.files.names(_FOLDER) if name.endswith(f"/{_WHOLE}")}
        self._writers: dict[str, SummaryWriter] = {}

    def has(self, trial_id: str, status: str) -> bool:
        name = f"{_FOLDER}/{trial_id}/{_WHOLE}"
        # Older versions left it empty.
        return name in self._whole and self._study.files.read(name).decode() in ("", status)

    def begin(self, planned: PlannedTrial) -> int:
        files = self._study.files.inside(f"{_FOLDER}/{planned.trial_id}")
        files.remove_all()  # What an interrupted driver had written of it is written again.
        folder = Path(self._scratch.name) / planned.trial_id if self._scratch else self._study.folder
        if not self._scratch:
            if not folder.is_dir():
                raise FileNotFoundError(f"{folder}: the folder is gone")
            folder = folder / _FOLDER / planned.trial_id
        self._writers[planned.trial_id] = SummaryWriter(logdir=str(folder))
        return 0

    def epochs(self, planned: PlannedTrial, before: int, epochs: Sequence[Epoch]) -> None:
        writer = self._writers[planned.trial_id]
        for epoch in epochs:
            for name, value in numbers(epoch).items():
                writer.add_scalar(name, value, epoch["epoch"])
        writer.flush()

    def end(self, planned: PlannedTrial, record: Record) -> None:
        writer = self._writers.pop(planned.trial_id)
        found = scores(record.facts)
        knobs = {knob: str(value) if isinstance(value, list) else value for knob, value in planned.point.items()}
        knobs |= {"seed": planned.seed, "fold": planned.fold, "system": self._plan.system(planned)}
        for summary in hparams({**knobs, "status": record.status}, found):
            writer.file_writer.add_summary(summary)  # pyright: ignore[reportOptionalMemberAccess]
        for name, value in found.items():
            writer.add_scalar(name, value, 0)
        writer.add_text("status", f"{record.status} {record.cause}".rstrip(), 0)
        writer.close()
        place = f"{_FOLDER}/{planned.trial_id}"
        if self._scratch:
            for path in sorted((Path(self._scratch.name) / planned.trial_id).iterdir()):
                self._study.put(f"{place}/{path.name}", path.read_bytes())
                path.unlink()
        self._study.put(f"{place}/{_WHOLE}", record.status.encode())

    def stop(self) -> None:
        for writer in self._writers.values():
            writer.close()
        if self._scratch:
            self._scratch.cleanup()
