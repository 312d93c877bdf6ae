"""Draw how people are divided, for README.md: `python3 start.py run python docs/folds.py`.

The synthetic recordings' people, who are divided as UTD-MHAD's are.
"""

from pathlib import Path

from mmssl.data.protocols import leave_one_subject_out, split
from mmssl.data.synthetic import generate
from mmssl.recipe import Data

PICTURE = Path(__file__).resolve().parent / "pictures" / "folds.svg"
TRAINS, HELD_OUT, TESTED, UNSEEN = (
    "trains",
    "held out: chooses the point",
    "test: scored at export",
    "not looked at",
)
WIDE, HIGH, LEFT, TOP = 66, 30, 176, 40


def main() -> None:
    PICTURE.write_text(drawing(*parts()), "utf-8")


def parts() -> tuple[list[str], dict[str, dict[str, str]]]:
    """The people, and what each is for in each fold and at the export."""
    recordings, data = generate(), Data()
    people = sorted({row.subject for row in recordings.rows})
    rows: dict[str, dict[str, str]] = {}
    for number, fold in enumerate(leave_one_subject_out(recordings, data), start=1):
        of_fold = split(recordings, data.model_copy(update={"validation_subjects": fold}))
        chosen = {TRAINS: of_fold.train, HELD_OUT: of_fold.validation, UNSEEN: of_fold.test}
        rows[f"fold {number}"] = {recordings.rows[i].subject: part for part, some in chosen.items() for i in some}
    whole = split(recordings, data)
    rows["best --export --refit"] = {
        recordings.rows[i].subject: part
        for part, some in {TRAINS: whole.train, TESTED: whole.test}.items()
        for i in some
    }
    return people, rows


def drawing(people: list[str], rows: dict[str, dict[str, str]]) -> str:
    looks = {TRAINS: "a", HELD_OUT: "b", TESTED: "c", UNSEEN: "d"}
    width = LEFT + len(people) * WIDE + 10
    below = TOP + len(rows) * HIGH + 8
    cells: list[str] = []
    for x, person in enumerate(people):
        cells.append(f'<text x="{LEFT + (x + 0.5) * WIDE:g}" y="{TOP - 10}" text-anchor="middle">{person}</text>')
    for y, (name, own) in enumerate(rows.items()):
        # The last row is no fold.
        top = TOP + y * HIGH + (8 if y == len(rows) - 1 else 0)
        cells.append(f'<text x="{LEFT - 12}" y="{top + 19}" text-anchor="end">{name}</text>')
        cells += [
            f'<rect class="{looks[own[person]]}" x="{LEFT + x * WIDE + 2}" y="{top + 2}" width="{WIDE - 4}" '
            f'height="{HIGH - 4}" rx="4"/>'
            for x, person in enumerate(people)
        ]
    for part, look in looks.items():
        row, column = divmod(list(looks).index(part), 2)
        at, top = LEFT + column * 4 * WIDE, below + 14 + row * 26
        cells.append(f'<rect class="{look}" x="{at + 2}" y="{top}" width="22" height="16" rx="4"/>')
        cells.append(f'<text x="{at + 32}" y="{top + 13}">{part}</text>')
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {below + 70}" role="img" '
        f'aria-label="Four people train, each held out in one fold; the test people are scored at export">'
        "<style>text{font:14px system-ui,sans-serif;fill:#768390}.a{fill:#4c86c6}.b{fill:#e3a008}.c{fill:#b4409a}"
        ".d{fill:none;stroke:#8c959f;stroke-dasharray:4 3}"
        "</style>"
        f'<text x="{LEFT - 12}" y="{TOP - 10}" text-anchor="end">person</text>{"".join(cells)}</svg>\n'
    )


if __name__ == "__main__":
    main()
