"""The rules of the tree, read from the source: who may import whom, who prints, what is never called."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

TOP = Path(__file__).resolve().parents[1]


def _name(path: Path) -> str:
    parts = path.relative_to(TOP).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


PATHS = {_name(path): path for path in sorted((TOP / "mmssl").rglob("*.py"))}
TREES = {name: ast.parse(path.read_text("utf-8")) for name, path in PATHS.items()}

ORDER = ("data", "training", "study", "trackers", "search", "export", "experiments", "report", "api", "cli")
"""The package's folders: each imports from those before it, and from the modules beside them."""
GROUND = "objectives"
"""A folder that stands with those modules."""
LAYERS = ("mmssl.data", "mmssl.training.transforms", "mmssl.training.encoders", "mmssl.objectives")
LIGHT = ("mmssl.recipe", "mmssl.files", "mmssl.storage", "mmssl.study", "mmssl.cli")
"""With what they hold."""
HEAVY = {"torch", "ray", "optuna", "scipy", "sklearn", "altair", "vl_convert"}
LOADED_ON_USE = {"numpy", "pyarrow", "pydantic", "yaml", "filelock", "platformdirs"}
"""By light modules, of commands that are run."""
RUN_TEXT = {"eval", "exec", "compile", "__import__", "os.system", "os.popen"}
YAML_THAT_RUNS = {f"yaml.{kind}load{many}" for kind in ("", "full_", "unsafe_") for many in ("", "_all")}
RUNS_CODE = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve"}


def test_there_is_a_package_to_look_at():
    assert {"mmssl", "mmssl.recipe", "mmssl.errors"} <= set(TREES)


def imports(tree: ast.AST, *, on_load: bool = False) -> set[str]:
    """Dotted names of what a module imports; `on_load`: only what importing it imports too."""
    found: set[str] = set()
    for node in _nodes(tree, on_load):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are written in full"
            assert node.module
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def _nodes(tree: ast.AST, on_load: bool) -> Iterator[ast.AST]:
    for node in ast.iter_child_nodes(tree):
        if on_load and isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if on_load and isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            continue
        yield node
        yield from _nodes(node, on_load)


def within(name: str, package: str) -> bool:
    return name == package or name.startswith(f"{package}.")


def loaded_with(module: str, trees: dict[str, ast.Module]) -> set[str]:
    """All that is imported when a module is, through the modules of the package."""
    waiting, done, found = [module], set[str](), set[str]()
    while waiting:
        name = waiting.pop()
        if name in done or name not in trees:
            continue
        done.add(name)
        direct = imports(trees[name], on_load=True)
        found |= direct
        for one in (name, *direct):
            parts = one.split(".")
            waiting += [".".join(parts[:length]) for length in range(1, len(parts) + 1)]
    return found


def calls(tree: ast.AST) -> Iterator[tuple[str, ast.Call]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


def loud(tree: ast.AST) -> list[str]:
    """Where a module prints, ends the process or is a script."""
    found = [name for name, _ in calls(tree) if name in ("print", "exit", "quit", "sys.exit", "os._exit", "os.abort")]
    for node in ast.walk(tree):
        if isinstance(node, ast.Raise) and node.exc and "SystemExit" in ast.unparse(node.exc):
            found.append("SystemExit")
        if isinstance(node, ast.Compare) and "__main__" in ast.unparse(node):
            found.append("__main__")
    return found


def unsafe(tree: ast.AST) -> list[str]:
    """Where a module could run what it reads."""
    found = [name for name in imports(tree) if name.split(".")[0] in RUNS_CODE]
    for name, call in calls(tree):
        given = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
        if (
            name in RUN_TEXT
            or (name == "torch.load" and given.get("weights_only") != "True")
            or name in YAML_THAT_RUNS
            or given.get("allow_pickle", "False") != "False"
            or given.get("shell", "False") != "False"
        ):
            found.append(name)
    bases = [ast.unparse(base) for node in ast.walk(tree) if isinstance(node, ast.ClassDef) for base in node.bases]
    return found + [base for base in bases if base in ("yaml.Loader", "yaml.FullLoader", "yaml.UnsafeLoader")]


MAY_NAME_MODALITIES = {
    **dict.fromkeys(
        ("mmssl.data.utd_mhad", "mmssl.data.mmact", "mmssl.data.synthetic", "mmssl.data.download"), "readers"
    ),
    "mmssl.data.sources": "what to know of a data set",
    "mmssl.data.description": "descriptions of before modalities had names",
    "mmssl.data.recordings": "files of before then",
    "mmssl.training.model": "exports of before then",
    "mmssl.recipe": "the modalities of the data sets with names; and knobs' sections, which are of all of a kind",
    "mmssl.study.presets": "settings, by the names of knobs",
    "mmssl.experiments.published": "figures of the data sets with names",
}
"""Modules, with what they name them for."""


def named_modalities(tree: ast.AST) -> list[str]:
    """Strings that name a modality, docstrings apart; `skeleton` is the name of a kind too, where one is looked at."""
    texts = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    of_kinds = {
        id(part)
        for node in ast.walk(tree)
        if (isinstance(node, ast.Compare) and "kind" in ast.unparse(node))
        or (isinstance(node, ast.FunctionDef) and "kind" in node.name)
        for part in ast.walk(node)
    }
    return [
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in texts | of_kinds
        if node.value == "skeleton" or re.search(r"(?<![a-zA-Z])(imu|IMU)(?![a-zA-Z])", node.value)
    ]


@pytest.mark.parametrize("module", [name for name in TREES if name not in MAY_NAME_MODALITIES])
def test_nothing_but_readers_and_presets_names_a_modality(module: str):
    assert named_modalities(TREES[module]) == []


def test_the_page_and_the_card_name_no_modality():
    kept = (".js", ".html", ".md", ".css")
    texts = [path.read_text("utf-8") for path in (TOP / "mmssl").rglob("*") if path.suffix in kept]
    assert [found for text in texts for found in re.findall(r"(?i)\bimu\b|train\.skeleton|guide\.skeleton", text)] == []


def test_the_eye_for_names_of_modalities():
    named = "x = 'imu'", "d['skeleton']", "f'val.imu.{x}'", "f('train.imu.std')", "name == 'skeleton'"
    assert all(len(named_modalities(ast.parse(code))) == 1 for code in named)
    free = "'''Of imu.'''", "kind == 'skeleton'", "knobs.imu", "x = 'minimum'", "x = 'a skeleton'"
    assert [named_modalities(ast.parse(code)) for code in free] == [[]] * len(free)


@pytest.mark.parametrize("layer", LAYERS)
def test_layers_do_not_import_each_other(layer: str):
    own = [module for module in TREES if within(module, layer)]
    if not own:
        pytest.skip("not there")
    others = [other for other in LAYERS if other != layer]
    found = [(module, name) for module in own for name in imports(TREES[module])]
    assert [(module, name) for module, name in found if any(within(name, other) for other in others)] == []


def folder(name: str) -> str:
    """The folder of the package that a module lies in; none for those beside the folders."""
    _, _, inner = name.partition(".")
    return inner.partition(".")[0] if inner.partition(".")[0] in ORDER else ""


def test_every_folder_has_its_place():
    held = {(path.parent.relative_to(TOP / "mmssl").parts or (".",))[0] for path in PATHS.values()}
    assert held == {".", GROUND, *ORDER}


@pytest.mark.parametrize("module", [name for name in TREES if name != "mmssl"])
def test_nothing_is_imported_upwards(module: str):
    allowed = ("", *ORDER[: ORDER.index(folder(module)) + 1]) if folder(module) else ("",)
    assert {name for name in imports(TREES[module]) if within(name, "mmssl") and folder(name) not in allowed} == set()


def test_no_modules_import_each_other_in_a_circle():
    waiting = {name: {one for one in imports(TREES[name]) if one in TREES} - {name, "mmssl"} for name in TREES}
    # A folder's own file offers what lies in it.
    for name in [one for one, path in PATHS.items() if path.name == "__init__.py"]:
        for other in [one for one in waiting if within(one, name)]:
            waiting[other].discard(name)
    while free := [name for name, needs in waiting.items() if not needs & set(waiting)]:
        for name in free:
            del waiting[name]
    assert waiting == {}


@pytest.mark.parametrize(
    "module", [name for name in TREES if folder(name) not in ("search", "trackers") and folder(name) != "study"]
)
def test_ray_and_optuna_stay_with_what_runs_and_follows_a_study(module: str):
    assert {name for name in imports(TREES[module]) if name.split(".")[0] in ("ray", "optuna")} == set()


@pytest.mark.parametrize("module", [name for name in TREES if any(within(name, light) for light in LIGHT)])
def test_light_modules_load_nothing_heavy(module: str):
    assert {name for name in loaded_with(module, TREES) if name.split(".")[0] in HEAVY} == set()


def test_light_modules_load_nothing_heavy_in_a_process():
    names = [name for name in TREES if any(within(name, light) for light in LIGHT) and not name.endswith("__main__")]
    code = f"import sys, {', '.join(names)}; print(*({HEAVY} & set(sys.modules)))"
    process = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=TOP)
    assert process.stdout.split() == []


def test_who_reads_a_study_does_not_wait_for_what_reads_recordings():
    assert {name for name in loaded_with("mmssl.study.verdict", TREES) if name.startswith("mmssl.data.rec")} == set()


@pytest.mark.parametrize("module", ["mmssl.report.page", "mmssl.report.paper"])
def test_a_page_of_trials_alone_does_not_wait_for_torch(module: str):
    assert "torch" not in loaded_with(module, TREES)


def test_no_help_waits_for_libraries():
    code = (
        "import sys, contextlib, io, typer\n"
        "from mmssl.cli import COMMANDS, app\n"
        "command = typer.main.get_command(app)\n"
        "names = [[], ['data', 'import'], *([name] for panel in COMMANDS.values() for name in panel)]\n"
        "with contextlib.redirect_stdout(io.StringIO()) as said:\n"
        "    for name in names: command([*name, '--help'], standalone_mode=False)\n"
        f"print(said.getvalue().count('Usage:') == len(names), {HEAVY | LOADED_ON_USE} & set(sys.modules))"
    )
    process = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=TOP)
    assert process.stdout == "True set()\n"


@pytest.mark.parametrize("module", TREES)
def test_a_digest_of_code_can_follow_every_import(module: str):
    """`mmssl.version` follows `from mmssl.x import y`; what is imported otherwise could change unseen."""
    unfollowed: list[str] = []
    for node in ast.walk(TREES[module]):
        if isinstance(node, ast.Import):
            unfollowed += [alias.name for alias in node.names if within(alias.name, "mmssl") and alias.name != "mmssl"]
        elif isinstance(node, ast.ImportFrom) and node.module == "mmssl":
            unfollowed += [alias.name for alias in node.names if f"mmssl.{alias.name}" not in TREES]
    assert unfollowed == []


def test_a_class_name_means_one_thing():
    named = [node.name for tree in TREES.values() for node in tree.body if isinstance(node, ast.ClassDef)]
    public = [name for name in named if not name.startswith("_")]
    assert sorted(name for name in set(public) if public.count(name) > 1) == []


def test_no_module_is_a_drawer_for_odds_and_ends():
    assert {path.stem for path in PATHS.values()} & {"utils", "util", "common", "base", "helpers", "misc"} == set()


@pytest.mark.parametrize(
    "module", [name for name in TREES if not within(name, "mmssl.cli") and name != "mmssl.cli.terminal"]
)
def test_only_the_command_line_prints_or_exits(module: str):
    assert loud(TREES[module]) == []


@pytest.mark.parametrize("module", TREES)
def test_nothing_that_is_read_can_run(module: str):
    assert unsafe(TREES[module]) == []


@pytest.mark.parametrize(
    "code",
    [
        "print(1)",
        "import sys\nsys.exit(2)",
        "def f():\n    raise SystemExit",
        "if __name__ == '__main__':\n    main()",
    ],
)
def test_the_eye_for_loud_modules(code: str):
    assert len(loud(ast.parse(code))) == 1


@pytest.mark.parametrize(
    "code",
    [
        "eval('1')",
        "exec(text)",
        "import pickle",
        "from joblib import load",
        "def f():\n    import pickle as p",
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "yaml.load(text)",
        "yaml.load(text, Loader=yaml.SafeLoader)",
        "yaml.unsafe_load(text)",
        "yaml.full_load(text)",
        "np.load(path, allow_pickle=True)",
        "subprocess.run(text, shell=True)",
        "class L(yaml.Loader): ...",
    ],
)
def test_the_eye_for_unsafe_calls(code: str):
    assert unsafe(ast.parse(code))


def test_the_eye_passes_what_is_safe():
    calls = "torch.load(p, weights_only=True); yaml.safe_load(t); np.load(p, allow_pickle=False)"
    assert unsafe(ast.parse(f"{calls}; model.eval(); re.compile('a')\nclass L(yaml.SafeLoader): ...")) == []


def test_the_eye_for_what_is_loaded():
    trees = {
        "mmssl": ast.parse("from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import scipy"),
        "mmssl.a": ast.parse("def f():\n    import torch\nfrom mmssl import b"),
        "mmssl.b": ast.parse("class B:\n    from mmssl.c.d import e"),
        "mmssl.c": ast.parse("try:\n    import ray\nexcept ImportError:\n    pass"),
        "mmssl.c.d": ast.parse("import numpy.linalg as la"),
    }
    assert {name.split(".")[0] for name in loaded_with("mmssl.a", trees)} == {"mmssl", "ray", "numpy", "typing"}
    assert "torch" in imports(trees["mmssl.a"])
