"""Recordings read from their files by a description."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from mmssl.data.alignment import Cut, Offset, Track, cut, in_words, merged, moved
from mmssl.data.columns import named, no_signal
from mmssl.data.description import Description, Signal, Skeleton
from mmssl.data.faults import single
from mmssl.data.inferred import DESCRIPTION, JOINT_AXIS
from mmssl.data.missing import Unseen, missing_samples, never_seen, put_in, unseen_joints
from mmssl.data.quaternions import continuous, quaternions_in
from mmssl.data.recording_file import Opened, before
from mmssl.data.recordings import Array, array_faults
from mmssl.data.sheet import Sheet, Values
from mmssl.data.timeline import LineError, laid_out, unmeasured
from mmssl.data.windows import Timing
from mmssl.errors import nearest


class CsvReader:
    """Reads recordings' files by a description, and keeps count of changes for the notes."""

    def __init__(
        self,
        description: Description,
        fill_gaps: bool,
        offsets: Mapping[str, Offset],
        unseen: Unseen | None = None,
    ) -> None:
        self._description, self._fill_gaps, self._offsets = description, fill_gaps, offsets
        self._unseen: Unseen | None = unseen
        self.never_seen: dict[str, set[str]] = defaultdict(set)
        """Joints of skeletons that some recording never shows."""
        self._rates: dict[str, dict[str, float]] = defaultdict(dict)
        self._done: dict[str, list[str]] = defaultdict(list)
        """Files by the change that was made to them."""
        self._filled: dict[str, int] = {}
        self._ignored: Counter[str] = Counter()
        self._no_signals: Counter[str] = Counter()
        self._cuts: dict[str, Cut] = {}
        self.timings: dict[str, Timing] = {}
        """Of each recording."""

    def rate(self, modality: str) -> float | None:
        """Lines a second: the median of the files with time stamps."""
        rates = self._rates[modality]
        return float(f"{np.median([*rates.values()]):.4g}") if rates else None

    def notes(self) -> list[str]:
        """Notes on rates, changes and columns that were not read."""
        lines: list[str] = []
        for one in self._description.modalities:
            if (rate := self.rate(one)) is None:
                continue
            lines.append(f"{one}: {rate:g} a second by its time stamps")
            odd = [place for place, own in self._rates[one].items() if not 0.8 < own / rate < 1.25]
            if odd:
                lines.append(f"{one}: {_counted(odd)} at another rate, {self._rates[one][odd[0]]:.4g} a second")
        lines += [f"{_counted(places)}: {what}" for what, places in self._done.items()]
        lines += in_words(self._cuts)
        if self._filled:
            total = sum(self._filled.values())
            lines.append(f"{total} empty values filled in {len(self._filled)} files, as {next(iter(self._filled))}")
        if self._no_signals:
            listed = ", ".join(sorted(self._no_signals))[:300]
            lines.append(f"not read, as no signals by their names: {listed}; channels in {DESCRIPTION} can name them")
        if self._ignored:
            lines.append(f"columns that are not read: {', '.join(sorted(self._ignored))[:300]}")
        return lines

    def track(self, modality: str, place: str, file: Opened) -> Track:
        """A file's columns of a modality, at even moments.

        Raises:
            ValueError: what is wrong with the file.
        """
        own = self._description.modalities[modality]
        columns, extra = self._columns(modality, file)
        for name in extra:
            kind = no_signal(name) if isinstance(own, Signal) else ""
            if kind not in ("clock", "counter"):
                (self._no_signals if kind else self._ignored)[f"{name} ({kind})" if kind else name] += 1
        if not file.parts:
            track = self._one(modality, place, file, columns)
        else:
            parted = file.parted(columns)
            track = merged([self._one(modality, part.path.name, part, own) for part, own in parted if own])
            for part, _ in parted:  # What counts is the rate of the signal that they make.
                self._rates[modality].pop(part.path.name, None)
            if track.step and track.start is not None:
                self._rates[modality][place] = 1 / track.step
            read = [
                before(prefix, name) for (prefix, _), (_, own) in zip(file.parts, parted, strict=True) for name in own
            ]
            track = track._replace(values=track.values[:, [read.index(name) for name in columns]])
        faults = self._faults(modality, track.values[:1])
        if faults:
            raise ValueError("; ".join(faults))
        return track

    def _one(self, modality: str, place: str, file: Opened, columns: Sequence[str]) -> Track:
        """The columns of one file, at even moments."""
        try:
            sheet = file.read(columns)
            values = self._without_codes(modality, place, columns, sheet.values)
            measured = np.asarray(~np.isnan(values).all(axis=1), dtype=bool)
            values = self._whole(modality, place, columns, values, sheet)
            own = self._description.modalities[modality]
            marked = [[own.channels[i] for i in four] for four in own.quaternions] if isinstance(own, Signal) else []
            turns = quaternions_in(columns, marked)
            values, none = continuous(values, turns)
            track = self._laid_out(modality, place, sheet, values, measured)
        except LineError as error:
            raise ValueError(f"line {file.line(error.line)}: {error}") from error
        for i in none:
            self._done["called a quaternion and not of unit length: read as it is"].append(
                f"{place}, {columns[turns[i][0]]}"
            )
        # What is interpolated is not of unit length.
        return track._replace(values=continuous(track.values, turns)[0]) if turns else track

    def side_by_side(self, recording: str, tracks: Mapping[str, Track]) -> dict[str, Array]:
        """A recording's arrays, cut to the time that all modalities share.

        Raises:
            ValueError: they share no time, or too little.
        """
        forced = any(self._offsets[name].needs_rates for name in tracks if name in self._offsets)
        own = {name: self._shifted(name, tracks, forced) for name in tracks}
        whole, self._cuts[recording] = cut(own, forced=forced)
        starts = [track.start for track in whole.values() if track.start is not None]
        rates = {name: 1 / track.step for name, track in whole.items() if track.step}
        gaps = {name: track.gaps for name, track in whole.items() if track.gaps}
        self.timings[recording] = Timing(max(starts, default=0.0), rates, self._cuts[recording].begins, gaps)
        faults = [fault for name in tracks for fault in self._faults(name, whole[name].values)]
        if faults:
            raise ValueError("; ".join(faults))
        return {name: self._shaped(name, whole[name].values) for name in tracks}

    def _shifted(self, modality: str, tracks: Mapping[str, Track], forced: bool) -> Track:
        track, offset = tracks[modality], self._offsets.get(modality)
        if forced and track.step is None:
            raise ValueError(
                f"{modality} has no time stamps, and {DESCRIPTION} no rate of it (hz): --offset needs either"
            )
        others = [one for name, one in tracks.items() if name not in self._offsets]
        shifted = moved(track, offset, others) if offset else track
        return shifted._replace(start=shifted.start or 0.0) if forced else shifted

    def _shaped(self, modality: str, values: Values) -> Array:
        """(frames, joints, coordinates) or (samples, channels)."""
        array = single(values)
        return array.reshape(len(array), *self._description.modalities[modality].shape)

    def _faults(self, modality: str, values: Values) -> list[str]:
        return array_faults(self._description, modality, self._shaped(modality, values))

    def _columns(self, modality: str, header: Opened) -> tuple[list[str], list[str]]:
        """The file's columns in the description's order, and the other columns.

        Raises:
            ValueError: some are missing.
        """
        own = self._description.modalities[modality]
        if isinstance(own, Signal):
            by_key = {name: name for name in header.names}
            # Earlier descriptions have names with their units.
            wanted = {channel if channel in by_key else named(channel)[0]: channel for channel in own.channels}
        else:
            by_key = {
                f"{match[1]}\0{(match[2] or match[3]).lower()}": name
                for name in header.names
                if (match := JOINT_AXIS.fullmatch(name))
            }
            wanted = {f"{joint}\0{axis.lower()}": f"{joint}_{axis}" for joint in own.joints for axis in own.coordinates}
        missing = [shown for key, shown in wanted.items() if key not in by_key]
        if missing:
            close = nearest(missing[0], [name for name in header.names if name not in wanted] or ["none"])
            others = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
            raise ValueError(f"no column {missing[0]}{others}" + (f"; {close}" if close.startswith("did") else ""))
        used = [by_key[key] for key in wanted]
        return used, [name for name in header.names if name not in used]

    def _without_codes(self, modality: str, place: str, columns: Sequence[str], values: Values) -> Values:
        """The values with NaN for codes of joints not seen and samples not measured."""
        described = self._description.modalities[modality]
        if isinstance(described, Skeleton):
            kept, found = unseen_joints(values, described.joints, described.root_joint)
            what = "joints that were not seen are written"
        else:
            kept, found = missing_samples(values, columns)
            what = "missing values are written"
        for code in sorted({code for code, _ in found.values()}):
            share = [f"{name} ({n / len(values):.0%})" for name, (own, n) in found.items() if own == code]
            listed = ", ".join(share)
            throughout = self._unseen and all(n == len(values) for own, n in found.values() if own == code)
            if not self._fill_gaps and not throughout:
                raise ValueError(
                    f"{listed} of {len(values)} lines at {code:g}, as {what}: write nothing there, or fill them in "
                    "with --fill-gaps"
                )
            self._done[f"taken for empty, as {what} as {code:g}"].append(f"{place}, {listed}")
        return kept

    def _whole(self, modality: str, place: str, columns: Sequence[str], values: Values, sheet: Sheet) -> Values:
        """The values without missing ones."""
        own = self._description.modalities[modality]
        unseen = never_seen(values, own.joints) if isinstance(own, Skeleton) else []
        if not unseen or not isinstance(own, Skeleton):
            return self._filled_in(place, columns, values, sheet)
        how = self._unseen
        if not how:
            raise ValueError(
                f"{', '.join(unseen)} never seen: say what to do with such joints, with --unseen masked, neighbours or "
                "left_out"
            )
        empty = np.repeat([joint in unseen for joint in own.joints], len(own.coordinates))
        filled = self._filled_in(place, columns, np.where(empty, 0.0, values), sheet)
        self.never_seen[modality] |= set(unseen)
        done = {
            "masked": "joints that are never seen stand at the root",
            "neighbours": "joints that are never seen stand amid their neighbours",
            "left_out": "joints that are never seen are left out of all recordings",
        }
        self._done[done[how]].append(f"{place}, {', '.join(unseen)}")
        return put_in(filled, own, unseen, how)

    def _filled_in(self, place: str, columns: Sequence[str], values: Values, sheet: Sheet) -> Values:
        bad = ~np.isfinite(values)
        if not bad.any():
            return values
        line, column = np.argwhere(bad)[0]
        count = f"{int(bad.sum())} such values in {int(bad.any(axis=1).sum())} of {len(values)} lines"
        if not self._fill_gaps or np.isinf(values).any():
            raise LineError(
                int(line), f"{columns[column]} is empty or not finite ({count}); fill them in, or --fill-gaps"
            )
        whole = [name for name, one in zip(columns, bad.T, strict=True) if one.all()]
        if whole:
            raise ValueError(f"column {whole[0]} is empty throughout")
        at = _moments(sheet)
        self._filled[place] = int(bad.sum())
        return np.stack([np.interp(at, at[~b], v[~b]) for b, v in zip(bad.T, values.T, strict=True)], axis=1)

    def _laid_out(
        self, modality: str, place: str, sheet: Sheet, values: Values, measured: npt.NDArray[np.bool_]
    ) -> Track:
        """The values at even moments.

        Args:
            measured: whether a line had any value, (lines,).
        """
        for note in sheet.notes:
            self._done[note].append(place)
        if sheet.seconds is None or len(values) < 2:
            if sheet.rate:
                self._rates[modality][place] = sheet.rate
            rate = sheet.rate or self._description.modalities[modality].hz
            if not rate:
                return Track(values)
            moments = np.arange(len(values), dtype=np.float64) / rate
            return Track(values, 1 / rate, gaps=unmeasured(moments, measured, 1 / rate))
        same = np.concatenate([[False], (values[1:] == values[:-1]).all(axis=1)])
        line = laid_out(sheet.seconds, same)
        self._rates[modality][place] = 1 / line.step
        if line.spread:
            self._done[
                "time stamps that repeat or come in bursts; lines are taken as even from first to last, or to a gap"
            ].append(f"{place} ({len(line.lines)} lines)")
        if line.even is not None:
            self._done["uneven time stamps put at even moments"].append(place)
        if line.gaps:
            longest = max(end - begin for begin, end in line.gaps)
            self._done["gaps in time are interpolated over"].append(f"{place} ({longest:.3g} s)")
        if line.dropped > len(values) / 100:
            self._done["lines left out whose stamp another line has"].append(f"{place} ({line.dropped})")
        gaps = line.gaps
        if not measured.all():
            gaps = unmeasured(line.stamps - line.start, measured[line.lines], line.step)
        return Track(line.at_even(values), line.step_kept, line.start, sheet.epoch, gaps)


def _moments(sheet: Sheet) -> Values:
    """When each line was taken, where its own stamp says so, as sensors that take turns write lines unevenly apart; the
    lines' numbers otherwise."""
    seconds = sheet.seconds
    if seconds is None or len(seconds) < 2 or not (np.diff(seconds) > 0).all() or laid_out(seconds).spread:
        return np.arange(len(sheet.values), dtype=np.float64)
    return seconds


def _counted(places: Sequence[str]) -> str:
    return places[0] if len(places) == 1 else f"{len(places)} files, as {places[0]}"
