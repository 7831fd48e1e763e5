"""What an exported model answers to: `serving_default` for tensors, `serving_bytes` for files.

Images of several sizes in one batch, padded to the largest, go by `serving_ragged`, which also
takes their sizes, where the model can keep them apart (`ragged.restore_ragged`).

A model with an uncertainty head gives `restored` and `stddev` by these, and `restored` alone,
without the head's work, by `serving_restored` and `serving_ragged_restored`.

Both follow from the model's inputs, by name. Values are checked inside the graph, so that
every server says the same of a bad request: an `InvalidArgumentError` with the index of the
image, which TensorFlow Serving turns into HTTP 400 and gRPC `INVALID_ARGUMENT`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import keras
import tensorflow as tf

from export.graph import image_bytes
from export.graph.image_bytes import checked
from export.graph.ragged import restore_ragged

__all__ = ["ServedModel"]

_LEVEL = "noise_stddev"
_SIZE = "size"
_UP_TO_ONE = (_LEVEL, "mask")
_FARTHEST = 2.0
"""Largest root mean square distance of a picture from [0, 1]: no noise is that strong."""
_LUMA = (0.299, 0.587, 0.114)
"""BT.601, as the library makes gray of colour."""


class ServedModel(tf.Module):
    """A model's signatures as one `tf.Module`, which `tf.saved_model.save` takes.

    Args:
        model: a model from named inputs, `"image"` `[B, H, W, C]` among them, to
            `{"restored"}`, and `"stddev"` where it has an uncertainty head.
        max_megapixels: most pixels of a request in `serving_default`, of an image in
            `serving_bytes`. Memory grows with it: the model runs in one piece.
    """

    def __init__(self, model: keras.Model, *, max_megapixels: float) -> None:
        super().__init__(name="deepam")
        self.specs = {
            name: tf.TensorSpec(x.shape, x.dtype, name=name) for name, x in model.input.items()
        }
        # Held in a closure, the model itself stays out: a SavedModel of variables and functions
        # needs no Keras.
        self._run_all = lambda inputs: model(inputs, training=False)
        # What is not asked for is pruned from the graph.
        self._run = lambda inputs: model(inputs, training=False)["restored"]
        self._max_megapixels = max_megapixels
        self.model_variables = [variable.value for variable in model.variables]
        signatures = {"serving_default": self._restore}
        if "stddev" in model.output:
            signatures = {"serving_default": self._restore_all, "serving_restored": self._restore}
        self.functions = {
            **{
                name: tf.function(run, autograph=False).get_concrete_function(**self.specs)
                for name, run in signatures.items()
            },
            "serving_bytes": tf.function(
                self._restore_bytes, autograph=False
            ).get_concrete_function(**self._bytes_specs()),
        }
        run_ragged = restore_ragged(model)
        if run_ragged is not None:
            wanted = {"serving_ragged": list(model.output)}
            if "stddev" in model.output:
                wanted["serving_ragged_restored"] = ["restored"]
            size = tf.TensorSpec([None, 2], tf.int32, name=_SIZE)
            for name, outputs in wanted.items():
                self.functions[name] = tf.function(
                    functools.partial(self._restore_ragged, run_ragged, outputs), autograph=False
                ).get_concrete_function(**self.specs, **{_SIZE: size})

    def _restore_ragged(
        self, run: Callable, wanted: list[str], **inputs: tf.Tensor
    ) -> dict[str, tf.Tensor]:
        """Images of several sizes, beyond which the padding may hold anything."""
        size = inputs.pop(_SIZE)
        largest = tf.shape(inputs["image"])[1:3]
        size = checked(
            size,
            tf.reduce_all((size >= 1) & (size <= largest))
            & tf.equal(tf.shape(size)[0], tf.shape(inputs["image"])[0]),
            f"`{_SIZE}` must be height and width of each image, at least 1 and at most those of "
            "the batch. Received: ",
            tf.strings.reduce_join(tf.strings.as_string(size), separator=", "),
        )
        inside = tf.sequence_mask(size[:, 0], largest[0])[:, :, tf.newaxis, tf.newaxis]
        inside &= tf.sequence_mask(size[:, 1], largest[1])[:, tf.newaxis, :, tf.newaxis]
        inputs = {
            name: tf.cond(
                tf.reduce_all(tf.shape(x)[1:3] == largest),
                lambda x=x: tf.where(inside, x, 0.0),
                lambda x=x: x,
            )
            for name, x in inputs.items()
        }
        area = tf.cast(tf.reduce_prod(largest), tf.float32)
        share = tf.cast(tf.reduce_prod(size, axis=1), tf.float32) / area
        outputs = run(self._checked(inputs, share), size)
        return {name: tf.identity(outputs[name], name=name) for name in wanted}

    def _restore(self, **inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        restored = self._run(self._checked(inputs))
        return {"restored": tf.identity(restored, name="restored")}

    def _restore_all(self, **inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        outputs = self._run_all(self._checked(inputs))
        return {name: tf.identity(x, name=name) for name, x in outputs.items()}

    def _restore_bytes(self, **inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        """Image by image: they may differ in size, depth and colour."""
        count = tf.shape(inputs["image_bytes"])[0]
        inputs["image_bytes"] = checked(
            inputs["image_bytes"],
            count > 0,
            "There must be at least one image. Received: none.",
        )
        for name, x in inputs.items():
            received = (" Received: ", tf.shape(x)[0], " and ", count, " of image_bytes.")
            inputs[name] = checked(
                x,
                tf.equal(tf.shape(x)[0], count),
                f"There must be one of {name} an image.",
                *received,
            )
        restored = tf.map_fn(
            self._restore_file,
            {"index": tf.range(count), **inputs},
            fn_output_signature=tf.TensorSpec([], tf.string),
            parallel_iterations=1,  # each image keeps every core busy
        )
        return {"restored_bytes": tf.identity(restored, name="restored_bytes")}

    def _checked(self, inputs: dict[str, tf.Tensor], share=1.0) -> dict[str, tf.Tensor]:
        """The inputs of one call of the model; each an error where a value makes no sense.

        `share` is what part of each image is not padding, which is 0.
        """
        image = inputs["image"]
        sizes = tf.cast(tf.shape(image)[:3], tf.float32)
        pixels = tf.reduce_prod(sizes)
        image = checked(
            image,
            (pixels > 0) & (pixels <= 1e6 * self._max_megapixels),
            f"`image` must have at least one pixel and at most {self._max_megapixels:g} megapixels"
            " in all. Received: shape ",
            _shape_text(image),
        )
        inputs = {**inputs, "image": image}
        return {name: self._with_checked_values(name, x, share) for name, x in inputs.items()}

    def _with_checked_values(self, name: str, x: tf.Tensor, share) -> tf.Tensor:
        fine = tf.math.is_finite(x)
        rule = "finite and, but for its noise, in [0, 1]"
        if name in _UP_TO_ONE:
            fine &= (x >= 0) & (x <= 1)
            rule = "in [0, 1], where 1 is 255 levels"
        fine = tf.reduce_all(fine, axis=[1, 2, 3])
        if name not in _UP_TO_ONE:
            outside = x - tf.clip_by_value(x, 0, 1)
            fine &= tf.reduce_mean(tf.square(outside), axis=[1, 2, 3]) <= _FARTHEST**2 * share
        first = tf.argmin(tf.cast(tf.concat([fine, [False]], axis=0), tf.int32))
        message = (f"`{name}` must be {rule}. Received: other values in image ", first, ".")
        return checked(x, tf.reduce_all(fine), *message)

    def _bytes_specs(self) -> dict[str, tf.TensorSpec]:
        """One entry an image: the noise level a number, everything else a file."""
        specs = {}
        for name in self.specs:
            if name == _LEVEL:
                specs[name] = tf.TensorSpec([None], tf.float32, name=name)
            else:
                specs[f"{name}_bytes"] = tf.TensorSpec([None], tf.string, name=f"{name}_bytes")
        return specs

    def _restore_file(self, inputs: dict[str, tf.Tensor]) -> tf.Tensor:
        index = tf.strings.as_string(inputs["index"])
        files = {
            name: image_bytes.decode(
                inputs[f"{name}_bytes"],
                tf.strings.join([f"`{name}_bytes[", index, "]`"]),
                max_megapixels=self._max_megapixels,
            )
            for name in self.specs
            if name != _LEVEL
        }
        image = files["image"].pixels
        channels = self.specs["image"].shape[-1]
        if channels == 1:
            batch = tf.transpose(image, [2, 0, 1])[..., tf.newaxis]  # channel by channel
        else:
            image = checked(
                image,
                tf.equal(tf.shape(image)[-1], channels),
                *("`image_bytes[", index, f"]` must have {channels} channels. Received: "),
                tf.shape(image)[-1],
            )
            batch = image[tf.newaxis]
        batch = tf.ensure_shape(batch, [None, None, None, channels])
        arguments = {"image": batch}
        for name, spec in self.specs.items():
            if name == _LEVEL:
                level = checked(
                    inputs[name],
                    (inputs[name] >= 0) & (inputs[name] <= 1),
                    *(f"`{name}[", index, "]` must be in [0, 1], where 1 is 255 levels. "),
                    "Received: ",
                    inputs[name],
                )
                arguments[name] = tf.fill([tf.shape(batch)[0], 1, 1, 1], level)
            elif name != "image":
                other = checked(
                    _to_channels(files[name].pixels, spec.shape[-1]),
                    tf.reduce_all(tf.shape(files[name].pixels)[:2] == tf.shape(image)[:2]),
                    *(f"`{name}_bytes[", index, "]` must have the size of the image. Received: "),
                    *(_shape_text(files[name].pixels), " and ", _shape_text(image)),
                )
                arguments[name] = tf.repeat(other[tf.newaxis], tf.shape(batch)[0], axis=0)
        restored = self._run(arguments)
        if channels == 1:
            restored = tf.transpose(restored[..., 0], [1, 2, 0])
        else:
            restored = restored[0]
        return image_bytes.encode(restored, files["image"])


def _to_channels(pixels: tf.Tensor, channels: int) -> tf.Tensor:
    """Gray to colour by repetition, colour to gray by its luma, as `deepam_tf.data` does."""
    is_gray = tf.equal(tf.shape(pixels)[-1], 1)
    gray = tf.cond(
        is_gray,
        lambda: pixels,
        lambda: tf.reduce_sum(pixels * _LUMA, axis=-1, keepdims=True),
    )
    if channels == 1:
        return tf.ensure_shape(gray, [None, None, 1])
    color = tf.cond(is_gray, lambda: tf.repeat(pixels, channels, axis=-1), lambda: pixels)
    return tf.ensure_shape(color, [None, None, channels])


def _shape_text(x: tf.Tensor) -> tf.Tensor:
    sizes = tf.strings.as_string(tf.shape(x))
    return tf.strings.join(["[", tf.strings.reduce_join(sizes, separator=", "), "]"])
