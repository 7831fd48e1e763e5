"""A trained model written as a SavedModel, with everything that goes beside it."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
from typing import Any

import keras
import numpy as np
import tensorflow as tf

import deepam_tf
from deepam_tf.files.atomic import WriteError, whole_folder
from export.graph.artefact import (
    AGREEMENTS,
    CARD,
    CHECKSUMS,
    EXTRA,
    VERIFICATION,
    WARMUP,
    ExportError,
    checksums,
    versions,
)
from export.graph.folding import folded
from export.graph.samples import as_files, sample_inputs
from export.graph.signatures import ServedModel
from export.graph.sources import Source

__all__ = ["MAX_MEGAPIXELS", "save"]

MAX_MEGAPIXELS = 4.0
VERIFICATION_SIZES = ((1, 32, 32), (2, 37, 50), (1, 64, 96))
_WARMUP_SIZE = (1, 128, 128)


def save(
    source: Source,
    out: str | os.PathLike,
    *,
    version: int | None = None,
    rtol: float | None = None,
    max_steps: int | None = None,
    dtype: str = "float32",
    max_megapixels: float = MAX_MEGAPIXELS,
) -> pathlib.Path:
    """Write one version of a served model, whole or not at all.

    Args:
        source: what `load_model` returned.
        out: folder of the served model; its name is the name that it is served under.
        version: number of the version folder, by default one above the largest there is.
        rtol: relative tolerance of the solves, fixed in the export; by default the model's.
        max_steps: most steps of each solve, fixed in the export; by default the model's.
        dtype: precision of the networks, one of `artefact.AGREEMENTS`, whatever it was in
            training.
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
    if dtype not in AGREEMENTS:
        raise ExportError(f"`dtype` must be one of {', '.join(AGREEMENTS)}. Received: {dtype!r}.")
    if not 0 < max_megapixels <= 1000:
        raise ExportError(f"`max_megapixels` must be in (0, 1000]. Received: {max_megapixels}.")
    out = pathlib.Path(out).absolute()
    try:
        out.mkdir(parents=True, exist_ok=True)
        target = out / str(version if version is not None else 1 + max([0, *versions(out)]))
        if target.exists():
            raise ExportError(f"{target} exists already. Choose another version.")
        with whole_folder(target) as temporary:
            solve = {"rtol": rtol, "max_steps": max_steps}
            _write(source, temporary, out.name, solve, dtype, max_megapixels)
    except OSError as error:
        raise ExportError(f"{out}: cannot be written ({error.strerror}).") from error
    except WriteError as error:
        raise ExportError(str(error)) from error
    return target


def _write(source, folder, name, solve, dtype, max_megapixels) -> None:
    # As trained, batch normalisation and all, in full precision: what answers are compared with.
    reference = source.model.with_solver(dtype="float32", **solve)
    model = folded(source.model.with_solver(dtype=dtype, **solve))
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
    np.savez_compressed(extra / VERIFICATION, **_verification(reference, served.specs))
    card = {
        **source.card,
        "export": {
            "rtol": reference.rtol,
            "max_steps": reference.max_steps,
            "dtype": dtype,
            **AGREEMENTS[dtype],
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


def _verification(model: deepam_tf.DeepAM, specs) -> dict[str, np.ndarray]:
    """Inputs, the Keras model's answers, and the gradient of one of them."""
    arrays = {}
    for i, size in enumerate(VERIFICATION_SIZES):
        inputs = sample_inputs(specs, size, seed=i)
        tensors = {name: tf.constant(x) for name, x in inputs.items()}
        with tf.GradientTape() as tape:
            tape.watch(tensors["image"])
            outputs = model(tensors, training=False)
            restored = outputs["restored"]
            loss = tf.reduce_sum(restored**2)
        arrays |= {f"{i}/input/{name}": x for name, x in inputs.items()}
        arrays |= {f"{i}/{name}": x.numpy() for name, x in outputs.items()}
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
