"""The arrows between modules run one way, and the package stays light and documented."""

from __future__ import annotations

import ast
import inspect
import pathlib
import sys

import pytest

import deepam_tf
from tests import helpers

ROOT = pathlib.Path(__file__).parent.parent
ROOMS = {
    "deepam_tf": [
        "_startup",
        "linear",
        "classical",
        "files",
        "depth",
        "data",
        "networks",
        "restoration",
        "probability",
        "app",
        "_names",
        "batch",
        "cli",
        "__main__",
    ],
    "training": ["configuration", "evaluation", "data", "fit"],
    "export": ["graph", "serving"],
}
"""The rooms of each package, from the ground up: imports run downwards alone."""
WITHOUT_KERAS = ["linear", "classical", "files", "depth", "batch"]


def imports(path: pathlib.Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def modules(package: str) -> list[pathlib.Path]:
    return sorted((ROOT / package).rglob("*.py"))


def room(package: str, path: pathlib.Path) -> str:
    """The room a module is in; of those on the top floor, the module itself."""
    return path.relative_to(ROOT / package).with_suffix("").parts[0]


@pytest.mark.parametrize("package", ROOMS)
def test_every_module_has_its_room(package):
    found = {room(package, path) for path in modules(package)} - {"__init__"}
    mains = (
        {path.stem for path in (ROOT / package).glob("*.py")} if package != "deepam_tf" else set()
    )
    assert found - mains == set(ROOMS[package])


@pytest.mark.parametrize("package", ROOMS)
def test_rooms_import_only_what_lies_below(package):
    floors = {name: floor for floor, name in enumerate(ROOMS[package])}
    for path in modules(package):
        own = room(package, path)
        if own not in floors:  # a command, or the package itself: on top of everything
            continue
        used = {
            name.split(".")[1] for name in imports(path) if name.startswith(f"{package}.")
        } & floors.keys()
        above = {name for name in used if floors[name] > floors[own]}
        assert not above, f"{path} imports {above}"


@pytest.mark.parametrize("name", WITHOUT_KERAS)
def test_the_core_does_without_keras(name):
    for path in modules(f"deepam_tf/{name}"):
        assert not any(n.split(".")[0] == "keras" for n in imports(path)), path


def test_library_and_scripts_do_not_import_upwards_or_sideways():
    for package, forbidden in {
        "deepam_tf": {"training", "export", "benchmarks", "tests"},
        "training": {"export", "benchmarks", "tests"},
        "export": {"training", "benchmarks", "tests"},
    }.items():
        for path in modules(package):
            assert not {n.split(".")[0] for n in imports(path)} & forbidden, path


@pytest.mark.parametrize(
    ("name", "allowed"),
    [
        ("graph/alone.py", {"numpy", "tensorflow"}),
        ("serving/mlserver_runtime.py", {"mlserver", "numpy", "prometheus_client", "tensorflow"}),
    ],
)
def test_what_runs_without_the_library_does_not_import_it(name, allowed):
    own = {n.split(".")[0] for n in imports(ROOT / "export" / name)}
    assert own - set(sys.stdlib_module_names) <= allowed


def test_tensorflow_probability_lives_in_one_room():
    users = {
        path.relative_to(ROOT).parts[:2]
        for package in ROOMS
        for path in modules(package)
        if "tensorflow_probability" in path.read_text() or "tf_keras" in imports(path)
    }
    assert users == {("deepam_tf", "probability")}


def test_import_is_light():
    # Keras itself imports SciPy and OpenCV where it finds them: what counts is what is added.
    printed = helpers.run_python(
        "import sys, cv2, keras, tensorflow, PIL.Image\n"
        "before = set(sys.modules)\n"
        "import deepam_tf\n"
        "added = {m.split('.')[0] for m in set(sys.modules) - before}\n"
        "print(sorted(added & {'scipy', 'tensorboard', 'tensorflow_probability', 'tf_keras',"
        " 'matplotlib', 'skimage', 'bm3d', 'rich'}))"
    )
    assert printed.strip() == "[]"


def test_public_names_are_documented_with_an_example():
    for name in deepam_tf.__all__:
        thing = getattr(deepam_tf, name)
        doc = inspect.getdoc(thing) or ""
        assert doc, name
        if inspect.isfunction(thing):
            assert "Args:" in doc or not inspect.signature(thing).parameters, name
            assert "Returns:" in doc, name
            assert ">>>" in doc, name


@pytest.mark.parametrize("package", ["training", "export"])
def test_no_command_is_the_library_of_another_module(package):
    commands = {path.stem for path in (ROOT / package).glob("*.py")} - {"__init__"}
    for path in modules(package):
        used = {name for name in imports(path) if name.startswith(f"{package}.")}
        assert not {name.split(".")[1] for name in used} & commands, path


def test_no_pipeline_makes_the_process_give_memory_back_at_every_turn():
    """TensorFlow's generator dataset does, for good: see `crops.numbered`."""
    for package in ROOMS:
        for path in modules(package):
            assert ".from_generator(" not in path.read_text(), path
