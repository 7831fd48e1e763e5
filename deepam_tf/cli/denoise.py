"""`deepam denoise`: noise out of photographs, one or many."""

from __future__ import annotations

import argparse
import collections
import concurrent.futures
import contextlib
import os
import pathlib
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import rich.progress

from deepam_tf.batch import places
from deepam_tf.batch.attempts import attempt
from deepam_tf.batch.jobs import Job, find_jobs, without_twin
from deepam_tf.batch.records import Record, Report
from deepam_tf.cli import console
from deepam_tf.files import pictures as image_io
from deepam_tf.files.raw import RawFile
from deepam_tf.files.stddev_maps import check_writable_stddev, write_stddev
from deepam_tf.restoration.defaults import GRAY_MODEL
from deepam_tf.restoration.mosaic import restore_mosaic
from deepam_tf.restoration.out_of_core import restore_large
from deepam_tf.restoration.picture import STDDEV_UNIT, Note, restore_picture
from deepam_tf.restoration.pretrained import pretrained_card
from deepam_tf.restoration.strength import Strength

__all__ = ["check_options", "denoise_file", "run"]


_AT_ONCE = 2  # pictures: while one is computed, another is read or written


class _Turn:
    """One picture at a time is computed, which takes all cores.

    Attributes:
        ended: whether nothing more shall be.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waited = threading.local()
        self.ended = False

    def clock(self) -> float:
        """Seconds, of which none pass in a thread while it waits for its turn."""
        return time.perf_counter() - getattr(self._waited, "seconds", 0.0)

    @contextlib.contextmanager
    def __call__(self, on_progress: Callable[[int, int], object]) -> Iterator[Callable]:
        """The turn of a picture; gives its `on_progress`, which raises when all has ended."""

        def on_tile(done: int, total: int) -> None:
            if self.ended:
                raise KeyboardInterrupt
            on_progress(done, total)

        start = self.clock()
        with self._lock:
            self._waited.seconds = time.perf_counter() - start
            yield on_tile


def run(args: argparse.Namespace) -> int:
    """Restore every input.

    Returns:
        Exit code.
    """
    check_options(args)
    jobs, several = find_jobs(args.inputs, args.output, recursive=args.recursive)
    if several:
        for folder in filter(None, (args.output, args.uncertainty)):
            places.make_folder(folder)

    failures: list[str] = []
    done: set[str] = set()
    written: set[str] = set()
    skipped = 0
    turn = _Turn()
    with (
        console.progress_bar() as progress,
        Report.open(args.report, append=args.skip_existing, overwrite=args.force) as report,
        concurrent.futures.ThreadPoolExecutor(_AT_ONCE) as pool,
    ):
        pending: collections.deque[tuple[Job, concurrent.futures.Future[Record]]]
        pending = collections.deque()

        def restore(
            source: pathlib.Path, target: pathlib.Path, guide: object, overwrite: bool
        ) -> dict[str, Any]:
            del guide
            if several:
                places.make_folder(target.parent)
            return denoise_file(source, target, args, progress, overwrite=overwrite, turn=turn)

        def files_of(job: Job) -> list[str]:
            stddev = _stddev_file(pathlib.Path(job.source), pathlib.Path(job.target), args)
            return [job.target, *([] if stddev is None else [str(stddev)])]

        def settle() -> None:
            job, attempted = pending.popleft()
            line = attempted.result()
            report.add(line)
            progress.advance(files)
            if line["error"] is None:
                done.add(job.target)
                written.update(files_of(job))
            elif several:
                failures.append(line["error"])
            else:
                raise image_io.ImageFileError(line["error"])

        files = progress.add_task("files", total=len(jobs), visible=several)
        try:
            for job in jobs:
                # Whether a twin has its place is known when it is done.
                places_of_job = set(files_of(job))
                while len(pending) > _AT_ONCE or any(
                    places_of_job & set(files_of(x)) for x, _ in pending
                ):
                    settle()
                if args.skip_existing and os.path.isfile(job.target) and job.target not in done:
                    skipped += 1
                    progress.advance(files)
                    continue
                job = without_twin(job, written, *files_of(job))
                order = pool.submit(attempt, job, restore, overwrite=args.force, clock=turn.clock)
                pending.append((job, order))
            while pending:
                settle()
        except BaseException:
            turn.ended = True
            for _, order in pending:
                order.cancel()
            raise
    for failure in failures:
        console.errors.print(f"error: {failure}")
    place = args.output if several else jobs[0].target
    there = f", {skipped} there already" if skipped else ""
    console.output.print(f"{len(done)} of {len(jobs)} restored{there}: {place}")
    return console.SOME_FAILED if failures else 0


def check_options(args: argparse.Namespace) -> None:
    """Raise if options do not go together, before any file is touched.

    Raises:
        ValueError: if they do not.
    """
    if args.signal_dependent and (args.sigma is not None or args.method != "deepam"):
        raise ValueError(
            "`--signal-dependent` estimates the noise for a network. Received: --sigma or --method "
            "beside it. Leave one of them out."
        )
    if args.uncertainty is not None and args.method != "deepam":
        raise ValueError(
            "`--uncertainty` needs a network that was trained to tell. Received: --method "
            f"{args.method} beside it. Leave one of them out."
        )
    if args.out_of_core and args.uncertainty is not None:
        raise ValueError(
            "`--uncertainty` is for pictures in memory. Received: --out-of-core beside it. Leave "
            "one of them out."
        )
    if args.dtype != "float32" and args.method != "deepam":
        raise ValueError(
            f"`--bfloat16` is how networks run. Received: --method {args.method} beside it. Leave "
            "one of them out."
        )
    if args.method != "deepam" and _strength(args).scales:
        raise ValueError(
            "`--strength`, `--luma` and `--chroma` are for networks. Received: --method "
            f"{args.method} beside them. Leave them out, or change --sigma."
        )
    if args.model is None or args.method != "deepam":
        return
    # A wrong name is an error now, not one for each file.
    takes_level = pretrained_card(args.model)["model"].get("noise_level", False)
    if args.signal_dependent and not takes_level:
        raise ValueError(
            "`--signal-dependent` needs weights that are told the noise. Received: --model "
            f"{args.model}. {GRAY_MODEL} is."
        )


def _strength(args: argparse.Namespace) -> Strength:
    return Strength(
        luma=args.strength if args.luma is None else args.luma,
        chroma=args.strength if args.chroma is None else args.chroma,
        keep_grain=args.keep_grain,
    )


def denoise_file(
    source: pathlib.Path,
    target: pathlib.Path,
    args: argparse.Namespace,
    progress: rich.progress.Progress,
    *,
    overwrite: bool,
    turn: _Turn | None = None,
) -> dict[str, Any]:
    """Restore all pictures of a file.

    Args:
        source: file to read.
        target: file to write.
        args: options of the command.
        progress: bar that gets a line.
        overwrite: whether an existing file may be replaced.
        turn: that of the files of a run; by default this one is alone.

    Returns:
        What became of it, for the report.

    Raises:
        ValueError: if it cannot be restored.
    """
    turn = turn or _Turn()
    if args.out_of_core:
        return _denoise_large(source, target, args, progress, overwrite, turn)
    if image_io.is_raw(source):
        return _denoise_raw(source, target, args, progress, overwrite, turn)
    with image_io.open_pictures(
        source,
        max_megapixels=args.max_megapixels,
        white_level=args.white_level,
        first_frame=args.first_frame,
        as_levels=True,
    ) as pictures:
        first, count = _stripped(pictures.first, args), pictures.count
        # Before minutes of work: would the result find its place?
        image_io.check_writable(target, first, count=count, overwrite=overwrite)
        stddev_file = _stddev_file(source, target, args)
        if stddev_file is not None:
            if stddev_file != args.uncertainty:  # its folder may be one of a tree
                places.make_folder(stddev_file.parent)
            check_writable_stddev(stddev_file, overwrite=args.force)
            if count > 1:
                raise image_io.ImageFileError(
                    f"{source}: `--uncertainty` is for files of one picture. Received: {count}. "
                    "Leave it out, or choose --first-frame."
                )
        console.check_measurable(source, first.pixels, args.sigma)
        console.say(source, *first.notes, *image_io.lost(first, target, count=count))
        facts: dict[str, Any] = {"pictures": count, "notes": list(first.notes)}
        with console.tile_progress(progress, source.name) as on_progress:
            image_io.write_all(
                target,
                _restored(source, pictures, count, args, on_progress, facts, turn),
                count=count,
                overwrite=overwrite,
                quality=args.quality,
            )
    stddev = facts.pop("stddev", None)
    if stddev_file is not None:
        write_stddev(stddev_file, stddev, STDDEV_UNIT, overwrite=args.force)
    return facts


def _stddev_file(
    source: pathlib.Path, target: pathlib.Path, args: argparse.Namespace
) -> pathlib.Path | None:
    """Where a picture's standard deviations go; in a folder, as its results lie in theirs."""
    if args.uncertainty is None or not args.uncertainty.is_dir():
        return args.uncertainty
    if target.is_relative_to(args.output) and target != pathlib.Path(args.output):
        return (args.uncertainty / target.relative_to(args.output)).with_suffix(".png")
    return args.uncertainty / f"{source.stem}.png"


def _restored(
    source, pictures, count, args, on_progress, facts, turn: _Turn
) -> Iterator[image_io.Picture]:
    """Each picture of a file, restored; the noise of the first is said, and what is new later."""
    said: set[str] = set()
    for number, picture in enumerate(pictures):

        def say(note: Note, number: int = number) -> None:
            if number == 0 or (note.kind != "noise" and note.text not in said):
                console.say(source, note if number == 0 else f"picture {number + 1}: {note}")
            said.add(note.text)

        def advance(done: int, total: int, number: int = number) -> None:
            on_progress(number * total + done, count * total)

        with turn(advance) as on_tile:
            result = restore_picture(
                _stripped(picture, args),
                **_restoring(args),
                overwrite=True,
                uncertainty=args.uncertainty is not None,
                on_note=say,
                on_progress=on_tile,
            )
        if number == 0:
            facts |= console.facts(result.noise.kind, result.noise.stddev(), result.model_name)
            facts["stddev"] = result.stddev
        yield result.picture


def _stripped(picture: image_io.Picture, args: argparse.Namespace) -> image_io.Picture:
    return picture.stripped() if args.strip else picture


def _denoise_large(
    source: pathlib.Path,
    target: pathlib.Path,
    args: argparse.Namespace,
    progress: rich.progress.Progress,
    overwrite: bool,
    turn: _Turn,
) -> dict[str, Any]:
    """Restore a picture that is never in memory as a whole."""
    with console.tile_progress(progress, source.name) as advance, turn(advance) as on_progress:
        noise, name = restore_large(
            source,
            target,
            **_restoring(args),
            white_level=args.white_level,
            first_frame=args.first_frame,
            strip=args.strip,
            max_megapixels=args.max_megapixels,
            overwrite=overwrite,
            on_note=lambda note: console.say(source, note),
            on_progress=on_progress,
        )
    return {"pictures": 1, **console.facts(noise.kind, noise.stddev(), name)}


def _restoring(args: argparse.Namespace) -> dict[str, Any]:
    """What `restore_picture` and `restore_large` take of the options."""
    noise = "signal-dependent" if args.signal_dependent else "auto"
    return {
        "noise": noise if args.sigma is None else args.sigma / 255,
        "strength": _strength(args),
        "model": args.model if args.method == "deepam" else None,
        "method": args.method,
        "dtype": args.dtype,
        "tile": args.tile,
        "self_ensemble": args.ensemble,
    }


def _denoise_raw(
    source: pathlib.Path,
    target: pathlib.Path,
    args: argparse.Namespace,
    progress: rich.progress.Progress,
    overwrite: bool,
    turn: _Turn,
) -> dict[str, Any]:
    """Restore a raw photograph: its mosaic first, then it is developed."""
    if args.uncertainty is not None:
        raise ValueError(
            f"{source}: `--uncertainty` is for pictures, not for raw photographs, which are "
            "developed after. Leave it out."
        )
    if args.method != "deepam":
        raise ValueError(
            f"raw photographs are restored by a network. Received: --method {args.method}. "
            "Develop the file first."
        )
    if _strength(args) != Strength():
        raise ValueError(
            "`--strength`, `--luma`, `--chroma` and `--keep-grain` are for developed pictures. "
            "Received: a raw photograph beside them. Leave them out, or change --sigma."
        )
    white_level = None if args.white_level == "auto" else args.white_level
    with contextlib.closing(RawFile(source, white_level=white_level)) as raw:
        image_io.check_megapixels(source, raw.size, args.max_megapixels)
        written = image_io.check_writable(
            target,
            image_io.Picture(np.zeros([*raw.size, 3], np.uint8), None, np.dtype("uint8")),
            overwrite=overwrite,
        )
        planes = raw.read_planes()
        console.check_measurable(source, planes[0], args.sigma)
        with console.tile_progress(progress, source.name) as advance, turn(advance) as on_progress:
            restored, noise = restore_mosaic(
                planes,
                noise=None if args.sigma is None else args.sigma / 255,
                model=args.model,
                dtype=args.dtype,
                tile=args.tile,
                self_ensemble=args.ensemble,
                on_progress=on_progress,
            )
        dark, bright = (255 * (noise.gain * x + noise.variance) ** 0.5 for x in (0.0, 1.0))
        if args.sigma is None:
            console.say(
                source,
                f"noise of the sensor estimated, sigma {dark:.2f} in black to {bright:.2f} in "
                "white, linear light",
            )
        raw.write_planes(restored)
        bits = 16 if "uint16" in written.depths else 8
        picture = _stripped(raw.develop(bits=bits), args)
        console.say(source, *picture.notes, *image_io.lost(picture, target))
        image_io.write(target, picture, overwrite=overwrite, quality=args.quality)
    stddev = (0.5 * noise.gain + noise.variance) ** 0.5
    return {
        "pictures": 1,
        "notes": list(picture.notes),
        **console.facts("signal-dependent", stddev, args.model or GRAY_MODEL),
    }
