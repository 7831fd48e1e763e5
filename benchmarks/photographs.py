"""Ten details of photographs with camera noise, three times as large, by several denoisers.

    python -m benchmarks.photographs --picture docs/images/photographs.jpg

The scenes come with scikit-image, in the public domain or CC0; the camera is simulated
(`deepam_tf.degradations.CameraSimulator`), a seed for each. Columns: the photograph, OpenCV's
non-local means, BM3D for colour told the true root mean square, `denoise_color` told an estimate
of white noise, what `deepam denoise` does, and the photograph without noise and JPEG. Printed is
the PSNR of the details in dB.
"""

from __future__ import annotations

import argparse
import dataclasses
import io
import pathlib
import sys

import numpy as np
import rich.console
import rich.table
import skimage.data
import tensorflow as tf
from PIL import Image

import deepam_tf
from deepam_tf import noise
from deepam_tf.data.degradations import CameraSimulator
from deepam_tf.files import atomic
from deepam_tf.files.levels import to_unit
from training.evaluation import peers, photographs

__all__ = ["DETAILS", "Detail", "main"]

_SIDE, _ENLARGED, _SURROUNDINGS = 72, 3, 256
_MARGIN = 24  # pixels around a detail that BM3D sees, which takes seconds for few pixels


@dataclasses.dataclass(frozen=True)
class Detail:
    """A part of a scene and the seed of its photograph.

    Attributes:
        scene: name of a picture of scikit-image.
        top: of the part, in pixels.
        left: of the part, in pixels.
        seed: of the photograph.
    """

    scene: str
    top: int
    left: int
    seed: int


DETAILS = {
    "skin": Detail("astronaut", 85, 190, 1),
    "hair": Detail("astronaut", 20, 140, 2),
    "badge": Detail("astronaut", 330, 90, 3),
    "fur": Detail("chelsea", 120, 60, 4),
    "eye": Detail("chelsea", 105, 185, 5),
    "whiskers": Detail("chelsea", 190, 300, 6),
    "wood": Detail("coffee", 300, 420, 7),
    "spoon": Detail("coffee", 240, 330, 8),
    "leaves": Detail("grass", 140, 150, 9),
    "strands": Detail("ihc", 60, 140, 10),
}


def _scene(name: str) -> np.ndarray:
    folder = pathlib.Path(skimage.data.__file__).parent
    with Image.open(folder / f"{name}.png") as picture:
        return to_unit(np.asarray(picture.convert("RGB")))


def _restored(noisy: np.ndarray, sigma: float, place, *, bm3d: bool) -> dict[str, np.ndarray]:
    """By each method; of BM3D the part that begins at a place, in its surroundings."""
    color = deepam_tf.load_pretrained("denoise_color")
    level = noise.estimate_noise_stddev(noisy)
    found = {"photograph": noisy, "NLM": photographs.non_local_means(noisy)}
    if bm3d:
        part = tuple(slice(max(start - _MARGIN, 0), start + _SIDE + _MARGIN) for start in place)
        found["BM3D"] = noisy.copy()
        found["BM3D"][part] = peers.color_bm3d(sigma)(noisy[part])
    found["denoise_color"] = deepam_tf.restore(color, noisy, noise_stddev=level)
    found["deepam denoise"] = photographs.default()(noisy)
    return found


def main(argv: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.photographs", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--picture", type=pathlib.Path, required=True, help="JPEG to write")
    parser.add_argument("--no-bm3d", action="store_true", help="leave BM3D out")
    args = parser.parse_args(argv)
    camera = CameraSimulator(gain=(2e-3, 2e-2), shares=(1, 0, 0, 0))
    rows, table = [], None
    for name, detail in DETAILS.items():
        scene = _scene(detail.scene)
        top, left = (
            min(max(place + _SIDE // 2 - _SURROUNDINGS // 2, 0), size - _SURROUNDINGS)
            for place, size in zip((detail.top, detail.left), scene.shape[:2], strict=True)
        )
        around = scene[top : top + _SURROUNDINGS, left : left + _SURROUNDINGS]
        noisy, target = (x.numpy() for x in camera(around, tf.constant([detail.seed, 0])))
        sigma = float(np.sqrt(np.mean((noisy - target) ** 2)))
        # A reduced photograph shows the detail at another place.
        place = [
            int(min((start - first) * size / _SURROUNDINGS, size - _SIDE))
            for start, first, size in zip(
                (detail.top, detail.left), (top, left), target.shape[:2], strict=True
            )
        ]
        restored = _restored(noisy, sigma, place, bm3d=not args.no_bm3d)
        found = {**restored, "target": target}
        parts = {
            method: np.clip(x[place[0] : place[0] + _SIDE, place[1] : place[1] + _SIDE], 0.0, 1.0)
            for method, x in found.items()
        }
        if table is None:
            table = rich.table.Table("detail", "sigma", *list(parts)[:-1])
        psnr = [
            -10 * np.log10(np.mean((x - parts["target"]) ** 2)) for x in list(parts.values())[:-1]
        ]
        table.add_row(name, f"{255 * sigma:.1f}", *(f"{x:.2f}" for x in psnr))
        rows.append(np.concatenate([np.pad(x, [(1, 1)] * 2 + [(0, 0)]) for x in parts.values()], 1))
    sheet = np.concatenate(rows, axis=0)
    sheet = np.repeat(np.repeat(sheet, _ENLARGED, axis=0), _ENLARGED, axis=1)
    buffer = io.BytesIO()
    Image.fromarray(np.uint8(np.round(255 * sheet))).save(buffer, "JPEG", quality=90, subsampling=0)
    atomic.write_bytes(args.picture, buffer.getvalue())
    rich.console.Console().print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
