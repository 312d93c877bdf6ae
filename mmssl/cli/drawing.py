"""A study's view as lines of text, for a terminal of any size."""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rich.cells import cell_len, set_cell_size
from rich.text import Text

from mmssl.cli.terminal import BAD, GOOD, ODD, plain, roughly
from mmssl.study.overview import alike
from mmssl.study.words import NO_RESULT, percent, point_words, short_names, value_of

if TYPE_CHECKING:
    from mmssl.study.overview import Axes, Cell, RunningTrial, View

NARROWEST, LOWEST = 20, 8
"""The smallest terminal that is drawn for."""
# A symbol or letter says what its colour says.
_MARKS = {
    "complete": ("●", "=", GOOD),
    "running": ("▶", ">", "yellow"),
    "begun": ("◐", "-", "blue"),
    "planned": ("·", ".", "dim"),
    "failed": ("F", "F", BAD),
    "diverged": ("D", "D", BAD),
    "collapsed": ("C", "C", BAD),
    "pruned": ("P", "P", ODD),
}
_ABOVE, _BELOW = (195, 153, 117, 75), (230, 222, 215, 208)
"""Of the 256 colours, blues and oranges, the palest first."""
_BEST, _FULL, _LEFT = ("★", "*"), ("━", "#"), ("─", "-")
_ASIDE = "dim"
_BARS, _SPARKS = "▁▂▃▄▅▆▇█", 14
_CELLS = 6
"""Width of most numbers of a trial."""
_SPLITS = {"val": "validation", "test": "test"}
_SHORT = {
    "invariance": "inv", "variance": "var", "covariance": "cov", "on_diagonal": "on", "off_diagonal": "off",
    "positive": "pos", "negative": "neg",
}  # fmt: skip


@dataclass
class ViewOptions:
    """What the keys have selected to be drawn."""

    order: str = "health"
    """Of `ORDERS`, of the trials that run."""
    ranked: bool = False
    """Points in rank also where there is a map."""
    alone: str = ""
    """The trial whose curves are drawn in place of all else."""
    paused: bool = False

    def help(self, *, alone: bool) -> list[tuple[int, Text]]:
        """What each key does now, as pieces of a line.

        Args:
            alone: whether one trial's curves are drawn; the one that was selected may have ended.
        """
        of = {
            "c": (9, "next trial" if alone else "curves of a trial"),
            "a": (8 * alone, "all"),
            "s": (5 * (not alone), f"sorted by {self.order}"),
            "m": (4 * (not alone), "map" if self.ranked else "ranking"),
            "p": (7, "go on" if self.paused else "pause"),
            "q": (8, "quit"),
        }
        return [(keep, Text.assemble((key, "bold"), f" {words}")) for key, (keep, words) in of.items() if keep]


ORDERS: dict[str, Callable[["RunningTrial"], Any]] = {
    "health": lambda trial: not trial.near_collapse,
    "epoch": lambda trial: -(trial.epoch / trial.epochs if trial.epochs else 0.0) - (trial.phase == "finetune"),
    "loss": lambda trial: trial.terms.get("loss", math.inf),
}
"""How trials that run can be sorted: those about to collapse first, the furthest, the lowest loss."""


@dataclass(frozen=True)
class ScreenColumn:
    """One column of a table that gives up columns where it is too wide."""

    heads: tuple[str, ...]
    """What stands above it, the longest first."""
    cells: Sequence[Text]
    keep: int
    """Those with the lowest go first; with 0, before the others move together."""
    left: bool = False
    """Aligned to the left."""
    least: int = 0
    """Its width at least; it stays where its cells are empty, so that columns do not come and go."""


def draw(
    view: "View",
    width: int,
    height: int,
    *,
    state: str = "",
    seconds: float | None = None,
    fancy: bool = True,
    options: ViewOptions | None = None,
) -> Text:
    """A study's view in at most so many lines and columns.

    Args:
        state: a word or two on its status, as `starting`.
        seconds: for how long it has been run.
        fancy: with symbols that not every encoding has.
        options: set by keys, which the last line then explains; None where nobody can press any.
    """
    height = max(height, LOWEST)
    drawing = _Drawing(view, max(width, NARROWEST), height - (options is not None), fancy, options or ViewOptions())
    lines = drawing.lines(state, seconds)
    if options:
        lines = [*lines[: height - 1], drawing.one_line(options.help(alone=drawing.alone is not None))]
    for line in lines:
        line.truncate(width, overflow="ellipsis" if fancy else "crop")
    return Text("\n", no_wrap=True).join(lines[:height])


def duration(seconds: float) -> str:
    """As a clock shows it."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


@dataclass
class _Drawing:
    view: "View"
    width: int
    height: int
    fancy: bool
    options: ViewOptions

    def lines(self, state: str, seconds: float | None) -> list[Text]:
        """Title, map or ranked points, legend, what runs, what failed: each gets what the one before has left."""
        view = self.view
        title = self._title(state, seconds)
        if self.alone:
            return [*title, Text(), *self._curves(self.alone)]
        left = self.height - len(title)
        several = 1 if left > 10 else 0  # Lines between the parts, where there is room for them.
        legend = [self._legend()]
        failures = min(len(view.failures), 1 if left < 12 else 3)
        wanted = min(len(view.running) + 1, max(2, left // 5)) if view.running else 0
        spare = left - len(legend) - (left > 8)
        drawn = self._map(spare - min(1, wanted))
        caption = [self._caption(drawn[0].plain if drawn else "")] if left > 8 else []
        if drawn is None:
            # A ranking has no end of its own.
            drawn = self._ranking(max(2, spare - wanted - failures - 3 * several))
        spare -= len(drawn)
        parts = [title, [*caption, *drawn, *legend]]
        ran = self._running(spare - min(failures, max(0, spare - 2)) - 2 * several)
        spare -= len(ran)
        failed = self._failures(min(spare - several, max(failures, 10 if spare > 14 else 0)))
        parts += [ran, failed]
        apart = sum(map(len, parts)) + sum(1 for part in parts if part) - 1 <= self.height
        lines: list[Text] = []
        for part in parts:
            if lines and part and apart and several:
                lines.append(Text())
            lines += part
        return lines

    @property
    def alone(self) -> "RunningTrial | None":
        """The trial whose curves are drawn."""
        return next((trial for trial in self.view.running if trial.trial_id == self.options.alone), None)

    def _title(self, state: str, seconds: float | None) -> list[Text]:
        view = self.view
        share = view.ended / view.planned if view.planned else 0.0
        count = Text.assemble((f"{view.ended}/{view.planned}", "bold"), " trials" if self.width >= 60 else "")
        state_text = Text(plain(state), "bold yellow" if state else "")
        failed = Text(view.failed, BAD)
        running = Text(f"{len(view.running)} running", _MARKS["running"][2]) if view.running else Text()
        left = Text.assemble("left ", (roughly(view.seconds_left), "bold")) if view.ended < view.planned else Text()
        gone = Text(f"ran {duration(seconds)}" if seconds is not None else "", _ASIDE)
        room = self.width - sum(cell_len(one.plain) + 2 for one in (count, running, failed, left, gone) if one.plain)
        second = self.one_line([(9, count), (5, running), (6, failed), (8, left), (3, gone)])
        if room >= 8:
            full = int(share * min(room, 60))
            bar = Text.assemble(
                (_FULL[not self.fancy] * full, "cyan"), (_LEFT[not self.fancy] * (min(room, 60) - full), _ASIDE)
            )
            second = Text("  ").join([bar, second])
        first = self.one_line([(9, Text(plain(view.study), "bold")), (8, state_text)])
        return [first, second]

    def one_line(self, pieces: Sequence[tuple[int, Text]]) -> Text:
        """Pieces beside each other; where they do not fit, those with the lowest number go."""
        kept = [piece for piece in pieces if piece[1].plain]
        while len(kept) > 1 and sum(cell_len(text.plain) + 2 for _, text in kept) - 2 > self.width:
            kept.remove(min(kept, key=lambda piece: piece[0]))
        return Text("  ").join(text for _, text in kept)

    def _caption(self, heads: str) -> Text:
        """What the numbers are, as far as there is room; `heads` is the first line of a map."""
        view = self.view
        split, _, measure = view.metric.partition(".")
        what = f"{_SPLITS[split]} {'F1' if measure == 'f1' else measure} in %"
        if view.axes and heads and not any(corner in heads for corner in _corners(view.axes)):
            what += f", {_last(view.axes.down)} down, {_last(view.axes.across)} across"
        trials = view.seeds * view.folds
        over = " x ".join(
            f"{count} {noun}{'s' * (count > 1)}" for count, noun in ((view.seeds, "seed"), (view.folds, "fold"))
        )
        wary = "" if view.choosable else "; nothing may be chosen by it"
        spread = f"mean {'±' if self.fancy else '+-'} standard deviation"
        each = f"of {trials} trials each" if trials > 1 else "of 1 trial each"
        candidates = [
            f"{what}: {spread if trials > 1 else ''} {each} ({over}){wary}".replace("  ", " "),
            *([f"{what}: {spread} {each}{wary}"] if trials > 1 else []),
            f"{what}: mean {each}{wary}",
            f"{what}; {trials} a point{wary}",
            f"{what}{wary}",
            f"{_SPLITS[split]} {measure}{wary}",
        ]
        return Text(next((one for one in candidates if cell_len(one) <= self.width), candidates[-1]), _ASIDE)

    def _legend(self) -> Text:
        """The symbols that are in use, how many points have each, and what marks the best so far."""
        states = Counter(cell.state for cell in self.view.cells)
        pieces: list[tuple[int, Text]] = []
        for named in (True, False):  # Without names where there is no room for them.
            pieces = [
                (5, Text.assemble((mark[not self.fancy], mark[2]), f" {states[state]}", f" {_word(state)}" * named))
                for state, mark in _MARKS.items()
                if states[state]
            ]
            if self.view.untrained is not None and states["complete"]:
                above, below = (f"color(16) on color({colours[-1]})" for colours in (_ABOVE, _BELOW))
                score = f" untrained {percent(self.view.untrained)}"
                pieces.append((2, Text.assemble((">", above), ("<", below), score)))
            if self.view.best:
                words = " best mean so far" if named else " best"
                pieces.append((4, Text.assemble((_BEST[not self.fancy], "bold"), words)))
            if sum(cell_len(text.plain) + 2 for _, text in pieces) - 2 <= self.width:
                break
        return self.one_line(pieces)

    def _map(self, most: int) -> list[Text] | None:
        """The grid, in the fullest of its forms that fits; None where none does."""
        axes = None if self.options.ranked else self.view.axes
        if axes is None or len(axes.rows) + 1 > most:
            return None
        there = {(cell.values[axes.down], cell.values[axes.across]): cell for cell in self.view.cells}
        # The highest is at the top, as on the page.
        rows, heads = ([f"{value:g}" for value in values] for values in (axes.rows[::-1], axes.columns))
        label = max(map(cell_len, rows))
        count = 2 * len(str(max(cell.planned for cell in self.view.cells))) + 1 if self.view.cells else 3
        # As wide from the beginning as numbers will make them: a map that moves is hard to read.
        mean, spread = len("● 84.4"), len(" ±13.2") + (not self.fancy)
        for form, width, gap in (
            (self._full, mean + spread + 1 + count, 2),
            (self._spread_or_count, mean + max(spread, 1 + count), 2),
            (self._mean_or_count, max(mean, 2 + count), 2),
            (self._mean_or_count, max(mean, 2 + count), 1),
            (self._rounded, len("●84"), 1),
        ):
            inset = 0 if form == self._rounded else 2  # Numbers stand below numbers.
            width = max(width, *(inset + cell_len(head) for head in heads))
            if label + len(heads) * (width + gap) > self.width:
                continue
            cells = [
                [form(there[row, column]) if (row, column) in there else Text() for column in axes.columns]
                for row in axes.rows[::-1]
            ]
            width = max(width, *(cell_len(cell.plain) for line in cells for cell in line))
            room = self.width - len(heads) * (width + gap)
            if room < label:
                continue
            corner = next((one for one in _corners(axes) if cell_len(one) <= room), "")
            label = max(label, cell_len(corner))
            between = " " * gap
            first = Text.assemble((corner.ljust(label), _ASIDE))
            for head in heads:
                first.append((between + " " * inset + head).ljust(gap + width), "bold")
            drawn = [first]
            for name, line in zip(rows, cells, strict=True):
                drawn.append(Text.assemble((name.rjust(label), "bold")))
                for cell in line:
                    drawn[-1].append(between).append_text(_padded(cell, width))
            return drawn
        return None

    def _full(self, cell: "Cell") -> Text:
        if not cell.n:
            return self._marked(cell, self._count(cell))
        spread = self._spread(cell).ljust(len("±13.2") + (not self.fancy))
        return self._marked(cell, f"{percent(cell.mean)} {spread} {self._count(cell)}")

    def _spread_or_count(self, cell: "Cell") -> Text:
        if cell.state == "complete":
            return self._marked(cell, f"{percent(cell.mean)} {self._spread(cell)}".rstrip())
        return self._marked(cell, f"{percent(cell.mean)} {self._count(cell)}" if cell.n else self._count(cell))

    def _mean_or_count(self, cell: "Cell") -> Text:
        # A mean of some of the trials is not shown where there is no room to say of how many.
        return self._marked(cell, percent(cell.mean) if cell.state == "complete" else self._count(cell))

    def _rounded(self, cell: "Cell") -> Text:
        if cell.state == "complete":
            return self._marked(cell, f"{100 * (cell.mean or 0.0):.0f}", close=True)
        return self._marked(cell, "", close=True)

    def _spread(self, cell: "Cell") -> str:
        return "" if cell.std is None else f"{'±' if self.fancy else '+-'}{100 * cell.std:.1f}"

    def _count(self, cell: "Cell") -> str:
        return "" if cell.state == "planned" else f"{cell.n}/{cell.planned}"

    def _marked(self, cell: "Cell", words: str, *, close: bool = False) -> Text:
        fancy, simple, style = _MARKS[cell.state]
        best = cell.point_id in self.view.best
        mark = (_BEST if best else (fancy, simple))[not self.fancy]
        text = Text(mark, f"bold {style}" if best else style)
        number = {"complete": self._shade(cell.mean), "planned": _ASIDE}.get(cell.state, "italic")
        number = f"bold underline {number}" if best else number
        return text.append("" if close else " ").append(words, number) if words else text

    def _shade(self, mean: float | None) -> str:
        """How far a mean is above untrained encoders, or below; where none were scored, above the lowest."""
        means = [cell.mean for cell in self.view.cells if cell.state == "complete" and cell.mean is not None]
        if mean is None or not means:
            return ""
        centre = self.view.untrained if self.view.untrained is not None else min(means)
        span = max(abs(one - centre) for one in means) or 1.0
        colours = _ABOVE if mean >= centre else _BELOW
        return f"color(16) on color({colours[min(len(colours) - 1, int(len(colours) * abs(mean - centre) / span))]})"

    def _ranking(self, most: int) -> list[Text]:
        """Points in rank, with a line on those there is no room for."""
        view = self.view
        cells = view.leading(most)
        if not cells:
            return [Text("no point has been chosen yet", _ASIDE)]
        if len(view.cells) > most - 1:
            cells = cells[: max(1, most - 2)]
        knobs = list(cells[0].values)
        columns = [ScreenColumn(("",), [self._marked(cell, "") for cell in cells], 9, left=True)]
        columns += [
            ScreenColumn((name,), [Text(plain(value_of(cell.values[knob]))) for cell in cells], 7, left=False)
            for knob, name in zip(knobs, short_names(knobs), strict=True)
        ]
        columns += [
            ScreenColumn(
                ("mean",),
                [
                    Text(percent(cell.mean) if cell.n else "", "" if cell.state == "complete" else "italic")
                    for cell in cells
                ],
                8,
            ),
            ScreenColumn(("spread",), [Text(self._spread(cell)) for cell in cells], 3),
            ScreenColumn(("n",), [Text(self._count(cell)) for cell in cells], 6),
            ScreenColumn(
                ("",),
                [Text("best" if cell.point_id in view.best else _word(cell.state), _ASIDE) for cell in cells],
                2,
                left=True,
            ),
        ]
        lines = self._table(columns)
        more = len(view.cells) - len(cells)
        return [*lines, Text(f"and {more} more", _ASIDE)] if more and len(lines) < most else lines

    def _running(self, most: int) -> list[Text]:
        """A line for each trial that runs, with its numbers; first those whose embeddings are about to collapse."""
        running = sorted(self.view.running, key=ORDERS[self.options.order])
        if not running or most < 1:
            return []
        more = len(running) - (most - 1)
        running = running[: max(1, most - 1 - (more > 0 and most > 2))]
        more = len(self.view.running) - len(running)
        knobs = list(running[0].values)
        columns = [
            ScreenColumn(
                (name,), [Text(plain(value_of(trial.values[knob]))) for trial in running], 8, least=self._widest(knob)
            )
            for knob, name in zip(knobs, short_names(knobs), strict=True)
        ]
        seed = ScreenColumn(("seed",), [Text(str(trial.seed)) for trial in running], 3 if self.view.seeds > 1 else 0)
        folds = [Text(set_shorter(plain(trial.fold), 12)) for trial in running]
        widest = max((min(12, cell_len(plain(fold))) for fold in self.view.held_out), default=0)
        columns += [seed, ScreenColumn(("fold",), folds, 6, least=widest)]
        columns += [
            ScreenColumn(
                ("phase",), [Text(plain(trial.phase or "begins")) for trial in running], 5, left=True, least=8
            ),
            ScreenColumn(
                ("epoch",),
                [Text(f"{trial.epoch}/{trial.epochs}" if trial.phase else "") for trial in running],
                9,
                least=7,
            ),
        ]
        columns += [
            ScreenColumn(
                _heads(name),
                [Text(_number(trial.terms.get(name))) for trial in running],
                1 if name == "loss" else 4,
                least=_CELLS,
            )
            for name in self.view.terms or dict.fromkeys(name for trial in running for name in trial.terms)
        ]
        for modality in self.view.modalities or dict.fromkeys(name for trial in running for name in trial.health):
            measured = [trial.health.get(modality) for trial in running]
            spread = [
                _healthy(f"{one.std:.{2 + one.nearly_constant}f}", one.nearly_constant) if one else Text()
                for one in measured
            ]
            rank = [_healthy(f"{one.effective_rank:.1f}", one.nearly_on_a_line) if one else Text() for one in measured]
            columns += [
                ScreenColumn(_heads(modality, "std"), spread, 7, least=_CELLS),
                ScreenColumn(_heads(modality, "rank"), rank, 2, least=_CELLS),
            ]
        if self.view.terms:
            curves = [Text(_sparkline(trial.curves.get("loss", ()), fancy=self.fancy), _ASIDE) for trial in running]
            columns.append(ScreenColumn(("loss by epoch", "curve"), curves, 0, left=True, least=_SPARKS))
        head = [Text(_number(trial.finetune.get("loss"))) for trial in running]
        columns.append(ScreenColumn(("head loss", "head"), head, 0, least=_CELLS))
        if self.view.probed:
            probes = [Text("" if trial.probe is None else percent(trial.probe)) for trial in running]
            columns.append(ScreenColumn(("probe %", "probe"), probes, 5, least=_CELLS))
        lines = self._table(columns)
        if most < len(lines):
            return lines[1 : most + 1]
        return [*lines, Text(f"and {more} more run", _ASIDE)] if more > 0 and len(lines) < most else lines

    def _widest(self, knob: str) -> int:
        """Of its values in the study: which of them run changes from moment to moment."""
        values = (cell.values[knob] for cell in self.view.cells if knob in cell.values)
        return max((cell_len(plain(value_of(value))) for value in values), default=0)

    def _curves(self, trial: "RunningTrial") -> list[Text]:
        """Each loss term of a trial by epoch, over the whole width: where it began and where it is."""
        seed = f" seed={trial.seed}" if self.view.seeds > 1 else ""
        phase = f"{trial.phase} {trial.epoch}/{trial.epochs}" if trial.phase else "begins"
        where = f"{plain(point_words(trial.values))}{seed} fold={plain(trial.fold)}"
        lines = [Text.assemble((where, "bold"), f"  {phase}"), Text()]
        label = max(map(len, trial.curves), default=0)
        room = min(60, self.width - label - 2 * (_CELLS + 2) - 2)
        for name, values in trial.curves.items():
            first, last = (_number(values[i]).rjust(_CELLS) for i in (0, -1))
            bars = _sparkline(values, fancy=self.fancy, most=max(1, room)).ljust(room)
            lines.append(Text.assemble(name.ljust(label), f"  {first}  ", (bars, "cyan"), f"  {last}"))
        return lines if trial.curves else [*lines, Text("no epoch of pre-training was reported yet", _ASIDE)]

    def _failures(self, most: int) -> list[Text]:
        failures = self.view.failures
        if not failures or most < 1:
            return []
        groups = alike((one.status, one.cause) for one in failures)
        if len(groups) < len(failures):
            return [
                Text.assemble((f"{group.number} {group.status}", BAD), f": {plain(group.cause)}")
                for group in groups[:most]
            ]
        lines: list[Text] = []
        for one in failures[-max(1, most) :]:
            seed = f" seed={one.seed}" if self.view.seeds > 1 else ""
            where = f"{plain(point_words(one.values))}{seed} fold={plain(one.fold)}"
            lines.append(Text.assemble((one.status, BAD), f" {where}: {plain(one.cause)}"))
        return lines

    def _table(self, columns: Sequence[ScreenColumn]) -> list[Text]:
        """A line of heads and one for each row; where that is too wide, shorter heads, then fewer columns."""
        kept = [column for column in columns if column.least or any(cell.plain.strip() for cell in column.cells)]
        # Shorter heads, then less between columns, then fewer of them.
        level, gap = 0, 2

        def widths() -> list[int]:
            return [
                max(column.least, cell_len(_head(column, level)), *(cell_len(cell.plain) for cell in column.cells))
                for column in kept
            ]

        while sum(widths()) + gap * (len(kept) - 1) > self.width and len(kept) > 1:
            if level == 0:
                level = 1
            elif gap > 1 and all(column.keep for column in kept):
                gap = 1
            else:
                kept.remove(min(kept, key=lambda column: column.keep))
        rows = [
            [Text(_head(column, level), _ASIDE) for column in kept],
            *zip(*(column.cells for column in kept), strict=True),
        ]
        measured = widths()
        return [
            Text(" " * gap).join(
                _padded(cell, size, left=column.left) for column, cell, size in zip(kept, row, measured, strict=True)
            )
            for row in rows
        ]


def _sparkline(values: Sequence[float], *, fancy: bool, most: int = _SPARKS) -> str:
    """A curve in as many cells, each the mean of a part of it."""
    finite = [value for value in values if math.isfinite(value)]
    if len(finite) < 2 or not fancy:
        return ""
    size = min(most, len(finite))
    parts = [finite[i * len(finite) // size : (i + 1) * len(finite) // size] for i in range(size)]
    means = [sum(part) / len(part) for part in parts]
    low, high = min(means), max(means)
    return "".join(_BARS[round((mean - low) / ((high - low) or 1.0) * (len(_BARS) - 1))] for mean in means)


def _word(state: str) -> str:
    """A failure has one word everywhere: its trials' status."""
    return state.upper() if state.upper() in NO_RESULT else state


def set_shorter(words: str, most: int) -> str:
    return words if cell_len(words) <= most else set_cell_size(words, most - 1) + "~"


def _head(column: ScreenColumn, level: int) -> str:
    return plain(column.heads[min(level, len(column.heads) - 1)])


def _heads(*words: str) -> tuple[str, str]:
    return " ".join(words), " ".join(_SHORT.get(word) or _abbreviated(word) for word in words)


def _abbreviated(word: str) -> str:
    """Of a long name: l_wris of left_wrist, skel of skeleton."""
    *before, last = word.split("_")
    return "_".join([*(part[:1] for part in before), last[:4]]) if len(word) > 6 else word


def _healthy(words: str, alarming: bool) -> Text:
    return Text(f"{words}!", BAD) if alarming else Text(f"{words} ")


def _padded(text: Text, width: int, *, left: bool = True) -> Text:
    missing = " " * max(0, width - cell_len(text.plain))
    return Text.assemble(text, missing) if left else Text.assemble(missing, text)


def _corners(axes: "Axes") -> tuple[str, ...]:
    """What says which knob is down and which across, the longest first."""
    down, across = _last(axes.down), _last(axes.across)
    return f"{down} \\ {across}", f"{down}\\{across}"


def _last(knob: str) -> str:
    return knob.rpartition(".")[2]


def _number(value: Any) -> str:
    """Three digits in few cells: 1.23e+05 is 1.2e5."""
    if value is None:
        return ""
    if "e" not in (words := f"{value:.3g}"):
        return words
    digits, _, power = f"{value:.{0 if value < 0 else 1}e}".partition("e")
    return f"{digits}e{int(power)}"
