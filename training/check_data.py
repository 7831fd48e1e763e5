"""Inspect a folder of training data before hours are spent on it.

    python -m training.check_data FOLDER --task depth --sheet sheet.png

counts and measures the files, says what is wrong with which, and draws a few. It ends with 1 if
it found a fault that training would stumble over.
"""

from __future__ import annotations

import argparse
import pathlib
import sys

import rich.console
import rich.progress
import rich.table

from deepam_tf.files.pictures import ImageFileError
from training.data.inspection import draw_sheet, inspect
from training.data.tasks import TASKS, find_task

__all__ = ["main"]


def main(argv: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m training.check_data", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("data", type=pathlib.Path, help="folder or list")
    parser.add_argument("--task", choices=TASKS, default="denoise")
    parser.add_argument("--crop-size", type=int, default=64)
    parser.add_argument("--sheet", type=pathlib.Path, help="file for a contact sheet")
    args = parser.parse_args(argv)
    console = rich.console.Console()
    try:
        with rich.progress.Progress(transient=True, console=console) as progress:
            bar = progress.add_task("reading", total=None)
            found = inspect(
                args.data,
                find_task(args.task),
                args.crop_size,
                on_example=lambda total: progress.update(bar, total=total, advance=1),
            )
        if args.sheet and found.usable:
            draw_sheet(found.usable, find_task(args.task), args.sheet)
    except (ImageFileError, ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    names = ["part", "files", "kind", "height", "width", "values", "holes"]
    table = rich.table.Table(*names, title=f"{args.data}: {find_task(args.task).folder}")
    for part, facts in found.rows.items():
        table.add_row(part, *(facts.get(name, "") for name in names[1:]))
    console.print(table)
    for label, lines in {"fault": found.faults, "look at": found.doubts}.items():
        for line in lines:
            console.print(f"{label}: {line}", highlight=False, markup=False, soft_wrap=True)
    counts = f"{len(found.faults)} faults, {len(found.doubts)} to look at"
    console.print(f"{len(found.usable)} examples can be trained on, {counts}.", highlight=False)
    return 1 if found.faults else 0


if __name__ == "__main__":
    sys.exit(main())
