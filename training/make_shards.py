"""Write training data to TFRecord shards.

    python -m training.make_shards FOLDER [FOLDER ...] --config denoise_gray --out SHARDS

writes `SHARDS/part-00000-of-00004.tfrecord` and so on, for `--data SHARDS/*.tfrecord`. What is
stored is what training would have read, converted to the configuration's channels.
"""

from __future__ import annotations

import argparse
import pathlib
import sys

import numpy as np

from deepam_tf.files.pictures import ImageFileError
from training.configuration.recipes import find_recipe
from training.configuration.settings import read_values, replace
from training.data.inputs import load_examples
from training.data.shards import write_shards
from training.data.tasks import find_task

__all__ = ["main"]


def main(argv: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m training.make_shards", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("data", type=pathlib.Path, nargs="+", help="folders or lists")
    parser.add_argument("--config", required=True, help="whose task and channels to store")
    parser.add_argument("--set", action="append", default=[], dest="settings")
    parser.add_argument("--out", type=pathlib.Path, required=True, help="folder to make")
    parser.add_argument("--shards", type=int, default=4)
    args = parser.parse_args(argv)
    try:
        config = replace(find_recipe(args.config), read_values(args.settings))
        task = find_task(config.data.task)
        examples = load_examples(args.data, config.data, task)
        paths = write_shards(examples, task, args.out, args.shards)
    except (ImageFileError, ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    megabytes = sum(path.stat().st_size for path in paths) / 1e6
    pixels = np.sum([np.prod(size) for size in examples.sizes()]) / 1e6
    print(f"{len(examples)} examples, {pixels:.1f} megapixels, {megabytes:.1f} MB in {args.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
