"""`deepam batch`: many pictures, each once, whatever happens on the way."""

from __future__ import annotations

import argparse
import contextlib
import functools
import os
import pathlib
import sys
from collections.abc import Iterator
from typing import Any

import rich.progress

import deepam_tf
from deepam_tf.batch import places
from deepam_tf.batch.attempts import Restore
from deepam_tf.batch.jobs import (
    DEPTH_SUFFIXES,
    Job,
    Suffixes,
    find_jobs,
    read_list,
    share,
    with_guides,
    without_twin,
)
from deepam_tf.batch.on_ray import restore_on_ray
from deepam_tf.batch.processes import restore_in_processes
from deepam_tf.batch.records import Manifest, record
from deepam_tf.batch.resources import available_memory, choose_workers, usable_cores
from deepam_tf.batch.worker import Setup
from deepam_tf.cli import console
from deepam_tf.cli.denoise import check_options, denoise_file
from deepam_tf.cli.fuse import fuse_files
from deepam_tf.cli.parser import make_parser
from deepam_tf.cli.upsample import upsample_files
from deepam_tf.files import pictures as image_io
from deepam_tf.restoration.pretrained import load_pretrained

__all__ = ["make_restore", "run"]

_GUIDED = ("fuse", "upsample")
_OWN = frozenset(
    {"command", "inputs", "output", "task", "guides", "lists", "recursive", "shard", "engine",
     "address", "workers", "manifest", "retry_failed", "restart", "force"}
)  # fmt: skip
_SHOWN_FAILURES = 5


def run(args: argparse.Namespace) -> int:
    """Restore every picture that is not yet in the manifest.

    Returns:
        Exit code.
    """
    options = _task_options(args)
    manifest_path = _manifest_path(args)
    setup = Setup("deepam_tf.cli.batch:make_restore", options, overwrite=args.force)
    jobs = _find(args)
    settings = {
        "version": deepam_tf.__version__,
        "task": args.task,
        "output": _absolute(args.output),
        "shard": None if args.shard is None else "{}/{}".format(*args.shard),
        "options": {name: value for name, value in options.items() if name != "task"},
    }
    with Manifest.open(
        manifest_path, settings, restart=args.restart, retry_failed=args.retry_failed
    ) as manifest:
        todo, known, targets = [], 0, set()
        for job in jobs:
            if job.source in manifest:
                known += 1
            else:
                todo.append(without_twin(job, targets))
            targets.add(job.target)
        failures = []
        for job in [job for job in todo if job.missing is not None]:
            manifest.add(record(job.source, job.target, guide=job.guide, error=job.missing))
            failures.append(job.missing)
        todo = [job for job in todo if job.missing is None]
        if known:
            console.errors.print(f"{known} of {len(jobs)} are in {manifest_path} already")
        setup = Setup(setup.restore, options, setup.overwrite, manifest.began)
        failures += _restore_all(todo, setup, manifest, args)
        for failure in failures[:_SHOWN_FAILURES]:
            console.errors.print(f"error: {failure}")
        more = len(failures) - _SHOWN_FAILURES
        if more > 0:
            console.errors.print(f"and {more} more, see {manifest_path}")
        console.output.print(
            f"{len(manifest.done)} restored, {len(manifest.failed)} failed: {manifest_path}"
        )
        return console.SOME_FAILED if manifest.failed else 0


def make_restore(options: dict[str, Any]) -> Restore:
    """What a worker does with each picture.

    Args:
        options: those of the command of the task, and `task`.

    Returns:
        From files to a file.
    """
    args = argparse.Namespace(**options)
    progress = rich.progress.Progress(disable=True)
    load = functools.lru_cache(maxsize=4)(load_pretrained)

    def restore(
        source: pathlib.Path, target: pathlib.Path, guide: pathlib.Path | None, overwrite: bool
    ) -> dict[str, Any]:
        places.make_folder(target.parent)
        with console.heard() as lines:
            if args.task == "denoise":
                facts = denoise_file(source, target, args, progress, overwrite=overwrite)
            elif args.task == "fuse":
                facts = fuse_files(source, guide, target, args, progress, overwrite=overwrite)
            else:
                given = {"depth": source, "guide": guide, "output": target, "force": overwrite}
                args_of_one = argparse.Namespace(**{**options, **given})
                facts = upsample_files(args_of_one, progress, load=load)
        return {**facts, "notes": lines}

    return restore


def _task_options(args: argparse.Namespace) -> dict[str, Any]:
    """The options of the task's own command, all of what JSON can hold.

    Raises:
        ValueError: if an option is given that the task does not have, or they do not go together.
    """
    if args.restart and args.retry_failed:
        raise ValueError("`--restart` forgets all. Received: --retry-failed beside it.")
    if args.engine == "processes" and args.address is not None:
        raise ValueError(
            "`--address` is of a Ray cluster. Received: --engine processes beside it. Leave one of "
            "them out."
        )
    if (args.guides is not None) != (args.task in _GUIDED):
        rule = "needs" if args.task in _GUIDED else "takes no"
        raise ValueError(f"`--task {args.task}` {rule} --guides. Received: {args.guides}.")
    parser = make_parser()
    batch, command = (_command(parser, name) for name in ("batch", args.task))
    taken = {action.dest: action.default for action in command._actions}
    for action in batch._actions:
        name = action.dest
        if name in _OWN | taken.keys() or getattr(args, name, None) == action.default:
            continue
        raise ValueError(
            f"`{action.option_strings[0]}` is no option of {args.task}. Received: "
            f"{getattr(args, name)}. Leave it out."
        )
    options = {
        name: getattr(args, name, default)
        for name, default in taken.items()
        if name not in _OWN | {"help", "skip_existing", "report", "depth", "guide", "rgb", "nir"}
    }
    if args.task == "denoise":
        check_options(argparse.Namespace(**options))
    plain = {
        name: list(value) if isinstance(value, tuple) else value for name, value in options.items()
    }
    return {"task": args.task, **plain}


def _command(parser: argparse.ArgumentParser, name: str) -> argparse.ArgumentParser:
    (commands,) = (x for x in parser._actions if isinstance(x, argparse._SubParsersAction))
    return commands.choices[name]


def _absolute(place: str) -> str:
    return place if places.is_url(place) else os.path.abspath(place)


def _manifest_path(args: argparse.Namespace) -> pathlib.Path:
    if args.manifest is not None:
        places.make_folder(args.manifest.parent)
        return args.manifest
    if places.is_url(args.output):
        raise ValueError(
            f"A manifest is a file of this machine. Received: OUT {args.output}. Choose its place "
            "with --manifest."
        )
    folder = pathlib.Path(args.output)
    if os.path.lexists(folder) and not folder.is_dir():
        raise image_io.ImageFileError(f"{folder}: a batch needs a folder as output.")
    places.make_folder(folder)
    of = "" if args.shard is None else "-{}-of-{}".format(*args.shard)
    return folder / f"manifest{of}.jsonl"


def _find(args: argparse.Namespace) -> list[Job]:
    """All jobs, of this shard alone, by names that do not depend on the folder we are in."""
    if not args.inputs and not args.lists:
        raise ValueError("A batch needs pictures. Received: none. Name folders, or a --list.")
    suffixes = DEPTH_SUFFIXES if args.task == "upsample" else Suffixes()
    output = _absolute(args.output).rstrip("/") + "/"  # a folder, whether it is there or not
    jobs: list[Job] = []
    if args.inputs:
        inputs = [_absolute(text) for text in args.inputs]
        jobs += find_jobs(inputs, output, recursive=args.recursive, suffixes=suffixes)[0]
    for name in args.lists:
        with _lines(name) as lines:
            for job in read_list(lines, output, suffixes=suffixes):
                jobs.append(Job(_absolute(job.source), job.target, job.name))
    if args.shard is not None:
        jobs = share(jobs, *args.shard)
    return jobs if args.guides is None else with_guides(jobs, _absolute(args.guides))


@contextlib.contextmanager
def _lines(name: str) -> Iterator[Any]:
    if name == "-":
        yield sys.stdin
        return
    try:
        with open(name, encoding="utf-8", errors="surrogateescape") as file:
            yield file
    except OSError as error:
        raise image_io.ImageFileError(f"{name}: cannot be read ({error.strerror}).") from error


def _restore_all(
    jobs: list[Job], setup: Setup, manifest: Manifest, args: argparse.Namespace
) -> list[str]:
    """Restore the pictures and write down what became of them; the errors."""
    failures: list[str] = []
    if not jobs:
        return failures
    if places.is_url(args.output):
        places.file_system(args.output)  # what is not installed is told once, not a million times
    _check_shared(jobs)
    if args.engine == "ray" or args.address is not None:
        answers = restore_on_ray(
            jobs, setup, address=args.address, count=args.workers, say=console.errors.print
        )
    else:
        workers = choose_workers(
            usable_cores(), available_memory(), count=args.workers, pictures=len(jobs)
        )
        console.errors.print(
            f"{console.plural(len(jobs), 'picture')}, {workers.count} at a time, "
            f"{console.plural(workers.threads, 'thread')} each"
        )
        answers = restore_in_processes(jobs, setup, workers)
    with console.batch_progress(len(jobs)) as advance, contextlib.closing(answers):
        for answer in answers:
            if not manifest.add(answer):
                continue
            if answer["error"] is not None:
                failures.append(answer["error"])
            advance(answer["error"] is not None)
    return failures


def _check_shared(jobs: list[Job]) -> None:
    alone = [x for x in (jobs[0].source, jobs[0].target) if x.startswith("memory://")]
    if alone:
        raise ValueError(
            f"Workers are processes of their own, which do not see {alone[0]}. Choose a place that "
            "all of them see."
        )
