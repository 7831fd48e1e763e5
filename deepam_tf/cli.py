"""The `deepam` command. The only place that speaks sigma in 0..255."""

from __future__ import annotations

import argparse
import functools
import glob
import os
import pathlib
import sys
from collections.abc import Callable

import keras
import rich.console
import rich.progress
import rich.table
import tensorflow as tf

import deepam_tf
from deepam_tf import demo, image_io, noise
from deepam_tf.classical import METHODS
from deepam_tf.inference import Restorer
from deepam_tf.pretrained import list_pretrained, load_pretrained, noise_range, pretrained_card

__all__ = ["main"]

_DEFAULT_MODEL = "denoise_gray"
_LEAST_STDDEV = 0.1 / 255  # a classical regulariser has no meaning without noise
_DEMO_PICTURE = pathlib.Path("deepam-demo.png")
_SOME_FAILED, _BAD_INPUT, _INTERRUPTED = 1, 2, 130
_output = rich.console.Console(soft_wrap=True, highlight=False, markup=False)
_errors = rich.console.Console(stderr=True, soft_wrap=True, highlight=False, markup=False)


def main(argv: list[str] | None = None) -> int:
    """Run the command.

    Args:
        argv: arguments, those of the process by default.

    Returns:
        Exit code: 0 done, 1 some files of several failed, 2 bad input, 130 interrupted.
    """
    args = _parser().parse_args(argv)
    try:
        return args.run(args)
    except (image_io.ImageFileError, ValueError) as error:
        _errors.print(f"error: {error}")
        return _BAD_INPUT
    except KeyboardInterrupt:
        _errors.print("interrupted; files already written are complete.")
        return _INTERRUPTED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="deepam", description=deepam_tf.__doc__)
    parser.add_argument("--version", action="version", version=f"deepam {deepam_tf.__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    denoise = commands.add_parser(
        "denoise",
        help="remove Gaussian noise from photographs",
        description="Remove Gaussian noise from PNG, JPEG, TIFF, WebP or BMP images. The "
        "output keeps bit depth and transparency; EXIF orientation is applied.",
    )
    denoise.add_argument("inputs", nargs="+", metavar="IN", help="file, folder or glob pattern")
    denoise.add_argument(
        "output", type=pathlib.Path, metavar="OUT", help="file, or folder for several inputs"
    )
    denoise.add_argument(
        "--sigma",
        type=_sigma,
        default=None,
        help="noise level on the 0..255 scale, or auto: estimated from each picture (auto)",
    )
    denoise.add_argument("--model", default=_DEFAULT_MODEL, help=f"weights ({_DEFAULT_MODEL})")
    denoise.add_argument(
        "--method",
        choices=["deepam", *METHODS],
        default="deepam",
        help="the network, or a classical regulariser: total variation, L0, Lp (deepam)",
    )
    denoise.add_argument("--force", action="store_true", help="overwrite existing files")
    denoise.add_argument(
        "--tile", type=_positive_int, default=512, help="tile side in pixels; bounds memory (512)"
    )
    denoise.add_argument(
        "--max-megapixels",
        type=float,
        default=image_io.MAX_MEGAPIXELS,
        help=f"refuse larger images ({image_io.MAX_MEGAPIXELS:g})",
    )
    denoise.set_defaults(run=_denoise)

    show = commands.add_parser("demo", help="restore a noisy picture that comes with the package")
    show.add_argument(
        "output",
        type=pathlib.Path,
        nargs="?",
        default=_DEMO_PICTURE,
        metavar="OUT",
        help="side-by-side picture (deepam-demo.png)",
    )
    show.set_defaults(run=_demo)

    info = commands.add_parser("info", help="versions, devices and weights")
    info.set_defaults(run=_info)
    return parser


def _sigma(text: str) -> float | None:
    if text == "auto":
        return None
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value <= 255:
        raise argparse.ArgumentTypeError(f"sigma must be auto or in (0, 255]. Received: {text}")
    return value


def _positive_int(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"it must be at least 1. Received: {text}")
    return value


def _denoise(args: argparse.Namespace) -> int:
    jobs, several = _jobs(args.inputs, args.output)
    if several:
        try:
            args.output.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise image_io.ImageFileError(
                f"{args.output}: the folder cannot be made ({error.strerror})."
            ) from error
    restorers = _restorers(args)

    failures: list[str] = []
    written: set[pathlib.Path] = set()
    with _progress() as progress:
        files = progress.add_task("files", total=len(jobs), visible=several)
        for source, target in jobs:
            try:
                if target in written:
                    raise image_io.ImageFileError(
                        f"{source}: another input of this name went to {target} already."
                    )
                _denoise_file(source, target, restorers, args, progress)
                written.add(target)
            except (image_io.ImageFileError, ValueError) as error:
                if not several:
                    raise
                failures.append(str(error))
            except (MemoryError, tf.errors.ResourceExhaustedError):
                failures.append(f"{source}: out of memory. Choose a smaller --tile.")
            progress.advance(files)
    for failure in failures:
        _errors.print(f"error: {failure}")
    place = args.output if several else jobs[0][1]
    _output.print(f"{len(written)} of {len(jobs)} restored: {place}")
    return _SOME_FAILED if failures else 0


def _restorers(args: argparse.Namespace) -> Callable[[float], Restorer]:
    """The restorer for a noise level: one for all, where it is told the level."""
    if args.method != "deepam":
        method = METHODS[args.method]
        return functools.lru_cache(maxsize=1)(
            lambda stddev: Restorer(
                functools.partial(method, noise_stddev=max(stddev, _LEAST_STDDEV)), tile=args.tile
            )
        )
    restorer = Restorer(load_pretrained(args.model), tile=args.tile)
    return lambda stddev: restorer


def _noise_stddev(source: pathlib.Path, pixels, args: argparse.Namespace) -> float:
    """The level that was given, or that is estimated; what there is to say of it, said."""
    if args.sigma is not None:
        sigma = args.sigma
    else:
        sigma = 255 * noise.estimate_noise_stddev(pixels)
        _errors.print(f"{source}: noise estimated, sigma {sigma:.1f}")
    if args.method == "deepam":
        low, high = (255 * level for level in noise_range(args.model))
        if sigma > high + 0.5 or sigma < low - 0.5:
            levels = f"sigma {low:g}" + (f" to {high:g}" if high > low else " alone")
            _errors.print(
                f"note: {args.model} was trained for {levels}; at sigma {sigma:.3g} it removes "
                f"too {'little' if sigma > high else 'much'}."
            )
    return sigma / 255


def _denoise_file(source, target, restorers, args, progress) -> None:
    picture = image_io.read(source, max_megapixels=args.max_megapixels)
    # Before minutes of work: would the result find its place?
    image_io.check_writable(target, picture, overwrite=args.force)
    stddev = _noise_stddev(source, picture.pixels, args)
    restorer = restorers(stddev)
    height, width, _ = picture.pixels.shape
    tiles = progress.add_task(source.name, total=restorer.count_tiles(height, width))
    restored = restorer(
        picture.pixels,
        noise_stddev=stddev if restorer.takes_noise_stddev else None,
        on_tile=lambda: progress.advance(tiles),
    )
    progress.remove_task(tiles)
    image_io.write(
        target,
        image_io.Picture(restored, picture.alpha, picture.dtype),
        overwrite=args.force,
    )


def _jobs(
    inputs: list[str], output: pathlib.Path
) -> tuple[list[tuple[pathlib.Path, pathlib.Path]], bool]:
    """Pairs of files to read and write, and whether this is a run over several files."""
    sources: list[pathlib.Path] = []
    several = len(inputs) > 1
    for text in inputs:
        path = pathlib.Path(text)
        if os.path.isdir(path):
            several = True
            found = image_io.list_images(path)
        elif glob.has_magic(text) and not os.path.lexists(path):
            several = True
            found = sorted(pathlib.Path(match) for match in glob.glob(text, recursive=True))
            found = [match for match in found if match.is_file()]
        else:
            found = [path]
        if not found:
            raise image_io.ImageFileError(f"{text}: no image files there.")
        sources += found
    if several and os.path.lexists(output) and not os.path.isdir(output):
        raise image_io.ImageFileError(f"{output}: several inputs need a folder as output.")
    if several or os.path.isdir(output):
        return [(source, output / source.name) for source in sources], several
    return [(sources[0], output)], False


def _progress() -> rich.progress.Progress:
    return rich.progress.Progress(
        rich.progress.TextColumn("{task.description}", markup=False),
        rich.progress.BarColumn(),
        rich.progress.MofNCompleteColumn(),
        rich.progress.TimeRemainingColumn(),
        console=_errors,
        transient=True,
        disable=not _errors.is_terminal,
    )


def _demo(args: argparse.Namespace) -> int:
    # The default name is the demo's own; any other could be somebody's photograph.
    before, after = demo.run(args.output, overwrite=args.output == _DEMO_PICTURE)
    _output.print(f"noisy     {before:.2f} dB\nrestored  {after:.2f} dB")
    _output.print(f"picture   {args.output}")
    return 0


def _info(args: argparse.Namespace) -> int:
    del args
    devices = [device.name for device in tf.config.list_logical_devices()]
    versions = rich.table.Table(box=None, show_header=False)
    versions.add_row("deepam_tf", deepam_tf.__version__)
    versions.add_row("tensorflow", tf.__version__)
    versions.add_row("keras", keras.__version__)
    versions.add_row("devices", ", ".join(devices) + f" ({os.cpu_count()} cores)")
    _output.print(versions, soft_wrap=False)

    for name in list_pretrained():
        card = pretrained_card(name)
        table = rich.table.Table(box=None, show_header=False, title=name, title_justify="left")
        table.add_row("task", card["task"])
        low, high = (255 * level for level in noise_range(name))
        table.add_row("sigma", f"{low:g}" if low == high else f"any from {low:g} to {high:g}")
        for dataset, figures in card["results"].items():
            table.add_row(dataset, f"{figures['psnr']:.2f} dB, SSIM {figures['ssim']:.4f}")
        table.add_row("trained", card["training"]["summary"])
        table.add_row("command", card["training"]["command"])
        table.add_row("limits", card["limits"])
        _output.print(table, soft_wrap=False)
    return 0


if __name__ == "__main__":
    sys.exit(main())
