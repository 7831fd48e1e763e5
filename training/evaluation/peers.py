"""Other denoisers to measure against in the same run: the packages' own implementations."""

from __future__ import annotations

import importlib
import pathlib
from collections.abc import Callable

import numpy as np
import tensorflow as tf

__all__ = [
    "TV_WEIGHT_PER_STDDEV",
    "classical_denoisers",
    "color_bm3d",
    "dncnn",
    "dncnn_graph",
    "gray",
    "guided_filter",
    "total_variation",
]

Denoiser = Callable[[np.ndarray], np.ndarray]

TV_WEIGHT_PER_STDDEV = 0.75
"""Weight of scikit-image's total variation over the noise's standard deviation: the best
mean PSNR on 40 BSDS500 training images at sigma 25 (`python -m benchmarks.tune_classical`)."""


def classical_denoisers(noise_stddev: float) -> dict[str, Denoiser]:
    """BM3D, non-local means and total variation for `[H, W]` images in [0, 1].

    Args:
        noise_stddev: standard deviation of the noise in units of [0, 1].

    Returns:
        Functions from a noisy to a restored image, by name.

    Raises:
        ValueError: if a package is not installed.
    """
    bm3d = _import("bm3d")
    restoration = _import("skimage.restoration")
    return {
        "BM3D": lambda image: bm3d.bm3d(image, noise_stddev),
        "NLM": lambda image: restoration.denoise_nl_means(
            image,
            patch_size=5,
            patch_distance=6,
            h=0.8 * noise_stddev,
            sigma=noise_stddev,
            fast_mode=True,
        ),
        "TV (scikit-image)": total_variation(TV_WEIGHT_PER_STDDEV * noise_stddev),
    }


def color_bm3d(noise_stddev: float) -> Denoiser:
    """BM3D for colour.

    Args:
        noise_stddev: standard deviation of the noise in units of [0, 1].

    Returns:
        Function from a noisy to a restored image `[H, W, 3]`; of three equal channels it is
        BM3D for gray.

    Raises:
        ValueError: if bm3d is not installed.
    """
    bm3d = _import("bm3d")

    def denoise(image: np.ndarray) -> np.ndarray:
        if np.ptp(image, axis=-1).max() > 0:
            return bm3d.bm3d_rgb(image, noise_stddev)
        # The package divides by the range of each difference of colour: of gray pictures, by 0.
        return np.repeat(bm3d.bm3d(image[..., :1], noise_stddev).reshape(*image.shape[:2], 1), 3, 2)

    return denoise


def guided_filter(radius: int, eps: float) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """The guided filter (He, Sun and Tang, ECCV 2010), as OpenCV has it.

    Args:
        radius: of its windows, in pixels.
        eps: variance of the guide from which on a window counts as having an edge.

    Returns:
        Function from a noisy image `[H, W, 3]` and a guide `[H, W, 1]` to a restored image.

    Raises:
        ValueError: if OpenCV comes without its contributed modules.
    """
    ximgproc = _import("cv2.ximgproc")
    return lambda noisy, guide: ximgproc.guidedFilter(guide, noisy, radius, eps)


def gray(denoise: Callable[[np.ndarray], tf.Tensor]) -> Denoiser:
    """A function of batches `[1, H, W, 1]` as one of images `[H, W]`."""
    return lambda image: np.asarray(denoise(image[np.newaxis, :, :, np.newaxis]))[0, :, :, 0]


def total_variation(weight: float) -> Denoiser:
    """Total variation by Chambolle's projection, run until it hardly moves any more.

    Args:
        weight: of the regularisation against the data; larger is smoother.

    Returns:
        Function from a noisy to a restored image `[H, W]` in [0, 1].

    Raises:
        ValueError: if scikit-image is not installed.
    """
    restoration = _import("skimage.restoration")
    # scikit-image's own limits stop well before the minimum.
    return lambda image: restoration.denoise_tv_chambolle(
        image, weight=weight, eps=1e-5, max_num_iter=500
    )


def dncnn(path: pathlib.Path, dtype: str = "float32") -> Denoiser:
    """DnCNN-S (Zhang et al., TIP 2017) from an archive of its published weights.

    Args:
        path: `.npz` with kernels `w0 .. w16`, `[3, 3, in, out]`, and biases `b0 .. b16`,
            batch normalisation folded in.
        dtype: that the convolutions are computed in.

    Returns:
        Function from a noisy to a restored image `[H, W]` in [0, 1].

    Raises:
        ValueError: if there is no such file.
    """
    run = dncnn_graph(path, dtype)
    return lambda image: run(tf.constant(image, tf.float32)[tf.newaxis, ..., tf.newaxis]).numpy()[
        0, ..., 0
    ]


def dncnn_graph(path: pathlib.Path, dtype: str = "float32") -> Callable[[tf.Tensor], tf.Tensor]:
    """The same as a graph.

    Args:
        path: see `dncnn`.
        dtype: see `dncnn`.

    Returns:
        Function of noisy images `[B, H, W, 1]`.

    Raises:
        ValueError: if there is no such file.
    """
    if not path.is_file():
        raise ValueError(f"DnCNN needs its published weights. Received: no file {str(path)!r}.")
    with np.load(path) as arrays:
        layers = [
            (tf.constant(arrays[f"w{i}"], dtype), tf.constant(arrays[f"b{i}"], dtype))
            for i in range(len(arrays) // 2)
        ]

    @tf.function(input_signature=[tf.TensorSpec([None, None, None, 1], tf.float32)])
    def run(image):
        x = tf.cast(image, dtype)
        for i, (kernel, bias) in enumerate(layers):
            x = tf.nn.bias_add(tf.nn.conv2d(x, kernel, 1, "SAME"), bias)
            if i < len(layers) - 1:
                x = tf.nn.relu(x)
        return image - tf.cast(x, image.dtype)

    return run


def _import(name: str):
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ValueError(
            f"To measure against others, {name} is needed, which is not installed. "
            "Install the extra: pip install -e '.[bench]'; OpenCV's contributed modules come with "
            "opencv-contrib-python in the place of opencv-python."
        ) from error
