"""A chart of streams over time: the signal, the predictions of the windows, and their labels."""

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any, NamedTuple

import altair as alt
import numpy as np
import numpy.typing as npt

from mmssl.data.description import Row
from mmssl.data.recordings import Recordings
from mmssl.experiments.charts import SERIES, as_spec

MOST_STREAMS = 6
"""Streams that are drawn; the table has all."""
_PLACES = 300
"""Along a stream, at which its signal is drawn."""
_STREAM = 136
"""Height of a stream's picture, in pixels."""
_BANDS = {"signal": (20, 72), "predicted": (78, 98), "label": (102, 122)}
"""Top and bottom of each band, in pixels from the top of the stream's picture."""
_NAMES = f"datum.value % {_STREAM} < 75 ? 'signal' : datum.value % {_STREAM} < 100 ? 'predicted' : 'label'"

Floats = npt.NDArray[np.float64]


class Prediction(NamedTuple):
    """The prediction for one window."""

    predicted: str
    probability: float


def timelines(
    recordings: Recordings, predictions: Mapping[str, Prediction], classes: Sequence[str]
) -> dict[str, Any] | None:
    """A picture of each stream that has predictions, one below the other, at most `MOST_STREAMS`.

    Windows that overlap are drawn over the time up to the next one's beginning.

    Args:
        predictions: by the recording's id; recordings without one are left out.
        classes: in the order of their colours.

    Returns:
        The Vega-Lite document with its rows; None where no recording is a window.
    """
    streams: dict[str, list[int]] = {}
    for i, row in enumerate(recordings.rows):
        if row.source and row.recording_id in predictions:
            streams.setdefault(row.source, []).append(i)
    if not streams:
        return None
    rows: list[dict[str, Any]] = []
    for place, (name, own) in enumerate(list(streams.items())[:MOST_STREAMS]):
        own.sort(key=lambda i: recordings.rows[i].start or 0.0)
        title: dict[str, Any] = {"what": "name", "top": 2, "bottom": 14}
        for one in (title, *_bands(recordings.rows, own, predictions), *_signal(recordings, own)):
            top = place * _STREAM
            rows.append({"stream": name, **one, "top": one["top"] + top, "bottom": one["bottom"] + top})
    return _spec(rows, classes)


def _bands(rows: Sequence[Row], own: Sequence[int], predictions: Mapping[str, Prediction]) -> list[dict[str, Any]]:
    windows = [rows[i] for i in own]
    bands: list[dict[str, Any]] = []
    for row, after in zip(windows, [*windows[1:], None], strict=True):
        end = min(row.end or 0.0, after.start or 0.0) if after else row.end
        guess = predictions[row.recording_id]
        sure = {"probability": round(guess.probability, 4), "strength": guess.probability}
        bands.append(_band("predicted", row.start, end, guess.predicted) | sure)
    for (_, label), several in groupby(windows, key=lambda row: (row.interval, row.label)):
        inside = [*several]
        if label:
            bands.append(_band("label", inside[0].start, inside[-1].end, label))
    return bands


def _band(what: str, start: float | None, end: float | None, label: str) -> dict[str, Any]:
    top, bottom = _BANDS[what]
    times = {"start": start, "end": end, "class": label, "probability": None, "strength": 1}
    return {"what": what, **times, "top": top, "bottom": bottom}


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
    there = counts > 0
    means = sums[there] / counts[there]
    top, foot = _BANDS["signal"]
    heights = (means - min(0.0, means.min())) / max(float(means.max() - min(0.0, means.min())), 1e-9)
    return [
        {"what": name, "start": round(float(time), 3), "top": round(foot - height * (foot - top), 1), "bottom": foot}
        for time, height in zip(times[there], heights, strict=True)
    ]


def _spec(rows: list[dict[str, Any]], classes: Sequence[str]) -> dict[str, Any]:
    colours = [SERIES[i % len(SERIES)] for i in range(len(classes))]
    height = 1 + max(row["bottom"] for row in rows)
    base = alt.Chart(alt.NamedData(name="timeline"))
    x = alt.X("start:Q", title="seconds from the stream's beginning", axis=alt.Axis(grid=False))
    # Places are in pixels: one axis names the bands of all streams.
    pixels = alt.Scale(domain=[0, height], range=[0, height], nice=False, zero=False)
    middles = [stream + sum(band) / 2 for stream in range(0, height, _STREAM) for band in _BANDS.values()]
    names = alt.Axis(values=middles, labelExpr=_NAMES, title=None, grid=False, ticks=False, domain=False)
    y = alt.Y("top:Q", scale=pixels, axis=names)
    signal = (
        base.transform_filter("!isValid(datum.class) && isValid(datum.start)")
        .mark_area(color="var(--muted)", opacity=0.5, line=False)
        .encode(x=x, y=y, y2="bottom:Q", detail="stream:N")
    )
    bands = (
        base.transform_filter("isValid(datum.class)")
        .mark_rect(stroke="var(--paper)", strokeWidth=0.5)
        .encode(
            x=x,
            x2="end:Q",
            y=y,
            y2="bottom:Q",
            color=alt.Color(
                "class:N",
                scale=alt.Scale(domain=list(classes), range=colours),
                legend=alt.Legend(title=None, columns={"expr": "max(1, floor(width / 120))"}, labelLimit=100),
            ),
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
    titles = (
        base.transform_filter("datum.what == 'name'")
        .mark_text(align="left", baseline="top", fontWeight="bold", fontSize=12)
        .encode(x=alt.value(0), y=y, text="stream:N")
    )
    return as_spec(
        alt.layer(signal, bands, titles).properties(width=640, height=height),
        "Of each stream over time: its signal, the predicted class of each window, and the windows' labels.",
    ) | {"datasets": {"timeline": rows}}
