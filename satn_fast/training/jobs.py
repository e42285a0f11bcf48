"""Several trainings at a time: each in a process of its own, on one thread."""

from __future__ import annotations

import multiprocessing
import signal
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, Generic, Protocol, TypeAlias, TypeVar

import torch

from satn_fast.training.callbacks import Progress
from satn_fast.training.task import EpochRecord

__all__ = ["JobError", "Work", "in_processes"]

ItemT_contra = TypeVar("ItemT_contra", contravariant=True)
ItemT = TypeVar("ItemT")
ResultT_co = TypeVar("ResultT_co", covariant=True)
ResultT = TypeVar("ResultT")

Notify: TypeAlias = Callable[[str], None]

# A bar that moves more often than this costs time that nobody sees.
_SECONDS_BETWEEN_REPORTS = 0.2


class JobError(RuntimeError):
    """One of several trainings failed; the message names it."""


class Work(Protocol[ItemT_contra, ResultT_co]):
    """What is done with every item; it goes to other processes, so that it must be picklable."""

    def __call__(self, item: ItemT_contra, progress: Progress, notify: Notify, /) -> ResultT_co:
        """Does one item, and tells how far it is."""


def in_processes(
    work: Work[ItemT, ResultT],
    items: Sequence[ItemT],
    n_jobs: int,
    *,
    started: Callable[[int, ItemT], Progress],
    notify: Notify,
) -> list[ResultT]:
    """Does every item, `n_jobs` at a time, in processes that stop when this one does.

    Args:
        work: Does one item. Processes start anew (`spawn`), as on every system: a script that calls this needs
            `if __name__ == "__main__":`.
        items: In the order in which they begin; each has a `str` that names it in errors.
        n_jobs: Processes.
        started: Told which process (from 0) begins what; gives what is told of its progress.
        notify: Told what `work` has to say.

    Returns:
        The results, in the order of `items`.

    Raises:
        JobError: An item failed, or its process ended; the message names the item. The others are stopped.
    """
    context = multiprocessing.get_context("spawn")
    waiting = list(enumerate(items))[::-1]
    results: dict[int, ResultT] = {}
    workers: dict[Connection, _Worker[ItemT]] = {}
    try:
        for slot in range(min(n_jobs, len(items))):
            ours, theirs = context.Pipe()
            process = context.Process(target=_serve, args=(theirs, work), daemon=True)
            process.start()
            theirs.close()
            workers[ours] = _Worker(process, slot, *waiting.pop(), progress=None)
            workers[ours].begin(ours, started)
        while workers:
            for connection in wait(list(workers)):
                assert isinstance(connection, Connection)
                worker = workers[connection]
                kind, content = worker.hear(connection)
                if kind == "progress" and worker.progress is not None:
                    worker.progress(*content)
                elif kind == "said":
                    notify(content)
                elif kind == "failed":
                    message, trace = content
                    error = JobError(f"{worker.item}: {message}")
                    error.add_note(trace)
                    raise error
                elif kind == "done":
                    results[worker.number] = content
                    if waiting:
                        worker.number, worker.item = waiting.pop()
                        worker.begin(connection, started)
                    else:
                        connection.send(None)
                        worker.process.join()
                        del workers[connection]
    finally:
        for worker in workers.values():
            worker.process.terminate()
        for worker in workers.values():
            worker.process.join()
    return [results[number] for number in range(len(items))]


@dataclass
class _Worker(Generic[ItemT]):
    """A process, and what it does."""

    process: BaseProcess
    slot: int
    number: int
    item: ItemT
    progress: Progress | None

    def begin(self, connection: Connection, started: Callable[[int, ItemT], Progress]) -> None:
        """Hands over the item."""
        self.progress = started(self.slot, self.item)
        # A process that ended at once is found when it is listened to.
        try:
            connection.send((self.item,))
        except OSError:
            return

    def hear(self, connection: Connection) -> tuple[str, Any]:
        """The next thing that the process says."""
        try:
            kind, content = connection.recv()
        except (EOFError, OSError):
            self.process.join()
            raise JobError(
                f"{self.item}: its process ended (exit code {self.process.exitcode}), maybe for want of memory; give "
                "fewer jobs. The same command goes on from there"
            ) from None
        return kind, content


def _serve(connection: Connection, work: Work[Any, Any]) -> None:
    """What a process does: one item after the other, until there is none."""
    # Ctrl-C reaches every process of a terminal; the first one stops the others.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)
    reporter = _Reporter(connection)
    while (received := connection.recv()) is not None:
        (item,) = received
        try:
            result = work(item, reporter.progress, reporter.notify)
        except Exception as error:
            message = " ".join(str(error).split()) or type(error).__name__
            connection.send(("failed", (message, traceback.format_exc())))
            return
        connection.send(("done", result))


class _Reporter:
    """Tells the first process what happens, but not every step."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._told = 0.0

    def progress(self, done: int, total: int, record: EpochRecord | None) -> None:
        now = time.monotonic()
        if done == total or now - self._told > _SECONDS_BETWEEN_REPORTS:
            self._told = now
            self._connection.send(("progress", (done, total, record)))

    def notify(self, message: str) -> None:
        self._connection.send(("said", message))
