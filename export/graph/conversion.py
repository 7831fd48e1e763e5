"""Exported models in the formats of other runtimes, LiteRT (TensorFlow Lite) and ONNX.

Both formats keep the loop of the solves, with its own stop for every image, and the unknown
batch, height and width, or fix them for one window.
"""

from __future__ import annotations

import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import tensorflow as tf

from deepam_tf.files.atomic import WriteError, whole_file
from export.graph.artefact import (
    AGREEMENTS,
    CARD,
    EXTRA,
    VERIFICATION,
    ExportError,
    version_folder,
)
from export.graph.samples import sample_inputs

__all__ = ["AGREEMENT", "RUNTIMES", "convert"]

AGREEMENT = AGREEMENTS["float32"]["agreement"]
"""Largest difference from the Keras model that is accepted, images being in [0, 1]."""

STDDEV_AGREEMENT = 1e-4
"""The same of a standard deviation."""
# A standard deviation sees the logarithm of small differences.
_ACCEPTED = {"restored": AGREEMENT, "stddev": STDDEV_AGREEMENT}
_ONNX_OPSET = 18
Answer = tuple[dict[str, np.ndarray], dict[str, np.ndarray]]
Run = Callable[[Mapping[str, np.ndarray]], Mapping[str, np.ndarray]]


def convert(
    source: str | os.PathLike,
    target: str | os.PathLike,
    *,
    window: Sequence[int] | None = None,
) -> float:
    """Write a model in the format that the file's suffix names, if it answers as it should.

    Args:
        source: folder of a served model, or one version of it.
        target: `.tflite` or `.onnx` file; replaced if it exists.
        window: height and width of the only size that the file takes, one image at a time; by
            default any number of images of any size.

    Returns:
        The largest difference from the Keras model at the sizes of the verification, or with a
        window from the SavedModel; those of standard deviations count by a tenth.

    Raises:
        ExportError: if there is no model, the suffix is another, the format's packages are
            missing, the conversion fails, the answers differ, the file cannot be written, or
            the window has no pixels.
    """
    target = pathlib.Path(target)
    if window is not None and min(window) < 1:
        raise ExportError(f"The window must be at least 1x1. Received: {window[0]}x{window[1]}.")
    if target.suffix not in RUNTIMES:
        raise ExportError(f"The file must end in {' or '.join(RUNTIMES)}. Received: {target.name}.")
    folder = version_folder(pathlib.Path(source))
    dtype = json.loads((folder / EXTRA / CARD).read_text())["export"].get("dtype", "float32")
    if dtype != "float32":
        raise ExportError(
            f"{target.suffix[1:]} files are made of exports in float32. Received: {folder} in "
            f"{dtype}. Export it with --dtype float32."
        )
    converted, runtime = RUNTIMES[target.suffix]
    try:
        with tempfile.TemporaryDirectory(prefix=".convert-", dir=target.parent) as place:
            temporary = pathlib.Path(place, target.name)
            try:
                if window is None:
                    converted(folder, temporary)
                    answers = _remembered(folder)
                else:
                    fixed = pathlib.Path(place, "fixed")
                    answers = _with_window(folder, fixed, window)
                    converted(fixed, temporary)
                error = _largest_difference(answers, runtime(temporary))
            except ImportError as missing:
                raise ExportError(f"{missing}. Install it: pip install '.[convert]'.") from missing
            except RuntimeError as refusal:  # what both runtimes raise
                raise ExportError(
                    f"{target}: not written, its runtime cannot run it ({_last_line(refusal)})."
                ) from refusal
            if not error <= AGREEMENT:
                raise ExportError(f"{target}: not written, its answers differ by {error:.1e}.")
            with whole_file(target) as whole:
                shutil.copyfile(temporary, whole)
    except WriteError as error:
        raise ExportError(str(error)) from error
    except OSError as error:
        raise ExportError(f"{target}: cannot be written ({error.strerror}).") from error
    return error


def _to_litert(folder: pathlib.Path, path: pathlib.Path) -> None:
    converter = tf.lite.TFLiteConverter.from_saved_model(
        str(folder), signature_keys=["serving_default"]
    )
    try:
        path.write_bytes(converter.convert())
    except Exception as error:  # of no promised kind
        raise ExportError(f"{folder}: LiteRT cannot convert it ({_last_line(error)}).") from error


def _run_litert(path: pathlib.Path) -> Run:
    from ai_edge_litert.interpreter import Interpreter  # pyright: ignore[reportMissingImports]

    runner = Interpreter(model_path=str(path)).get_signature_runner("serving_default")
    return lambda inputs: runner(**inputs)


def _to_onnx(folder: pathlib.Path, path: pathlib.Path) -> None:
    import tf2onnx  # noqa: F401  # pyright: ignore[reportMissingImports]

    # Its Python functions take Keras models and functions; SavedModels its command alone.
    command = [sys.executable, "-m", "tf2onnx.convert", "--saved-model", str(folder)]
    command += ["--signature_def", "serving_default", "--tag", "serve"]
    command += ["--opset", str(_ONNX_OPSET), "--output", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ExportError(f"{folder}: ONNX cannot convert it ({_last_line(done.stderr)}).")


def _run_onnx(path: pathlib.Path) -> Run:
    import onnxruntime  # pyright: ignore[reportMissingImports]

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return lambda inputs: {
        name: np.asarray(result)
        for name, result in zip(names, session.run(names, dict(inputs)), strict=True)
    }


RUNTIMES = {".tflite": (_to_litert, _run_litert), ".onnx": (_to_onnx, _run_onnx)}
"""By suffix: how a file is made, and how it is run."""


def _with_window(folder: pathlib.Path, fixed: pathlib.Path, window: Sequence[int]) -> list[Answer]:
    """Save the model once more, for one window of that size, and what it answers to such."""
    loaded = tf.saved_model.load(str(folder))
    serve = loaded.signatures["serving_default"]
    specs = {
        name: tf.TensorSpec([1, *window, spec.shape[-1]], spec.dtype, name=name)
        for name, spec in serve.structured_input_signature[1].items()
    }
    if "noise_stddev" in specs:  # one level serves a window
        level = specs["noise_stddev"]
        specs["noise_stddev"] = tf.TensorSpec([1, 1, 1, 1], level.dtype, name="noise_stddev")
    module = tf.Module()
    module.loaded = loaded  # keeps the variables
    function = tf.function(lambda **inputs: serve(**inputs), autograph=False)
    signature = function.get_concrete_function(**specs)
    tf.saved_model.save(
        module,
        str(fixed),
        signatures={"serving_default": signature},
        options=tf.saved_model.SaveOptions(experimental_custom_gradients=False),
    )
    inputs = sample_inputs(specs, (1, *window))
    outputs = signature(**{name: tf.constant(x) for name, x in inputs.items()})
    return [(inputs, {name: x.numpy() for name, x in outputs.items()})]


def _remembered(folder: pathlib.Path) -> list[Answer]:
    """Inputs, and what the Keras model answered to them when it was exported."""
    with np.load(folder / EXTRA / VERIFICATION) as file:
        found = []
        for i in sorted({key.split("/")[0] for key in file.files}):
            start = f"{i}/input/"
            inputs = {k.removeprefix(start): file[k] for k in file.files if k.startswith(start)}
            names = [name for name in _ACCEPTED if f"{i}/{name}" in file]
            found.append((inputs, {name: file[f"{i}/{name}"] for name in names}))
    return found


def _largest_difference(answers: list[Answer], run: Run) -> float:
    errors = []
    for inputs, expected in answers:
        outputs = run(inputs)
        for name, values in expected.items():
            error = np.abs(outputs[name] - values).max()
            errors.append(error * AGREEMENT / _ACCEPTED[name])
    return float(np.max(errors))  # of one NaN, NaN


def _last_line(error: object) -> str:
    return (str(error).strip().splitlines() or ["no message"])[-1]
