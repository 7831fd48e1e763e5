"""What is wrong with training data, and what is in them."""

from __future__ import annotations

import collections
import dataclasses
import pathlib

import numpy as np

from deepam_tf import image_io
from deepam_tf.data.alignment import SHIFT, misalignment
from deepam_tf.files.pictures import ImageFileError
from training.data.inputs import list_files
from training.data.tasks import Paths, Task

__all__ = ["Inspection", "draw_sheet", "inspect"]

DARK_OR_BRIGHT = 0.25
"""Largest share of pixels at either end of the scale before a picture counts as clipped."""


@dataclasses.dataclass
class Inspection:
    """What an inspection of training data found.

    Attributes:
        rows: for each part, name and facts.
        faults: what training would stumble over, file by file.
        doubts: what may be meant so.
        usable: the files of each example that can be trained on.
    """

    rows: dict[str, dict[str, str]]
    faults: list[str]
    doubts: list[str]
    usable: list[Paths]


def inspect(source: pathlib.Path, task: Task, crop_size: int, *, on_example=None) -> Inspection:
    """Read every example of a source of training data and judge it.

    Args:
        source: a folder or a list, see `training.data.inputs`.
        task: what it holds.
        crop_size: side of the crops that training will cut.
        on_example: called with the number of examples after each.

    Returns:
        What was found.

    Raises:
        ImageFileError: if the source is missing or empty.
    """
    faults: list[str] = []
    try:
        files = list_files(source, task)
    except ImageFileError as error:
        files = _partners(source, task)
        if not files:
            raise
        faults.append(str(error))
    facts = {part: _Facts() for part in task.parts}
    doubts: list[str] = []
    usable = []
    for paths in files:
        try:
            parts = tuple(image_io.read(path) for path in paths)
        except ImageFileError as error:
            faults.append(str(error))
            continue
        for name, part, path in zip(task.parts, parts, paths, strict=True):
            sparse = task.zero_is_unknown and name == task.parts[0]
            doubts += facts[name].add(path, part, sparse)
            if sparse and len(np.unique(part.pixels[part.pixels > 0])) < 2:
                faults.append(f"{path}: a map must have two different values besides 0.")
        pixels = tuple(part.pixels for part in parts)
        sizes = [x.shape[:2] for x in pixels]
        if len(set(sizes)) > 1:
            faults.append(f"{paths[0]}: a pair must have one size. Received: {sizes}.")
            continue
        if min(sizes[0]) < crop_size:
            doubts.append(f"{paths[0]}: smaller than the crop of {crop_size}, left out.")
            continue
        if len(pixels) == 2:
            shift = misalignment(*pixels)
            if shift is not None and np.hypot(*shift) >= SHIFT:
                dy, dx = shift
                doubts.append(
                    f"{paths[0]}: its partner seems shifted by {dy:+.1f} rows, {dx:+.1f} columns."
                )
        usable.append(paths)
        if on_example is not None:
            on_example(len(files))
    rows = {name: counted.row() for name, counted in facts.items()}
    return Inspection(rows, faults, doubts + _repeated(files), usable)


def _partners(source: pathlib.Path, task: Task) -> list[Paths]:
    """The complete pairs of a folder in which some are not."""
    if source.suffix == ".txt" or len(task.parts) < 2:
        return []
    try:
        by_part = [
            {path.stem: path for path in image_io.list_images(source / part)} for part in task.parts
        ]
    except ImageFileError:
        return []
    return [
        tuple(part[name] for part in by_part)
        for name in sorted(set.intersection(*map(set, by_part)))
    ]


def _repeated(files: list[Paths]) -> list[str]:
    """Files of the same bytes under two names."""
    by_bytes = collections.defaultdict(list)
    for target, *_ in files:
        if target.is_file():
            by_bytes[target.stat().st_size].append(target)
    found = []
    for same_size in by_bytes.values():
        first_of: dict[bytes, pathlib.Path] = {}
        for path in same_size if len(same_size) > 1 else []:
            first = first_of.setdefault(path.read_bytes(), path)
            if first is not path:
                found.append(f"{path}: the same file as {first.name}.")
    return found


class _Facts:
    """What is counted over the files of one part."""

    def __init__(self) -> None:
        self.kinds: collections.Counter[str] = collections.Counter()
        self.heights: list[int] = []
        self.widths: list[int] = []
        self.lows: list[float] = []
        self.highs: list[float] = []
        self.holes: list[float] = []

    def add(self, path: pathlib.Path, picture: image_io.Picture, sparse: bool) -> list[str]:
        pixels, doubts = picture.pixels, []
        bits = 8 * np.dtype(picture.dtype).itemsize
        self.kinds[f"{pixels.shape[-1]} x {bits} bit"] += 1
        self.heights.append(pixels.shape[0])
        self.widths.append(pixels.shape[1])
        peak = picture.levels[1]
        known = pixels[pixels > 0] if sparse else pixels
        self.lows.append(float(peak * known.min()) if known.size else 0.0)
        self.highs.append(float(peak * pixels.max()))
        if sparse:
            self.holes.append(float(np.mean(pixels == 0)))
            if self.holes[-1] > 0.5:
                doubts.append(f"{path}: {100 * self.holes[-1]:.0f} % of the map is unknown.")
            return doubts
        if np.ptp(pixels) == 0:
            doubts.append(f"{path}: all pixels have one value.")
        for end, share in {"black": np.mean(pixels <= 0), "white": np.mean(pixels >= 1)}.items():
            if share > DARK_OR_BRIGHT:
                doubts.append(f"{path}: {100 * share:.0f} % of its values are {end}.")
        return doubts

    def row(self) -> dict[str, str]:
        if not self.heights:
            return {"files": "0"}
        sizes = [f"{min(x)}..{max(x)}" for x in (self.heights, self.widths)]
        facts = {
            "files": str(len(self.heights)),
            "kind": ", ".join(f"{count} of {kind}" for kind, count in self.kinds.items()),
            "height": sizes[0],
            "width": sizes[1],
            "values": f"{min(self.lows):.0f}..{max(self.highs):.0f}",
        }
        if self.holes:
            facts["holes"] = (
                f"{100 * np.mean(self.holes):.1f} %, at most {100 * max(self.holes):.1f} %"
            )
        return facts


def draw_sheet(examples: list[Paths], task: Task, path: pathlib.Path) -> None:
    """A contact sheet: up to twelve examples spread over all, their parts side by side.

    Args:
        examples: the files of each, `Inspection.usable`.
        task: what they are.
        path: PNG to write.
    """
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    numbers = np.linspace(0, len(examples) - 1, min(12, len(examples)), dtype=int)
    files = [
        (file, part == 0 and task.zero_is_unknown)
        for number in numbers
        for part, file in enumerate(examples[number])
    ]
    parts = len(task.parts)
    columns = parts * (4 // parts)
    rows = -(-len(files) // columns)
    figure, axes = plt.subplots(
        rows, columns, figsize=(2.6 * columns, 2.3 * rows), squeeze=False, layout="constrained"
    )
    for axis in axes.flat:
        axis.axis("off")
    for axis, (file, sparse) in zip(axes.flat, files, strict=False):
        pixels = image_io.read(file).pixels
        if sparse:
            axis.imshow(np.ma.masked_equal(pixels[..., 0], 0), cmap="viridis")
        else:
            axis.imshow(pixels if pixels.shape[-1] == 3 else pixels[..., 0], cmap="gray")
        axis.set_title(f"{file.parent.name}/{file.name}"[-28:], fontsize=8)
    figure.savefig(path, dpi=90)
    plt.close(figure)
