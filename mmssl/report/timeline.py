"""What encoders say of a stream over its time: its signal, the predictions of its windows, and their labels."""

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any, NamedTuple

import altair as alt
import numpy as np
import numpy.typing as npt

from mmssl.data.recordings import Recordings, Row
from mmssl.experiments.charts import SERIES, as_spec

MOST_STREAMS = 6
"""That are drawn; the table has all."""
_PLACES = 300
"""Along a stream, at which its signal is drawn."""
_PREDICTED, _LABEL, _SIGNAL = (66, 86), (90, 110), (2, 58)
"""From the top of a stream's picture, in pixels."""

_HEADER = alt.Header(labelOrient="top", labelAnchor="start", labelAngle=0, labelColor="var(--ink)", labelPadding=2)

Floats = npt.NDArray[np.float64]


class Said(NamedTuple):
    """Of one window."""

    predicted: str
    probability: float


def timelines(recordings: Recordings, said: Mapping[str, Said], classes: Sequence[str]) -> dict[str, Any] | None:
    """A picture of each stream that has predictions, one below the other, at most `MOST_STREAMS`.

    Windows that overlap are drawn over the time up to the next one's beginning.

    Args:
        said: by the recording's id; recordings without one are left out.
        classes: in the order of their colours.

    Returns:
        The Vega-Lite document with its rows; None where no recording is a window.
    """
    streams: dict[str, list[int]] = {}
    for i, row in enumerate(recordings.rows):
        if row.source and row.recording_id in said:
            streams.setdefault(row.source, []).append(i)
    if not streams:
        return None
    rows: list[dict[str, Any]] = []
    for name, own in list(streams.items())[:MOST_STREAMS]:
        own.sort(key=lambda i: recordings.rows[i].start or 0.0)
        rows += [{"stream": name, **one} for one in (*_bands(recordings.rows, own, said), *_signal(recordings, own))]
    return _spec(rows, classes)


def _bands(rows: Sequence[Row], own: Sequence[int], said: Mapping[str, Said]) -> list[dict[str, Any]]:
    windows = [rows[i] for i in own]
    bands: list[dict[str, Any]] = []
    for row, after in zip(windows, [*windows[1:], None], strict=True):
        end = min(row.end or 0.0, after.start or 0.0) if after else row.end
        guess = said[row.recording_id]
        bands.append(
            {
                "what": "predicted", "start": row.start, "end": end, "class": guess.predicted,
                "probability": round(guess.probability, 4), "strength": guess.probability,
                "top": _PREDICTED[0], "bottom": _PREDICTED[1],
            }
        )  # fmt: skip
    for (_, label), several in groupby(windows, key=lambda row: (row.interval, row.label)):
        inside = [*several]
        if label:
            bands.append(
                {
                    "what": "label", "start": inside[0].start, "end": inside[-1].end, "class": label,
                    "probability": None, "strength": 1, "top": _LABEL[0], "bottom": _LABEL[1],
                }
            )  # fmt: skip
    return bands


def _signal(recordings: Recordings, own: Sequence[int]) -> list[dict[str, Any]]:
    """How far the first modality is from its usual values, at even places along the stream."""
    name = next(iter(recordings.kinds))
    moments: list[Floats] = []
    values: list[Floats] = []
    for i in own:
        array, row = recordings.arrays(name)[i], recordings.rows[i]
        if array is not None and row.start is not None and row.end is not None:
            moments.append(row.start + (row.end - row.start) * (np.arange(len(array)) + 0.5) / len(array))
            values.append(array.reshape(len(array), -1).astype(np.float64))
    if not values:
        return []
    at, whole = np.concatenate(moments), np.concatenate(values)
    spread = whole.std(axis=0)
    size = np.linalg.norm((whole - np.median(whole, axis=0)) / np.where(spread > 0, spread, 1), axis=1)
    place = ((at - at.min()) / max(float(np.ptp(at)), 1e-9) * (_PLACES - 1)).astype(int)
    counts = np.bincount(place, minlength=_PLACES)
    sums = np.bincount(place, weights=size, minlength=_PLACES)
    times = at.min() + (np.arange(_PLACES) + 0.5) * np.ptp(at) / _PLACES
    return [
        {"what": name, "start": round(float(time), 3), "value": float(f"{total / count:.4g}")}
        for time, total, count in zip(times, sums, counts, strict=True)
        if count
    ]


def _spec(rows: list[dict[str, Any]], classes: Sequence[str]) -> dict[str, Any]:
    colours = [SERIES[i % len(SERIES)] for i in range(len(classes))]
    base = alt.Chart(alt.NamedData(name="timeline"))
    x = alt.X("start:Q", title="seconds from the stream's beginning")
    signal = (
        base.transform_filter("isValid(datum.value)")
        .mark_area(color="var(--muted)", opacity=0.5, line=False)
        .encode(x=x, y=alt.Y("value:Q", axis=None, scale=alt.Scale(range=list(reversed(_SIGNAL)))))
    )
    bands = (
        base.transform_filter("isValid(datum.end)")
        .mark_rect(stroke="var(--paper)", strokeWidth=0.5)
        .encode(
            x=x,
            x2="end:Q",
            y=alt.Y("top:Q", axis=None, scale=None),
            y2="bottom:Q",
            color=alt.Color("class:N", scale=alt.Scale(domain=list(classes), range=colours), title="class"),
            # A guess is as pale as it is unsure.
            opacity=alt.Opacity("strength:Q", scale=alt.Scale(domain=[0, 1], range=[0.25, 1]), legend=None),
            tooltip=[
                "what:N",
                "class:N",
                alt.Tooltip("probability:Q", format=".2f"),
                alt.Tooltip("start:Q", title="from", format=".2f"),
                alt.Tooltip("end:Q", title="to", format=".2f"),
            ],
        )
    )
    words = [
        base.transform_aggregate(windows="count()", groupby=["stream"])
        .mark_text(align="right", color="var(--muted)", text=word)
        .encode(x=alt.value(-6), y=alt.value((top + bottom) / 2))
        for word, (top, bottom) in {"signal": _SIGNAL, "predicted": _PREDICTED, "label": _LABEL}.items()
    ]
    chart = (
        alt.layer(signal, bands, *words)
        .resolve_scale(y="independent")
        .properties(width=640, height=_LABEL[1] + 2)
        .facet(row=alt.Row("stream:N", sort=None, title=None, header=_HEADER))
        .resolve_scale(x="independent")
    )
    spec = as_spec(
        chart,
        "Of each stream over time: its signal, the predicted class of each window, and the windows' labels.",
    )
    return {**spec, "datasets": {"timeline": rows}}
