"""What the time of a restored picture is spent on, by TensorFlow's profiler, before and after.

    python -m benchmarks.profiler --data PHOTOS --out docs/images/profile.png [--log-dir LOGS]

"Before" is the model as Keras runs it in training: convolution, normalisation and ReLU one by one,
conjugate gradients in the graph. "After" is `Restorer` with compiled solves: one operation for the
three, Chebyshev iteration by XLA. What is drawn is the time of the operations, summed by kind;
`--log-dir` keeps the traces, which TensorBoard opens with its profile plugin.
"""

from __future__ import annotations

import argparse
import collections
import io
import pathlib
import sys
import tempfile
from collections.abc import Callable

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import rich.console
import rich.table
import tensorflow as tf
from tensorflow.tsl.profiler.protobuf import xplane_pb2  # pyright: ignore[reportMissingImports]

import deepam_tf
from benchmarks.inference import STDDEV, noisy_crop
from deepam_tf import image_io
from deepam_tf.files.atomic import write_bytes
from deepam_tf.restoration.tiles import Restorer
from training.evaluation.scores import print_whole

__all__ = ["KINDS", "kind_of", "main", "milliseconds_by_kind"]

_COMPILED = "CpuExecutable::ExecuteAsyncOnStream"  # all of a solve that XLA has compiled
KINDS = {
    "convolutions": ("Conv2D", "FusedConv2D"),
    "normalisation": ("FusedBatchNorm", "FusedBatchNormV3", "FusedBatchNormEx"),
    "bias and ReLU": ("BiasAdd", "Relu"),
    "solves": (),
    "rearranging and copies": (
        *("SpaceToDepth", "DepthToSpace", "ConcatV2", "Pad", "Cast", "GatherV2", "Transpose"),
        *("StridedSlice", "Split", "BroadcastTo", "Tile"),
    ),
    "the rest": (),
}
"""Kinds of operations, and the types of TensorFlow's that belong to them wherever they stand."""


def kind_of(event: str) -> str | None:
    """The kind of an event of a trace.

    Args:
        event: its name: `SCOPES/NAME:TYPE` where it is an operation of a graph.

    Returns:
        One of `KINDS`; None if it is no operation.

    Example:
        >>> kind_of("iteration_1_aggregation/Relu:_FusedConv2D")
        'convolutions'
        >>> kind_of("iteration_2_reconstruction/reconstruct/mul:Mul")
        'solves'
        >>> kind_of("EagerExecute") is None
        True
    """
    name, colon, kind = event.rpartition(":")
    if event == _COMPILED or (colon and "reconstruct" in name and kind != "While"):
        return "solves"
    if not colon or not kind.isidentifier() or "::" in event or " " in event:
        return None
    # oneDNN's operations have names of their own: _MklNativeFusedConv2D is a _FusedConv2D.
    plain = kind.removeprefix("_").removeprefix("Mkl").removeprefix("Native")
    return next((name for name, types in KINDS.items() if plain in types), "the rest")


def milliseconds_by_kind(run: Callable[[], object], folder: pathlib.Path) -> dict[str, float]:
    """Time of the operations of one call, by kind.

    Args:
        run: what is called: once to build its graphs, once to be looked at.
        folder: for the trace.

    Returns:
        Milliseconds of each of `KINDS`. What runs side by side counts each for itself.
    """
    run()
    tf.profiler.experimental.start(str(folder))
    try:
        run()
    finally:
        tf.profiler.experimental.stop()
    (trace,) = folder.rglob("*.xplane.pb")
    found: collections.Counter[str] = collections.Counter()
    for plane in xplane_pb2.XSpace.FromString(trace.read_bytes()).planes:
        for line in plane.lines:
            for event in line.events:
                kind = kind_of(plane.event_metadata[event.metadata_id].name)
                if kind is not None:
                    found[kind] += event.duration_ps / 1e9
    return {kind: found[kind] for kind in KINDS}


def _as_trained(model: deepam_tf.DeepAM) -> Callable[[dict[str, tf.Tensor]], tf.Tensor]:
    """The model with its normalisations on their own, by the statistics that they have."""
    for layer in model.layers:
        for normalization in getattr(layer, "all_normalizations", ()):
            normalization.fixed_statistics = True
    specs = {name: tf.TensorSpec(x.shape, x.dtype) for name, x in model.input.items()}
    return tf.function(
        lambda inputs: model(inputs, training=True)["restored"],
        input_signature=[specs],
        autograph=False,
    )


def _draw(found: dict[str, dict[str, float]], title: str):
    figure, axis = plt.subplots(figsize=(9, 2.6), constrained_layout=True)
    colors = plt.get_cmap("tab10")
    for row, parts in enumerate(found.values()):
        left = 0.0
        for number, (kind, value) in enumerate(parts.items()):
            label = kind if row == 0 else None
            axis.barh(row, value, left=left, color=colors(number), label=label)
            left += value
    axis.set_yticks(range(len(found)), list(found))
    axis.invert_yaxis()
    axis.set(xlabel="milliseconds of operations", title=title)
    axis.legend(loc="upper center", bbox_to_anchor=(0.5, -0.35), ncols=3, frameon=False)
    return figure


def main(argv: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.profiler", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--data", type=pathlib.Path, required=True, help="folder of pictures")
    parser.add_argument("--side", type=int, default=640, help="of the crop, in pixels (640)")
    parser.add_argument("--bfloat16", action="store_true", help="networks in half precision")
    parser.add_argument("--log-dir", type=pathlib.Path, help="keeps the traces, for TensorBoard")
    parser.add_argument("--out", type=pathlib.Path, required=True, help="the picture, a PNG")
    args = parser.parse_args(argv)
    try:
        noisy = noisy_crop(args.data, args.side)
    except image_io.ImageFileError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    policy = "mixed_bfloat16" if args.bfloat16 else "float32"
    before = _as_trained(deepam_tf.load_pretrained("denoise_gray", dtype=policy))
    after = Restorer(deepam_tf.load_pretrained("denoise_gray", dtype=policy), jit_compile=True)
    inputs = {
        "image": tf.constant(noisy[np.newaxis]),
        "noise_stddev": tf.fill([1, 1, 1, 1], np.float32(STDDEV)),
    }
    found = {}
    with tempfile.TemporaryDirectory() as place:
        root = args.log_dir or pathlib.Path(place)
        for name, run in {
            "before": lambda: before(inputs),
            "after": lambda: after(noisy, noise_stddev=STDDEV),
        }.items():
            (root / name).mkdir(parents=True, exist_ok=True)
            folder = pathlib.Path(tempfile.mkdtemp(dir=root / name))
            found[name] = milliseconds_by_kind(run, folder)
    title = f"denoise_gray, {args.side}x{args.side}, {policy}"
    table = rich.table.Table("milliseconds", *KINDS, title=title)
    for name, parts in found.items():
        table.add_row(name, *(f"{x:.0f}" for x in parts.values()))
    print_whole(rich.console.Console(), table)
    buffer = io.BytesIO()
    _draw(found, title).savefig(buffer, format="png", dpi=90)
    write_bytes(args.out, buffer.getvalue())
    return 0


if __name__ == "__main__":
    sys.exit(main())
