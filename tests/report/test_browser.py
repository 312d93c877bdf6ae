"""The page in a browser: it runs without an error or a request, fits narrow and wide screens, and works by keyboard."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from pages import CLASSES, HOSTILE, command
from playwright.sync_api import Browser, Page

from mmssl import Recordings, Row
from mmssl.report.content import gather
from mmssl.report.exhibit import exhibit
from mmssl.report.page import render
from mmssl.study.folder import Study
from mmssl.study.plan import Plan, PlannedTrial
from mmssl.study.record import Record
from mmssl.study.results import representative

pytestmark = pytest.mark.browser

Open = Callable[..., Page]

CHARTS = ("map-chart", "ranking-chart", "confusion-chart", "tsne-chart")


@pytest.fixture
def opened(chromium: Browser, page: Path) -> Iterator[Open]:
    """Opens the page in a window of a width; whatever it complains of or asks the network for fails the test."""
    contexts: list[Any] = []
    complaints: list[str] = []

    def open_(width: int = 1600, path: Path = page, **settings: Any) -> Page:
        context = chromium.new_context(viewport={"width": width, "height": 900}, **settings)
        contexts.append(context)
        window = context.new_page()
        window.on("console", lambda said: complaints.append(f"{said.type}: {said.text}"))
        window.on("pageerror", lambda error: complaints.append(str(error)))
        window.on("dialog", lambda dialog: (complaints.append(f"dialog {dialog.message}"), dialog.dismiss()))
        window.on(
            "request",
            lambda asked: None if asked.url.startswith(("file:", "data:")) else complaints.append(asked.url),
        )
        window.goto(path.as_uri())
        window.wait_for_selector("html[data-ready]", state="attached", timeout=20_000)
        return window

    yield open_
    for context in contexts:
        context.close()
    assert complaints == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [380, 1600])
def test_charts_are_there_and_readable(opened: Open, width: int, scheme: str) -> None:
    window = opened(width, color_scheme=scheme)
    for name in CHARTS:
        box = window.locator(f"#{name} svg").bounding_box()
        assert box, name
        assert box["width"] > 200, name
        assert box["height"] > 60, name
    assert window.locator("#curves .panel svg").count() >= 9
    # As drawn on the screen: the size in the file times what the picture is scaled by.
    sizes = window.evaluate(
        """() => [...document.querySelectorAll('.chart svg')].flatMap((svg) => {
            const scale = svg.getBoundingClientRect().width / svg.width.baseVal.value;
            return [...svg.querySelectorAll('text')].filter((t) => t.textContent && getComputedStyle(t).opacity !== '0')
                .map((t) => scale * parseFloat(getComputedStyle(t).fontSize));
        })"""
    )
    assert len(sizes) > 50
    assert min(sizes) >= 10.9
    across = window.evaluate("[document.documentElement.scrollWidth, document.documentElement.clientWidth]")
    assert across[0] <= across[1], "the page does not scroll sideways"


def test_cells_show_mean_and_failure_without_relying_on_colour(opened: Open) -> None:
    window = opened()
    texts = window.locator("#map-chart svg text").all_text_contents()
    assert "✕ 1 of 3" in texts
    assert any(re.fullmatch(r"◆ \d+\.\d", text) for text in texts), "in per cent"
    assert window.locator('#map-chart svg path[fill="url(#hatch)"]').count() == 2


def test_hover_says_which_recording_it_is(opened: Open) -> None:
    window = opened()
    window.locator("#tsne-chart svg .mark-symbol path").first.hover()
    tooltip = window.locator("#vg-tooltip-element")
    tooltip.wait_for(state="visible")
    text = tooltip.inner_text()
    assert "<u>" in text, "the id as text"
    assert tooltip.locator("img, u, script").count() == 0


def test_names_are_text_wherever_they_are_shown(opened: Open) -> None:
    window = opened()
    assert window.evaluate("document.querySelectorAll('img, b, u, i:not(.dash), main script').length") == 0
    assert HOSTILE in window.locator("#tsne-class").inner_text()
    assert HOSTILE in window.locator("header").inner_text()
    assert window.locator("#tsne-key li").all_text_contents() == [name.replace("\u2028", "\u2424") for name in CLASSES]


def test_a_trial_is_chosen_by_keyboard(opened: Open) -> None:
    window = opened()
    before = window.locator("#trial-words").inner_text()
    path = window.locator("#curves .panel:first-child svg .mark-line path").first
    line = path.get_attribute("d")
    window.locator("#trial").focus()
    window.keyboard.press("ArrowDown")
    window.wait_for_function("(said) => document.getElementById('trial-words').textContent !== said", arg=before)
    window.wait_for_function(
        "(d) => document.querySelector('#curves .panel svg .mark-line path').getAttribute('d') !== d", arg=line
    )
    window.locator("#beside").focus()
    window.keyboard.press("ArrowDown")
    window.wait_for_function(
        "() => document.querySelectorAll('#curves .panel:first-child svg .mark-line path').length === 2"
    )


def test_a_recording_is_played_by_keyboard(opened: Open) -> None:
    window = opened()
    # As where a frame began before the key was pressed.
    window.evaluate("() => { const now = performance.now.bind(performance); performance.now = () => now() + 100; }")
    first = window.locator("#body circle").first
    rest = first.get_attribute("cx")
    window.wait_for_timeout(300)
    assert first.get_attribute("cx") == rest, "it does not play by itself"
    play = window.locator("#play")
    play.focus()
    window.keyboard.press("Enter")
    assert play.get_attribute("aria-pressed") == "true"
    window.wait_for_function("() => Number(document.getElementById('time').value) > 30")
    assert first.get_attribute("cx") != rest
    cursor = window.locator("#traces .trace line:not(.zero)").first
    assert float(cursor.get_attribute("x1") or 0) > 0
    window.keyboard.press("Enter")
    assert play.inner_text() == "Play"
    window.locator("#time").focus()
    window.keyboard.press("Home")
    assert first.get_attribute("cx") == rest
    told = window.locator("#recording-words").inner_text()
    window.locator("#recording").focus()
    window.keyboard.press("ArrowDown")
    window.wait_for_function("(said) => document.getElementById('recording-words').textContent !== said", arg=told)
    assert window.locator("#traces .trace").count() == 2, "three channels that turn together, and the one left"


def test_turning_moves_the_skeleton(opened: Open) -> None:
    window = opened()
    rest = window.locator("#body circle").nth(3).get_attribute("cx")
    window.locator("#turn").focus()
    for _ in range(6):
        window.keyboard.press("ArrowRight")
    assert window.locator("#body circle").nth(3).get_attribute("cx") != rest


def test_clicking_the_map_chooses_the_recording(opened: Open) -> None:
    window = opened()
    marks = window.locator("#tsne-chart svg .mark-symbol path")
    assert marks.count() == 9
    last = marks.nth(8)
    last.click(force=True)
    name = (last.get_attribute("aria-label") or "").split("recording: ")[1].split(";")[0]
    assert window.locator("#recording-words").inner_text().startswith(name)


def test_each_map_can_be_chosen(opened: Open) -> None:
    window = opened()
    counts = []
    for value in range(4):
        window.locator("#tsne-view").select_option(str(value))
        expected = 18 if value == 3 else 9
        window.wait_for_function(
            "(n) => document.querySelectorAll('#tsne-chart svg .mark-symbol.role-mark path').length === n", arg=expected
        )
        counts.append(expected)
    assert counts == [9, 9, 9, 18], "each modality's embedding is a mark of its own"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_contrast_is_that_of_wcag(opened: Open, scheme: str) -> None:
    window = opened(1600, color_scheme=scheme)
    poor = window.evaluate(
        """() => {
        const channel = (v) => { v /= 255; return v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; };
        const parse = (c) => { const m = c.match(/[\\d.]+/g).map(Number); return m.length === 3 ? [...m, 1] : m; };
        const light = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
        const ground = (node) => {
            for (let n = node; n; n = n.parentElement) {
                const c = parse(getComputedStyle(n).backgroundColor);
                if (c[3] > 0.99) return c;
            }
            return [255, 255, 255, 1];
        };
        const found = [];
        const look = (node, colour) => {
            const [a, b] = [light(parse(colour)), light(ground(node))].sort((x, y) => y - x);
            const ratio = (a + 0.05) / (b + 0.05);
            const what = `${node.tagName} ${node.className.baseVal ?? node.className} ${node.textContent.slice(0, 30)}`;
            if (ratio < 4.5) found.push(`${what} ${ratio.toFixed(2)}`);
        };
        for (const node of document.querySelectorAll('main *, header *, nav *, footer *')) {
            const own = [...node.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim());
            if (!own || node.closest('svg') || node.closest('details:not([open])')) continue;
            look(node, getComputedStyle(node).color);
        }
        const letters = document.querySelectorAll('.chart .role-axis text, .chart .role-legend text');
        for (const node of letters) look(node, getComputedStyle(node).fill);
        return [found, letters.length];
    }"""
    )
    assert poor[0] == []
    assert poor[1] > 50


def test_axe_finds_no_fault(opened: Open) -> None:
    window = opened()
    window.evaluate("for (const one of document.querySelectorAll('details')) one.open = true;")
    window.locator("#second").select_option(index=1)
    window.wait_for_selector("#tsne-table tr")
    for width, scheme in ((380, "dark"), (1024, "light"), (1600, "dark")):
        window.set_viewport_size({"width": width, "height": 900})
        window.emulate_media(color_scheme=scheme)
        found = Axe().run(window).response
        assert len(found["passes"]) > 25
        faults = [(one["id"], [node["html"][:200] for node in one["nodes"][:3]]) for one in found["violations"]]
        assert faults == [], f"{scheme}, {width} pixels"


def test_a_click_or_a_key_on_the_map_moves_all_parts_to_that_point(opened: Open, lost: tuple[Study, Plan]) -> None:
    window = opened()
    cells = window.locator('#map-chart svg path[role="button"]')
    assert cells.count() == 4
    before = window.locator("#trial").input_value()
    assert window.locator("#map-chart svg path[tabindex='0']").count() == 1, "one stop of the Tab key"
    window.locator("#map-chart svg path[tabindex='0']").focus()
    first = window.locator("#point").input_value()
    for key in ("ArrowLeft", "Enter", "ArrowUp", "Enter"):  # From the best, below on the right.
        window.keyboard.press(key)
    assert window.locator("#point").input_value() != first
    for cell in cells.all():
        cell.click(force=True)
        point = window.locator("#point").input_value()
        assert window.locator("#ranking-table tr[aria-current]").get_attribute("data-point") == point
        trial = window.locator("#trial").input_value()
        assert trial in {one.trial_id for one in lost[1].candidates[point]}
        complete = window.locator(f"#confusion-point option[value='{point}']").count()
        assert (window.locator("#confusion-point").input_value() == point) == bool(complete)
    window.locator("#ranking-table .pick").first.click()
    assert window.locator("#trial").input_value() == before
    assert window.locator("#guess-words").inner_text() == ""
    window.locator("#ranking-table .pick").nth(1).click()
    said = window.locator("#guess-words").inner_text()
    assert "What was predicted and the places are by" in said
    assert "the motions are the recordings' own, whatever the point" in said


def test_the_places_are_those_of_the_picked_point(
    opened: Open, lost: tuple[Study, Plan], recordings: Recordings, tmp_path: Path
) -> None:
    marks = "document.querySelectorAll('#tsne-chart svg .mark-symbol.role-mark path')"
    drawn = f"[...{marks}].map((one) => one.getAttribute('transform'))"
    window = opened()
    best = window.evaluate(drawn)
    window.locator("#ranking-table .pick").nth(1).click()
    window.wait_for_function(f"(before) => JSON.stringify({drawn}) !== JSON.stringify(before)", arg=best)
    assert len(window.evaluate(drawn)) == len(best)
    window.locator("#ranking-table .pick").first.click()
    window.wait_for_function(f"(before) => JSON.stringify({drawn}) === JSON.stringify(before)", arg=best)
    # Where only the best point's encoders are kept, the page says so, and the marks stay.
    study, plan = lost
    content = gather(study, plan, CLASSES)
    assert content.best is not None
    with pytest.MonkeyPatch.context() as patch:
        kept = representative(plan, content.best.point, study.has_model).trial_id
        patch.setattr(Study, "has_model", lambda _, trial_id: trial_id == kept)
        found = exhibit(study, plan, content.best.point, recordings, [one.point for one in content.ranked])
    out = tmp_path / "page.html"
    out.write_text(render(content, found, ""), "utf-8")
    window = opened(1600, out)
    best = window.evaluate(drawn)
    window.locator("#ranking-table .pick").nth(1).click()
    said = window.locator("#guess-words").inner_text()
    assert f"The places are still by {content.best.label}" in said
    assert "keep_models: all" in said
    window.wait_for_timeout(200)
    assert window.evaluate(drawn) == best


def test_predictions_of_a_stream_are_drawn_over_its_time(
    opened: Open, lost: tuple[Study, Plan], recordings: Recordings, tmp_path: Path
) -> None:
    """Each subject's recordings are made windows of 2 s, one a second, of one stream; two neighbours share a label."""
    import pandas as pd

    study, plan = lost
    rows: list[Row] = []
    for row in recordings.rows:
        start = float(sum(one.source == f"day of {row.subject}" for one in rows))
        place = {"source": f"day of {row.subject}", "start": start, "end": start + 2, "interval": str(int(start) // 3)}
        rows.append(row.model_copy(update=place))
    windows = Recordings(recordings.description, rows, recordings.skeleton, recordings.imu)
    content = gather(study, plan, CLASSES)
    assert content.best is not None
    found = exhibit(study, plan, content.best.point, windows)
    out = tmp_path / "page.html"
    out.write_text(render(content, found, ""), "utf-8")
    window = opened(1024, out)
    bands = window.evaluate(
        """() => [...document.querySelectorAll('#timeline-chart svg .mark-rect.role-mark path')].map((path) => {
            const box = path.getBoundingClientRect();
            return {...path.__data__.datum, left: box.left, right: box.right, fill: path.getAttribute('fill')};
        })"""
    )
    table = pd.read_parquet(study.folder / "predictions.parquet")
    said = table[table["trial_id"] == found.trial.trial_id].set_index("recording_id")["predicted"].to_dict()
    own = [row for row in rows if row.subject == found.trial.fold]
    shown = {name: name.replace("\u2028", "\u2424") for name in CLASSES}
    guesses = [band for band in bands if band["what"] == "predicted"]
    assert [(band["start"], band["class"]) for band in guesses] == [
        (row.start, shown[said[row.recording_id]]) for row in own
    ]
    assert [band["end"] for band in guesses] == [*(row.start for row in own[1:]), own[-1].end], "up to the next one"
    labels = [band for band in bands if band["what"] == "label"]
    assert [(band["start"], band["end"], band["class"]) for band in labels] == [
        (first.start, last.end, shown[first.label]) for first, last in zip(own[::3], own[2::3], strict=True)
    ]
    second = (guesses[1]["left"] - guesses[0]["left"]) / 1.0
    for band in bands:
        assert band["left"] - guesses[0]["left"] == pytest.approx(second * band["start"], abs=1.5)
        assert band["right"] - band["left"] == pytest.approx(second * (band["end"] - band["start"]), abs=1.5)
    fills = {(band["class"], band["fill"]) for band in bands}
    assert len(fills) == len({band["class"] for band in bands}), "a class is one colour, predicted or true"
    assert f"day of {found.trial.fold}" in (window.locator("#timeline-chart svg").text_content() or "")
    window.locator("#recordings summary").first.click()
    lines = window.locator("#timeline-table tbody tr").all_inner_texts()
    assert len(lines) == len(bands)
    assert lines[0].split("\t")[:4] == [f"day of {found.trial.fold}", "predicted", "0.00", "1.00"]


def test_recordings_say_what_the_picked_point_predicted(opened: Open, lost: tuple[Study, Plan]) -> None:
    import pandas as pd

    window = opened()
    window.locator("#ranking-table .pick").nth(1).click()
    point = window.locator("#point").input_value()
    table = pd.read_parquet(lost[0].folder / "predictions.parquet")
    name = window.locator("#recording-words").inner_text().split(":")[0]
    (row,) = table[(table["point_id"] == point) & (table["recording_id"] == name)].to_dict("records")
    said = (
        "classified right" if row["predicted"] == row["label"] else f"taken for {row['predicted']}".split("\u2028")[0]
    )
    assert said in window.locator("#recording-words").inner_text()
    assert f"{row['confidence']:.2f}" in window.locator("#recording-words").inner_text()


def test_the_ranking_is_put_in_order_by_its_heads(opened: Open) -> None:
    window = opened()
    means = window.locator("#ranking-table tbody tr td:nth-child(3)")
    window.get_by_role("button", name="mean", exact=True).focus()
    found: list[list[float]] = []
    for _ in range(2):
        window.keyboard.press("Enter")
        found.append([float(text) for text in means.all_inner_texts()])
    assert found == [sorted(found[0]), sorted(found[0], reverse=True)]
    assert len(found[0]) == 5, "four points and chance"
    assert window.locator("#ranking-table th[aria-sort]").get_attribute("aria-sort") == "descending"
    assert window.locator("#ranking-table tr.reference").inner_text().split()[:3] == ["-", "chance", "33.3"]
    assert "chance 33.3%" in window.locator("#ranking-chart svg").text_content().split("untrained")[0]


def test_tooltips_answer_anywhere_on_a_curve_and_do_not_cover_it(opened: Open) -> None:
    window = opened(reduced_motion="reduce")  # Or the page would still scroll.
    chart = window.locator("#curves .panel:first-child svg")
    chart.scroll_into_view_if_needed()
    box = window.locator("#curves .panel:first-child svg .background").first.bounding_box()
    assert box
    tooltip = window.locator("#vg-tooltip-element.visible")
    for across, down in ((0.1, 0.2), (0.4, 0.9), (0.6, 0.1), (0.9, 0.5)):
        x, y = box["x"] + across * box["width"], box["y"] + down * box["height"]
        for near in (-2, -1, 0):  # A pointer comes by several steps.
            window.mouse.move(x + near, y)
        assert "epoch" in tooltip.inner_text()
    cell = window.locator('#map-chart svg path[role="button"]').first
    cell.scroll_into_view_if_needed()
    cell.hover(force=True)
    shown, mark = tooltip.bounding_box(), cell.bounding_box()
    assert shown
    assert mark
    apart = (
        shown["x"] >= mark["x"] + mark["width"] or shown["x"] + shown["width"] <= mark["x"]
        or shown["y"] >= mark["y"] + mark["height"] or shown["y"] + shown["height"] <= mark["y"]
    )  # fmt: skip
    assert apart


# Numbers, dates, hashes and names with a dot or a digit; that all are laid out is what the count is for.
@pytest.fixture(scope="module")
def whole_page(study_of: Callable[..., tuple[Study, Plan]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page with every kind of chart that has marks: beside another study, with few labels."""
    import pyarrow as pa

    def ending(name: str) -> Any:
        def end(trial: PlannedTrial) -> Record:
            x, y = trial.point["objective.lambda"], trial.point["objective.mu"]
            noise = {"anna": -0.04, "ben": 0.01, "chris": 0.03}[trial.fold]
            lift = (0.2 if y == 10 else 0.01) - noise / 2 if name == "ours" else noise
            return scored(trial, 0.5 + x / 100 + lift)

        return end

    grid = {"objective.lambda": [1.0, 5.0, 10.0], "objective.mu": [1.0, 10.0]}
    study, _ = study_of("ours", ending("ours"), grid=grid)
    study_of("theirs", ending("theirs"), root=Path(study.root), grid=grid)
    rows = [
        {"system": system, "trained_on": "imu", "read_from": "imu", "labels": share, "recordings.labelled": 10.0,
         "mean": mean, "low": mean - 0.1, "high": mean + 0.1, "draws": 5}
        for system, mean in (("vicreg", 0.5), ("untrained", 0.3))
        for share in (0.01, 0.5)
    ]  # fmt: skip
    study.put_table("tables/few_labels.parquet", pa.Table.from_pylist(rows))
    out = tmp_path_factory.mktemp("whole") / "page.html"
    assert command("report", "ours", "--storage", study.root, "--against", "theirs", "--out", out) == 0
    return out


@pytest.fixture
def whole(opened: Open, whole_page: Path) -> Page:
    return opened(1600, whole_page, reduced_motion="reduce")


_CELLS = """() => [...document.querySelectorAll('#against-chart svg .mark-rect.role-mark path')].map((path) => {
    const {left, right, top, bottom} = path.getBoundingClientRect();
    return {...path.__data__.datum, box: [left, -right, top, -bottom], frame: path.getAttribute('stroke-width') === '3',
        dashed: path.getAttribute('stroke-dasharray') !== null};
})"""


def test_the_map_of_differences_is_in_points_and_frames_what_is_significant(whole: Page) -> None:
    legend = whole.locator("#against-chart svg .role-legend text").all_text_contents()
    assert "difference, in points" in legend
    numbers = [text for text in legend if re.search(r"\d", text)]
    assert len(numbers) > 1
    assert [text for text in numbers if not re.fullmatch(r"[-+\u2212]\d+\.\d", text)] == []
    assert max(float(text) for text in numbers if text[0] == "+") > 5
    caption = whole.locator("#against figcaption").inner_text()
    assert "● and a frame about the cell: significant" in caption
    assert "a dashed frame inside the cell: the point picked" in caption
    rows = {row["id"]: row for row in whole.evaluate(_CELLS)}
    sure = {name for name, row in rows.items() if row["significance"] == "significant"}
    assert len(rows) == 6
    assert 0 < len(sure) < 6
    for name in rows:
        whole.locator("#point").select_option(name)
        whole.wait_for_function(
            "(id) => [...document.querySelectorAll('#against-chart svg path[stroke-dasharray]')]"
            ".some((one) => one.__data__.datum.id === id)",
            arg=name,
        )
        cells = whole.evaluate(_CELLS)
        assert {cell["id"] for cell in cells if cell["frame"]} == sure
        (picked,) = [cell for cell in cells if cell["dashed"]]
        assert (picked["id"], picked["frame"]) == (name, False)
        about = next(cell for cell in cells if cell["id"] == name and not cell["dashed"])
        assert all(inner - outer >= 4 for inner, outer in zip(picked["box"], about["box"], strict=True))
    texts = whole.locator("#against-chart svg .mark-text text").all_text_contents()
    assert sum("●" in text for text in texts) == len(sure)
    whole.locator("#against-chart svg .mark-rect.role-mark path").first.hover(force=True)
    said = whole.locator("#vg-tooltip-element.visible").inner_text()
    assert re.search(r"difference in points\s*[-+]\d+\.\d\s", said)
    assert "%" not in said.replace("95 %", "")


@pytest.mark.parametrize(
    ("mark", "away", "says"),
    [
        ("#ranking-chart svg .mark-rule.role-mark line", (0, 9), "mean accuracy"),
        ("#importance-chart svg .mark-rect.role-mark path", (0, 14), "share"),
        ("#labels-chart svg .mark-symbol.role-mark path", (12, -18), "system"),
        ("#map-chart svg .mark-rect.role-mark path", (0, 0), "mean accuracy"),
        ("#against-chart svg .mark-rect.role-mark path", (0, 0), "difference in points"),
    ],
)
def test_tooltips_answer_beside_a_mark(whole: Page, mark: str, away: tuple[int, int], says: str) -> None:
    answers(whole, whole.locator(mark).last, away, says)


def test_recordings_answer_to_a_pointer_and_a_click_beside_their_marks(opened: Open) -> None:
    window = opened(reduced_motion="reduce")
    # Of all marks the one farthest from its neighbours: there is room beside it, towards the chart's middle.
    lone = window.evaluate(
        """() => {
            const at = (path) => {
                const box = path.getBoundingClientRect();
                return [box.x + box.width / 2, box.y + box.height / 2];
            };
            const all = [...document.querySelectorAll('#tsne-chart svg .mark-symbol.role-mark path')].map(at);
            const room = all.map(([x, y], i) =>
                Math.min(...all.filter((_, j) => j !== i).map(([a, b]) => Math.hypot(a - x, b - y))));
            const lone = room.indexOf(Math.max(...room));
            const chart = document.querySelector('#tsne-chart svg').getBoundingClientRect();
            return [lone, room[lone], all[lone][1] < chart.y + chart.height / 2 ? 24 : -24];
        }"""
    )
    assert lone[1] > 50
    mark = window.locator("#tsne-chart svg .mark-symbol.role-mark path").nth(lone[0])
    answers(window, mark, (0, lone[2]), "recording")
    name = (mark.get_attribute("aria-label") or "").split("recording: ")[1].split(";")[0]
    box = mark.bounding_box()
    assert box
    window.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2 + lone[2])
    assert window.locator("#recording-words").inner_text().startswith(name)


def answers(window: Page, mark: Any, away: tuple[int, int], says: str) -> None:
    """A pointer that is off the mark by so much has the mark's words; one that is far from all has none."""
    mark.scroll_into_view_if_needed()
    box = mark.bounding_box()
    assert box
    x, y = box["x"] + box["width"] / 2 + away[0], box["y"] + box["height"] / 2 + away[1]
    window.mouse.move(x - 1, y)
    window.mouse.move(x, y)
    under = window.evaluate(
        """([x, y]) => {
            const one = [].concat(document.elementFromPoint(x, y).__data__ || [])[0];
            return Boolean(one && one.tooltip);
        }""",
        [x, y],
    )
    assert under == (away == (0, 0))
    tooltip = window.locator("#vg-tooltip-element.visible")
    assert says in tooltip.inner_text()
    window.mouse.move(5, 5)
    assert tooltip.count() == 0


_BROKEN = r"""() => {
    for (const one of document.querySelectorAll('details')) one.open = true;
    const found = [], all = [];
    for (const node of document.querySelectorAll('th, td, dd')) {
        const walk = document.createTreeWalker(node, NodeFilter.SHOW_TEXT);
        for (let text = walk.nextNode(); text; text = walk.nextNode())
            for (const one of text.data.matchAll(/[\w.]+(?:[-+:]\w[\w.]*)*/g)) {
                const word = one[0], at = one.index;
                if (!/[\d_]|\w\.\w/.test(word)) continue;
                const range = document.createRange();
                range.setStart(text, at); range.setEnd(text, at + word.length);
                const rows = new Set([...range.getClientRects()].map((rect) => Math.round(rect.top)));
                if (rows.size) all.push(word);
                if (rows.size > 1) found.push(word);
            }
    }
    return [found, all];
}"""


def test_numbers_hashes_and_names_are_whole_and_plain_on_a_phone_and_on_paper(
    opened: Open, lost: tuple[Study, Plan]
) -> None:
    window = opened(380)
    fingerprint = lost[1].dataset.fingerprint
    broken, seen = window.evaluate(_BROKEN)
    assert broken == []
    assert {"objective.lambda", "pretrain.epochs", "val.accuracy", fingerprint} <= {*seen}
    assert len(seen) > 250
    across = "(node) => [node.clientWidth < node.scrollWidth, node.title]"
    assert window.locator("button.hash").first.evaluate(across) == [True, f"Copy {fingerprint}"]
    marks = window.evaluate("[...document.querySelectorAll('.chart svg text')].map((text) => text.textContent)")
    assert [text for text in marks if re.fullmatch(r"-?[\d.]+e[+-]?\d+", text)] == []
    window.set_viewport_size({"width": 718, "height": 1000})  # A4 less its margins
    window.emulate_media(media="print")
    assert window.evaluate(_BROKEN)[0] == []
    assert window.locator("button.hash").first.evaluate(across)[0] is False, "paper cannot be asked for the rest"
    out = window.evaluate("[...document.querySelectorAll('table')].filter((t) => t.offsetWidth > 718).length")
    assert out == 0, "no table is wider than the paper"


def test_commands_ids_and_tables_are_copied(opened: Open, lost: tuple[Study, Plan]) -> None:
    window = opened(permissions=["clipboard-read", "clipboard-write"])
    read = "navigator.clipboard.readText()"
    window.get_by_role("button", name="Copy command").first.click()
    assert window.evaluate(read) == window.locator("pre").first.inner_text()
    window.locator("#ranking-table button.id").first.click()
    assert re.fullmatch("lost:[0-9a-f]{16,}", window.evaluate(read))
    window.locator("button.hash").first.click()
    assert window.evaluate(read) == lost[1].dataset.fingerprint
    window.locator("#ranking .copy:not(.id)").click()
    lines = window.evaluate(read).splitlines()
    assert lines[0].split("\t")[:3] == ["rank", "point", "mean"]
    assert len(lines) == 6


def test_a_skeleton_is_dragged_stepped_and_set_beside_another(opened: Open) -> None:
    window = opened(reduced_motion="reduce")
    joint = window.locator("#body circle").nth(3)
    rest = joint.get_attribute("cx")
    window.locator("#body").scroll_into_view_if_needed()
    box = window.locator("#body").bounding_box()
    assert box
    window.mouse.move(box["x"] + 100, box["y"] + 50)
    window.mouse.down()
    window.mouse.move(box["x"] + 180, box["y"] + 50)
    window.mouse.up()
    assert joint.get_attribute("cx") != rest
    assert window.locator("#turn").input_value() == "40"
    window.get_by_role("button", name="One frame on").press("Enter")
    assert 0 < int(window.locator("#time").input_value()) < 100
    window.get_by_role("button", name="One frame back").press("Enter")
    assert window.locator("#time").input_value() == "0"
    assert not window.locator("#second-body").is_visible()
    window.locator("#second").select_option(index=2)
    assert window.locator("#second-body circle").count() == 5
    assert window.locator("#second-traces .trace").count() == 2
    window.locator("#time").fill("500")
    paths = [window.locator(f"#{name} circle").nth(1).get_attribute("cx") for name in ("body", "second-body")]
    assert paths[0] != paths[1]


def test_what_a_screen_reader_needs(opened: Open) -> None:
    window = opened()
    faults = window.evaluate(
        """() => {
        const faults = [];
        const levels = [...document.querySelectorAll('h1, h2, h3')].map((h) => Number(h.tagName[1]));
        if (levels.filter((l) => l === 1).length !== 1) faults.push('one h1');
        levels.forEach((l, i) => { if (i && l > levels[i - 1] + 1) faults.push(`level ${levels[i - 1]} to ${l}`); });
        for (const control of document.querySelectorAll('select, input'))
            if (!control.labels.length && !control.getAttribute('aria-label')) faults.push(`no label: ${control.id}`);
        for (const svg of document.querySelectorAll('svg:not([aria-hidden="true"])'))
            if (!svg.getAttribute('aria-label') && !svg.querySelector('title')) faults.push('svg without a name');
        for (const table of document.querySelectorAll('table'))
            if (table.rows.length && !table.querySelector('th[scope]')) faults.push('table without heads');
        const ids = [...document.querySelectorAll('[id]')].map((n) => n.id);
        ids.forEach((id, i) => { if (ids.indexOf(id) !== i) faults.push(`twice: ${id}`); });
        for (const link of document.querySelectorAll('a[href^="#"]'))
            if (!document.getElementById(link.hash.slice(1))) faults.push(link.hash);
        for (const name of ['header', 'nav', 'main', 'footer'])
            if (document.querySelectorAll(name).length !== 1) faults.push(name);
        if (!document.documentElement.lang || !document.title) faults.push('lang or title');
        return faults;
    }"""
    )
    assert faults == []


def test_focus_is_seen(opened: Open) -> None:
    window = opened()
    window.keyboard.press("Tab")
    outline = window.evaluate(
        "getComputedStyle(document.activeElement).outlineStyle + document.activeElement.className"
    )
    assert outline == "solidskip"


def test_it_prints_in_light_on_pages(opened: Open) -> None:
    window = opened(1600, color_scheme="dark")
    pdf = window.pdf(format="A4")
    assert pdf.startswith(b"%PDF")
    assert pdf.count(b"/Type /Page\n") + pdf.count(b"/Type /Page ") + pdf.count(b"/Type /Page/") >= 3
    window.emulate_media(media="print")
    assert window.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert not window.locator("nav").is_visible()
    assert not window.locator("#play").is_visible()


def places_on_paper(pdf: bytes) -> dict[str, list[int]]:
    """By the word after the last slash of each link, the pages that it is on."""
    objects = {int(one[1]): one[2] for one in re.finditer(rb"(\d+) 0 obj\n(.*?)endobj", pdf, re.DOTALL)}
    found: dict[str, list[int]] = {}
    pages = (one for one in objects.values() if re.search(rb"/Type /Page\b", one))
    for number, page in enumerate(pages):
        for own in re.findall(rb"(\d+) 0 R", (re.findall(rb"/Annots \[(.*?)\]", page) or [b""])[0]):
            for address in re.findall(rb"/URI \(.*/(.*?)\)", objects[int(own)]):
                found.setdefault(address.decode(), []).append(number)
    return found


_LINKED = """() => [...document.querySelectorAll('table')].map((table, i) => {
    const link = (node, j) => {
        const one = document.createElement('a');
        one.href = `https://paper.invalid/${i}-${j}`;
        one.append(...node.childNodes);
        node.append(one);
    };
    [...table.tBodies[0]?.rows || []].forEach((row, j) => link(row.cells[0], j));
    const before = table.parentNode.previousElementSibling;
    const title = before && before.matches('.copy') ? before.previousElementSibling : before;
    if (title && title.matches('h2, h3')) link(title, 'title');
    return table.rows.length;
})"""


def test_short_tables_are_whole_on_paper_with_their_headings(opened: Open) -> None:
    window = opened(1024)
    rows = window.evaluate(_LINKED)
    sizes: set[int] = set()
    for above in range(0, 900, 180):
        window.evaluate("(above) => { document.querySelector('main').style.paddingTop = `${above}px`; }", above)
        found: dict[int, set[int]] = {}
        for name, pages in places_on_paper(window.pdf(format="A4")).items():
            found.setdefault(int(name.split("-")[0]), set()).update(pages)
        sizes |= {rows[one] for one in found}
        assert {one: pages for one, pages in found.items() if len(pages) > 1 and rows[one] <= 20} == {}
    assert len(sizes) > 5
    assert max(sizes) > 15


def test_a_long_table_has_its_column_names_on_each_page_and_never_alone(
    opened: Open, study_of: Callable[..., tuple[Study, Plan]], tmp_path: Path
) -> None:
    grid = {"objective.lambda": [float(i) for i in range(1, 7)], "objective.mu": [float(i) for i in range(1, 7)]}
    study, _ = study_of("wide", lambda trial: scored(trial, trial.point["objective.mu"] / 10), grid=grid)
    out = tmp_path / "page.html"
    assert command("report", "wide", "--storage", study.root, "--out", out) == 0
    window = opened(1024, out)
    # Chromium does not paint a box again that stands in a repeated row.
    window.emulate_media(media="print")
    heads = "[...document.querySelectorAll('.sort')].map((one) => getComputedStyle(one).display)"
    assert {*window.evaluate(heads)} == {"contents"}
    window.evaluate(
        "document.querySelector('main').replaceChildren(document.getElementById('ranking-table').parentNode)"
    )
    link = """(node) => {
        const one = document.createElement('a');
        one.href = 'https://paper.invalid/' + node.className;
        one.textContent = node.textContent;
        node.replaceChildren(one);
    }"""
    window.evaluate(f"document.querySelectorAll('#ranking-table thead th:nth-child(3)').forEach({link})")
    window.evaluate(f"document.querySelectorAll('#ranking-table tbody tr:first-child th').forEach({link})")
    for above in range(600, 760, 20):
        window.evaluate("(above) => { document.querySelector('main').style.paddingTop = `${above}px`; }", above)
        pages = places_on_paper(window.pdf(format="A4"))
        assert {*pages["n"]} == {*range(min(pages["n"]), max(pages["n"]) + 1)}
        assert len({*pages["n"]}) > 1
        assert pages["point"][0] == min(pages["n"]), "where the column names are is the first row"


def test_a_page_with_nothing_to_show_is_quiet(
    opened: Open, study_of: Callable[..., tuple[Study, Plan]], tmp_path: Path
) -> None:
    def planned(trial: PlannedTrial) -> Record:
        return Record(trial_id=trial.trial_id, status="PLANNED")

    study, _ = study_of("empty", planned)
    out = tmp_path / "page.html"
    assert command("report", "empty", "--storage", study.root, "--out", out) == 0
    window = opened(380, out)
    assert "There is no best point yet" in window.locator("#verdict").inner_text()


def scored(trial: PlannedTrial, score: float) -> Record:
    facts = {"val.accuracy": score, "val.f1": score}
    return Record(trial_id=trial.trial_id, status="COMPLETE", facts=facts)


def test_points_of_a_sampler_are_scattered(
    opened: Open, study_of: Callable[..., tuple[Study, Plan]], tmp_path: Path
) -> None:
    chosen = [{"objective.lambda": 1.3 * 1.7**i, "objective.mu": 90 / 1.6**i} for i in range(7)]

    def ending(trial: PlannedTrial) -> Record:
        if trial.point == chosen[3]:
            return Record(trial_id=trial.trial_id, status="PRUNED", cause="worse than the best")
        return scored(trial, trial.point["objective.mu"] / 100)

    interval = {"low": 1.0, "high": 100.0, "log": True}
    study, _ = study_of(
        "drawn", ending, chosen=chosen, grid={}, ranges={"objective.lambda": interval, "objective.mu": interval},
        sampler="random", budget=7,
    )  # fmt: skip
    out = tmp_path / "page.html"
    words = ("report", "drawn", "--storage", study.root, "--out", out, "--figures", tmp_path / "figures")
    assert command(*words) == 0
    assert (tmp_path / "figures" / "map.svg").exists()
    window = opened(380, out)
    marks = window.locator("#map-chart svg .mark-symbol.role-mark path")
    assert marks.count() == 7
    (lost,) = [one for one in marks.all() if "PRUNED" in (one.get_attribute("aria-label") or "")]
    assert lost.get_attribute("fill") == "transparent"
    assert "3 PRUNED" in window.locator("#ranking").inner_text()


def test_few_labels_have_a_chart_and_a_caption(
    opened: Open, study_of: Callable[..., tuple[Study, Plan]], tmp_path: Path
) -> None:
    import pyarrow as pa

    study, _ = study_of("few", lambda trial: scored(trial, 0.5))
    rows = [
        {"system": system, "trained_on": "imu+skeleton", "read_from": reading, "labels": share,
         "recordings.labelled": 100 * share, "mean": mean + share / 4, "low": mean - 0.1 + share / 4,
         "high": mean + 0.1 + share / 4, "draws": 5}
        for system in ("vicreg", "supervised", "untrained")
        for reading, mean in (("imu+skeleton", 0.5), ("imu", 0.3))
        for share in (0.01, 0.1, 0.5)
    ]  # fmt: skip
    table = pa.Table.from_pylist(rows).replace_schema_metadata({"caption": f"Few labels: {HOSTILE}"})
    study.put_table("tables/few_labels.parquet", table)
    out = tmp_path / "page.html"
    words = ("report", "few", "--storage", study.root, "--out", out, "--figures", tmp_path / "figures")
    assert command(*words) == 0
    assert {path.name for path in (tmp_path / "figures").glob("few*.pdf")} == {
        "few_labels-imu-skeleton.pdf",
        "few_labels-imu.pdf",
    }
    window = opened(380, out)
    assert window.locator("#labels-chart svg .mark-line path").count() == 3
    said = window.locator("#labels").inner_text()
    assert HOSTILE in said
    assert "42.5 to 62.5" in said, "of a tenth of the labels"
    assert "22.5 to 42.5" in said, "the same from the IMU alone"
    scale = set(window.locator("#labels-chart svg .role-axis text").all_text_contents())
    assert {"0%", "100%", "1%", "10%", "50%"} <= scale
    assert all(0 <= float(text[:-1]) <= 100 for text in scale if text.endswith("%"))
    line = window.locator("#labels-chart svg .mark-line path").first
    before = line.get_attribute("d")
    window.locator("#labels-reading").select_option("from imu")
    window.wait_for_function(
        "(d) => document.querySelector('#labels-chart svg .mark-line path').getAttribute('d') !== d", arg=before
    )


def test_systems_alone_have_a_ranking_and_no_map(
    opened: Open, study_of: Callable[..., tuple[Study, Plan]], tmp_path: Path
) -> None:
    systems = ["untrained", "supervised", "vicreg"]

    def ending(trial: PlannedTrial) -> Record:
        return scored(trial, {"untrained": 0.4, "supervised": 0.7, "vicreg": 0.6}[trial.point["system"]])

    fixed = {"data.steps": 16, "finetune.epochs": 2}
    study, _ = study_of("systems", ending, systems=systems, grid={}, fixed=fixed)
    out = tmp_path / "page.html"
    assert command("report", "systems", "--storage", study.root, "--out", out) == 0
    window = opened(1600, out)
    assert "There is no map" in window.locator("#map").inner_text()
    assert "supervised is best" in window.locator(".headline").inner_text()
    assert window.locator("#ranking-chart svg").is_visible()
