"""What serving costs: latency and throughput beside calling the Keras model, and memory.

    python -m benchmarks.serving [--part latency throughput memory hostile] [--model denoise_gray]

Ways to the same result are asked in turns, so that whatever else the machine does meets all of
them alike. Needs the extra `serve`, and an environment for MLServer, which it makes where
`export.serve` keeps it.
"""

from __future__ import annotations

import argparse
import base64
import concurrent.futures
import contextlib
import functools
import itertools
import json
import os
import pathlib
import socket
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator

import numpy as np
import rich.console
import rich.table
import tensorflow as tf

import deepam_tf
from export.graph import samples
from export.graph.folding import folded
from export.graph.saving import save
from export.graph.sources import load_model
from export.serving import clients, local_server
from tests.export import serving_standin

__all__ = ["main", "measure_in_turns"]

SIZES = ((1, 512), (1, 128), (1, 256), (8, 128))
"""Batch and side of the square images whose latency is measured."""
SECONDS_A_WAY = 3.0
LEAST_ROUNDS, MOST_ROUNDS = 10, 100
NUM_REQUESTS = 10_000
CLIENTS, MOST_IMAGES = (8, 32), 16
"""Clients at once and images of a batch where throughput is measured."""
_START_SECONDS = 180
_WRONG = 1e-5  # images being in [0, 1]

Way = Callable[[], object]


def measure_in_turns(ways: dict[str, Way], seconds: float) -> dict[str, np.ndarray]:
    """Latencies of several ways, each called once a round.

    Args:
        ways: functions by name.
        seconds: about how long each of them may take in all.

    Returns:
        Seconds a call, `[rounds]`, by name.
    """
    for way in ways.values():
        way()  # what a first call does is not asked here
    start = time.perf_counter()
    for way in ways.values():
        way()
    rounds = int(seconds * len(ways) / (time.perf_counter() - start))
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(min(max(rounds, LEAST_ROUNDS), MOST_ROUNDS)):
        for name, way in ways.items():
            start = time.perf_counter()
            way()
            taken[name].append(time.perf_counter() - start)
    return {name: np.array(values) for name, values in taken.items()}


class Mlserver:
    """A running MLServer, asked over REST with files in base64."""

    def __init__(self, url: str, pid: int, model: str) -> None:
        self._url, self._model = url, model
        self.pid = pid

    def restore_files(self, files: list[bytes], levels: list[float] | None) -> list[bytes]:
        """The files restored, as PNG."""
        data = [base64.b64encode(x).decode() for x in files]
        inputs = [{"name": "image_bytes", "datatype": "BYTES", "shape": [len(data)], "data": data}]
        if levels is not None:
            level = {"name": "noise_stddev", "datatype": "FP32", "shape": [len(levels)]}
            inputs.append({**level, "data": levels})
        (output,) = self._infer(inputs)
        return [base64.b64decode(x) for x in output["data"]]

    def restore(self, **arrays: np.ndarray) -> list[float]:
        """The tensors restored, flat."""
        inputs = [
            {"name": k, "datatype": "FP32", "shape": list(x.shape), "data": x.ravel().tolist()}
            for k, x in arrays.items()
        ]
        found = self._infer(inputs, outputs=[{"name": "restored"}])
        return next(x["data"] for x in found if x["name"] == "restored")

    def refusal(self, body: bytes) -> tuple[int, str]:
        """Status and text of the answer to a request that nobody should answer."""
        try:
            with urllib.request.urlopen(self._request(body), timeout=300) as response:
                return response.status, ""
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode(errors="replace")

    def _infer(self, inputs: list[dict], **asked) -> list[dict]:
        request = self._request(json.dumps({"inputs": inputs, **asked}).encode())
        with urllib.request.urlopen(request, timeout=300) as response:
            return json.load(response)["outputs"]

    def _request(self, body: bytes) -> urllib.request.Request:
        return urllib.request.Request(
            f"{self._url}/v2/models/{self._model}/infer",
            data=body,
            headers={"Content-Type": "application/json"},
        )

    def resident_megabytes(self) -> float:
        """Memory that the server's process holds (Linux)."""
        status = pathlib.Path(f"/proc/{self.pid}/status").read_text()
        return int(status.split("VmRSS:")[1].split()[0]) / 1024


@contextlib.contextmanager
def mlserver(
    root: pathlib.Path,
    model: str,
    python: pathlib.Path,
    batch: int,
    runtime: pathlib.Path = local_server.RUNTIME,
) -> Iterator[Mlserver]:
    """A server of the models in `root`, once it answers."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(3)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        rest, grpc, metrics = (one.getsockname()[1] for one in sockets)
    url = f"http://127.0.0.1:{rest}"
    with (
        tempfile.TemporaryDirectory() as place,
        local_server.server(
            root,
            python,
            ports=(rest, grpc, metrics),
            max_batch_size=batch,
            log=pathlib.Path(place, "log"),
            runtime=runtime,
        ) as process,
    ):
        end = time.monotonic() + _START_SECONDS
        while True:
            with contextlib.suppress(OSError):
                urllib.request.urlopen(f"{url}/v2/models/{model}/ready", timeout=5).close()
                break
            if process.poll() is not None or time.monotonic() > end:
                raise RuntimeError(pathlib.Path(place, "log").read_text())
            time.sleep(0.5)
        yield Mlserver(url, process.pid, model)


def latency(model: deepam_tf.DeepAM, root: pathlib.Path, python: pathlib.Path, console) -> None:
    """One request after the other, by batch and size of the images."""
    name = model.name
    specs = {key: tf.TensorSpec(x.shape, x.dtype) for key, x in model.input.items()}
    direct, direct_folded = (
        tf.function(
            lambda inputs, m=m: m(inputs, training=False)["restored"],
            input_signature=[specs],
            autograph=False,
        )
        for m in (model, folded(model))
    )
    loaded = tf.saved_model.load(str(root / name / "1"))
    with contextlib.ExitStack() as stack:
        _, address = stack.enter_context(serving_standin.serving(root))
        grpc = clients.connect(address, name)
        remote = stack.enter_context(mlserver(root, name, python, batch=1))
        for batch, side in SIZES:
            inputs = samples.sample_inputs(specs, (batch, side, side))
            tensors = {key: tf.constant(x) for key, x in inputs.items()}
            encoded = {key: x.numpy() for key, x in samples.as_files(inputs).items()}
            files = list(encoded["image_bytes"])
            levels = encoded.get("noise_stddev")
            levels = None if levels is None else [float(x) for x in levels]
            ways: dict[str, Way] = {
                "Keras model": lambda t=tensors: direct(t).numpy(),
                "Keras model, folded": lambda t=tensors: direct_folded(t).numpy(),
                "SavedModel": lambda t=tensors: loaded.signatures["serving_default"](**t)[
                    "restored"
                ].numpy(),
                "gRPC, tensors": lambda i=inputs: grpc.restore(**i),
                "gRPC, PNG": lambda f=files, n=levels: grpc.restore_files({"image": f}, n),
                "MLServer REST, PNG": lambda f=files, n=levels: remote.restore_files(f, n),
            }
            taken = measure_in_turns(ways, SECONDS_A_WAY)
            table = rich.table.Table(title=f"{name}, batch {batch}, {side}x{side}")
            for column in ("way", "calls", "p50 ms", "p99 ms", "images/s", "over Keras"):
                table.add_column(column, justify="left" if column == "way" else "right")
            for way, seconds in taken.items():
                # Of each round: what slows a round slows all of it.
                over = np.median(seconds / taken["Keras model"]) - 1
                median, worst = (1e3 * np.quantile(seconds, q) for q in (0.5, 0.99))
                table.add_row(
                    way,
                    f"{len(seconds)}",
                    f"{median:.1f}",
                    f"{worst:.1f}",
                    f"{batch * 1e3 / median:.1f}",
                    f"{100 * over:+.1f} %",
                )
            console.print(table)


def throughput(
    model: deepam_tf.DeepAM,
    root: pathlib.Path,
    python: pathlib.Path,
    console,
    before: pathlib.Path | None = None,
) -> None:
    """Many clients at once, a small image a request, with and without batching, in turns."""
    specs = {key: tf.TensorSpec(x.shape, x.dtype) for key, x in model.input.items()}
    kinds = {
        "64x64": [samples.sample_inputs(specs, (1, 64, 64))],
        "24 to 40 pixels a side": [
            samples.sample_inputs(specs, (1, side, other), seed=side)
            for side in range(24, 41, 2)
            for other in range(24, 41, 4)
        ],
    }
    kept = {
        f"batches of up to {batch}": (batch, local_server.RUNTIME) for batch in (1, MOST_IMAGES)
    }
    if before is not None:
        kept = {f"{before}": (8, before)} | kept  # eight were its most
    with contextlib.ExitStack() as stack:
        servers = {
            name: stack.enter_context(mlserver(root, model.name, python, batch, runtime))
            for name, (batch, runtime) in kept.items()
        }
        for (kind, requests), number in itertools.product(kinds.items(), CLIENTS):
            threads = stack.enter_context(concurrent.futures.ThreadPoolExecutor(number))

            def ask(remote: Mlserver, count: int, requests=requests, threads=threads) -> None:
                given = (requests[i % len(requests)] for i in range(count))
                list(threads.map(lambda inputs: remote.restore(**inputs), given))

            ways = {name: lambda r=remote, ask=ask: ask(r, 200) for name, remote in servers.items()}
            taken = measure_in_turns(ways, 0)
            first = np.median(next(iter(taken.values())))
            for way, seconds in taken.items():
                console.print(
                    f"{number} clients, {kind}, {way}: {200 / np.median(seconds):.1f} images/s, "
                    f"{first / np.median(seconds):.2f} times the first way"
                )


def memory(model: deepam_tf.DeepAM, root: pathlib.Path, python: pathlib.Path, console) -> None:
    """What the server holds during 10,000 requests, 24 to 40 pixels a side, 8 at a time."""
    specs = {key: tf.TensorSpec(x.shape, x.dtype) for key, x in model.input.items()}
    requests = []
    for side in range(24, 41, 2):
        inputs = samples.sample_inputs(specs, (1, side, side))
        encoded = {key: x.numpy() for key, x in samples.as_files(inputs).items()}
        levels = [float(x) for x in encoded["noise_stddev"]] if "noise_stddev" in encoded else None
        requests.append((inputs, list(encoded["image_bytes"]), levels))

    def ask(remote: Mlserver, i: int) -> None:
        inputs, files, levels = requests[i % len(requests)]
        if i % 2:
            remote.restore(**inputs)
        else:
            remote.restore_files(files, levels)

    _ask_all(ask, root, model.name, python, console, lambda: "")


def _ask_all(
    ask: Callable[[Mlserver, int], None], root, name: str, python, console, found: Callable[[], str]
) -> None:
    """All requests, eight at a time, and after each tenth of them what the server holds."""
    step = NUM_REQUESTS // 10
    with (
        mlserver(root, name, python, batch=MOST_IMAGES) as remote,
        concurrent.futures.ThreadPoolExecutor(8) as threads,
    ):
        console.print(f"before: the server holds {remote.resident_megabytes():.0f} MB")
        for done in range(0, NUM_REQUESTS, step):
            list(threads.map(lambda i: ask(remote, i), range(done, done + step)))
            held = remote.resident_megabytes()
            console.print(f"after {done + step} requests: {held:.0f} MB{found()}")


def _hostile(inputs: dict[str, np.ndarray]) -> list[bytes]:
    """Requests that are wrong each in a way of its own, made of one that is right."""

    def body(**changed) -> bytes:
        given = []
        for name, x in {**inputs, **changed}.items():
            values = np.asarray(x, np.float32)
            one = {"name": name, "datatype": "FP32", "shape": list(values.shape)}
            given.append({**one, "data": values.ravel().tolist()})
        return json.dumps({"inputs": given}).encode()

    def files(*data: str) -> bytes:
        several = {"name": "image_bytes", "datatype": "BYTES", "shape": [len(data)], "data": data}
        level = {"name": "noise_stddev", "datatype": "FP32", "shape": [len(data)]}
        return json.dumps({"inputs": [several, {**level, "data": [0.1] * len(data)}]}).encode()

    image = inputs["image"]
    png = samples.as_files(inputs)["image_bytes"].numpy()[0]
    one_is_nan = image.copy()
    one_is_nan[0, 3, 3] = np.nan
    right = body()
    return [
        b"",
        np.random.default_rng(0).bytes(500),
        right[: len(right) // 2],
        json.dumps({"inputs": []}).encode(),
        body(image=one_is_nan),
        body(image=255 * image),
        body(image=image[0]),
        body(image=image[:, :0]),
        body(noise_stddev=np.full([1, 1, 1, 1], -0.1)),
        body(noise_stddev=np.full([1, 1, 1, 1], 25.0)),
        body(another=image),
        right.replace(b'"FP32"', b'"INT64"'),
        right.replace(f"{list(image.shape)}".encode(), b"[1, 30000, 30000, 1]"),
        files("%%%"),
        files(base64.b64encode(png[:-20]).decode()),
        files(base64.b64encode(b"\x00" * 300).decode()),
        files(base64.b64encode(png).decode(), "AAAA"),
        files(),
    ]


def hostile(model: deepam_tf.DeepAM, root: pathlib.Path, python: pathlib.Path, console) -> None:
    """10,000 requests, 24 to 40 pixels a side, 8 at a time, one in twenty of them hostile.

    Every answer is compared with the SavedModel's in this process, alone.

    Raises:
        ValueError: if an answer was wrong.
    """
    specs = {key: tf.TensorSpec(x.shape, x.dtype) for key, x in model.input.items()}
    loaded = tf.saved_model.load(str(root / model.name / "1"))
    requests = []
    for number, side in enumerate(range(24, 41, 2)):
        inputs = samples.sample_inputs(specs, (1, side, 64 - side), seed=number)
        tensors = {key: tf.constant(x) for key, x in inputs.items()}
        right = loaded.signatures["serving_default"](**tensors)["restored"].numpy().ravel()
        requests.append((inputs, right))
    refused = _hostile(requests[0][0])
    wrong: list[str] = []

    def ask(remote: Mlserver, i: int) -> None:
        if i % 20 == 7:
            kind = i // 20 % len(refused)
            status, text = remote.refusal(refused[kind])
            if not 400 <= status < 500 or not text or "Traceback" in text:
                wrong.append(f"hostile request {kind}: status {status}, {text[:200]!r}")
            return
        inputs, right = requests[i % len(requests)]
        error = np.abs(np.array(remote.restore(**inputs), np.float32) - right).max()
        if not error < _WRONG:
            wrong.append(f"request {i}: off by {error:.1e}")

    _ask_all(ask, root, model.name, python, console, lambda: f", {len(wrong)} wrong")
    if wrong:
        raise ValueError("\n".join(wrong[:20]))


PARTS = {"latency": latency, "throughput": throughput, "memory": memory, "hostile": hostile}


def main(argv: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.serving", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--part", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--model", default="denoise_gray", choices=deepam_tf.list_pretrained())
    parser.add_argument(
        "--environment", type=pathlib.Path, default=local_server.DEFAULT_ENVIRONMENT
    )
    parser.add_argument(
        "--before", type=pathlib.Path, help="an older mlserver_runtime.py, for `throughput`"
    )
    args = parser.parse_args(argv)
    console = rich.console.Console(soft_wrap=True, highlight=False)
    console.print(f"TensorFlow {tf.__version__}, {os.cpu_count()} cores")
    if args.before is not None and not args.before.is_file():
        parser.error(f"--before must be a file. Received: {args.before}.")
    parts = PARTS | {"throughput": functools.partial(throughput, before=args.before)}
    python = local_server.make_environment(args.environment)
    source = load_model(args.model)
    with tempfile.TemporaryDirectory() as place:
        root = pathlib.Path(place)
        save(source, root / args.model)
        for part in args.part:
            try:
                parts[part](source.model, root, python, console)
            except ValueError as error:
                print(f"error: {error}", file=sys.stderr)
                return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
