"""Exported models in MLServer, an open server for the V2 inference protocol.

`export.serve` starts it. This file stands alone: it needs MLServer, TensorFlow and NumPy, and
nothing of this library. Its folders are those of TensorFlow Serving, `ROOT/NAME/VERSION`, and
so are its signatures: a request is answered by the one whose inputs it names.
"""

from __future__ import annotations

import asyncio
import base64
import concurrent.futures
import os
import pathlib
import re

import numpy as np
import prometheus_client  # pyright: ignore[reportMissingImports]
import tensorflow as tf
from mlserver import MLModel, ModelSettings  # pyright: ignore[reportMissingImports]
from mlserver.errors import (  # pyright: ignore[reportMissingImports]
    InferenceError,
    MLServerError,
    ModelNotFound,
)
from mlserver.repository import ModelRepository  # pyright: ignore[reportMissingImports]
from mlserver.settings import ModelParameters  # pyright: ignore[reportMissingImports]
from mlserver.types import (  # pyright: ignore[reportMissingImports]
    InferenceRequest,
    InferenceResponse,
    MetadataTensor,
    Parameters,
    RequestInput,
    ResponseOutput,
)

__all__ = ["SavedModelRuntime", "VersionFolders"]

_DATATYPES = {tf.float32: "FP32", tf.float64: "FP64", tf.string: "BYTES"}
_ASSERTION = re.compile(r"assertion failed: \[(.*?)\]\n", re.DOTALL)
_BUSY = 503
# Of a batch of several sizes: its pixels over those of its images; and all of them, since a larger
# image keeps all cores busy by itself.
_MOST_PADDED, _MOST_PIXELS = 2.0, 2**17
# Not MLServer's own registry: with a single process it is not shown.
_BATCH_IMAGES = prometheus_client.Histogram(
    "deepam_batch_images", "images that were run together", ["model"], buckets=(1, 2, 4, 8, 16, 32)
)
# Each call keeps all cores busy; a few threads overlap decoding with computing.
_THREADS = concurrent.futures.ThreadPoolExecutor(os.cpu_count())
_LOADED: dict[str, tuple] = {}
"""What is loaded from each folder, and when that was written."""


class VersionFolders(ModelRepository):
    """Finds `MODELS/NAME/VERSION` on each start and each `load` request.

    Args:
        root: MLServer's folder of settings; not used.
        models: folder of folders.
        max_batch_size: most images that are run together.
        max_batch_seconds: how long the first of them waits for others.
    """

    def __init__(
        self, root: str, models: str, max_batch_size: int = 1, max_batch_seconds: float = 0.005
    ) -> None:
        del root
        self._models = pathlib.Path(models)
        self._batching = {"max_images": max_batch_size, "max_seconds": max_batch_seconds}

    async def list(self) -> list[ModelSettings]:
        """Settings of every version of every model."""
        return [
            ModelSettings(
                name=folder.parent.parent.name,
                implementation=SavedModelRuntime,
                parameters=ModelParameters(
                    uri=str(folder.parent), version=folder.parent.name, extra=self._batching
                ),
            )
            for folder in sorted(self._models.glob("*/*/saved_model.pb"))
            if folder.parent.name.isdecimal()
        ]

    async def find(self, name: str) -> list[ModelSettings]:
        """Settings of every version of one model, each loaded already.

        MLServer hands requests to a new version before it has loaded it, and refuses them.
        """
        found = [settings for settings in await self.list() if settings.name == name]
        if not found:
            raise ModelNotFound(name)
        for settings in found:
            await asyncio.to_thread(_load, settings.parameters.uri)
        for folder in [folder for folder in _LOADED if not pathlib.Path(folder).is_dir()]:
            del _LOADED[folder]
        return found


class SavedModelRuntime(MLModel):
    """One version of an exported model."""

    async def load(self) -> bool:
        """Take the SavedModel, which `VersionFolders.find` may have loaded."""
        folder = self.settings.parameters.uri
        self._loaded = _known(folder) or await asyncio.to_thread(_load, folder)
        self._signatures = self._loaded.signatures
        self._batches: list[_Batch] = []
        serve = self._signatures["serving_default"]
        self.inputs = _described(serve.structured_input_signature[1])
        self.outputs = _described(serve.structured_outputs)
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """Answer one request of the V2 protocol."""
        given = {x.name: x for x in payload.inputs}
        name, specs = self._signature_of(set(given))
        tensors = {key: _to_tensor(x, specs[key]) for key, x in given.items()}
        if name == "serving_default" and self._extra["max_images"] > 1:
            results = await self._batched(tensors)
        else:
            results = await self._run(name, tensors)
        outputs = [_to_output(key, value) for key, value in results.items()]
        return InferenceResponse(
            model_name=self.name, model_version=self.version, id=payload.id, outputs=outputs
        )

    @property
    def _extra(self) -> dict:
        return self.settings.parameters.extra

    def _signature_of(self, names: set[str]) -> tuple[str, dict[str, tf.TensorSpec]]:
        known = {
            name: function.structured_input_signature[1]
            for name, function in self._signatures.items()
        }
        for name, specs in known.items():
            if set(specs) == names:
                return name, specs
        wanted = " or ".join(str(sorted(specs)) for specs in known.values())
        raise InferenceError(f"The inputs must be {wanted}. Received: {sorted(names)}.")

    async def _run(self, signature: str, tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(_THREADS, self._call, signature, tensors)
        except tf.errors.ResourceExhaustedError as error:
            raise MLServerError("Out of memory. Send fewer or smaller images.", _BUSY) from error
        except (tf.errors.InvalidArgumentError, ValueError, TypeError) as error:
            found = _ASSERTION.search(str(error))
            message = found[1] if found else str(error).strip().splitlines()[-1]
            raise InferenceError(message) from error

    def _call(self, signature: str, tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        results = self._signatures[signature](**{k: tf.constant(x) for k, x in tensors.items()})
        return {key: value.numpy() for key, value in results.items()}

    async def _batched(self, tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Run together with other requests, of other sizes too where the model can tell them apart.

        MLServer's own batching puts together whatever comes.
        """
        count = tensors["image"].shape[0]
        # Of no image, or of inputs that do not fit, the graph says what is wrong.
        if not count or not _fits(tensors):
            return await self._run("serving_default", tensors)
        tensors = {key: np.repeat(x, count // x.shape[0], axis=0) for key, x in tensors.items()}
        ragged = "serving_ragged" in self._signatures
        batch = next((x for x in self._batches if x.takes(tensors, ragged)), None)
        if batch is None:
            batch = _Batch(self._extra)
            self._batches.append(batch)
        start = batch.add(tensors)
        if batch.task is None:
            batch.task = asyncio.create_task(self._run_batch(batch))
        try:
            results = await asyncio.shield(batch.task)
        except MLServerError:
            if len(batch.parts) == 1:
                raise
            return await self._run("serving_default", tensors)  # whose fault was it?
        height, width = tensors["image"].shape[1:3]
        return {key: x[start : start + count, :height, :width] for key, x in results.items()}

    async def _run_batch(self, batch: _Batch) -> dict[str, np.ndarray]:
        await batch.wait()
        self._batches.remove(batch)
        _BATCH_IMAGES.labels(self.name).observe(batch.count)
        sizes = {part["image"].shape[1:3] for part in batch.parts}
        tensors = batch.joined()
        if len(sizes) == 1:
            return await self._run("serving_default", tensors)
        counted = [[part["image"].shape[1:3]] * len(part["image"]) for part in batch.parts]
        tensors["size"] = np.array([size for sizes in counted for size in sizes], np.int32)
        return await self._run("serving_ragged", tensors)


def _stamp(folder: str) -> int:
    return pathlib.Path(folder, "saved_model.pb").stat().st_mtime_ns


def _known(folder: str):
    stamp, loaded = _LOADED.get(folder, (None, None))
    return loaded if stamp == _stamp(folder) else None


def _load(folder: str):
    """The SavedModel, loaded and run once: TensorFlow's first run is its slowest."""
    loaded = _known(folder)
    if loaded is None:
        stamp, loaded = _stamp(folder), tf.saved_model.load(folder)
        start = "0/input/"
        with np.load(pathlib.Path(folder, "assets.extra", "verification.npz")) as file:
            inputs = {k.removeprefix(start): file[k] for k in file.files if k.startswith(start)}
        loaded.signatures["serving_default"](**{k: tf.constant(x) for k, x in inputs.items()})
        _LOADED[folder] = stamp, loaded
    return loaded


class _Batch:
    """Requests that wait for one another."""

    def __init__(self, extra: dict) -> None:
        self._extra = extra
        self._full = asyncio.Event()
        self._sides = (0, 0)
        self._pixels = 0
        self.parts: list[dict[str, np.ndarray]] = []
        self.count = 0
        self.task: asyncio.Task | None = None

    def takes(self, tensors: dict[str, np.ndarray], ragged: bool) -> bool:
        """Whether a request fits: there is room, and not too much padding."""
        count, height, width = tensors["image"].shape[:3]
        sides = (max(self._sides[0], height), max(self._sides[1], width))
        together = self.count + count
        if together > self._extra["max_images"]:
            return False
        if all(x.shape[1:] == y[key].shape[1:] for y in self.parts for key, x in tensors.items()):
            return True
        padded = together * sides[0] * sides[1]
        own = self._pixels + count * height * width
        return ragged and padded <= min(_MOST_PADDED * own, _MOST_PIXELS)

    def add(self, tensors: dict[str, np.ndarray]) -> int:
        """Join; where in the batch the own images begin."""
        count, height, width = tensors["image"].shape[:3]
        self.parts.append(tensors)
        self._sides = (max(self._sides[0], height), max(self._sides[1], width))
        self._pixels += count * height * width
        self.count += count
        if self.count >= self._extra["max_images"]:
            self._full.set()
        return self.count - count

    def joined(self) -> dict[str, np.ndarray]:
        """All requests as one, each padded to the largest sides."""
        return {key: self._padded([x[key] for x in self.parts]) for key in self.parts[0]}

    def _padded(self, values: list[np.ndarray]) -> np.ndarray:
        if len({x.shape[1:] for x in values}) == 1:
            return np.concatenate(values)
        whole = np.zeros([self.count, *self._sides, values[0].shape[-1]], values[0].dtype)
        start = 0
        for x, part in zip(values, self.parts, strict=True):
            height, width = part["image"].shape[1:3]
            whole[start : start + len(x), :height, :width] = x  # one level, or one a pixel
            start += len(x)
        return whole

    async def wait(self) -> None:
        """Until there are enough, or it takes too long."""
        try:
            await asyncio.wait_for(self._full.wait(), self._extra["max_seconds"])
        except asyncio.TimeoutError:
            pass


def _fits(tensors: dict[str, np.ndarray]) -> bool:
    """Whether a request's tensors go together: as many images, of one size."""
    if any(x.ndim != 4 for x in tensors.values()):
        return False
    count, *sides, _ = tensors["image"].shape
    return all(
        x.shape[0] in (1, count)
        and (list(x.shape[1:3]) == sides or (name == "noise_stddev" and x.shape[1:3] == (1, 1)))
        for name, x in tensors.items()
    )


def _to_tensor(given: RequestInput, spec: tf.TensorSpec) -> np.ndarray:
    wanted = _DATATYPES[spec.dtype]
    if given.datatype != wanted:
        raise InferenceError(
            f"`{given.name}` must have datatype {wanted}. Received: {given.datatype}."
        )
    fits = spec.shape.is_compatible_with([max(size, 0) for size in given.shape])
    if not fits or min(given.shape, default=0) < 0:
        raise InferenceError(
            f"`{given.name}` must have shape {spec.shape}. Received: {list(given.shape)}."
        )
    data = getattr(given.data, "root", given.data)
    try:
        if spec.dtype == tf.string:
            values = np.array([_to_bytes(x) for x in data], object)
        else:
            values = np.asarray(data, spec.dtype.as_numpy_dtype)
        return values.reshape(given.shape)
    except (ValueError, TypeError) as error:
        raise InferenceError(
            f"`{given.name}` must hold {int(np.prod(given.shape))} values, as its shape says "
            f"(BYTES in base64). Received: {error}."
        ) from error


def _to_bytes(data: bytes | str) -> bytes:
    """JSON brings base64, gRPC the bytes themselves."""
    return base64.b64decode(data, validate=True) if isinstance(data, str) else data


def _to_output(name: str, values: np.ndarray) -> ResponseOutput:
    if values.dtype == object:
        return ResponseOutput(
            name=name,
            datatype="BYTES",
            shape=list(values.shape),
            data=[base64.b64encode(x).decode() for x in values.ravel()],
            parameters=Parameters(content_type="base64"),
        )
    datatype = _DATATYPES[tf.as_dtype(values.dtype)]
    return ResponseOutput(
        name=name, datatype=datatype, shape=list(values.shape), data=values.ravel().tolist()
    )


def _described(tensors: dict[str, tf.TensorSpec]) -> list[MetadataTensor]:
    return [
        MetadataTensor(
            name=key,
            datatype=_DATATYPES[x.dtype],
            shape=[-1 if size is None else size for size in x.shape],
        )
        for key, x in tensors.items()
    ]
