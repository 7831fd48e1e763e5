"""The tasks: what is read, what is observed of it, which inputs and metrics that means.

A task is a row of one table. Everything else asks the row and knows no task by name.
"""

from __future__ import annotations

import dataclasses
import pathlib
import zlib
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from deepam_tf import data, degradations, image_io, metrics
from deepam_tf.data.noise import PoissonGaussian
from deepam_tf.depth.holes import value_range
from deepam_tf.depth.observation import observe
from deepam_tf.files.levels import to_unit
from deepam_tf.networks.sure import UnbiasedPSNR, probe
from deepam_tf.restoration.tiles import Restorer
from training.configuration.config import Data, TrainingConfig
from training.configuration.settings import nearest
from training.evaluation import denoising, depth, fusion, photographs

__all__ = ["TASKS", "Examples", "Task", "find_task", "noise_range", "task_of"]

Paths = tuple[pathlib.Path, ...]
Figures = dict[str, dict[str, float]]

SIGMAS = (15, 25, 50)
"""Levels at which a model for all levels is judged: those of the literature."""

_MOST_DEPTH_NOISE = 0.3  # of a depth camera, in the unit of the map: of a crop it is less
_VALIDATION_SIZE = 320  # most pixels a side of a photographed validation image


@dataclasses.dataclass(frozen=True)
class Examples:
    """Clean pictures and where they come from.

    Attributes:
        names: one for each picture: its file.
        items: integer arrays `[H, W, C]`, or tuples of aligned ones, the target first.
    """

    names: list[str]
    items: list[Any]

    def __len__(self) -> int:
        return len(self.items)

    def __add__(self, other: Examples) -> Examples:
        return Examples(self.names + other.names, self.items + other.items)

    def pick(self, numbers: list[int]) -> Examples:
        """The examples of these positions, in that order."""
        return Examples([self.names[i] for i in numbers], [self.items[i] for i in numbers])

    def source(self) -> list[Any]:
        """The arrays that the pipelines of crops take."""
        return self.items

    def full_scale(self) -> float:
        """The largest value of all targets, of depth maps, as a share of what their type holds."""
        return data.full_scale([target for target, _ in self.items])

    def in_memory(self) -> Examples:
        """These examples, which are in memory already."""
        return self

    def sources(self, *, crop_size: int, batch_size: int, seed: int, batch: int) -> list[str]:
        """Names of the pictures that the crops of a batch come from."""
        numbers = data.crop_sources(
            self.sizes(), crop_size=crop_size, batch_size=batch_size, seed=seed, batch=batch
        )
        return [self.names[number] for number in numbers]

    def fingerprint(self) -> str:
        """A text that tells these pictures from others, wherever their files lie."""
        checksum = 0
        for item in self.items:
            for part in item if isinstance(item, tuple) else (item,):
                head = f"{part.shape} {part.dtype}".encode()
                checksum = zlib.crc32(np.ascontiguousarray(part), zlib.crc32(head, checksum))
        return f"{len(self)} examples, crc32 {checksum:08x}"

    def sizes(self) -> list[tuple[int, int]]:
        """Height and width of each example."""
        targets = (item[0] if isinstance(item, tuple) else item for item in self.items)
        return [target.shape[:2] for target in targets]


@dataclasses.dataclass(frozen=True)
class Task:
    """What a task means for reading, training, measuring and releasing: a row of `TASKS`.

    Attributes:
        folder: what a folder of its data holds, in words.
        parts: what an example is made of, the target first; if there are several, the
            names of the folders they lie in.
        read: an example from its files, one a part.
        crops: an endless pipeline of training batches from the number of the first one on.
        batcher: these batches one by one, by their number, in operations that XLA compiles; None:
            they have no such form.
        observe: inputs, target and, where not every pixel of it counts, its weight: of a
            whole validation image, by its number, `[1, H, W, C]` (the weight `[1, H, W]`); of
            noisy ones what `sure.probe` returns, `[2, H, W, C]`.
        model_inputs: arguments of `DeepAM` that say what it takes.
        levels: at which whole pictures are observed where it is asked how sure a model is: sigma,
            or pixels from sample to sample; 0 alone where a camera decides.
        metrics: of the restored image, new ones at each call; they get the weight.
        figures: what a trained model reaches on a folder of test data, by what goes behind the
            folder's name where there are several.
        limits: what the card of its weights says of the data they were trained for.
        zero_is_unknown: whether the target is a map in which 0 stands for nothing measured.
        contrast: of an example among all, what 1 of the model's unit is of the full scale of
            the data, in which losses and metrics are measured; None: they are the same.
        source_size: side of the square that is cut from an example for a crop.
        drawn: how many of these a batch is made of.
        from_noisy: what is another where the pictures to learn from are noisy: some of these
            values by name; None: nobody can learn this task from such.
    """

    folder: str
    parts: tuple[str, ...]
    read: Callable[[Paths, Data], Any]
    crops: Callable[[Examples, TrainingConfig, int], tf.data.Dataset]
    observe: Callable[[Any, Data, int], tuple]
    model_inputs: Callable[[Data], dict[str, Any]]
    levels: Callable[[Data], tuple[float, ...]]
    metrics: Callable[[], list[keras.metrics.Metric]]
    figures: Callable[[pathlib.Path, Restorer, Data], Figures]
    limits: Callable[[Data], dict[str, Any]]
    zero_is_unknown: bool = False
    contrast: Callable[[Any, Examples], float] | None = None
    source_size: Callable[[Data], int] = lambda values: values.crop_size
    drawn: Callable[[Data], int] = lambda values: values.batch_size * values.candidates
    from_noisy: dict[str, Any] | None = None
    batcher: Callable[[Examples, TrainingConfig], Callable[[tf.Tensor], Any]] | None = None

    def list_folder(self, folder: pathlib.Path) -> list[Paths]:
        """The files of each example of a folder, sorted by name.

        Raises:
            image_io.ImageFileError: if the folder is missing or empty, or a file has no
                partner.
        """
        if len(self.parts) == 2:
            target, guide = self.parts
            return list(data.list_pairs(folder, target=target, guide=guide))
        paths = image_io.list_images(folder)
        if not paths:
            raise image_io.ImageFileError(f"{folder}: the folder holds no image files.")
        return [(path,) for path in paths]

    def sources(self, examples: Examples, config: TrainingConfig, batch: int) -> list[str]:
        """Names of the pictures that the crops of a batch come from."""
        return examples.sources(
            crop_size=self.source_size(config.data),
            batch_size=self.drawn(config.data),
            seed=config.run.seed,
            batch=batch,
        )


def find_task(name: str) -> Task:
    """The task of a name, its row of `TASKS`.

    Raises:
        ValueError: if there is none.
    """
    if name not in TASKS:
        raise ValueError(
            f"`data.task` must be one of {', '.join(TASKS)}. Received: {name!r}."
            + nearest(name, TASKS)
        )
    return TASKS[name]


def task_of(values: Data) -> Task:
    """The task of a run, as its supervision has it.

    Args:
        values: the data's part of its configuration.

    Returns:
        The row of `TASKS`, changed by its `from_noisy` where the pictures are noisy.

    Raises:
        ValueError: if there is no such task, or it cannot be learnt so.
    """
    task = find_task(values.task)
    if values.supervision == "clean":
        return task
    if task.from_noisy is None:
        able = [name for name, other in TASKS.items() if other.from_noisy is not None]
        raise ValueError(
            f"From noisy pictures alone (data.supervision) {', '.join(able)} can be learnt. "
            f"Received: data.task={values.task!r}."
        )
    return dataclasses.replace(task, **task.from_noisy)


def noise_range(values: Data) -> float | tuple[float, float]:
    """The training noise in units of [0, 1]."""
    if isinstance(values.sigma, tuple):
        low, high = values.sigma
        return low / 255, high / 255
    return values.sigma / 255


def _scales(values: Data) -> list[int]:
    return sorted(set(values.scale if isinstance(values.scale, tuple) else (values.scale,)))


def _noise_levels(values: Data) -> dict[str, float]:
    """What to add to the name of a dataset, and the level it stands for."""
    level = noise_range(values)
    if isinstance(level, tuple):
        return {f", sigma {sigma}": sigma / 255 for sigma in SIGMAS}
    return {"": level}


def _sigmas(values: Data) -> tuple[float, ...]:
    """The levels of `_noise_levels`, of the 0..255 scale."""
    return SIGMAS if isinstance(values.sigma, tuple) else (values.sigma,)


def _denoising_figures(folder: pathlib.Path, restorer: Restorer, values: Data) -> Figures:
    return {
        suffix: denoising.figures(folder, restorer, level, channels=values.image_channels)
        for suffix, level in _noise_levels(values).items()
    }


def _fusion_figures(folder: pathlib.Path, restorer: Restorer, values: Data) -> Figures:
    return {
        suffix: fusion.figures(folder, restorer, level)
        for suffix, level in _noise_levels(values).items()
    }


def _depth_figures(folder: pathlib.Path, restorer: Restorer, values: Data) -> Figures:
    return {
        f", x{scale}": depth.figures(folder, restorer, scale, border=values.border)
        for scale in _scales(values)
        if scale > 1
    }


def _sensor_figures(folder: pathlib.Path, restorer: Restorer, values: Data) -> Figures:
    return {"": depth.sensor_figures(folder, restorer, border=values.border)}


def _read_image(paths: Paths, values: Data):
    return data.load_image(paths[0], values.image_channels)


def _pair_reader(guide_channels: int, jpeg_shrink: int):
    def read(paths: Paths, values: Data):
        return data.load_pair(
            *paths,
            target_channels=values.image_channels,
            guide_channels=guide_channels,
            border=values.border,
            jpeg_shrink=jpeg_shrink,
        )

    return read


def _drawn(config: TrainingConfig, first_batch: int) -> dict[str, Any]:
    """How crops are drawn, whatever they are crops of."""
    return {
        "crop_size": config.data.crop_size,
        "batch_size": config.data.batch_size,
        "seed": config.run.seed,
        "first_batch": first_batch,
    }


def _denoising_crops(examples: Examples, config: TrainingConfig, first_batch: int):
    return data.denoising_crops(
        **_denoised(examples, config),
        batch_size=config.data.batch_size,
        first_batch=first_batch,
    )


def _denoising_batcher(examples: Examples, config: TrainingConfig):
    return data.denoising_batcher(**_denoised(examples, config), batch_size=config.data.batch_size)


def _denoised(examples: Examples, config: TrainingConfig) -> dict[str, Any]:
    """What crops are cut from, and how they are observed."""
    targets, guides = examples.source(), None
    if isinstance(targets, list) and isinstance(targets[0], tuple):
        targets, guides = (list(part) for part in zip(*targets, strict=True))
    return {
        "images": targets,
        "guides": guides,
        "vary_pairs": config.data.vary_pairs,
        "vary_colors": config.data.vary_colors,
        "weigh_levels": config.data.weigh_levels,
        "noise_stddev": noise_range(config.data),
        "crop_size": config.data.crop_size,
        "seed": config.run.seed,
    }


def _depth_crops(examples: Examples, config: TrainingConfig, first_batch: int):
    return data.depth_crops(
        examples.source(),
        scale=config.data.scale,
        candidates=config.data.candidates,
        vary_samples=config.data.vary_samples,
        contrast=True,
        **_drawn(config, first_batch),
    )


def _sensor_crops(examples: Examples, config: TrainingConfig, first_batch: int):
    return data.depth_crops(
        examples.source(),
        scale=1,
        candidates=config.data.candidates,
        camera=degradations.DepthCameraSimulator(),
        contrast=True,
        **_drawn(config, first_batch),
    )


def _unit(image: np.ndarray) -> np.ndarray:
    return to_unit(image)[np.newaxis]


def _noisy(item, values: Data, number: int):
    target, *guide = item if isinstance(item, tuple) else (item,)
    clean, level = _unit(target), values.validation_sigma / 255
    inputs = {"image": clean + degradations.benchmark_noise(clean.shape, level, number)}
    if guide:
        inputs["guide"] = _unit(guide[0])
    if isinstance(values.sigma, tuple):
        inputs["noise_stddev"] = np.full([1, 1, 1, 1], level, np.float32)
    return inputs, clean


def _known_noise(values: Data) -> PoissonGaussian:
    return PoissonGaussian(values.gain, (values.sigma / 255) ** 2)


def _recorrupted_crops(examples: Examples, config: TrainingConfig, first_batch: int):
    return data.recorrupted_crops(
        examples.source(),
        noise=_known_noise(config.data),
        alpha=config.data.alpha,
        **_drawn(config, first_batch),
    )


def _probed(item, values: Data, number: int):
    """The picture, once more with a little noise, and what tells the error from both."""
    noise = _known_noise(values)
    images, reference = probe(_unit(item), noise.gain, noise.variance, seed=number)
    return {"image": images}, reference


def _camera(values: Data) -> degradations.CameraSimulator:
    level = noise_range(values)
    return degradations.CameraSimulator(
        white_noise=level if isinstance(level, tuple) else (level, level)
    )


def _camera_crops(examples: Examples, config: TrainingConfig, first_batch: int):
    return data.camera_crops(
        examples.source(),
        camera=_camera(config.data),
        weigh_levels=config.data.weigh_levels,
        **_drawn(config, first_batch),
    )


def _photographed(item, values: Data, number: int):
    """The middle of the picture, and the true level of what the camera did to it."""
    top, left = (max(side - _VALIDATION_SIZE, 0) // 2 for side in item.shape[:2])
    clean = _unit(item)[0, top:, left:][:_VALIDATION_SIZE, :_VALIDATION_SIZE]
    # Not of the seeds of training, whose second number is drawn.
    noisy, target = (x.numpy()[np.newaxis] for x in _camera(values)(clean, [number, 0]))
    level = np.sqrt(np.mean(np.square(noisy - target)))
    return {"image": noisy, "noise_stddev": np.full([1, 1, 1, 1], level, np.float32)}, target


def _map_contrast(item, examples: Examples) -> float:
    map_ = item[0][..., 0]
    low, high = value_range(map_, map_ > 0)
    return (high - low) / np.iinfo(map_.dtype).max / examples.full_scale()


def _coarse(item, values: Data, number: int):
    del number  # nothing is random
    map_, guide = item
    map_, known = map_[..., 0], map_[..., 0] > 0
    observation = observe(
        map_,
        map_.shape,
        scale=values.validation_scale,
        valid=known,
        limits=value_range(map_, known),
    )
    inputs = {
        "image": observation.image[np.newaxis],
        "mask": observation.mask[np.newaxis],
        "guide": _unit(guide),
    }
    return inputs, *_true_map(item)


def _true_map(item) -> tuple[np.ndarray, np.ndarray]:
    """A depth map in its unit, `[1, H, W, 1]`, and where it is known, `[1, H, W]`."""
    map_ = item[0][..., 0]
    known = map_ > 0
    low, high = value_range(map_, known)
    unit = ((map_.astype(np.float32) - low) / (high - low) * known).astype(np.float32)
    return unit[np.newaxis, ..., np.newaxis], known[np.newaxis].astype(np.float32)


def _sensed(item, values: Data, number: int):
    """The whole map as a simulated depth camera measures it, its noise told as it is."""
    del values
    unit, known = _true_map(item)
    camera = degradations.DepthCameraSimulator()
    # Not of the seeds of training, whose second number is drawn.
    measured = camera(tf.constant(unit[0]), tf.constant(known[0, ..., np.newaxis]), [number, 0])
    names = ("image", "mask", "noise_stddev")
    inputs = {name: x.numpy()[np.newaxis] for name, x in zip(names, measured, strict=True)}
    inputs["noise_stddev"] = np.minimum(inputs["noise_stddev"], 1.0)
    return {**inputs, "guide": _unit(item[1])}, unit, known


TASKS = {
    "denoise": Task(
        folder="clean images",
        parts=("image",),
        read=_read_image,
        crops=_denoising_crops,
        observe=_noisy,
        model_inputs=lambda values: {"noise_level": isinstance(values.sigma, tuple)},
        levels=_sigmas,
        metrics=lambda: [metrics.PSNR()],
        figures=_denoising_figures,
        limits=lambda values: {"noise_stddev": noise_range(values)},
        from_noisy={
            "folder": "noisy images",
            "crops": _recorrupted_crops,
            "observe": _probed,
            "metrics": lambda: [UnbiasedPSNR()],
            "drawn": lambda values: values.batch_size // 2,
            "batcher": None,
        },
        batcher=_denoising_batcher,
    ),
    "camera": Task(
        folder="clean colour images",
        parts=("image",),
        read=_read_image,
        crops=_camera_crops,
        observe=_photographed,
        model_inputs=lambda values: {"noise_level": True},
        levels=lambda values: (0.0,),
        metrics=lambda: [metrics.PSNR()],
        figures=lambda folder, restorer, values: {"": photographs.figures(folder, restorer)},
        limits=lambda values: {"noise_stddev": noise_range(values)},
        source_size=lambda values: degradations.CameraSimulator.source_size(values.crop_size),
    ),
    "depth": Task(
        folder="depth/ with depth or disparity, 0 where unknown, and rgb/ of the same names",
        parts=("depth", "rgb"),
        read=_pair_reader(guide_channels=3, jpeg_shrink=1),
        crops=_depth_crops,
        observe=_coarse,
        model_inputs=lambda values: {"guide_channels": 3, "mask": True},
        levels=lambda values: tuple(s for s in _scales(values) if s > 2),
        metrics=lambda: [
            metrics.PSNR(),
            metrics.BadMatchingPercentage(3 / 255),
            keras.metrics.RootMeanSquaredError(name="rmse"),
        ],
        figures=_depth_figures,
        limits=lambda values: {"scale": _scales(values)},
        zero_is_unknown=True,
        contrast=_map_contrast,
    ),
    "depth_sensor": Task(
        folder="depth/ with depth, 0 where unknown, and rgb/ of the same names",
        parts=("depth", "rgb"),
        read=_pair_reader(guide_channels=3, jpeg_shrink=1),
        crops=_sensor_crops,
        observe=_sensed,
        model_inputs=lambda values: {"guide_channels": 3, "mask": True, "noise_level": True},
        levels=lambda values: (0.0,),
        metrics=lambda: [metrics.PSNR(), keras.metrics.RootMeanSquaredError(name="rmse")],
        figures=_sensor_figures,
        limits=lambda values: {"noise_stddev": (0.0, _MOST_DEPTH_NOISE)},
        zero_is_unknown=True,
        contrast=_map_contrast,
    ),
    "nir": Task(
        folder="rgb/ with clean colour images, and nir/ of the same names",
        parts=("rgb", "nir"),
        read=_pair_reader(guide_channels=1, jpeg_shrink=2),
        crops=_denoising_crops,
        observe=_noisy,
        model_inputs=lambda values: {
            "guide_channels": 1,
            "noise_level": isinstance(values.sigma, tuple),
        },
        levels=_sigmas,
        metrics=lambda: [metrics.PSNR()],
        figures=_fusion_figures,
        limits=lambda values: {"noise_stddev": noise_range(values)},
        batcher=_denoising_batcher,
    ),
}
