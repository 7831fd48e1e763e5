"""Export a trained model as a SavedModel that TensorFlow Serving loads as it stands.

    python -m export.saved_model MODEL OUT

makes the next version folder `OUT/1`, `OUT/2`, ..., whole or not at all. MODEL is the name of
weights that come with the package, or a `.keras` file.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import hashlib
import json
import os
import pathlib
import shutil
import sys
import tempfile
from typing import Any

import keras
import numpy as np
import tensorflow as tf

import deepam_tf
from deepam_tf.restoration.pretrained import list_pretrained, load_pretrained, pretrained_card
from export.graph.artefact import (
    CARD,
    CHECKSUMS,
    EXTRA,
    VERIFICATION,
    WARMUP,
    ExportError,
    checksums,
    describe,
    versions,
)
from export.graph.folding import folded
from export.graph.samples import as_files, sample_inputs
from export.graph.signatures import ServedModel

__all__ = ["MAX_MEGAPIXELS", "Source", "load_model", "main", "save"]

MAX_MEGAPIXELS = 4.0
VERIFICATION_SIZES = ((1, 32, 32), (2, 37, 50), (1, 64, 96))
_WARMUP_SIZE = (1, 128, 128)


@dataclasses.dataclass(frozen=True)
class Source:
    """A trained model and what is known of it.

    Attributes:
        model: the model.
        card: its description, JSON.
    """

    model: deepam_tf.DeepAM
    card: dict[str, Any]


def load_model(name: str) -> Source:
    """A model by the name of its weights or the path of its `.keras` file.

    Args:
        name: one of `deepam_tf.list_pretrained()`, or a path.

    Returns:
        The model and its card.

    Raises:
        ExportError: if there is no such thing, or it is damaged or of another kind.
    """
    path = pathlib.Path(name)
    if name in list_pretrained():
        return Source(load_pretrained(name), {"name": name, **pretrained_card(name)})
    if path.suffix != ".keras" or not path.is_file():
        raise ExportError(
            f"MODEL must be a .keras file or one of {list_pretrained()}. Received: {name!r}."
        )
    try:
        model = keras.saving.load_model(path, compile=False)
    except Exception as error:  # Keras promises no kind
        raise ExportError(f"{path}: Keras cannot load it ({error}).") from error
    if not isinstance(model, deepam_tf.DeepAM):
        raise ExportError(f"{path} must hold a DeepAM. Received: a {type(model).__name__}.")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    config = {k: v for k, v in model.get_config().items() if k not in ("name", "trainable")}
    return Source(model, {"name": path.stem, "model": config, "sha256": digest})


def save(
    source: Source,
    out: str | os.PathLike,
    *,
    version: int | None = None,
    rtol: float | None = None,
    max_steps: int | None = None,
    max_megapixels: float = MAX_MEGAPIXELS,
) -> pathlib.Path:
    """Write one version of a served model.

    Args:
        source: what `load_model` returned.
        out: folder of the served model; its name is the name that it is served under.
        version: number of the version folder, by default one above the largest there is.
        rtol: relative tolerance of the solves, fixed in the export; by default the model's.
        max_steps: most steps of each solve, fixed in the export; by default the model's.
        max_megapixels: most that one request may hold.

    Returns:
        The version folder: a SavedModel, with the model card, checksums, warm-up requests
        and what `export.verify` compares with in `assets.extra`.

    Raises:
        ExportError: if the version exists, the folder cannot be written to, an argument is
            out of its range, or tensorflow-serving-api is missing.
    """
    if (rtol is not None and rtol <= 0) or (max_steps is not None and max_steps < 1):
        raise ExportError(
            f"`rtol` must be positive and `max_steps` at least 1. Received: {rtol}, {max_steps}."
        )
    if not 0 < max_megapixels <= 1000:
        raise ExportError(f"`max_megapixels` must be in (0, 1000]. Received: {max_megapixels}.")
    out = pathlib.Path(out).absolute()
    try:
        out.mkdir(parents=True, exist_ok=True)
        target = out / str(version if version is not None else 1 + max([0, *versions(out)]))
        if target.exists():
            raise ExportError(f"{target} exists already. Choose another version.")
        temporary = pathlib.Path(tempfile.mkdtemp(prefix=".export-", dir=out))
    except OSError as error:
        raise ExportError(f"{out}: cannot be written ({error.strerror}).") from error
    try:
        _write(source, temporary, out.name, rtol, max_steps, max_megapixels)
        temporary.chmod(0o755)
        os.rename(temporary, target)
    except OSError as error:
        raise ExportError(f"{target}: cannot be written ({error.strerror}).") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return target


def _write(source, folder, name, rtol, max_steps, max_megapixels) -> None:
    model = folded(source.model, rtol=rtol, max_steps=max_steps)
    served = ServedModel(model, max_megapixels=max_megapixels)
    warmup = _warmup_records(served, name)
    with _quiet():
        tf.saved_model.save(
            served,
            str(folder),
            signatures=served.functions,
            # Without it a loaded model could not be differentiated.
            options=tf.saved_model.SaveOptions(experimental_custom_gradients=True),
        )
    extra = folder / EXTRA
    extra.mkdir()
    with tf.io.TFRecordWriter(str(extra / WARMUP)) as writer:
        for record in warmup:
            writer.write(record)
    reference = _with_solve(source.model, rtol, max_steps)
    np.savez_compressed(extra / VERIFICATION, **_verification(reference, served.specs))
    card = {
        **source.card,
        "export": {
            "rtol": rtol or source.model.rtol,
            "max_steps": max_steps or source.model.max_steps,
            "max_megapixels": max_megapixels,
            "batch_normalization": "folded",
            "deepam_tf": deepam_tf.__version__,
            "tensorflow": tf.__version__,
            "keras": keras.__version__,
        },
        "signatures": {
            key: {
                "inputs": _described(function.structured_input_signature[1]),
                "outputs": _described(function.structured_outputs),
            }
            for key, function in served.functions.items()
        },
    }
    (extra / CARD).write_text(json.dumps(card, indent=2) + "\n")
    (extra / CHECKSUMS).write_text(checksums(folder))


def _described(tensors) -> dict[str, dict[str, Any]]:
    return {
        name: {"dtype": x.dtype.name, "shape": x.shape.as_list()} for name, x in tensors.items()
    }


def _with_solve(model: deepam_tf.DeepAM, rtol, max_steps) -> deepam_tf.DeepAM:
    """The model as it was trained, its batch normalisation too, with the export's solves."""
    config = model.get_config()
    twin = type(model).from_config(
        {**config, "rtol": rtol or model.rtol, "max_steps": max_steps or model.max_steps}
    )
    twin.set_weights(model.get_weights())
    return twin


def _verification(model: deepam_tf.DeepAM, specs) -> dict[str, np.ndarray]:
    """Inputs, the Keras model's answers, and the gradient of one of them."""
    arrays = {}
    for i, size in enumerate(VERIFICATION_SIZES):
        inputs = sample_inputs(specs, size, seed=i)
        tensors = {name: tf.constant(x) for name, x in inputs.items()}
        with tf.GradientTape() as tape:
            tape.watch(tensors["image"])
            restored = model(tensors, training=False)["restored"]
            loss = tf.reduce_sum(restored**2)
        arrays |= {f"{i}/input/{name}": x for name, x in inputs.items()}
        arrays[f"{i}/restored"] = restored.numpy()
        if i == 0:
            arrays["0/gradient"] = tape.gradient(loss, tensors["image"]).numpy()
    return arrays


def _warmup_records(served: ServedModel, name: str) -> list[bytes]:
    """Requests that TensorFlow Serving answers for itself before it says it is ready."""
    try:
        from tensorflow_serving.apis import prediction_log_pb2
    except ImportError as error:
        raise ExportError(
            "The warm-up requests are written with tensorflow-serving-api. Install it: "
            "pip install '.[serve]' (or, beside tensorflow-cpu, pip install --no-deps "
            "tensorflow-serving-api)."
        ) from error
    inputs = sample_inputs(served.specs, _WARMUP_SIZE)
    records = []
    for signature, arguments in (("serving_default", inputs), ("serving_bytes", as_files(inputs))):
        log = prediction_log_pb2.PredictionLog()
        request = log.predict_log.request
        request.model_spec.name = name
        request.model_spec.signature_name = signature
        for key, value in arguments.items():
            request.inputs[key].CopyFrom(tf.make_tensor_proto(value))
        records.append(log.SerializeToString())
    return records


@contextlib.contextmanager
def _quiet():
    """TensorFlow warns of functions that it saves without need; nobody can act on it."""
    logger = tf.get_logger()
    level = logger.level
    logger.setLevel("ERROR")
    try:
        yield
    finally:
        logger.setLevel(level)


def main(argv: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m export.saved_model", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("model", help="name of shipped weights, or a .keras file")
    parser.add_argument("out", type=pathlib.Path, help="folder of the served model")
    parser.add_argument("--version", type=int, help="default: one above the largest there is")
    parser.add_argument("--rtol", type=float, help="tolerance of the solves, default the model's")
    parser.add_argument("--max-steps", type=int, help="of each solve, default the model's")
    parser.add_argument("--max-megapixels", type=float, default=MAX_MEGAPIXELS, metavar="N")
    args = parser.parse_args(argv)
    try:
        folder = save(
            load_model(args.model),
            args.out,
            version=args.version,
            rtol=args.rtol,
            max_steps=args.max_steps,
            max_megapixels=args.max_megapixels,
        )
    except ExportError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(describe(folder))
    return 0


if __name__ == "__main__":
    sys.exit(main())
