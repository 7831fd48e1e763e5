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
LAYERS = [
    {"_startup", "_codecs", "_crops", "_validation"},
    {"operators", "solvers", "degradations", "metrics", "image_io", "noise", "planes"},
    {"multigrid", "proximal", "depth_io", "_console", "_loading"},
    {"preconditioners"},
    {"reconstruction"},
    {"layers", "alternating", "sampling"},
    {"networks", "classical", "data"},
    {"models"},
    {"inference", "pretrained"},
    {"demo", "depth"},
    {"cli_denoise", "cli_joint"},
    {"cli"},
]
WITHOUT_KERAS = [
    "operators",
    "solvers",
    "multigrid",
    "preconditioners",
    "reconstruction",
    "proximal",
    "alternating",
]


def imports(path: pathlib.Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def modules(package: str) -> dict[str, pathlib.Path]:
    return {path.stem: path for path in (ROOT / package).glob("*.py") if path.stem != "__init__"}


def test_every_module_has_its_place():
    assert set(modules("deepam_tf")) == set.union(*LAYERS)


@pytest.mark.parametrize("level", range(len(LAYERS)))
def test_modules_import_only_what_lies_below(level):
    below = set.union(set(), *LAYERS[:level])
    for name in LAYERS[level]:
        own = {
            n.split(".")[1]
            for n in imports(modules("deepam_tf")[name])
            if n.startswith("deepam_tf.")
        }
        own &= set.union(*LAYERS)
        assert own <= below, f"{name} imports {own - below}"


@pytest.mark.parametrize("name", WITHOUT_KERAS)
def test_the_core_does_without_keras(name):
    assert not any(n.split(".")[0] == "keras" for n in imports(modules("deepam_tf")[name]))


def test_library_and_scripts_do_not_import_upwards_or_sideways():
    for package, forbidden in {
        "deepam_tf": {"training", "export", "benchmarks", "tests"},
        "training": {"export", "benchmarks", "tests"},
        "export": {"training", "benchmarks", "tests"},
    }.items():
        for path in modules(package).values():
            assert not {n.split(".")[0] for n in imports(path)} & forbidden, path


@pytest.mark.parametrize(
    ("name", "allowed"),
    [
        ("alone", {"numpy", "tensorflow"}),
        ("mlserver_runtime", {"mlserver", "numpy", "prometheus_client", "tensorflow"}),
    ],
)
def test_what_runs_without_the_library_does_not_import_it(name, allowed):
    own = {n.split(".")[0] for n in imports(modules("export")[name])}
    assert own - set(sys.stdlib_module_names) <= allowed


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


def test_modules_are_short():
    for package in ("deepam_tf", "training", "export"):
        for path in modules(package).values():
            assert len(path.read_text().splitlines()) <= 300, path
