"""Scores of denoisers: how they are measured, written and shown.

Image number i of the folder, sorted by name, gets the noise
sigma/255 * numpy.random.default_rng(i).standard_normal(shape), not clipped; every output is
clipped to [0, 1] before PSNR and SSIM, the noisy image is not; no border is cut off.
"""

from __future__ import annotations

import csv
import dataclasses
import io
import os
import pathlib
import platform
import time
from collections.abc import Callable, Sequence
from typing import Any

import cv2
import numpy as np
import rich.console
import rich.table
import tensorflow as tf

import deepam_tf
from deepam_tf import degradations, metrics
from deepam_tf.files import atomic

__all__ = [
    "Score",
    "evaluate",
    "means",
    "print_whole",
    "provenance",
    "score",
    "summary_table",
    "write_csv",
]

NOISY = "noisy"


@dataclasses.dataclass(frozen=True)
class Score:
    """How one method did on one image; PSNR in dB, at most `MOST_DECIBELS`, time in seconds."""

    image: str
    method: str
    psnr: float
    ssim: float
    seconds: float
    megapixels: float


def evaluate(
    images: dict[str, np.ndarray],
    methods: dict[str, Callable[..., np.ndarray]],
    noise_stddev: float,
    *,
    guides: dict[str, np.ndarray] | None = None,
    on_image=lambda: None,
) -> list[Score]:
    """Run every method on every image, with the noise of the protocol.

    Args:
        images: clean images `[H, W]` or `[H, W, C]`, float32 in [0, 1], by file name, in order.
        methods: functions from a noisy to a restored image, by name; of a noisy image and its
            guide where there are guides.
        noise_stddev: standard deviation of the noise in units of [0, 1].
        guides: a guide for each image.
        on_image: called after each image and method, for a progress bar.

    Returns:
        One score for each pair, the noisy image first.
    """
    scores = []
    for index, (name, clean) in enumerate(images.items()):
        noisy = clean + degradations.benchmark_noise(clean.shape, noise_stddev, index)
        given = (noisy,) if guides is None else (noisy, guides[name])
        scores.append(score(name, NOISY, clean, noisy, 0.0))
        for method, denoise in methods.items():
            if index == 0:
                denoise(*given)  # not timed: tracing, allocation, first imports
            start = time.perf_counter()
            restored = denoise(*given)
            seconds = time.perf_counter() - start
            restored = np.clip(restored, 0.0, 1.0).astype(np.float32)
            scores.append(score(name, method, clean, restored, seconds))
            on_image()
    return scores


def score(name: str, method: str, clean: np.ndarray, image: np.ndarray, seconds: float) -> Score:
    """How near an image is to the clean one, both `[H, W]` or `[H, W, C]` in [0, 1]."""
    pixels = clean.shape[0] * clean.shape[1]
    clean, image = (np.atleast_3d(x)[np.newaxis] for x in (clean, image))
    return Score(
        name,
        method,
        min(float(metrics.psnr(clean, image)[0]), metrics.MOST_DECIBELS),
        float(metrics.ssim(clean, image)[0]),
        seconds,
        pixels / 1e6,
    )


def write_csv(path: pathlib.Path, rows: Sequence[Any], header: list[str]) -> None:
    """Write dataclass instances, one a line, below comments that say how they came about."""
    buffer = io.StringIO()
    buffer.writelines(f"# {line}\n" for line in header)
    writer = csv.DictWriter(buffer, [field.name for field in dataclasses.fields(rows[0])])
    writer.writeheader()
    writer.writerows(dataclasses.asdict(row) for row in rows)
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic.write_bytes(path, buffer.getvalue().encode())


def provenance(protocol: str | None) -> list[str]:
    """Lines for the head of a table: how it was measured, and with what.

    Args:
        protocol: text that says how; its indented lines are left out.

    Returns:
        The lines.
    """
    return [
        *(line for line in (protocol or "").splitlines() if line and not line[0].isspace()),
        f"deepam_tf {deepam_tf.__version__}, tensorflow {tf.__version__}, OpenCV "
        f"{cv2.__version__}, {os.cpu_count()} cores, {platform.machine()}",
    ]


def means(scores: list[Score], method: str) -> dict[str, float]:
    """Mean PSNR in dB and SSIM of one method, rounded as cards have them."""
    of_method = [score for score in scores if score.method == method]
    return {
        "psnr": round(float(np.mean([score.psnr for score in of_method])), 3),
        "ssim": round(float(np.mean([score.ssim for score in of_method])), 4),
    }


def summary_table(scores: list[Score], title: str) -> rich.table.Table:
    """A table of the mean scores of each method over all images."""
    table = rich.table.Table("method", "PSNR dB", "SSIM", "s / megapixel", title=title)
    for method in dict.fromkeys(score.method for score in scores):
        of_method = [score for score in scores if score.method == method]
        seconds = sum(s.seconds for s in of_method) / sum(s.megapixels for s in of_method)
        table.add_row(
            method,
            f"{np.mean([s.psnr for s in of_method]):.2f}",
            f"{np.mean([s.ssim for s in of_method]):.4f}",
            "" if method == NOISY else f"{seconds:.2f}",
        )
    return table


def print_whole(console: rich.console.Console, table: rich.table.Table) -> None:
    """Print every digit, however narrow the terminal: wrapped lines can be read, cut ones not.

    Args:
        console: is made as wide as the table.
        table: what to print.
    """
    wide = console.options.update(max_width=1000)
    console.width = max(console.width, console.measure(table, options=wide).maximum)
    console.print(table)
