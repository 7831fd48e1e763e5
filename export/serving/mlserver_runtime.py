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
from collections.abc import Iterable

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
# Signatures that give `restored` alone, of models that also tell how sure they are.
_CHEAPER = {"serving_default": "serving_restored", "serving_ragged": "serving_ragged_restored"}
# Of a batch of several sizes: its pixels over those of its images; and all of them, since a larger
# image keeps all cores busy by itself.
_MOST_PADDED, _MOST_PIXELS = 2.0, 2**17
# Sides of such a batch are multiples of this: what a run makes for a shape serves the next ones.
_STEP = 8
# Not MLServer's own registry: with a single process it is not shown.
_BATCH_IMAGES = prometheus_client.Histogram(
    "deepam_batch_images", "images that were run together", ["model"], buckets=(1, 2, 4, 8, 16, 32)
)
# Each call keeps all cores busy; a few threads overlap decoding with computing.
_MOST_RUNS = os.cpu_count() or 1
_THREADS = concurrent.futures.ThreadPoolExecutor(_MOST_RUNS)
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
        ragged = "serving_ragged" in self._signatures
        self._queue = _Queue(self._extra["max_images"], self._extra["max_seconds"], ragged)
        self._runs: set[asyncio.Task] = set()
        self._num_runs = 0
        serve = self._signatures["serving_default"]
        self.inputs = _described(serve.structured_input_signature[1])
        self.outputs = _described(serve.structured_outputs)
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """Answer one request of the V2 protocol."""
        given = {x.name: x for x in payload.inputs}
        name, specs = self._signature_of(set(given))
        wanted = self._wanted(name, payload)
        tensors = {key: _to_tensor(x, specs[key]) for key, x in given.items()}
        if name == "serving_default" and self._extra["max_images"] > 1:
            results = await self._batched(tensors, wanted)
        else:
            results = await self._run(self._cheapest(name, wanted), tensors)
        outputs = [_to_output(key, results[key]) for key in wanted]
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

    def _wanted(self, signature: str, payload: InferenceRequest) -> list[str]:
        """Names of the outputs that a request asks for; all, if it does not say."""
        known = list(self._signatures[signature].structured_outputs)
        wanted = [x.name for x in payload.outputs or []] or known
        if not set(wanted) <= set(known):
            raise InferenceError(f"The outputs are {sorted(known)}. Received: {sorted(wanted)}.")
        return wanted

    def _cheapest(self, signature: str, wanted: Iterable[str]) -> str:
        """The signature that spares what nobody asks for."""
        cheaper = _CHEAPER.get(signature, signature)
        spares = cheaper in self._signatures and set(wanted) == {"restored"}
        return cheaper if spares else signature

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

    async def _batched(
        self, tensors: dict[str, np.ndarray], wanted: list[str]
    ) -> dict[str, np.ndarray]:
        """Run together with other requests, of other sizes too where the model can tell them apart.

        MLServer's own batching puts together whatever comes.
        """
        count = tensors["image"].shape[0]
        # Of no image, or of inputs that do not fit, the graph says what is wrong.
        if not count or not _fits(tensors):
            return await self._run(self._cheapest("serving_default", wanted), tensors)
        tensors = {key: np.repeat(x, count // x.shape[0], axis=0) for key, x in tensors.items()}
        request = _Request(tensors, wanted)
        self._queue.add(request)
        if self._num_runs < _MOST_RUNS:
            self._num_runs += 1
            run = asyncio.create_task(self._run_queue())
            self._runs.add(run)  # of a task that nobody holds, nothing may be left
            run.add_done_callback(self._runs.discard)
        return await request.results

    async def _run_queue(self) -> None:
        """Answer what waits, batch after batch, until nothing does."""
        try:
            while await self._queue.wait():
                requests = self._queue.pick()
                _BATCH_IMAGES.labels(self.name).observe(sum(x.count for x in requests))
                await self._answer(requests)
        finally:
            self._num_runs -= 1

    async def _answer(self, requests: list[_Request]) -> None:
        """Run requests together; in halves if that fails, to find whose fault it was."""
        sizes = [size for x in requests for size in [x.sides] * x.count]
        wanted = {name for x in requests for name in x.wanted}
        try:
            if len(set(sizes)) == 1:
                tensors, signature = _joined(requests, sizes[0]), "serving_default"
            else:
                sides = (-(-max(side) // _STEP) * _STEP for side in zip(*sizes, strict=True))
                tensors, signature = _joined(requests, tuple(sides)), "serving_ragged"
                tensors["size"] = np.array(sizes, np.int32)
            results = await self._run(self._cheapest(signature, wanted), tensors)
        except Exception as error:  # whatever it was, somebody waits for an answer
            if len(requests) == 1:
                requests[0].fail(error)
                return
            middle = len(requests) // 2
            await self._answer(requests[:middle])
            await self._answer(requests[middle:])
            return
        start = 0
        for request in requests:
            request.take(results, start)
            start += request.count


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


class _Request:
    """Images of one size that somebody waits for."""

    def __init__(self, tensors: dict[str, np.ndarray], wanted: list[str]) -> None:
        self.tensors, self.wanted = tensors, wanted
        self.count, *sides = tensors["image"].shape[:3]
        self.sides: tuple[int, int] = tuple(sides)
        self.pixels = self.count * sides[0] * sides[1]
        loop = asyncio.get_running_loop()
        self.since = loop.time()
        self.results: asyncio.Future[dict[str, np.ndarray]] = loop.create_future()

    def take(self, results: dict[str, np.ndarray], start: int) -> None:
        """Answer by those of a batch's results that begin at `start`."""
        if not self.results.done():  # it is if the client has hung up
            height, width = self.sides
            stop = start + self.count
            self.results.set_result(
                {key: x[start:stop, :height, :width] for key, x in results.items()}
            )

    def fail(self, error: Exception) -> None:
        """Answer that it cannot be done."""
        if not self.results.done():
            self.results.set_exception(error)


class _Queue:
    """Requests that wait for one another, the longest waiting first.

    Args:
        max_images: most images that are run together.
        max_seconds: how long a request waits for others.
        ragged: whether images of several sizes can be run together.
    """

    def __init__(self, max_images: int, max_seconds: float, ragged: bool) -> None:
        self._max_images, self._max_seconds, self._ragged = max_images, max_seconds, ragged
        self._requests: list[_Request] = []
        self._changed = asyncio.Event()

    def add(self, request: _Request) -> None:
        """Let a request wait."""
        self._requests.append(request)
        self._changed.set()

    async def wait(self) -> bool:
        """Return once a batch is full or a request has waited enough; False if none waits."""
        loop = asyncio.get_running_loop()
        while self._requests:
            first = self._requests[0]
            left = first.since + self._max_seconds - loop.time()
            alone = first.pixels > _MOST_PIXELS
            if alone or left <= 0 or sum(x.count for x in self._requests) >= self._max_images:
                return True
            self._changed.clear()
            try:
                await asyncio.wait_for(self._changed.wait(), left)
            except asyncio.TimeoutError:
                pass
        return False

    def pick(self) -> list[_Request]:
        """Take out those to run next: whoever waits longest, and those nearest to it in size."""
        first = self._requests[0]
        picked = [first]
        for request in sorted(self._requests[1:], key=lambda x: _distance(x.sides, first.sides)):
            if self._joins(picked, request):
                picked.append(request)
        taken = {id(x) for x in picked}
        self._requests = [x for x in self._requests if id(x) not in taken]
        return picked

    def _joins(self, picked: list[_Request], request: _Request) -> bool:
        """Whether there is room, and not too much padding."""
        together = [*picked, request]
        count = sum(x.count for x in together)
        padded = count * max(x.sides[0] for x in together) * max(x.sides[1] for x in together)
        images = sum(x.pixels for x in together)
        one_size = len({x.sides for x in together}) == 1
        return (
            count <= self._max_images
            and padded <= _MOST_PIXELS
            and (one_size or (self._ragged and padded <= _MOST_PADDED * images))
        )


def _distance(one: tuple[int, int], other: tuple[int, int]) -> int:
    return abs(one[0] - other[0]) + abs(one[1] - other[1])


def _joined(requests: list[_Request], sides: tuple[int, ...]) -> dict[str, np.ndarray]:
    """Tensors of all requests as one batch, each padded to `sides`."""

    def joined(values: list[np.ndarray]) -> np.ndarray:
        if len({x.shape[1:] for x in values}) == 1 and values[0].shape[1:3] in (sides, (1, 1)):
            return np.concatenate(values)
        count = sum(len(x) for x in values)
        whole = np.zeros([count, *sides, values[0].shape[-1]], values[0].dtype)
        start = 0
        for x, request in zip(values, requests, strict=True):
            height, width = request.sides
            whole[start : start + len(x), :height, :width] = x  # one level, or one a pixel
            start += len(x)
        return whole

    return {key: joined([x.tensors[key] for x in requests]) for key in requests[0].tensors}


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
