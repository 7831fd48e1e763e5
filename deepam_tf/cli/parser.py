"""The arguments of the `deepam` command. Nothing here waits for TensorFlow."""

from __future__ import annotations

import argparse
import math
import pathlib

import deepam_tf
from deepam_tf.files.pictures import MAX_MEGAPIXELS
from deepam_tf.restoration.defaults import (
    ANY_SCALE_MODEL,
    COLOR_MODEL,
    DEPTH_MODEL,
    DEPTH_TOLERANCE,
    FUSION_MODEL,
)

__all__ = [
    "BATCH_ENGINES",
    "BATCH_TASKS",
    "CLASSICAL_METHODS",
    "DEMO_PICTURE",
    "SHELLS",
    "make_parser",
]

CLASSICAL_METHODS = ("tv", "l0", "lp")
"""Names of `deepam_tf.classical.METHODS`, whose module imports TensorFlow."""
BATCH_TASKS = ("denoise", "fuse", "upsample")
BATCH_ENGINES = ("processes", "ray")
SHELLS = ("bash", "zsh")
DEMO_PICTURE = pathlib.Path("deepam-demo.png")


def make_parser() -> argparse.ArgumentParser:
    """The parser of the command.

    Returns:
        A parser whose result has `command`: the module of this package that runs it.
    """
    parser = argparse.ArgumentParser(prog="deepam", description=deepam_tf.__doc__)
    parser.add_argument("--version", action="version", version=f"deepam {deepam_tf.__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    _add_denoise(commands)
    _add_upsample(commands)
    _add_fuse(commands)
    _add_batch(commands)

    _add_app(commands)
    demo = commands.add_parser("demo", help="restore a noisy picture that comes with the package")
    demo.add_argument(
        "output",
        type=pathlib.Path,
        nargs="?",
        default=DEMO_PICTURE,
        metavar="OUT",
        help=f"side-by-side picture ({DEMO_PICTURE})",
    )
    info = commands.add_parser("info", help="versions, devices and weights")
    info.add_argument(
        "--card", metavar="NAME", help="all that is known of one set of weights, or of a folder's"
    )
    completion = commands.add_parser(
        "completion",
        help="print what makes the tab key work in a shell",
        description="Print the completions of a shell. In ~/.bashrc or ~/.zshrc: "
        'eval "$(deepam completion bash)", or zsh.',
    )
    completion.add_argument("shell", choices=SHELLS)
    return parser


def _add_denoise(commands: argparse._SubParsersAction) -> None:
    """Add `denoise` to the commands."""
    parser = commands.add_parser(
        "denoise",
        help="remove noise from photographs",
        description="Remove the noise of a camera, or white Gaussian noise, from PNG, JPEG, TIFF, "
        "WebP, GIF or BMP images, HEIC, AVIF and raw photographs: which, and how much, is found "
        "out. The output keeps bit depth, transparency, frames and pages, and what the file says "
        "of its picture; EXIF orientation is applied.",
    )
    parser.add_argument("inputs", nargs="+", metavar="IN", help="file, folder or glob pattern")
    parser.add_argument(
        "output", type=pathlib.Path, metavar="OUT", help="file, or folder for several inputs"
    )
    _add_noise_options(parser)
    _add_ensemble_option(parser)
    _add_uncertainty_option(parser, "units of white; a folder for several inputs")
    _add_precision_option(parser)
    _add_folder_options(parser)
    parser.add_argument(
        "--out-of-core",
        action="store_true",
        help="of pictures larger than memory: read windows from disk and write tiles to disk, of "
        "TIFF and Zarr; the same command goes on where it was stopped",
    )
    _add_picture_options(parser)
    _add_file_options(parser)


def _add_noise_options(parser: argparse.ArgumentParser) -> None:
    """Options of what noise is, and of what removes it."""
    parser.add_argument(
        "--sigma",
        type=_sigma,
        default=None,
        help="level of white noise on the 0..255 scale, or auto: kind and level are found out "
        "for each picture (auto)",
    )
    parser.add_argument(
        "--strength",
        type=_factor,
        default=1.0,
        metavar="S",
        help="0 to 2: more or less than what the noise asks for (1)",
    )
    parser.add_argument(
        "--luma", type=_factor, metavar="S", help="the same for light and dark alone (STRENGTH)"
    )
    parser.add_argument(
        "--chroma", type=_factor, metavar="S", help="the same for the colours alone (STRENGTH)"
    )
    parser.add_argument(
        "--keep-grain",
        type=_share,
        default=0.0,
        metavar="X",
        help="0 to 1: share of what was removed that is put back (0)",
    )
    parser.add_argument(
        "--signal-dependent",
        action="store_true",
        help="the noise grows with the light, as in raw pictures: estimate gain and read noise, "
        "and tell the model the level of every pixel",
    )
    parser.add_argument(
        "--model", help="weights, see deepam info (those for what is found, in gray or in colour)"
    )
    parser.add_argument(
        "--method",
        choices=["deepam", *CLASSICAL_METHODS],
        default="deepam",
        help="the network, or a classical regulariser: total variation, L0, Lp (deepam)",
    )


def _add_upsample(commands: argparse._SubParsersAction) -> None:
    """Add `upsample` to the commands."""
    upsample = commands.add_parser(
        "upsample",
        help="bring a coarse depth map to the size of a colour picture, and fill its holes",
        description="Upsample a depth or disparity map guided by a colour picture of the same "
        "view, and fill its holes: 0, NaN, or a mask file. The unit is kept. PNG (8 and 16 "
        "bit), TIFF and NPY.",
    )
    upsample.add_argument("depth", type=pathlib.Path, metavar="DEPTH", help="map of coarse samples")
    upsample.add_argument("guide", type=pathlib.Path, metavar="GUIDE", help="colour picture")
    upsample.add_argument("output", type=pathlib.Path, metavar="OUT", help="file to write")
    _add_sample_options(upsample)
    upsample.add_argument(
        "--mask", type=pathlib.Path, help="picture of DEPTH's size, black where it has holes"
    )
    upsample.add_argument(
        "--confidence",
        type=pathlib.Path,
        help="map of DEPTH's size that says how far to trust each sample: 0, 1, 2, or 0 to the "
        "largest number of the type, or floats in [0, 1]",
    )
    upsample.add_argument(
        "--preview", type=pathlib.Path, help="also write a coloured picture of the result here"
    )
    upsample.add_argument(
        "--ply", type=pathlib.Path, help="also write a coloured cloud of points here"
    )
    upsample.add_argument(
        "--focal",
        type=_positive,
        help="focal length of the cloud's camera in pixels of GUIDE (its longer side)",
    )
    _add_uncertainty_option(upsample, "the unit of DEPTH")
    upsample.add_argument(
        "--min-confidence",
        type=_probability,
        metavar="P",
        help="leave holes where a value is not, with at least this probability, within "
        f"{100 * DEPTH_TOLERANCE:g} %% of the map's range of the truth; in (0, 1)",
    )
    upsample.add_argument(
        "--model", help=f"weights ({DEPTH_MODEL} for scales 1, 2, 4, 8, 16; {ANY_SCALE_MODEL})"
    )
    _add_precision_option(upsample)
    _add_file_options(upsample)


def _add_sample_options(parser: argparse._ActionsContainer) -> None:
    """Options of what the samples of a depth map are."""
    parser.add_argument(
        "--scale",
        type=_one_or_two,
        metavar="S[,S]",
        help="pixels of GUIDE from one sample to the next, a whole number or a fraction, or two: "
        "down, across; by default what the sizes say. A DEPTH as large as GUIDE is taken for an "
        "upsampled one: its samples are used",
    )
    parser.add_argument(
        "--offset",
        type=_one_or_two,
        metavar="O[,O]",
        help="where the first sample lies in GUIDE, in pixels: SCALE // 2 for nearest-neighbour "
        "samples (default), 0 for those of OpenCV, (SCALE - 1) / 2 for averages and fractions",
    )
    parser.add_argument(
        "--samples",
        choices=("points", "means", "bicubic"),
        default="points",
        help="what a sample is: the value of one pixel, an average over its cell (INTER_AREA, a "
        "coarse sensor), or what bicubic resizing made (points)",
    )
    parser.add_argument(
        "--keep-samples",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="whether a pixel that was measured comes out as measured (yes)",
    )
    parser.add_argument(
        "--denoise-depth",
        action="store_true",
        help="first take the noise of the sensor, which is estimated and shown, out of the "
        "samples: of structured light, stereo, time of flight",
    )
    parser.add_argument(
        "--hole-value",
        type=float,
        action="append",
        default=[],
        metavar="N",
        help="the number that stands for nothing, again for more; by default 0, a single negative "
        "number, and the largest of a type of 16 bits or more. NaN always does",
    )
    parser.add_argument(
        "--resize-guide",
        action="store_true",
        help="bring GUIDE to SCALE times the size of DEPTH first",
    )
    parser.add_argument(
        "--no-snap",
        action="store_true",
        help="leave every pixel beside an edge as the network gives it, not moved to the surface "
        "that it is near",
    )


def _add_fuse(commands: argparse._SubParsersAction) -> None:
    """Add `fuse` to the commands."""
    fuse = commands.add_parser(
        "fuse",
        help="remove noise from a colour picture with the help of a near infrared one",
        description="Restore a noisy colour picture guided by a clean near infrared (or flash) "
        "picture of the same view. PNG, JPEG, TIFF, WebP or BMP; the output keeps the colour "
        "picture's bit depth and transparency.",
    )
    fuse.add_argument("rgb", type=pathlib.Path, metavar="RGB", help="noisy colour picture")
    fuse.add_argument("nir", type=pathlib.Path, metavar="NIR", help="near infrared picture")
    fuse.add_argument("output", type=pathlib.Path, metavar="OUT")
    fuse.add_argument(
        "--sigma",
        type=_sigma,
        default=None,
        help="noise level on the 0..255 scale, or auto: estimated (auto)",
    )
    fuse.add_argument(
        "--model",
        help=f"weights ({FUSION_MODEL}, {COLOR_MODEL} where NIR does not show what RGB shows); the "
        "guide of weights that are named is not doubted",
    )
    _add_ensemble_option(fuse)
    _add_uncertainty_option(fuse, "units of white")
    _add_precision_option(fuse)
    _add_picture_options(fuse)
    _add_file_options(fuse)


def _add_batch(commands: argparse._SubParsersAction) -> None:
    """Add `batch` to the commands."""
    batch = commands.add_parser(
        "batch",
        help="restore many pictures at a time, on this machine or on many",
        description="Restore folders, lists and patterns of pictures in several processes, or by "
        "actors of a Ray cluster. A line of JSON says what became of each picture; the same "
        "command goes on where it was stopped. IN and OUT may be URLs of what fsspec opens, such "
        "as s3://bucket/photos.",
    )
    batch.add_argument("inputs", nargs="*", metavar="IN", help="file, folder, glob pattern or URL")
    batch.add_argument("output", metavar="OUT", help="folder or URL of the results")
    run = batch.add_argument_group("the run")
    run.add_argument(
        "--task",
        choices=BATCH_TASKS,
        default="denoise",
        help="what to do with each picture, as the command of that name does it (denoise)",
    )
    run.add_argument(
        "--guides",
        metavar="FOLDER",
        help="of fuse and upsample: where the guides are, under the names of the inputs",
    )
    run.add_argument(
        "--list",
        dest="lists",
        action="append",
        default=[],
        metavar="FILE",
        help="read the pictures of a file with a path or URL a line, - for standard input",
    )
    run.add_argument(
        "--recursive", action="store_true", help="folders below folders too; the tree is kept"
    )
    run.add_argument(
        "--shard",
        type=_shard,
        metavar="I/N",
        help="do the I-th of N parts alone: each of N machines, given its own I, does its part",
    )
    run.add_argument(
        "--engine",
        choices=BATCH_ENGINES,
        help="who restores: processes of this machine, or actors of Ray (processes; with --address "
        "ray)",
    )
    run.add_argument(
        "--address", metavar="ADDRESS", help="of a Ray cluster, HOST:PORT or ray://HOST:PORT"
    )
    run.add_argument(
        "--workers",
        type=_positive_int,
        metavar="N",
        help="pictures at a time (as many as cores and memory allow)",
    )
    run.add_argument(
        "--manifest",
        type=pathlib.Path,
        metavar="FILE",
        help="where the lines of JSON go (OUT/manifest.jsonl, with --shard manifest-I-of-N.jsonl); "
        "needed where OUT is a URL",
    )
    run.add_argument(
        "--retry-failed", action="store_true", help="try those again that could not be restored"
    )
    run.add_argument("--restart", action="store_true", help="forget what the manifest says is done")
    _add_noise_options(batch)
    _add_ensemble_option(batch)
    _add_precision_option(batch)
    _add_picture_options(batch)
    _add_file_options(batch)
    _add_sample_options(batch.add_argument_group("of upsample alone"))


def _shard(text: str) -> tuple[int, int]:
    """`I/N`, a part and the number of parts."""
    parts = text.split("/")
    if len(parts) == 2 and all(part.isdecimal() for part in parts):
        number, count = (int(part) for part in parts)
        if 1 <= number <= count:
            return number, count
    raise argparse.ArgumentTypeError(
        f"it must be I/N with I from 1 to N, such as 1/4. Received: {text}"
    )


def _add_app(commands: argparse._SubParsersAction) -> None:
    """Add `app` to the commands."""
    app = commands.add_parser(
        "app",
        help="a page in the browser to drop pictures on",
        description="Serve a page that does what `denoise`, `fuse` and `upsample` do. It is for "
        "this machine alone unless --host says otherwise, and needs no other.",
    )
    app.add_argument("--host", default="127.0.0.1", help="address to listen at (127.0.0.1)")
    app.add_argument("--port", type=_positive_int, help="port (the first free one from 7860)")
    app.add_argument("--jobs", type=_positive_int, default=1, help="restorations at once (1)")
    app.add_argument(
        "--max-megabytes", type=_positive_int, default=200, help="refuse larger uploads (200)"
    )
    app.add_argument(
        "--max-megapixels", type=float, default=50.0, help="refuse larger pictures (50)"
    )


def _sigma(text: str) -> float | None:
    """A noise level on the 0..255 scale; None for `auto`."""
    if text == "auto":
        return None
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value <= 255:
        raise argparse.ArgumentTypeError(f"sigma must be auto or in (0, 255]. Received: {text}")
    return value


def _factor(text: str) -> float:
    """A number from 0 to 2."""
    return _number(text, 2.0)


def _share(text: str) -> float:
    """A number from 0 to 1."""
    return _number(text, 1.0)


def _number(text: str, most: float) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= most:
        raise argparse.ArgumentTypeError(f"the number must be from 0 to {most:g}. Received: {text}")
    return value


def _positive_int(text: str) -> int:
    """A whole number from 1."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"it must be at least 1. Received: {text}")
    return value


def _probability(text: str) -> float:
    """A number between 0 and 1."""
    value = float(text)
    if not 0 < value < 1:
        raise argparse.ArgumentTypeError(f"it must be in (0, 1). Received: {text}")
    return value


def _positive(text: str) -> float:
    """A number above 0."""
    value = float(text)
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"it must be positive and finite. Received: {text}")
    return value


def _one_or_two(text: str) -> float | tuple[float, float]:
    """A number for rows and columns, or one for each; whole ones as such."""
    numbers = [float(part) for part in text.split(",")]
    if len(numbers) > 2 or not all(math.isfinite(number) for number in numbers):
        raise argparse.ArgumentTypeError(f"it takes one number, or two: 8 or 8,4. Received: {text}")
    whole = [int(number) if number.is_integer() else number for number in numbers]
    return whole[0] if len(whole) == 1 else (whole[0], whole[1])


def _add_file_options(parser: argparse.ArgumentParser) -> None:
    """Options of every command that reads and writes pictures."""
    parser.add_argument("--force", action="store_true", help="overwrite existing files")
    parser.add_argument(
        "--tile",
        type=_positive_int,
        help="tile side in pixels; bounds memory (as large as half a gibibyte allows)",
    )
    parser.add_argument(
        "--max-megapixels",
        type=float,
        default=MAX_MEGAPIXELS,
        help=f"refuse larger images ({MAX_MEGAPIXELS:g})",
    )


def _add_folder_options(parser: argparse.ArgumentParser) -> None:
    """Options of commands that restore many pictures."""
    parser.add_argument(
        "--recursive", action="store_true", help="folders below folders too; the tree is kept"
    )
    parser.add_argument(
        "--skip-existing",
        action="store_true",
        help="leave out what has its output already, to go on after an interruption",
    )
    parser.add_argument(
        "--report",
        type=pathlib.Path,
        metavar="FILE",
        help="write a line of JSON for every picture: input, output, noise, model, seconds, error",
    )


def _add_picture_options(parser: argparse.ArgumentParser) -> None:
    """Options of commands that write pictures as their files are."""
    parser.add_argument(
        "--white-level",
        type=_white_level,
        default="auto",
        metavar="W",
        help="which number of the file is white; auto: of 16 bit files the largest of 8, 10, 12, "
        "14 or 16 bits that is needed, and said (auto)",
    )
    parser.add_argument(
        "--first-frame",
        action="store_true",
        help="of animations and files of several pages, take the first alone",
    )
    parser.add_argument(
        "--strip",
        action="store_true",
        help="leave out what the file says of its picture: EXIF with place and time, XMP, IPTC, "
        "resolution, texts; the colour profile stays",
    )
    parser.add_argument(
        "--quality",
        type=_quality,
        metavar="Q",
        help="of JPEG and WebP, 1 to 100; by default what the file had, or 95 if that is better",
    )


def _white_level(text: str) -> float | str:
    """A number above 0, or `auto`."""
    if text == "auto":
        return text
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"it must be auto or above 0. Received: {text}")
    return value


def _quality(text: str) -> int:
    """A whole number from 1 to 100."""
    value = _positive_int(text)
    if value > 100:
        raise argparse.ArgumentTypeError(f"it must be at most 100. Received: {text}")
    return value


def _add_ensemble_option(parser: argparse.ArgumentParser) -> None:
    """The option of commands whose pictures look as likely turned or flipped."""
    parser.add_argument(
        "--ensemble",
        action="store_true",
        help="restore every picture in its eight orientations and take the mean: 0.05 to 0.2 dB "
        "better, eight times as long",
    )


def _add_uncertainty_option(parser: argparse.ArgumentParser, unit: str) -> None:
    """The option of commands whose weights tell how sure they are."""
    parser.add_argument(
        "--uncertainty",
        type=pathlib.Path,
        metavar="STD_OUT",
        help=f"also write the standard deviation of each value, in {unit}: .npy, .tiff, or .png "
        "of 16 bit with its step in a text chunk; and a preview in colours beside it",
    )


def _add_precision_option(parser: argparse.ArgumentParser) -> None:
    """The option of commands that run a network, as `args.dtype`, a Keras dtype policy."""
    parser.add_argument(
        "--bfloat16",
        action="store_const",
        dest="dtype",
        const="mixed_bfloat16",
        default="float32",
        help="run the networks in bfloat16: two to three times as fast on processors that have it "
        "(AMX, AVX512-BF16), slower on others; denoised pictures lose 0.01 dB",
    )
