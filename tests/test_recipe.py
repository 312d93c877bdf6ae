import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmssl import Recipe, UserError, preset
from mmssl.recipe import SIGNAL_FEATURES, USUAL, Augment, augmentation_apart, knob_names
from mmssl.study.presets import RECIPES, SYSTEMS, RecipeName, recipe_named

DATASETS = ("utd_mhad", "mmact", "synthetic", "kitchen")


def test_the_papers_settings() -> None:
    def settings(dataset: str, system: str) -> tuple[int, float, int, int]:
        recipe = preset(dataset, system, "paper")
        return recipe.pretrain.batch_size, recipe.pretrain.lr, recipe.pretrain.epochs, recipe.seed

    assert settings("utd_mhad", "vicreg") == (256, 1e-3, 200, 28)
    assert settings("mmact", "vicreg") == (128, 1e-4, 200, 28)
    for modality in ("imu", "skeleton"):
        assert settings("utd_mhad", f"vicreg_{modality}") == (128, 1e-2, 100, 28)
        assert settings("mmact", f"vicreg_{modality}") == (96, 1e-3, 100, 28)
    paper = preset("utd_mhad", "vicreg", "paper")
    assert paper.data.steps == 50
    assert paper.finetune.epochs == 100
    assert paper.finetune.hidden == 256
    assert (paper.encoder.imu.pooling, paper.finetune.standardise, paper.finetune.views) == ("none", False, 0)
    assert paper.finetune.batch_norm == "running"
    assert (paper.pretrain.schedule, paper.pretrain.precision) == ("constant", "float32")


def test_the_default_pre_trains_as_long_as_was_measured_or_as_the_paper_did() -> None:
    assert preset("utd_mhad").pretrain.epochs < preset("utd_mhad", recipe="paper").pretrain.epochs
    assert preset("mmact").pretrain == preset("mmact", recipe="paper").pretrain
    assert preset("mmact").augment == preset("utd_mhad").augment


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_data_set_of_the_users_own_starts_from_utd_mhads(recipe: RecipeName) -> None:
    assert preset("kitchen", "vicreg", recipe) == preset("utd_mhad", "vicreg", recipe)


def test_the_recipe_is_the_default_unless_the_papers_is_chosen() -> None:
    assert preset("utd_mhad") == preset("utd_mhad", "vicreg", "default") != preset("utd_mhad", "vicreg", "paper")
    assert recipe_named("paper") == "paper"
    with pytest.raises(UserError, match="no recipe 'papre'; did you mean paper"):
        recipe_named("papre")


@pytest.mark.parametrize("dataset", DATASETS)
@pytest.mark.parametrize("recipe", RECIPES)
def test_what_stands_in_one_table_has_the_same_data_networks_and_heads(recipe: RecipeName, dataset: str) -> None:
    for modalities in (("imu",), ("skeleton",), ("imu", "skeleton")):
        starts = [preset(dataset, name, recipe) for name, system in SYSTEMS.items() if system.modalities == modalities]
        assert len(starts) > 3
        for start in starts:
            assert (start.data, start.encoder) == (starts[0].data, starts[0].encoder)
            assert start.finetune.model_copy(update={"encoders": "frozen"}) == starts[0].finetune
            if recipe == "default" and len(modalities) == len(USUAL):
                assert start.augment == starts[0].augment, "heads see augmented recordings"


EITHER_WAY = ("masked", "barlow_twins", "vicreg", "clip", "siglip", "wmse", "lejepa", "visreg")
ACROSS = ("cmc", "cmc_cmkm", "levljepa", "vicreg_within_across")
SELF_SUPERVISED = ("simclr", *EITHER_WAY, *ACROSS)


def test_the_systems_are_the_methods_on_the_modalities_they_are_made_for() -> None:
    expected = {
        f"{method}{'_' * bool(suffix)}{suffix}": (method, modalities)
        for method in ("untrained", "supervised", *EITHER_WAY)
        for suffix, modalities in (("imu", ("imu",)), ("skeleton", ("skeleton",)), ("", ("imu", "skeleton")))
    }
    expected |= {"simclr_imu": ("simclr", ("imu",)), "simclr_skeleton": ("simclr", ("skeleton",))}
    expected |= {method: (method, ("imu", "skeleton")) for method in ACROSS}
    assert {name: tuple(system) for name, system in SYSTEMS.items()} == expected


@pytest.mark.parametrize("dataset", DATASETS)
@pytest.mark.parametrize("name", SYSTEMS)
@pytest.mark.parametrize("start", RECIPES)
def test_a_preset_is_what_makes_its_system_itself(start: RecipeName, name: str, dataset: str) -> None:
    method, modalities = SYSTEMS[name]
    recipe = preset(dataset, name, start)
    assert recipe.data.modalities == modalities
    assert (recipe.pretrain.epochs > 0) == (method in SELF_SUPERVISED)
    assert recipe.finetune.encoders == ("trained" if method == "supervised" else "frozen")
    if method in SELF_SUPERVISED:
        # What is masked is given back, and nothing else is asked for.
        objective = recipe.objective
        alone = (objective.name, objective.lambda_, objective.mu, objective.nu) == ("vicreg", 0, 0, 0)
        assert (recipe.reconstruct.weight > 0 and alone) if method == "masked" else objective.name == method
    assert SYSTEMS[name].defining.items() <= recipe.knobs().items()
    assert recipe.finetune.labels == 1
    assert recipe.pretrain.hidden_classes == ()


@pytest.mark.parametrize("name", SYSTEMS)
def test_in_the_paper_self_supervision_augments_each_modality_by_itself_in_every_way_that_it_names(name: str) -> None:
    """Equations 7 and 8, and the augmentations that the text lists for each modality."""
    listed = {
        "skeleton": ["jitter", "scale", "rotate", "shear", "crop"],
        "imu": ["jitter", "scale", "rotate", "permute", "shuffle"],
    }
    method, modalities = SYSTEMS[name]
    on = {knob for knob, value in preset("utd_mhad", name, "paper").knobs().items() if ".probability" in knob and value}
    assert on == {
        f"augment.{modality}.{change}.probability"
        for modality in modalities
        for change in listed[modality]
        if method in SELF_SUPERVISED
    }


def test_the_default_augments_less_but_for_two_views_of_a_skeleton() -> None:
    on = {knob for knob, value in preset("utd_mhad").knobs().items() if knob.endswith(".probability") and value}
    assert on == {
        "augment.crop.probability",
        "augment.imu.jitter.probability",
        "augment.imu.scale.probability",
        "augment.imu.rotate.probability",
    }
    for name, (method, modalities) in SYSTEMS.items():
        if method in SELF_SUPERVISED:
            like = preset("utd_mhad", name, "paper") if modalities == ("skeleton",) else preset("utd_mhad")
            assert preset("utd_mhad", name).augment == like.augment


def test_views_of_one_modality_differ_beside_pairs_too() -> None:
    default, paper = (preset("utd_mhad", recipe=recipe).augment for recipe in RECIPES)
    assert augmentation_apart(paper, "signal", "skeleton") == paper
    apart = augmentation_apart(default, "signal", "skeleton")
    assert (apart.imu, apart.crop, apart.skeleton) == (default.imu, default.crop, paper.skeleton)
    assert augmentation_apart(Augment(), "signal") == Augment(imu=paper.imu)
    assert augmentation_apart(default, "skeleton") == preset("utd_mhad", "vicreg_skeleton").augment


@pytest.mark.parametrize(("name", "meant"), [("simclr", "simclr_imu"), ("vicregg", "vicreg"), ("cmk", "cmc")])
def test_a_system_that_is_none_is_answered_with_the_nearest(name: str, meant: str) -> None:
    with pytest.raises(UserError, match=rf"no system '{name}'; did you mean .*\b{meant}\b"):
        preset("utd_mhad", name)


@pytest.mark.parametrize("dataset", DATASETS)
@pytest.mark.parametrize("modality", USUAL)
@pytest.mark.parametrize("recipe", RECIPES)
def test_the_encoders_that_guide_are_those_of_simclr(dataset: str, modality: str, recipe: RecipeName) -> None:
    guide = preset(dataset, "cmc_cmkm", recipe).guide_of(modality, USUAL[modality])
    simclr = preset(dataset, f"simclr_{modality}", recipe)
    assert guide.augment == simclr.augment
    if recipe == "default":
        return  # Its guides keep the learning rate and epochs of the paper's.
    assert guide.pretraining_id("data") == simclr.pretraining_id("data")
    knobs, theirs = guide.knobs(), simclr.knobs()
    for knob in knobs:
        assert knobs[knob] == theirs[knob] or knob.startswith(("finetune.", "guide.")), knob


def test_guides_follow_the_recipe_that_they_guide() -> None:
    changed = {
        "data.validation_subjects": ["7"],
        "encoder.imu.layers": 1,
        "objective.temperature": 0.5,
        "pretrain.hidden_classes": ["wave"],
        "pretrain.epochs": 11,
        "guide.epochs": 3,
        "guide.batch_size": 12,
        "guide.lr": 0.25,
        "seed": 5,
    }
    recipe = preset("utd_mhad", "cmc_cmkm").with_knobs(changed)
    for modality in USUAL:
        guide = recipe.guide_of(modality, USUAL[modality])
        assert (guide.data.modalities, guide.data.validation_subjects) == ((modality,), ("7",))
        assert (guide.encoder, guide.seed, guide.objective.temperature) == (recipe.encoder, 5, 0.5)
        assert (guide.pretrain.epochs, guide.pretrain.batch_size, guide.pretrain.lr) == (3, 12, 0.25)
        assert guide.pretrain.hidden_classes == ("wave",)


def other_value(recipe: Recipe, knob: str) -> object:
    """A value of the knob that the recipe does not have."""
    value = recipe.knobs()[knob]
    pairs = {
        "encoder.imu.pooling": {"none", "moments"},
        "pretrain.schedule": {"constant", "cosine"},
        "finetune.batch_norm": {"running", "renewed"},
        "finetune.head": {"hidden", "logistic"},
    }
    if knob in pairs:
        [other] = pairs[knob] - {value}
        return other
    words = {
        "data.modalities": ["imu"],
        "finetune.subsets": ["wrist+ankle"],
        "data.protocol": "cross_scene",
        "pretrain.precision": "bfloat16",
        "finetune.encoders": "trained",
        "pretrain.incomplete": "two_views",
    }
    if knob == "objective.name":
        return "vicreg" if value != "vicreg" else "cmc"
    if isinstance(value, str | list):
        return words.get(knob, ["x"])
    assert isinstance(value, int | float)
    if isinstance(value, bool):
        return not value
    if knob in ("finetune.labels", "pretrain.share"):
        return value / 2
    if knob.endswith(("probability", "strength")) and value != 3 and value <= 1:
        return (value + 0.5) % 1
    return value * 2 + (value == 0)


@pytest.mark.parametrize("name", ["vicreg", "cmc_cmkm"])
def test_a_pre_training_is_named_by_all_that_it_depends_on_and_by_no_more(name: str) -> None:
    recipe = preset("utd_mhad", name)
    for knob in knob_names():
        if knob in ("data.modalities", "pretrain.incomplete") and name == "cmc_cmkm":
            continue  # It is across modalities alone.
        other = recipe.with_knobs({knob: other_value(recipe, knob)})
        assert other.content_id() != recipe.content_id(), knob
        same = knob.startswith("finetune.") or (knob.startswith("guide.") and name != "cmc_cmkm")
        assert (other.pretraining_id() == recipe.pretraining_id()) == same, knob
    assert recipe.pretraining_id("data") != recipe.pretraining_id("other data")
    assert recipe.pretraining_id() != recipe.content_id()


def test_every_knob_is_named_once_and_can_be_set_to_its_own_value() -> None:
    recipe = Recipe()
    assert list(recipe.knobs()) == knob_names()
    assert len(set(knob_names())) == len(knob_names())
    assert recipe.with_knobs(recipe.knobs()) == recipe
    for name in ("objective.lambda", "objective.mu", "objective.nu", "pretrain.epochs", "pretrain.batch_size"):
        assert name in knob_names()


def test_all_mistakes_come_in_one_message() -> None:
    wrong = {"objective.lamda": 1, "objective.mu": -1, "pretrain.epochs": "ten", "data.steps": True, "finetune.lr": 0}
    with pytest.raises(UserError) as caught:
        Recipe().with_knobs(wrong)
    lines = str(caught.value).splitlines()
    assert len(lines) == 5
    assert any(line.startswith("objective.lamda: no such knob; did you mean objective.lambda") for line in lines)
    assert any(
        line.startswith("objective.mu: input should be greater than or equal to 0 (given: -1)") for line in lines
    )
    assert "pretrain.epochs: a number is expected, not 'ten'" in lines
    assert "data.steps: a number is expected, not True" in lines


@pytest.mark.parametrize(
    ("knob", "value", "message"),
    [
        ("data.modalities", 5, "data.modalities: input should be a list (given: 5)"),
        ("data.modalities", [], "data.modalities: the list should have at least 1 item, not 0 (given: [])"),
        ("pretrain.epochs", 2**31, "pretrain.epochs: input should be less than or equal to 2147483647"),
        ("finetune.epochs", 2**63, "finetune.epochs: input should be less than or equal to 2147483647"),
        ("data.steps", 2**31, "data.steps: input should be less than or equal to 2147483647"),
        ("encoder.imu.heads", 3, "encoder.imu.heads: 3 does not divide the width 128: choose 1 or 2 or 4 or 8"),
        ("encoder.imu.heads", 256, "encoder.imu.heads: 256 does not divide the width 128"),
    ],
)
def test_mistakes_are_reported_in_plain_words(knob: str, value: object, message: str) -> None:
    with pytest.raises(UserError) as caught:
        Recipe().with_knobs({knob: value})
    assert str(caught.value).startswith(message)
    assert "valid tuple" not in str(caught.value)


def test_a_knob_that_resembles_no_other_is_answered_with_a_few_names() -> None:
    with pytest.raises(UserError) as caught:
        Recipe().with_knobs({"123": 1})
    named = str(caught.value).partition("valid names: ")[2].split(", ")
    assert len(named) == 9
    assert named[-1] == "..."
    assert set(named[:-1]) < set(knob_names())


def test_the_largest_counts_and_all_heads_that_divide_the_width() -> None:
    assert Recipe().with_knobs({"pretrain.epochs": 2**31 - 1}).pretrain.epochs == 2**31 - 1
    for heads in range(1, 2 * SIGNAL_FEATURES):
        if SIGNAL_FEATURES / heads == SIGNAL_FEATURES // heads:
            assert Recipe().with_knobs({"encoder.imu.heads": heads}).encoder.imu.heads == heads
        else:
            with pytest.raises(UserError, match="does not divide"):
                Recipe().with_knobs({"encoder.imu.heads": heads})


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "1", None, [1]])
def test_weights_are_finite_numbers(value: object) -> None:
    with pytest.raises(UserError, match=r"objective\.lambda"):
        Recipe().with_knobs({"objective.lambda": value})


@given(st.floats(0, 1e6), st.floats(0, 1e6))
def test_an_id_names_the_content(first: float, second: float) -> None:
    a, b = (Recipe().with_knobs({"objective.mu": value}) for value in (first, second))
    assert (a.content_id() == b.content_id()) == (first == second)
    assert a.content_id("data") != a.content_id("other data")
    assert Recipe.model_validate_json(a.model_dump_json(by_alias=True)).content_id() == a.content_id()


def test_a_whole_number_is_the_same_weight_with_and_without_a_point() -> None:
    assert (
        Recipe().with_knobs({"objective.mu": 5}).content_id() == Recipe().with_knobs({"objective.mu": 5.0}).content_id()
    )


def test_the_order_of_modalities_does_not_matter() -> None:
    turned = Recipe().with_knobs({"data.modalities": ["skeleton", "imu"]})
    assert turned == Recipe()
    with pytest.raises(UserError, match="is listed twice"):
        Recipe().with_knobs({"data.modalities": ["imu", "imu"]})


def test_a_recipe_does_not_change() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Recipe().seed = 3  # pyright: ignore[reportAttributeAccessIssue]
