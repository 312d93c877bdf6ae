import itertools
import json
import math
import re
import subprocess
import sys
from pathlib import Path

import pytest

from mmssl.errors import UserError
from mmssl.study.plan import Dataset, make_plan
from mmssl.study.presets import SYSTEMS, RecipeName, preset
from mmssl.study.space import Space, at_point, available, changed, is_shipped, load, text_of
from mmssl.yaml_file import parse_value

TOP = Path(__file__).resolve().parents[2]

GRID = "grid: {objective.lambda: [1, 5], objective.mu: [10, 1]}\n"


@pytest.fixture
def write(tmp_path: Path):
    def write(text: str | bytes, name: str = "mine.yaml") -> str:
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return str(path)

    return write


def points_of(space: Space) -> list[dict[str, object]]:
    return space.points(space.bases("utd_mhad"))


def mistakes(path: str) -> str:
    with pytest.raises(UserError) as error:
        load(path)
    text = str(error.value)
    assert text.startswith(path)
    return text


def test_points_come_in_the_grids_order(write):
    space = load(write(GRID))
    assert space.name == "mine"
    assert (space.seeds, space.folds, space.sampler, space.metric) == (
        [28],
        "leave_one_subject_out",
        "grid",
        "val.accuracy",
    )
    expected = [{"objective.lambda": a, "objective.mu": b} for a in (1, 5) for b in (10, 1)]
    assert points_of(space) == expected
    assert [list(point) for point in points_of(space)] == [["objective.lambda", "objective.mu"]] * 4


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ("lambda == mu", [(1, 1), (2, 2), (3, 3)]),
        ("[lambda == mu, lambda > 1]", [(2, 2), (3, 3)]),
        ("objective.lambda + mu == 4 and nu == 1", [(1, 3), (2, 2), (3, 1)]),
        ("lambda * mu in (2, 3) or mu / lambda == 1.5", [(1, 2), (1, 3), (2, 1), (2, 3), (3, 1)]),
    ],
)
def test_where_keeps_the_points_that_meet_all_conditions(write, where: str, expected: list[tuple[int, int]]):
    text = "grid: {objective.lambda: [1, 2, 3], objective.mu: [1, 2, 3]}\nfixed: {objective.nu: 1}\n"
    points = points_of(load(write(f"{text}where: {where}\n")))
    assert [tuple(point.values()) for point in points] == expected


def test_values_come_out_as_a_recipe_holds_them(write):
    text = "grid: {pretrain.lr: [1e-3, 1E-2, .5, 1.e+0]}\n"
    space = load(write(text + "fixed: {objective.nu: 2, data.train_subjects: [3, s5]}"))
    assert space.grid == {"pretrain.lr": [0.001, 0.01, 0.5, 1.0]}
    assert space.fixed == {"objective.nu": 2.0, "data.train_subjects": ["3", "s5"]}
    assert type(space.fixed["objective.nu"]) is float


def test_points_keep_to_the_base_recipe(write):
    space = load(write(GRID + "fixed: {objective.nu: 4}"))
    bases = space.bases("mmact")
    assert bases == {"vicreg": preset("mmact").with_knobs({"objective.nu": 4})}
    for point in space.points(bases):
        recipe = at_point(bases, point)
        assert recipe.pretrain.lr == 1e-4
        assert recipe.objective.nu == 4
        assert (recipe.objective.lambda_, recipe.objective.mu) == tuple(point.values())


@pytest.mark.parametrize(
    ("text", "folds"),
    [
        ("[7]", (("7",),)),
        ("[[1, 3], [5]]", (("1", "3"), ("5",))),
        ("[1, [3, s5]]", (("1",), ("3", "s5"))),
        ("[001, [010, 1:30], no]", (("001",), ("010", "1:30"), ("no",))),
        ("[on, [2020-01-01, 0x1F, 1_000]]", (("on",), ("2020-01-01", "0x1F", "1_000"))),
        ("leave_one_subject_out", "leave_one_subject_out"),
        ("test", "test"),
        ("[test]", (("test",),)),
    ],
)
def test_folds_are_groups_of_subjects(write, text: str, folds: object):
    assert load(write(f"{GRID}folds: {text}")).folds == folds


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0", 0), ("-12", -12), ("+7", 7), ("1e3", 1000.0), ("-1.5e-3", -0.0015), (".5", 0.5), ("2.", 2.0),
        ("true", True), ("False", False), ("yes", "yes"), ("off", "off"), ("007", "007"), ("-01", "-01"),
        ("[007, 8]", ["007", 8]), ("1:30", "1:30"), ("null", None), ("~", None), ("", None), ("-.inf", -math.inf),
        ("1.5.2", "1.5.2"), ("e3", "e3"), ("'8'", "8"), ("=", "="),
    ],
)  # fmt: skip
def test_a_word_is_a_number_only_where_it_looks_like_one(text: str, value: object):
    found = parse_value(text)
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("folds: []", "folds: give leave_one_subject_out, a list of held-out groups as [[1, 3], [5]], or test"),
        ("folds: leave_one_out", "not 'leave_one_out'"),
        ("folds: [[1, 3], [3, 1]]", "folds: ['1', '3'] is listed twice"),
        ("folds: [[1, 1]]", "folds: '1' is listed twice"),
        ("folds: [1, '1']", "folds: ['1'] is listed twice"),
        ("folds: [[]]", "folds: a group is a subject or a list of subjects, not []"),
        ("folds: [true]", "not True"),
        ("folds: [1.5]", "not 1.5"),
        ("folds: [[[1]]]", "not [[1]]"),
        ("folds: {1: 2}", "not {1: 2}"),
        ("seeds: []", "seeds: the list should have at least 1 item"),
        ("seeds: 28", "seeds: input should be a list (given: 28)"),
        ("seeds: [1, 2, 1]", "seeds: 1 is listed twice"),
        ("seeds: [-1]", "seeds.0: input should be greater than or equal to 0 (given: -1)"),
        ("seeds: [4294967296]", "seeds.0: input should be less than 4294967296"),
        ("seeds: [true]", "seeds.0: input should be a valid integer (given: True)"),
        ("seeds: [1.5]", "seeds.0: input should be a valid integer (given: 1.5)"),
        ("sampler: tep", "sampler: input should be 'grid', 'race', 'random', 'tpe', 'gp' or 'cmaes' (given: 'tep')"),
        ("budget: 4", "budget: a grid runs all its points"),
        (
            "ranges: {finetune.lr: {low: 1e-4, high: 1e-2}}",
            "a grid has values, not intervals; choose a sampler",
        ),
        ("sampler: random\nbudget: 5", "budget 5: only 4 points can be chosen"),
        ("sampler: cmaes\nbudget: 2", "sampler cmaes: moves within intervals; give all its knobs under ranges"),
        ("sampler: tpe\nbudget: 2\nfolds: test", "sampler tpe: would choose by the test subjects' scores"),
        ("prune: {folds: 0.1}\nfolds: test", "prune: would choose by the test subjects' scores"),
        ("prune: {every: 5}", "prune: give a rule: `folds: 0.1`, or `probe: median` or `probe: halving`"),
        ("prune: {folds: 1.5}", "prune.folds: input should be less than 1 (given: 1.5)"),
        ("prune: {folds: 0.1}\ncost: encoders.flops", "prune: would prune points that are cheap and no better"),
        ("cost: seconds", "cost: input should be 'encoders.parameters' or 'encoders.flops' (given: 'seconds')"),
        ("ranges: {finetune.lr: {low: 2, high: 1}}", "ranges.finetune.lr: low 2 must be below high 1"),
        ("ranges: {finetune.lr: {low: 0, high: 1, log: true}}", "low 0: a logarithmic scale begins above 0"),
        ("ranges: {finetune.lr: {low: 1, high: 2, log: true, step: 1}}", "log and step: choose one of them"),
        ("ranges: {finetune.lr: {low: .nan, high: 2}}", "ranges.finetune.lr.low"),
        ("ranges: {finetune.lr: {low: -1, high: 2}}", "ranges.finetune.lr: input should be greater than 0 (given: -1)"),
        ("ranges: {finetune.rate: {low: 1, high: 2}}", "ranges.finetune.rate: no such knob"),
        ("ranges: {objective.mu: {low: 1, high: 2}}", "ranges.objective.mu: also under grid; take it out of one"),
        ("ranges: {finetune.hidden: {low: 8, high: 64, step: 0.5}}", "step 0.5: the knob is a whole number"),
        (
            "sampler: tpe\nbudget: 2\nranges: {finetune.hidden: {low: 8, high: 64, step: 10}}",
            "ranges.finetune.hidden: step 10 does not divide 8 to 64: the last value would be 58; make that high",
        ),
        (
            "sampler: tpe\nbudget: 2\nranges: {finetune.lr: {low: 0.1, high: 1, step: 0.4}}",
            "ranges.finetune.lr: step 0.4 does not divide 0.1 to 1: the last value would be 0.9; make that high",
        ),
        ("ranges: {data.steps: {low: 16, high: 64}}", "list lengths under grid"),
        ("ranges: {seed: {low: 1, high: 2}}", "ranges.seed: a study takes its seeds from `seeds`"),
        ("sampler: tpe", "budget: sampler tpe needs the number of points to choose"),
        ("metric: test.accuracy", "metric: input should be 'val.accuracy' or 'val.f1' (given: 'test.accuracy')"),
        ("seed: [1]", "seed: no such entry; did you mean seeds?"),
        ("name: mine", "name: no such entry; a space is named by its file"),
        ("1: 2", "1: no such entry; valid names: description, recipe, fixed, systems"),
        ("where: lamda > 1", "where 'lamda > 1': lamda: not in this space; did you mean lambda?"),
        ("where: encoder.imu.layers > 1", "encoder.imu.layers: not in this space"),
        ("where: lambda > 5", "where: none of the grid's 4 points meets it"),
        ("where: lambda / (mu - 10) > 1", "division by zero, at objective.lambda = 1.0, objective.mu = 10.0"),
        ("where: [true]", "where.0: input should be a valid string (given: True)"),
        ("fixed: {objective.mu: 1}", "grid.objective.mu: also under fixed"),
        ("fixed: {objective.nu: .nan}", "fixed.objective.nu: input should be a finite number (given: nan)"),
        ("fixed: {objective.nu: 1e999}", "fixed.objective.nu: input should be a finite number (given: inf)"),
        ("fixed: {objective.nu: one}", "fixed.objective.nu: a number is expected, not 'one'"),
        ("fixed: {objective.nu: }", "fixed.objective.nu: input should be a valid number (given: None)"),
        ("fixed: {encoder.imu.layers: 1.5}", "fixed.encoder.imu.layers: input should be a valid integer"),
        ("fixed: {objective: {nu: 1}}", "fixed.objective: no such knob; did you mean objective.nu"),
        ("fixed: {seed: 1}", "fixed.seed: a study takes its seeds from `seeds`"),
        ("fixed: {data.validation_subjects: [1]}", "a study takes the subjects it holds out from `folds`"),
        ("fixed: [objective.nu]", "fixed: input should be a mapping"),
        ("fixed: {data.modalities: [imu]}", "fixed.data.modalities: system vicreg sets it; choose another system"),
        ("fixed: {objective.name: cmc}", "fixed.objective.name: system vicreg sets it; choose another system instead"),
        ("systems: vicerg", "systems: no system 'vicerg'; did you mean vicreg"),
        ("systems: [simclr]", "systems: no system 'simclr'; did you mean simclr_imu"),
        ("systems: [vicreg, cmc, vicreg]", "systems: 'vicreg' is listed twice"),
        ("systems: []", "systems: the list should have at least 1 item"),
        ("systems: ", "systems.0: input should be a valid string (given: None)"),
        ("systems: [3]", "systems.0: input should be a valid string (given: 3)"),
        ("systems: [[vicreg]]", "systems.0: input should be a valid string (given: ['vicreg'])"),
        ("systems: {vicreg: 1}", "systems.0: input should be a valid string (given: {'vicreg': 1})"),
        ("keep_models: 3", "keep_models: input should be 'best', 'all' or 'none'"),
        ("where: system == 'vicreg'", "system: not in this space"),
    ],
)
def test_each_mistake_is_named_with_its_place(write, entry: str, message: str):
    assert message in mistakes(write(GRID + entry))


@pytest.mark.parametrize(
    ("ranges", "most"),
    [
        ("finetune.hidden: {low: 8, high: 64, step: 8}", 8),
        ("encoder.imu.layers: {low: 1, high: 3}", 3),
        ("finetune.labels: {low: 0.1, high: 0.7, step: 0.2}", 4),
        ("finetune.hidden: {low: 8, high: 64, step: 8}\n  encoder.imu.layers: {low: 1, high: 3}", 24),
        ("finetune.hidden: {low: 8, high: 64, step: 8}\nwhere: hidden > 30\ngrid: {objective.mu: [1, 5]}", 10),
        ("finetune.hidden: {low: 8, high: 64, step: 8}\n  finetune.lr: {low: 0.1, high: 1}", None),
        ("finetune.epochs: {low: 1, high: 1000000}", None),
    ],
)
def test_a_budget_is_no_more_than_the_ranges_hold(write, ranges: str, most: int | None):
    def text(budget: int) -> str:
        return f"sampler: tpe\nbudget: {budget}\nranges:\n  {ranges}"

    if most is None:
        load(write(text(2_000)))
    else:
        load(write(text(most)))
        assert f"budget {most + 1}: only {most} points can be chosen" in mistakes(write(text(most + 1)))


@pytest.mark.parametrize(
    ("grid", "message"),
    [
        ("", "nothing is searched: give a `grid` of knobs, or `systems` or `variants` to compare"),
        ("grid:", "grid: input should be a mapping (given: None)"),
        ("grid: {}", "nothing is searched: give a `grid` of knobs, or `systems` or `variants` to compare"),
        ("grid: {objective.mu: []}", "grid.objective.mu: the list should have at least 1 item"),
        ("grid: {objective.mu: 5}", "grid.objective.mu: input should be a list (given: 5)"),
        ("grid: {objective.mu: [5, 5.0]}", "grid.objective.mu: 5.0 is listed twice"),
        ("grid: {objective.mu: [-1]}", "grid.objective.mu: input should be greater than or equal to 0 (given: -1)"),
        ("grid: {objective.lamda: [1]}", "grid.objective.lamda: no such knob; did you mean objective.lambda"),
        ("grid: {seed: [1]}", "grid.seed: a study takes its seeds from `seeds`"),
        ("grid: {data.train_subjects: [[1], [3]]}", "grid.data.train_subjects: all points share their subjects"),
        (
            "grid: {data.modalities: [[imu], [skeleton]]}",
            "system vicreg sets it; choose another system instead (METHOD_NAME is of one modality)",
        ),
        ("grid: {objective.name: [vicreg, cmc]}", "grid.objective.name: system vicreg sets it; choose another system"),
        ("grid: {encoder.imu.heads: [2, 3]}", "grid.encoder.imu.heads: 3 does not divide the width 128"),
        ("grid: {pretrain.epochs: [9223372036854775808]}", "grid.pretrain.epochs: input should be less than or equal"),
        ("grid: {objective.mu: [2020-01-01]}", "grid.objective.mu: a number is expected, not '2020-01-01'"),
        ("grid: {objective.mu: [010]}", "grid.objective.mu: a number is expected, not '010'"),
    ],
)
def test_each_mistake_of_a_grid_is_named(write, grid: str, message: str):
    assert message in mistakes(write(f"seeds: [28]\n{grid}\n"))


def test_too_large_a_grid_is_refused_before_it_is_built(write):
    knobs = [
        "objective.lambda",
        "objective.mu",
        "objective.nu",
        "pretrain.lr",
        "finetune.lr",
        "augment.imu.jitter.strength",
    ]
    grid = {knob: [n / 10 for n in range(1, 21)] for knob in knobs}
    assert "grid: 64,000,000 combinations; at most 100,000" in mistakes(write(json.dumps({"grid": grid})))


def test_all_mistakes_stand_in_one_message(write):
    text = """
sede: [1]
seeds: [1, 1]
seeds: [2, 2]
fixed: {objective.nu: -1, encoder.imu.layer: 3}
grid: {objective.lamda: [1], objective.mu: [], pretrain.epochs: [1.5]}
where: [beta > 1, "epochs = 1"]
folds: nobody
"""
    places = [line.strip().split(": ")[0] for line in mistakes(write(text)).splitlines()[1:]]
    assert places == [
        "line 4",
        "sede",
        "grid.objective.mu",
        "seeds",
        "folds",
        "fixed.objective.nu",
        "fixed.encoder.imu.layer",
        "grid.objective.lamda",
        "grid.pretrain.epochs",
        "where 'beta > 1'",
        "where 'epochs = 1'",
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("grid:\n  objective.mu: [1, 2\nseeds: [1]", "line 3, column 6: "),
        ("grid:\n\tobjective.mu: [1]", "line 2, column 1: "),
        ('where: "lambda" == 1', "line 1, column 17: "),
        ("- 1", "a space is a mapping with the entry `grid` or `systems`, not [1]"),
        ("", "a space is a mapping with the entry `grid` or `systems`, not None"),
        ("grid: {}\n---\ngrid: {}", "line 2, column 1: "),
        ("grid: &a {objective.mu: [1]}\nfixed: *a", "line 2, column 8: aliases are not read"),
        ("grid: {objective.mu: [1], objective.mu: [2]}", "line 1: objective.mu is listed twice"),
        ("grid: {[1]: [1]}", "line 1, column 8: found unhashable key"),
        ("grid: !!python/object/apply:os.system ['true']", "could not determine a constructor"),
        ("grid: " + "[" * 5000, "not a YAML file"),
        (b"\xff\xfe\x00grid", "not a YAML file"),
        (b"\x00", "not a YAML file"),
    ],
)
def test_what_is_no_plain_mapping_is_refused(write, text: str | bytes, message: str):
    assert message in mistakes(write(text))


@pytest.mark.parametrize("name", [space.name for space in available() if space.source == "shipped"])
def test_the_text_of_a_space_is_read_as_the_same(tmp_path: Path, name: str):
    for one in (load(name), changed(load(name), seeds=[1, 2], keep_models="all")):
        assert is_shipped(one) == (one.seeds != [1, 2])
        (tmp_path / f"{name}.yaml").write_text(text_of(one))
        assert load(str(tmp_path / f"{name}.yaml")).model_dump() == one.model_dump()


def test_a_space_survives_json(write):
    space = load(write(GRID + "folds: [[1, 3], 5]\nwhere: lambda < mu\nseeds: [1, 2]\n"))
    assert Space.model_validate_json(space.model_dump_json()) == space


def test_a_desktops_file_beside_a_space_is_none(write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "search_spaces").mkdir()
    (tmp_path / "search_spaces" / "mine.yaml").write_text(GRID)
    (tmp_path / "search_spaces" / "._mine.yaml").write_bytes(b"\0\5\26\7Mac OS X")
    assert [space.name for space in available() if space.source == "local"] == ["mine"]


def test_a_local_space_comes_before_a_shipped_one(write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    assert {space.source for space in available()} == {"shipped"}
    shipped = [space.name for space in available()]
    assert shipped == sorted(path.stem for path in (TOP / "search_spaces").glob("*.yaml"))
    write(GRID, "search_spaces/vicreg_grid.yaml")
    write(GRID, "search_spaces/second.yml")
    write("no space", "search_spaces/notes.txt")
    (tmp_path / "search_spaces" / "folder.yaml").mkdir()
    assert [(space.name, space.source) for space in available()[:2]] == [("second", "local"), ("vicreg_grid", "local")]
    assert sorted(space.name for space in available()) == sorted([*shipped, "second"])
    assert len(points_of(load("vicreg_grid"))) == 4
    assert load("second").name == "second"


def test_an_unknown_name_says_what_there_is_and_where(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError) as error:
        load("vicreg_gird")
    assert "did you mean vicreg_grid" in str(error.value)
    assert str(tmp_path / "search_spaces") in str(error.value)
    assert str(TOP / "search_spaces") in str(error.value)


@pytest.mark.parametrize("name", ["..", ".", "", "~", "vicreg_grid\x00", "*", "CON"])
def test_a_name_is_no_path(name: str):
    with pytest.raises(UserError, match="no space"):
        load(name)


@pytest.mark.parametrize("path", ["../none.yaml", "none.yaml", "/", "folder/none", "a\x00b.yaml"])
def test_a_path_that_is_no_file_is_named(path: str):
    assert mistakes(path)


@pytest.mark.parametrize("space", [space.name for space in available()])
def test_a_shipped_space_is_what_its_header_says(space: str):
    text = (TOP / "search_spaces" / f"{space}.yaml").read_text()
    header = " ".join(
        line.strip("# ") for line in itertools.takewhile(lambda line: line.startswith("#"), text.splitlines())
    )
    loaded = load(space)
    points = loaded.budget if loaded.sampled else len(points_of(loaded))
    assert f"mmssl-tune launch {space} " in header
    assert int(re.findall(r"\b(\d+) points\b", header)[0]) == points
    assert int(re.findall(r"= (\d+) trials", header)[0]) == points * len(loaded.seeds) * 4
    assert loaded.description


def test_the_shipped_spaces():
    weights = (1, 5, 10, 25, 50)
    points = points_of(load("vicreg_grid"))
    assert [tuple(point.values()) for point in points] == list(itertools.product(weights, weights))
    diagonal = points_of(load("vicreg_diagonal"))
    assert all(point["objective.lambda"] == point["objective.mu"] for point in diagonal)
    assert [point["objective.mu"] for point in diagonal] == [1.5, 2, 5, 10, 25, 50, 100]


def test_the_ablation_makes_each_change_of_the_default_alone_and_adds_what_it_does_not_make():
    """A change that is added to `default` and not here would be in no table."""
    space = load("ablation")
    bases = space.bases("utd_mhad")
    for system in space.systems:
        fixed = space.fixed | dict(SYSTEMS[system].defining)
        paper, default = (preset("utd_mhad", system, name).with_knobs(fixed).knobs() for name in ("paper", "default"))
        at = {name: at_point(bases, {"system": system, "variant": name}).knobs() for name in space.variants}
        assert (at["paper"], at["default"]) == (paper, default)
        alone = [{(k, v) for k, v in at[name].items() if v != paper[k]} for name in ("moments", "augment")]
        assert alone[0].isdisjoint(alone[1])
        assert alone[0] | alone[1] == {(k, v) for k, v in default.items() if v != paper[k]}
        bare = at["unaugmented"]
        assert not any(value for knob, value in bare.items() if knob.endswith("probability"))
        assert {knob for knob in paper if bare[knob] != paper[knob]} <= {k for k in paper if k.startswith("augment.")}
        for name in (name for name in at if name.startswith("default+")):
            added = {knob for knob in default if at[name][knob] != default[knob]}
            assert added and all(default[knob] == paper[knob] or knob.startswith("augment.") for knob in added)


def test_loading_needs_no_heavy_library():
    code = "import sys, mmssl.study.space; print(*{'torch', 'ray', 'scipy', 'sklearn'} & set(sys.modules))"
    found = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=TOP)
    assert found.stdout.split() == []


def test_systems_are_searched_like_a_knob_and_change_slowest(write):
    space = load(write("systems: [vicreg, cmc, untrained_imu]\n" + GRID))
    assert points_of(space) == [
        {"system": system, "objective.lambda": a, "objective.mu": b}
        for system in ("vicreg", "cmc", "untrained_imu")
        for a in (1, 5)
        for b in (10, 1)
    ]
    assert [list(point) for point in points_of(space)] == [["system", "objective.lambda", "objective.mu"]] * 12
    assert list(space.searched) == ["system", "objective.lambda", "objective.mu"]


def test_systems_alone_are_a_search_and_one_of_them_a_single_point(write):
    assert points_of(load(write("systems: [cmc, supervised]"))) == [{"system": "cmc"}, {"system": "supervised"}]
    assert points_of(load(write("systems: cmc"))) == [{}]
    alone = load(write("systems: simclr_imu\ngrid: {objective.temperature: [0.05, 0.1]}"))
    assert points_of(alone) == [{"objective.temperature": 0.05}, {"objective.temperature": 0.1}]
    assert alone.bases("utd_mhad") == {"simclr_imu": preset("utd_mhad", "simclr_imu")}


@pytest.mark.parametrize("dataset", ["utd_mhad", "mmact", "synthetic"])
def test_a_point_starts_from_the_preset_of_its_system(write, dataset: str):
    space = load(write(f"systems: [{', '.join(SYSTEMS)}]\nfixed: {{finetune.hidden: 7}}"))
    bases = space.bases(dataset)
    points = space.points(bases)
    assert [point["system"] for point in points] == list(SYSTEMS)
    for point in points:
        expected = preset(dataset, str(point["system"])).with_knobs({"finetune.hidden": 7})
        assert at_point(bases, point) == expected
        assert at_point(bases, point, seed=3).content_id() == expected.with_knobs({"seed": 3}).content_id()


VARIANTS = "variants: {plain: {}, both: {finetune.hidden: 7, finetune.lr: 1}, wide: {finetune.hidden: 9}}\n"


def test_variants_are_searched_like_a_knob_after_the_systems(write):
    space = load(write(VARIANTS + "systems: [vicreg, cmc]\ngrid: {objective.temperature: [0.1, 0.2]}"))
    assert list(space.searched) == ["system", "variant", "objective.temperature"]
    assert points_of(space) == [
        {"system": system, "variant": variant, "objective.temperature": temperature}
        for system in ("vicreg", "cmc")
        for variant in ("plain", "both", "wide")
        for temperature in (0.1, 0.2)
    ]
    changed = {"plain": {}, "both": {"finetune.hidden": 7, "finetune.lr": 1}, "wide": {"finetune.hidden": 9}}
    bases = space.bases("mmact")
    for point in points_of(space):
        start = preset("mmact", str(point["system"]))
        expected = start.with_knobs({"objective.temperature": point["objective.temperature"]})
        assert at_point(bases, point) == expected.with_knobs(changed[str(point["variant"])])


def test_variants_alone_are_a_search_of_the_one_system(write):
    space = load(write(VARIANTS))
    assert points_of(space) == [{"variant": "plain"}, {"variant": "both"}, {"variant": "wide"}]
    assert at_point(space.bases("utd_mhad"), {"variant": "both"}, seed=3) == preset("utd_mhad").with_knobs(
        {"finetune.hidden": 7, "finetune.lr": 1, "seed": 3}
    )
    assert Space.model_validate_json(space.model_dump_json()) == space


def test_conditions_know_the_variant(write):
    space = load(write(VARIANTS + "where: variant != 'both'"))
    assert points_of(space) == [{"variant": "plain"}, {"variant": "wide"}]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("variants: {a: {finetune.hiden: 1}}", "variants.a.finetune.hiden: no such knob; did you mean finetune.hidden"),
        ("variants: {a: {finetune.hidden: wide}}", "variants.a.finetune.hidden: a number is expected, not 'wide'"),
        ("variants: {a: {seed: 1}}", "variants.a.seed: a study takes its seeds from `seeds`"),
        ("variants: {a: {data.protocol: x}}", "variants.a.data.protocol: all points share their subjects"),
        ("variants: {a: {objective.name: cmc}}", "variants.a.objective.name: system vicreg sets it"),
        ("variants: {a: {objective.mu: 1}}\n" + GRID, "grid.objective.mu: also under variants; take it out of one"),
        ("variants: {a: {objective.nu: 2}}\nfixed: {objective.nu: 1}", "variants.a.objective.nu: also under fixed"),
        ("variants: {a: {recipe: papre}}", "variants.a.recipe: no recipe 'papre'; did you mean paper"),
        ("variants: {a: {recipe: 3}}", "variants.a.recipe: no recipe '3'; valid names: default, paper"),
        ("variants: {a b: {}}", "variants: a name is letters and digits, and . _ + - after the first, not 'a b'"),
        ("variants: [a]", "variants: input should be a"),
        ("variants: {a: 3}", "variants.a: input should be a"),
        ("variants: {a: {}}\nsampler: cmaes\nbudget: 2\nranges: {objective.mu: {low: 1, high: 2}}", "under ranges"),
    ],
)
def test_each_mistake_of_variants_is_named(write, text: str, message: str):
    assert message in mistakes(write(text))


def test_a_variant_may_start_from_a_recipe_of_its_own(write):
    text = "variants: {paper: {recipe: paper}, ours: {}, less: {recipe: default, finetune.lr: 1}}\nrecipe: default\n"
    space = load(write(text + "fixed: {pretrain.epochs: 3}"))
    bases = space.bases("utd_mhad")
    short = {"pretrain.epochs": 3}
    assert at_point(bases, {"variant": "paper"}) == preset("utd_mhad", recipe="paper").with_knobs(short)
    assert at_point(bases, {"variant": "ours"}) == preset("utd_mhad").with_knobs(short)
    assert at_point(bases, {"variant": "less"}) == preset("utd_mhad").with_knobs(short | {"finetune.lr": 1})
    assert [space.recipe_of(name) for name in (None, "paper", "ours", "less")] == [
        "default", "paper", "default", "default",
    ]  # fmt: skip
    assert Space.model_validate_json(space.model_dump_json()) == space


def test_two_variants_that_are_the_same_are_refused_when_it_is_planned(write):
    space = load(write("variants: {a: {}, b: {}}"))
    bases = space.bases("utd_mhad")
    dataset = Dataset(
        source="x", folder=None, name="x", fingerprint="f", recordings=1, train_subjects=("1",), test_subjects=()
    )
    with pytest.raises(UserError, match="two of its points give the same recipe"):
        make_plan("s", space, bases, dataset, [("1",)], space.points(bases))


@pytest.mark.parametrize("recipe", ["default", "paper"])
def test_points_start_from_the_recipe_that_the_space_names(write, recipe: RecipeName):
    space = load(write(f"recipe: {recipe}\nsystems: [{', '.join(SYSTEMS)}]"))
    for name, base in space.bases("utd_mhad").items():
        assert base == preset("utd_mhad", name, recipe)
    assert load(write("systems: vicreg")).recipe == "default"


def test_there_is_no_other_recipe(write):
    assert "recipe: input should be 'default' or 'paper' (given: 'papers')" in mistakes(
        write("recipe: papers\n" + GRID)
    )


def test_what_is_fixed_does_not_change_what_makes_a_system_itself(write):
    space = load(write(f"systems: [{', '.join(SYSTEMS)}]\nfixed: {{pretrain.epochs: 3}}"))
    for name, base in space.bases("utd_mhad").items():
        assert base.pretrain.epochs == (0 if SYSTEMS[name].method in ("untrained", "supervised") else 3), name
        assert SYSTEMS[name].defining.items() <= base.knobs().items()
    assert len(points_of(space)) == len(SYSTEMS)


@pytest.mark.parametrize(
    ("systems", "entry", "message"),
    [
        ("[untrained]", "fixed: {pretrain.epochs: 3}", "fixed.pretrain.epochs: system untrained sets it"),
        (
            "[untrained, supervised_imu]",
            "fixed: {pretrain.epochs: 3}",
            "fixed.pretrain.epochs: system supervised_imu sets it",
        ),
        ("[cmc, simclr_imu]", "fixed: {objective.name: vicreg}", "fixed.objective.name: system simclr_imu sets it"),
        ("[vicreg, untrained]", "grid: {pretrain.epochs: [1, 2]}", "grid.pretrain.epochs: system untrained sets it"),
        ("[vicreg, supervised]", "grid: {finetune.encoders: [frozen]}", "grid.finetune.encoders: system supervised"),
        ("[cmc, vicreg_imu]", "grid: {data.modalities: [[imu]]}", "grid.data.modalities: system vicreg_imu sets it"),
        ("[cmc, untrained]", "grid: {objective.name: [cmc]}", "grid.objective.name: system cmc sets it"),
    ],
)
def test_what_makes_a_system_itself_is_not_searched(write, systems: str, entry: str, message: str):
    assert message in mistakes(write(f"systems: {systems}\n{entry}\n"))


def test_a_knob_that_some_systems_leave_free_may_be_searched_for_these(write):
    space = load(write("systems: [vicreg, cmc]\ngrid: {pretrain.epochs: [1, 2], finetune.encoders: [frozen, trained]}"))
    assert len(points_of(space)) == 8


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ("system != 'untrained'", ["vicreg", "cmc"]),
        ("system in ('cmc', 'untrained')", ["untrained", "cmc"]),
        ("system == 'cmc' or not system == 'vicreg'", ["untrained", "cmc"]),
    ],
)
def test_conditions_know_the_system(write, where: str, expected: list[str]):
    text = f'systems: [untrained, vicreg, cmc]\ngrid: {{finetune.labels: [0.5, 1]}}\nwhere: "{where}"\n'
    points = points_of(load(write(text)))
    assert [tuple(point.values()) for point in points] == [(name, share) for name in expected for share in (0.5, 1.0)]


def test_a_condition_may_free_a_knob_that_does_nothing_for_a_system(write):
    text = "systems: [untrained, vicreg]\ngrid: {objective.lambda: [1, 5]}\n"
    points = points_of(load(write(text + 'where: system != "untrained" or lambda == 1\n')))
    assert [tuple(point.values()) for point in points] == [("untrained", 1), ("vicreg", 1), ("vicreg", 5)]


def test_the_side_that_is_scored_follows_the_folds(write):
    held_out, tested = load(write(GRID)), load(write(GRID + "folds: test\nmetric: val.f1\n"))
    assert (held_out.scored_split, held_out.scored) == ("val", "val.accuracy")
    assert (tested.scored_split, tested.scored) == ("test", "test.f1")
    assert Space.model_validate_json(tested.model_dump_json()) == tested


def test_systems_of_several_kinds_survive_json(write):
    space = load(write("systems: [vicreg, untrained_imu]\nseeds: [1, 2]\n"))
    again = Space.model_validate_json(space.model_dump_json())
    assert again == space
    assert points_of(again) == points_of(space)


def test_another_choice_of_systems_is_checked_like_a_file(write):
    space = load(write("systems: [vicreg, untrained]\nfixed: {pretrain.epochs: 3}\n"))
    assert points_of(changed(space, systems=["cmc", "vicreg"])) == [{"system": "cmc"}, {"system": "vicreg"}]
    with pytest.raises(UserError, match=r"fixed\.pretrain\.epochs: system untrained sets it"):
        changed(space, systems=["untrained"])
    with pytest.raises(UserError, match="no system 'vicrge'; did you mean vicreg"):
        changed(space, systems=["vicrge"])
    grid = load(write("grid: {pretrain.epochs: [1, 2]}"))
    with pytest.raises(UserError, match=r"grid\.pretrain\.epochs: system supervised sets it"):
        changed(grid, systems=["vicreg", "supervised"])


def test_models_are_kept_unless_the_space_says_otherwise(write):
    assert load(write(GRID)).keep_models == "best"
    assert load(write(GRID + "keep_models: none\n")).keep_models == "none"
