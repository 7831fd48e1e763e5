"""The paper's tables of denoising, with what is measured here beside its figures."""

from __future__ import annotations

import pathlib
from collections.abc import Sequence

import numpy as np
import rich.table

from training.evaluation.scores import Score

__all__ = ["PAPER_1", "PAPER_2", "table_1", "table_2"]

# C. Man, House, Peppers, Starfish, Fly, Airplane, Parrot, Lena, Barbara, Boat, Man, Couple
PAPER_1 = {
    "BM3D": (29.47, 32.99, 30.29, 28.57, 29.32, 28.49, 28.97, 32.03, 30.73, 29.88, 29.59, 29.70),
    "TRD": (29.71, 32.62, 30.57, 29.05, 29.97, 28.95, 29.22, 32.02, 29.39, 29.91, 29.83, 29.71),
    "WNNM": (29.63, 33.39, 30.55, 29.09, 29.98, 28.81, 29.13, 32.24, 31.28, 29.98, 29.74, 29.80),
    "DeepAM(3)": (
        *(29.97, 33.35, 30.89, 29.43, 30.27, 29.03),
        *(29.41, 32.52, 29.52, 30.23, 30.07, 30.15),
    ),
}
"""PSNR in dB of the paper's Table 1."""

PAPER_2 = {
    "BM3D": {15: (31.12, 0.872), 25: (28.61, 0.801), 50: (25.65, 0.686)},
    "TRD": {15: (31.42, 0.882), 25: (28.91, 0.815), 50: (25.96, 0.701)},
    "DeepAM(1)": {15: (31.40, 0.882), 25: (28.95, 0.816), 50: (25.94, 0.701)},
    "DeepAM(2)": {15: (31.65, 0.885), 25: (29.18, 0.824), 50: (26.20, 0.714)},
    "DeepAM(3)": {15: (31.68, 0.886), 25: (29.21, 0.825), 50: (26.24, 0.716)},
}
"""PSNR in dB and SSIM of the paper's Table 2."""


def table_1(scores: list[Score]) -> rich.table.Table:
    """PSNR of every image and method, and the mean.

    Args:
        scores: of Set12 at sigma 25.

    Returns:
        The table; the paper's rows only if there are twelve images.
    """
    images = list(dict.fromkeys(score.image for score in scores))
    shown = rich.table.Table(
        "PSNR dB", *(pathlib.Path(name).stem for name in images), "mean", title="Table 1, sigma 25"
    )
    rows: dict[str, Sequence[float]] = {
        f"({name})": row for name, row in PAPER_1.items() if len(row) == len(images)
    }
    for method in dict.fromkeys(score.method for score in scores):
        rows[method] = [score.psnr for score in scores if score.method == method]
    for name, row in rows.items():
        shown.add_row(name, *(f"{value:.2f}" for value in row), f"{np.mean(row):.2f}")
    return shown


def table_2(scores: dict[int, list[Score]]) -> rich.table.Table:
    """Mean PSNR and SSIM of every method and noise level.

    Args:
        scores: of BSD68, by sigma.

    Returns:
        The table.
    """
    shown = rich.table.Table(
        "PSNR dB / SSIM", *(f"sigma {sigma}" for sigma in scores), title="Table 2"
    )
    for name, row in PAPER_2.items():
        shown.add_row(f"({name})", *(_pair(row.get(sigma)) for sigma in scores))
    for method in dict.fromkeys(s.method for column in scores.values() for s in column):
        cells = []
        for column in scores.values():
            figures = [(s.psnr, s.ssim) for s in column if s.method == method]
            cells.append(_pair(np.mean(figures, axis=0) if figures else None))
        shown.add_row(method, *cells)
    return shown


def _pair(values) -> str:
    return "" if values is None else f"{values[0]:.2f} / {values[1]:.3f}"
