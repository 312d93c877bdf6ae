"""The state of one trial."""

from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict

from mmssl.study.columns import PROBE
from mmssl.study.words import Status


class Record(BaseModel):
    """The state of one trial that has begun; kept as JSON beside its checkpoint when it has ended."""

    model_config = ConfigDict(extra="forbid")

    trial_id: str
    status: Status
    cause: str = ""
    traceback: str = ""
    started: datetime | None = None
    finished: datetime | None = None
    facts: dict[str, Any] = {}
    """Further columns of `trials.parquet`: metrics, seconds, device, versions ..."""
    epochs: list[dict[str, Any]] = []
    predictions: list[dict[str, Any]] = []

    def brief(self) -> "Record":
        """Without the rows of curves and predictions, which the tables have, except those that were probed."""
        probed = [epoch for epoch in self.epochs if PROBE in epoch]
        return self.model_copy(update={"epochs": probed, "predictions": []})
