"""Workers that are actors of Ray Data, of this machine or of a cluster.

What goes through Ray are paths, and a line of JSON back: actors read and write the files. Blocks of
pictures of different sizes would have to be padded, and be copied between machines.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
import os
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from deepam_tf.batch.jobs import Job
from deepam_tf.batch.records import Record, record
from deepam_tf.batch.resources import WORKER_BYTES, Workers, choose_workers
from deepam_tf.batch.worker import Setup, Worker

__all__ = ["Actor", "restore_on_ray"]

_ROUNDS = 3  # what is lost with its worker is done again, one by one at last
_RETRIES = 3  # of a part whose actor died
_PARTS = 16  # for each actor, so that all end at about the same time
_MOST_TOGETHER = 64  # pictures of a part: what is told at once
_LOOK_SECONDS = 5.0
_STORE_BYTES = 256 * 2**20  # for paths and lines; Ray would take a third of the memory


class Actor:
    """Restores the pictures of a block of jobs.

    Args:
        setup: fields of a `Setup`.
    """

    def __init__(self, setup: dict[str, Any]) -> None:
        self._worker = Worker(Setup(**setup))

    def __call__(self, block: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """What became of each job, both as JSON."""
        answers = [json.dumps(self._worker(Job(**json.loads(job)))) for job in block["job"]]
        return {"record": np.array(answers, object)}


def restore_on_ray(
    jobs: Sequence[Job],
    setup: Setup,
    *,
    address: str | None = None,
    count: int | None = None,
    say: Callable[[str], object] = lambda line: None,
) -> Iterator[Record]:
    """Restore pictures by actors of Ray Data.

    Actors that die, alone or with their node, are started anew while there are cores for them, and
    what they were at is done again. What ends its worker time and again is an error of its own.

    Args:
        jobs: what to do; paths are those of every node.
        setup: what the actors are told.
        address: of a cluster, as `ray.init` takes it; None: a Ray of this machine alone.
        count: how many actors, None: as many as memory and cores of all nodes allow.
        say: told what there is to say meanwhile, such as that a node was lost.

    Yields:
        What became of each picture, in the order in which they are done. A picture whose line was
        lost with a node may come twice.

    Raises:
        ImportError: if Ray is not installed.
        ConnectionError: if there is no cluster at the address.
        RuntimeError: if no actor can start.
    """
    with _connected(address) as ray:
        crew = _crew(ray, count, len(jobs))
        say(f"Ray: {_plural(len(_alive(ray)), 'node')}, {_plural(crew.count, 'worker')}")
        left = {job.source: job for job in jobs}
        for number in range(_ROUNDS):
            if not left:
                return
            if number:
                say(f"{_plural(len(left), 'picture')} lost with their workers: done again")
            together = min(max(len(left) // (crew.count * _PARTS), 1), _MOST_TOGETHER)
            together = 1 if number else together
            for answer in _one_round(ray, list(left.values()), setup, crew, together, say):
                left.pop(answer["input"], None)
                yield answer
        for job in left.values():
            yield record(
                job.source,
                job.target,
                guide=job.guide,
                error=f"{job.source}: its worker died {_ROUNDS} times. Out of memory, or a file "
                "that ends its decoder; fewer --workers leave more memory to each.",
            )


def _one_round(
    ray, jobs: list[Job], setup: Setup, crew: Workers, together: int, say
) -> Iterator[Record]:
    """What comes of the jobs; those whose actor died too often are missing."""
    items = [{"job": json.dumps(dataclasses.asdict(job))} for job in jobs]
    blocks = ray.data.from_items(items, override_num_blocks=-(-len(items) // together))
    with warnings.catch_warnings():  # Ray 2.64 will have other names for some of these
        warnings.simplefilter("ignore", DeprecationWarning)
        answers = blocks.map_batches(
            Actor,
            fn_constructor_args=[dataclasses.asdict(setup)],
            batch_size=None,
            batch_format="numpy",
            compute=ray.data.ActorPoolStrategy(
                min_size=1, max_size=crew.count, initial_size=crew.count
            ),
            num_cpus=crew.threads,
            max_restarts=-1,
            max_task_retries=_RETRIES,
            runtime_env={"env_vars": crew.environment()},
        )
    nodes, looked = len(_alive(ray)), time.monotonic()
    try:
        for batch in answers.iter_batches(batch_size=None, batch_format="numpy"):
            for text in batch["record"]:
                yield json.loads(text)
            if time.monotonic() - looked > _LOOK_SECONDS:
                now, looked = len(_alive(ray)), time.monotonic()
                if now < nodes:
                    say(f"{_plural(nodes - now, 'node')} lost: the others do its pictures")
                nodes = now
    except ray.exceptions.RayTaskError as error:  # of ours: no picture's error comes this way
        raise RuntimeError(f"A worker could not start:\n{error}") from error
    except ray.exceptions.RayError as error:
        say(f"Ray: {str(error).strip().splitlines()[0]}")


def _crew(ray, count: int | None, pictures: int) -> Workers:
    """The workers of all nodes together."""
    nodes = [
        choose_workers(
            int(node["Resources"].get("CPU", 0)), int(node["Resources"].get("memory", WORKER_BYTES))
        )
        for node in _alive(ray)
        if node["Resources"].get("CPU", 0) >= 1
    ]
    if not nodes:
        raise RuntimeError("No node of the cluster has a core to give.")
    if count is not None:
        cores = int(ray.cluster_resources().get("CPU", 1))
        return choose_workers(cores, 0, count=count)
    total = max(min(sum(node.count for node in nodes), pictures), 1)
    return Workers(total, min(node.threads for node in nodes))


def _alive(ray) -> list[dict[str, Any]]:
    return [node for node in ray.nodes() if node["Alive"]]


def _plural(count: int, word: str) -> str:
    return f"{count} {word}{'s' if count != 1 else ''}"


@contextlib.contextmanager
def _connected(address: str | None) -> Iterator[Any]:
    """Ray, quiet, connected as long as the block lasts."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is told to anybody
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # what is lost is told here
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # or it warns of a change
    try:
        import ray
        import ray.data
        import ray.exceptions
    except ImportError as error:
        raise ImportError(
            f"The engine ray needs Ray. Received: {error}. pip install 'deepam-tf[ray]', or choose "
            "--engine processes."
        ) from error
    started = not ray.is_initialized()
    if started:
        here = {"object_store_memory": _STORE_BYTES, "include_dashboard": False}
        try:
            ray.init(
                address or "local",
                log_to_driver=False,
                logging_level=logging.ERROR,
                **({} if address else here),
            )
        except (ConnectionError, ValueError) as error:
            raise ConnectionError(
                f"There must be a Ray cluster at --address. Received: {address} ({error})."
            ) from error
    context = ray.data.DataContext.get_current()
    before = context.enable_progress_bars, context.max_errored_blocks
    level = logging.getLogger("ray.data").level
    context.enable_progress_bars = False
    context.max_errored_blocks = -1  # a block that is lost for good is done again here
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)
    try:
        yield ray
    finally:
        context.enable_progress_bars, context.max_errored_blocks = before
        logging.getLogger("ray.data").setLevel(level)
        if started:
            ray.shutdown()
