"""Checks of a SavedModel in a process that has neither Keras nor this library.

`export.verify` runs this file as a script; it imports TensorFlow and NumPy alone. It prints
one JSON object a check: what was checked, what was found, and whether that is right.
"""

from __future__ import annotations

import json
import pathlib
import sys

ABSENT = ("deepam_tf", "keras", "tf_keras")
for name in ABSENT:
    sys.modules[name] = None  # pyright: ignore  # any import of them fails from here on

import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402

STDDEV_SLACK = 10.0
"""Of the agreement: a standard deviation sees the logarithm of small differences."""
DIFFERENCE_STEP, DIFFERENCE_PARTS = 2e-3, 16


def main(folder: pathlib.Path) -> None:
    """Run all checks on one version folder and print their results."""
    card = json.loads((folder / "assets.extra" / "model_card.json").read_text())
    with np.load(folder / "assets.extra" / "verification.npz") as file:
        expected = dict(file)
    # Older exports, all in float32, do not say it.
    agreement = card["export"].get("agreement", 1e-5)
    gradient_agreement = card["export"].get("gradient_agreement", 2e-2)
    loaded = tf.saved_model.load(str(folder))
    report("loads", True, f"TensorFlow {tf.__version__}, without {', '.join(ABSENT)}")

    for name, described in card["signatures"].items():
        function = loaded.signatures.get(name)
        actual = None
        if function is not None:
            actual = {
                "inputs": as_described(function.structured_input_signature[1]),
                "outputs": as_described(function.structured_outputs),
            }
        same = actual == described
        found = "as the card says" if same else json.dumps(actual)
        report(f"{name}: names, shapes, dtypes", same, found)

    serve = loaded.signatures["serving_default"]
    for i in sorted({int(key.split("/")[0]) for key in expected}):
        inputs = inputs_of(expected, i)
        outputs = {name: x.numpy() for name, x in serve(**inputs).items()}
        restored = outputs["restored"]
        error = float(np.abs(restored - expected[f"{i}/restored"]).max())
        report(
            f"agrees with Keras at {list(restored.shape)}",
            restored.shape == expected[f"{i}/restored"].shape and error <= agreement,
            f"largest difference {error:.1e}",
        )
        if "stddev" in outputs:
            error = float(np.abs(outputs["stddev"] - expected[f"{i}/stddev"]).max())
            same = np.array_equal(
                loaded.signatures["serving_restored"](**inputs)["restored"], restored
            )
            report(
                f"stddev agrees with Keras at {list(restored.shape)}",
                same and error <= STDDEV_SLACK * agreement,
                f"largest difference {error:.1e}; serving_restored "
                f"{'is the same' if same else 'differs'}",
            )
    check_gradient(
        serve,
        inputs_of(expected, 0),
        expected["0/gradient"],
        gradient_agreement,
    )
    for name in ("serving_ragged", "serving_ragged_restored"):
        if name in loaded.signatures:
            check_ragged(name, loaded.signatures[name], expected, agreement)
    check_bytes(loaded.signatures["serving_bytes"], inputs_of(expected, 1), serve, agreement)
    present = sorted(name for name in ABSENT if sys.modules.get(name) is not None)
    report("imported nothing of ours", not present, f"{present or 'none'}")


def inputs_of(expected: dict[str, np.ndarray], i: int) -> dict[str, tf.Tensor]:
    """Tensors of the `i`-th comparison by input name."""
    start = f"{i}/input/"
    return {
        key.removeprefix(start): tf.constant(x)
        for key, x in expected.items()
        if key.startswith(start)
    }


def check_gradient(
    serve, inputs: dict[str, tf.Tensor], expected: np.ndarray, agreement: float
) -> None:
    """The gradient of the sum of squares, against Keras's and against differences."""

    def loss(image: tf.Tensor) -> tf.Tensor:
        return tf.reduce_sum(serve(**{**inputs, "image": image})["restored"] ** 2)

    def gradient_at(image: tf.Tensor) -> np.ndarray:
        with tf.GradientTape() as tape:
            tape.watch(image)
            value = loss(image)
        return tape.gradient(value, image).numpy()

    image = inputs["image"]
    gradient = gradient_at(image)
    error = float(np.linalg.norm(gradient - expected) / np.linalg.norm(expected))
    report("gradient agrees with Keras", error <= agreement, f"relative {error:.1e}")
    # Along a short way: what the loss gains is the mean of the slopes there, however many ReLUs
    # open or close between its ends.
    way = DIFFERENCE_STEP * gradient / np.linalg.norm(gradient)
    gain = float(loss(image + way)) - float(loss(image - way))
    middles = (2 * np.arange(DIFFERENCE_PARTS) + 1) / DIFFERENCE_PARTS - 1
    slope = np.mean([np.sum(gradient_at(image + t * way) * way) for t in middles])
    error = abs(gain / float(2 * slope) - 1)
    report("gradient agrees with differences", error <= agreement, f"relative {error:.1e}")


def check_ragged(
    signature: str, serve_ragged, expected: dict[str, np.ndarray], agreement: float
) -> None:
    """Images of several sizes in one batch give what each gives alone."""
    numbers = sorted({int(key.split("/")[0]) for key in expected})
    each = [(i, number) for i in numbers for number in range(len(expected[f"{i}/restored"]))]
    sizes = [expected[f"{i}/restored"].shape[1:3] for i, _ in each]
    inputs = {}
    for name in inputs_of(expected, numbers[0]):
        values = [expected[f"{i}/input/{name}"][number] for i, number in each]
        sides = np.max([x.shape[:2] for x in values], axis=0)
        inputs[name] = np.stack(
            [
                # The padding may hold anything, also what is no number.
                np.pad(x, [*((0, n) for n in sides - x.shape[:2]), (0, 0)], constant_values=np.nan)
                for x in values
            ]
        )
    for name, x in serve_ragged(**inputs, size=np.array(sizes, np.int32)).items():
        error = max(
            float(np.abs(x.numpy()[k, :height, :width] - expected[f"{i}/{name}"][number]).max())
            for k, ((i, number), (height, width)) in enumerate(zip(each, sizes, strict=True))
        )
        accepted = agreement * (STDDEV_SLACK if name == "stddev" else 1)
        report(f"{signature}, {name} agrees", error <= accepted, f"largest difference {error:.1e}")


def check_bytes(serve_bytes, inputs: dict[str, tf.Tensor], serve, agreement: float) -> None:
    """`serving_bytes` gives what `serving_default` gives, to the rounding of 16 bits."""
    files, pixels = {}, {}
    for key, x in inputs.items():
        if key == "noise_stddev":
            files[key] = tf.cast(x[:, 0, 0, 0], tf.float32)
            pixels[key] = x
        else:
            integers = tf.cast(tf.round(tf.clip_by_value(x, 0, 1) * 65535), tf.uint16)
            files[f"{key}_bytes"] = tf.stack([tf.io.encode_png(image) for image in integers])
            pixels[key] = tf.cast(integers, x.dtype) / 65535
    restored = [
        tf.io.decode_png(file, dtype=tf.uint16).numpy() / 65535
        for file in serve_bytes(**files)["restored_bytes"]
    ]
    expected = np.clip(serve(**pixels)["restored"].numpy(), 0, 1)
    error = float(np.abs(restored - expected).max())
    report(
        "serving_bytes agrees", error <= agreement + 1 / 65535, f"largest difference {error:.1e}"
    )


def as_described(tensors) -> dict:
    """Names, dtypes and shapes as the model card has them."""
    return {key: {"dtype": x.dtype.name, "shape": x.shape.as_list()} for key, x in tensors.items()}


def report(check: str, passed: bool, found: str) -> None:
    """Print the result of a check as a line of JSON, for `export.verify` to read."""
    print(json.dumps({"check": check, "passed": bool(passed), "found": found}), flush=True)


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
