"""Write training data to TFRecord shards.

    python -m training.make_shards FOLDER [FOLDER ...] --config denoise_gray --out SHARDS

writes `SHARDS/part-00000-of-00004.tfrecord` and so on, for `--data SHARDS/*.tfrecord`, and beside
each its index, by which shards are streamed that do not fit into memory. What is stored is what
training would have read, converted to the configuration's channels.
"""

from __future__ import annotations

import argparse
import pathlib
import sys

from deepam_tf.files.pictures import ImageFileError
from training.configuration.recipes import find_recipe
from training.configuration.settings import read_values, replace
from training.data.inputs import list_files
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
    parser.add_argument("--shards", type=int, default=4, help="files to write (4)")
    parser.add_argument("--processes", type=int, default=1, help="files written at a time (1)")
    args = parser.parse_args(argv)
    try:
        config = replace(find_recipe(args.config), read_values(args.settings))
        task = find_task(config.data.task)
        files = [paths for source in args.data for paths in list_files(source, task)]
        written = write_shards(files, config.data, args.out, args.shards, processes=args.processes)
    except (ImageFileError, ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    count = sum(len(index.offsets) for _, index in written)
    if count < len(files):
        print(f"note: {len(files) - count} images are smaller than the crops and left out.")
    megabytes = sum(path.stat().st_size for path, _ in written) / 1e6
    pixels = sum(index.sizes.prod(axis=1).sum() for _, index in written) / 1e6
    print(f"{count} examples, {pixels:.1f} megapixels, {megabytes:.1f} MB in {args.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
