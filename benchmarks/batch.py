"""What a batch is worth: pictures a second of `deepam batch`, beside one process times the cores.

    python -m benchmarks.batch [--engine processes ray] [--pictures 60] [-- --sigma 25]

One worker on one core is the measure; an engine with a worker for each core is compared with as
many times that. Steady state counts: from the moment when all workers have done their first
pictures to that when the first has nothing left. Where others use the cores too, two columns say
more:
"at work" is the share of that time in which a worker was at a picture, "CPU s" what a picture takes
of all cores, starts included. What follows `--` are options of `deepam batch`.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import resource
import subprocess
import sys
import tempfile
import time

import numpy as np
import rich.console
import rich.table

from deepam_tf.batch.resources import usable_cores
from deepam_tf.cli.demo import PICTURE
from deepam_tf.data.degradations import benchmark_noise
from deepam_tf.files import pictures as image_io

__all__ = ["main", "measure", "steady_state"]

_SIGMA = 25


def make_pictures(folder: pathlib.Path, count: int, side: int) -> None:
    """Noisy crops of a photograph, `side` pixels a side."""
    clean = image_io.read(PICTURE).pixels
    clean = np.tile(clean, [-(-side // clean.shape[0]), -(-side // clean.shape[1]), 1])
    for i in range(count):
        crop = np.roll(clean, 7 * i, axis=1)[:side, :side]
        noisy = crop + benchmark_noise(crop.shape, _SIGMA / 255, i)
        image_io.write(folder / f"{i:05}.png", image_io.Picture(noisy, None, np.dtype("uint8")))


def steady_state(lines: list[dict]) -> tuple[float, float]:
    """How fast workers were while all of them were at work, each past its first picture.

    Args:
        lines: of a manifest, each with its `worker`, `seconds` and when it `ended`.

    Returns:
        Pictures a second of all workers, and the share of their time in which they were at one.

    Example:
        >>> steady_state([{"worker": "a", "seconds": 1.0, "ended": x} for x in (9.0, 11.0, 13.0)])
        (0.5, 0.5)
    """
    ends: dict[str, list[float]] = {}
    for line in lines:
        ends.setdefault(line["worker"], []).append(line["ended"])
    start = max(min(x) for x in ends.values())
    stop = min(max(x) for x in ends.values())
    inner = [line["seconds"] for line in lines if start < line["ended"] <= stop]
    rate = len(inner) / (stop - start)
    return rate, float(np.mean(inner)) * rate / len(ends)


def measure(
    command: list[str], manifest: pathlib.Path, *, one_core: bool = False
) -> dict[str, float]:
    """Run a batch.

    Args:
        command: arguments of `deepam`.
        manifest: the file that it writes.
        one_core: whether it is kept to one core (Linux).

    Returns:
        `rate`, pictures a second in steady state; `at_work`, the share of the workers' time in
        which they were at a picture then; `cpu`, seconds of all cores a picture, of this machine's
        processes alone; `whole`, pictures a second of the whole run with its start.

    Raises:
        ValueError: if it fails.
    """
    start, used = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    core = min(os.sched_getaffinity(0))
    done = subprocess.run(
        [sys.executable, "-m", "deepam_tf", *command],
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=(lambda: os.sched_setaffinity(0, {core})) if one_core else None,
    )
    taken = time.perf_counter() - start
    if done.returncode:
        raise ValueError((done.stderr or done.stdout).strip())
    now = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = now.ru_utime + now.ru_stime - used.ru_utime - used.ru_stime
    lines = [json.loads(line) for line in manifest.read_text().splitlines()]
    rate, at_work = steady_state(lines)
    return {"rate": rate, "at_work": at_work, "cpu": cpu / len(lines), "whole": len(lines) / taken}


def main(argv: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    argv = sys.argv[1:] if argv is None else argv
    split = argv.index("--") if "--" in argv else len(argv)
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.batch", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--engine", nargs="+", choices=("processes", "ray"), default=["processes"])
    parser.add_argument("--pictures", type=int, default=60, help="a worker (60)")
    parser.add_argument("--side", type=int, default=256, help="of the pictures in pixels (256)")
    args = parser.parse_args(argv[:split])
    options = argv[split + 1 :] or ["--sigma", str(_SIGMA)]
    cores = usable_cores()
    table = rich.table.Table(
        "engine", "workers", "pictures/s", "efficiency", "at work", "CPU s", "with its start"
    )
    one = 0.0
    try:
        with tempfile.TemporaryDirectory() as place:
            for engine, workers in [("processes", 1), *((engine, cores) for engine in args.engine)]:
                work = pathlib.Path(place, f"{engine}-{workers}")
                (work / "in").mkdir(parents=True)
                make_pictures(work / "in", args.pictures * workers, args.side)
                command = ["batch", str(work / "in"), str(work / "out"), "--engine", engine]
                found = measure(
                    [*command, "--workers", str(workers), *options],
                    work / "out" / "manifest.jsonl",
                    one_core=workers == 1,
                )
                one = one or found["rate"]
                table.add_row(
                    engine,
                    str(workers),
                    f"{found['rate']:.3g}",
                    f"{100 * found['rate'] / (workers * one):.0f} %",
                    f"{100 * found['at_work']:.0f} %",
                    "" if engine == "ray" else f"{found['cpu']:.2f}",
                    f"{found['whole']:.3g}",
                )
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    rich.console.Console(soft_wrap=True).print(table)
    print(json.dumps({"cores": cores, "side": args.side, "options": options}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
