"""Batches that are numbered by the step, and read ahead by threads.

A loader has no state but the number of the next step. What a batch holds follows from the seed and
that number, so that a run that was killed goes on exactly.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Hashable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Lock
from typing import Generic, TypeVar

import numpy as np

from vo.datasets.camera import Array
from vo.datasets.errors import InputError

Batch = TypeVar("Batch", covariant=True)
Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")

# The stream of random numbers that the order is drawn from; what else is drawn has streams of its
# own beside it, so that one never shifts another.
ORDER = 1
ALL = slice(None)


class Batches(ABC, Generic[Batch]):
    """Batches numbered from 0, without end: the samples in a new order each time they are through.

    Args:
        count: of the samples.
        batch: samples in a batch.
        seed: of the order, and of everything else that is drawn.
        workers: threads that read.

    Raises:
        InputError: when a number makes no sense.
    """

    def __init__(self, count: int, batch: int, seed: int, workers: int) -> None:
        check_at_least_one("batch", batch)
        check_at_least_one("workers", workers)
        if count < batch:
            problem = f"is {batch}, but the drives hold {count} samples"
            raise InputError("--data.batch", problem, "make it smaller or add drives")
        self.count, self.batch, self.seed, self.workers = count, batch, seed, workers

    @property
    def steps_per_epoch(self) -> int:
        """Batches until every sample was seen once; the samples left over wait for the next."""
        return self.count // self.batch

    @abstractmethod
    def at(self, step: int, rows: slice = ALL) -> Batch:
        """The batch of a step, or some rows of it; InputError names a file that is damaged.

        Called by threads, which compute with NumPy alone: a thread that computes with PyTorch gets
        helpers of its own, and from then on OpenMP lets all of the process's threads sleep instead
        of wait for each other, which makes small operations of the training up to ten times slower.
        """

    def chosen(self, step: int) -> Array:
        """(batch,) int64 numbers of the samples of a step."""
        epoch, place = divmod(step, self.steps_per_epoch)
        order = np.random.default_rng([self.seed, ORDER, epoch]).permutation(self.count)
        return order[place * self.batch : (place + 1) * self.batch]

    def stream(self, start: int, stop: int, ahead: int = 4, rows: slice = ALL) -> Iterator[Batch]:
        """The batches ``start`` to ``stop - 1``, read by threads while earlier ones are used.

        What goes wrong with a batch is raised where it would have come. Closing the generator (or
        leaving it to be collected) stops the threads.

        Args:
            start: first step.
            stop: step after the last one.
            ahead: batches, one at least, that are read before they are asked for.
            rows: of each batch, those that are read.

        Raises:
            InputError: naming a file that is damaged.
            ValueError: when ``ahead`` is below 1.
        """
        if ahead < 1:
            raise ValueError(f"ahead must be at least 1, got {ahead}")
        pending: deque[Future[Batch]] = deque()
        pool = ThreadPoolExecutor(self.workers)
        try:
            for step in range(start, min(start + ahead, stop)):
                pending.append(pool.submit(self.at, step, rows))
            for step in range(start, stop):
                batch = pending.popleft().result()
                if step + ahead < stop:
                    pending.append(pool.submit(self.at, step + ahead, rows))
                yield batch
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


class Memory(Generic[Key, Value]):
    """Decoded frames up to a size; what does not fit is read again each time.

    Args:
        memory_gb: the size.
        size: bytes of a value.

    Raises:
        InputError: when the size makes no sense.
    """

    def __init__(self, memory_gb: float, size: Callable[[Value], int]) -> None:
        if not memory_gb >= 0:
            raise InputError("--data.memory-gb", f"is {memory_gb:g}", "give 0 or more")
        self._kept: dict[Key, Value] = {}
        self._bytes_left = memory_gb * 1e9
        self._size, self._lock = size, Lock()

    def get(self, key: Key, read: Callable[[], Value]) -> Value:
        """What is kept, or what is read. Called from several threads."""
        value = self._kept.get(key)
        if value is None:
            value = read()
            size = self._size(value)
            with self._lock:  # two threads may have read the same frame: it counts once
                if key not in self._kept and self._bytes_left >= size:
                    self._bytes_left -= size
                    self._kept[key] = value
        return value


def to_unit_range(images: Array) -> Array:
    """Images of uint8 as float32 in [0, 1]."""
    return np.divide(images, np.float32(255), dtype=np.float32)


def check_at_least_one(name: str, number: int) -> None:
    """InputError naming ``--data.NAME`` when a number is below 1."""
    if number < 1:
        raise InputError(f"--data.{name}", f"is {number}", "give 1 or more")
