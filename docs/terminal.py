"""Record a terminal for README.md: `python3 start.py run python docs/terminal.py`.

It takes some minutes: launch, best and predict run as they are. In the picture waits are shorter, and nothing else is.
"""

import fcntl
import os
import pty
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from html import escape
from itertools import groupby, pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

import pyte
from pyte.screens import Char

PICTURE = Path(__file__).resolve().parent / "pictures" / "terminal.svg"
COMMANDS = (
    "mmssl-tune launch vicreg_diagonal --name first",
    "mmssl-tune best first --export --out encoders --no-test",
    "mmssl-tune predict encoders synthetic | cut -d, -f2-5 | head -n 6",
)
COLUMNS, LINES = 100, 30
MOST_FRAMES = 40
"""Of each command."""
SHORTEST, LONGEST, LAST = 0.15, 0.6, 3.0
"""Seconds that a picture stays, and that the end of a command does."""

Line = tuple[tuple[Char, ...], ...]
"""Runs of cells that look alike."""
Frame = tuple[Line, ...]


def main() -> None:
    with TemporaryDirectory() as place:
        screen = pyte.Screen(COLUMNS, LINES)
        frames: list[tuple[Frame, float]] = []
        for command in COMMANDS:
            frames += recorded(screen, command, Path(place))
    PICTURE.write_text(drawing(frames), "utf-8")


def recorded(screen: pyte.Screen, command: str, folder: Path) -> list[tuple[Frame, float]]:
    """What a command shows, each picture with the seconds that it stays; the command is typed first."""
    stream = pyte.Stream(screen)
    stream.feed("\x1b[1;32m$\x1b[0m ")
    typed: list[tuple[Frame, float]] = []
    for part in command.split(" "):
        stream.feed(f"{part} ")
        typed.append((frame(screen), SHORTEST))
    stream.feed("\r\n")
    seen = [(frame(screen), time.monotonic())]
    for text in output(command, folder):
        stream.feed(text)
        shown = frame(screen)
        if shown != seen[-1][0]:
            seen.append((shown, time.monotonic()))
    # Of many, every so many: what is left out is only more of the same.
    step = -(-len(seen) // MOST_FRAMES)
    kept = [*seen[:-1:step], seen[-1]]
    stays = [min(LONGEST, max(SHORTEST, after - at)) for (_, at), (_, after) in pairwise(kept)]
    return [*typed, *((shown, seconds) for (shown, _), seconds in zip(kept, [*stays, LAST], strict=True))]


def output(command: str, folder: Path) -> Iterator[str]:
    """What it writes to a terminal, as it comes."""
    parent, child = pty.openpty()
    fcntl.ioctl(child, termios.TIOCSWINSZ, struct.pack("HHHH", LINES, COLUMNS, 0, 0))
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    own = {name: value for name, value in os.environ.items() if name != "NO_COLOR"}
    environment = {**own, "TERM": "xterm-256color", "PATH": path, "COLUMNS": str(COLUMNS)}
    shell = ["sh", "-c", command]
    with subprocess.Popen(shell, cwd=folder, stdin=child, stdout=child, stderr=child, env=environment):
        os.close(child)
        rest = b""
        while True:
            try:
                # Together what comes together: a picture of half a table is none.
                select.select([parent], [], [])
                time.sleep(0.05)
                rest += os.read(parent, 1 << 16)
            except OSError:  # It has ended.
                break
            text = rest.decode("utf-8", errors="ignore")
            rest = b"" if text.encode() == rest else rest
            if not rest:
                yield text
    os.close(parent)


def frame(screen: pyte.Screen) -> Frame:
    def alike(cell: Char) -> Char:
        return cell._replace(data="")

    return tuple(
        tuple(tuple(run) for _, run in groupby((screen.buffer[y][x] for x in range(COLUMNS)), alike))
        for y in range(LINES)
    )


# Of the picture: the size of a cell, and the colours of a dark terminal.
WIDE, HIGH, MARGIN = 8.0, 18.0, 14.0
INK, PAPER = "#d5d9e0", "#15181d"
COLOURS = {
    "default": INK,
    "black": "#4b5563",
    "red": "#f0717b",
    "green": "#8fce7a",
    "brown": "#e8c36a",
    "blue": "#6fb1f2",
    "magenta": "#cf9bf0",
    "cyan": "#5fcfd0",
    "white": "#eef1f5",
}


def drawing(frames: list[tuple[Frame, float]]) -> str:
    """All pictures one below the other, as a strip that moves by one at each moment."""
    lines = {line: f"l{i}" for i, line in enumerate(dict.fromkeys(line for shown, _ in frames for line in shown))}
    width, height = COLUMNS * WIDE + 2 * MARGIN, LINES * HIGH + 2 * MARGIN
    total = sum(seconds for _, seconds in frames)
    moments, passed = [], 0.0
    for i, (_, seconds) in enumerate(frames):
        moments.append(f"{100 * passed / total:.3f}% {{transform:translateY({-i * height:g}px)}}")
        passed += seconds
    last = f"transform:translateY({-(len(frames) - 1) * height:g}px)"
    uses = "".join(
        f'<use href="#{lines[line]}" x="{MARGIN:g}" y="{i * height + MARGIN + y * HIGH:g}"/>'
        for i, (shown, _) in enumerate(frames)
        for y, line in enumerate(shown)
        if text_of(line).strip() or any(run[0].bg != "default" for run in line)
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" role="img" '
        f'aria-label="A terminal: {escape(", then ".join(COMMANDS))}">'
        f"<style>text{{font:14px ui-monospace,SFMono-Regular,Menlo,Consolas,monospace;white-space:pre;fill:{INK}}}"
        f"#strip{{animation:strip {total:.1f}s step-end infinite}}"
        f"@keyframes strip{{{''.join(moments)}}}"
        f"@media (prefers-reduced-motion:reduce){{#strip{{animation:none;{last}}}}}</style>"
        f"<defs>{''.join(definition(line, name) for line, name in lines.items())}</defs>"
        f'<rect width="{width:g}" height="{height:g}" rx="8" fill="{PAPER}"/><g id="strip">{uses}</g></svg>\n'
    )


def text_of(line: Line) -> str:
    return "".join(cell.data for run in line for cell in run)


def definition(line: Line, name: str) -> str:
    parts: list[str] = []
    at = 0
    for run in line:
        first, text = run[0], "".join(cell.data for cell in run)
        ink, paper = colour(first.fg, INK), colour(first.bg, "")
        if first.reverse:
            ink, paper = paper or PAPER, ink
        if paper:
            parts.append(f'<rect x="{at * WIDE:g}" width="{len(run) * WIDE:g}" height="{HIGH:g}" fill="{paper}"/>')
        if text.strip():
            # As a style: the sheet's colour would win over an attribute.
            look = (' font-weight="bold"' if first.bold else "") + (f' style="fill:{ink}"' if ink != INK else "")
            # Its length is given: fonts differ, and columns must not.
            place = f'x="{at * WIDE:g}" y="13" textLength="{len(run) * WIDE:g}" lengthAdjust="spacingAndGlyphs"'
            parts.append(f"<text {place}{look}>{escape(text)}</text>")
        at += len(run)
    return f'<g id="{name}">{"".join(parts)}</g>'


def colour(name: str, plain: str) -> str:
    """Of pyte's names or six digits."""
    if name == "default":
        return plain
    return COLOURS.get(name.removeprefix("bright"), f"#{name}")


if __name__ == "__main__":
    main()
