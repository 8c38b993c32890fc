"""Time and memory of a few functions side by side, on a machine that others use as well.

Time: after one call to warm up, the functions take turns, forwards in one round and backwards in
the next, so that a slow second of the machine hits all of them. A ratio is the median over rounds
of the ratio within a round.

Memory: the profiler of PyTorch reports every allocation and release of its CPU allocator, of eager
operations, of autograd and of compiled code alike. The peak is the largest sum of what was
allocated and not yet released since the function began; what lived before it counts as nothing,
and neither does what a library allocates on its own, as convolutions do for their work space.
"""

from __future__ import annotations

import gc
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import torch

Call = Callable[[], object]
Key = TypeVar("Key")


@dataclass(frozen=True, slots=True)
class Timing:
    """Durations of one function in ms, round by round."""

    rounds_ms: tuple[float, ...]

    @property
    def median_ms(self) -> float:
        """Median over the rounds."""
        return statistics.median(self.rounds_ms)

    @property
    def fastest_ms(self) -> float:
        """The fastest round, the one that others disturbed least."""
        return min(self.rounds_ms)

    def over(self, other: Timing) -> float:
        """How many times as long as ``other`` it takes: median of the ratios of each round.

        Raises:
            ValueError: when they were not measured side by side.
        """
        if len(self.rounds_ms) != len(other.rounds_ms):
            raise ValueError(
                f"measured in {len(self.rounds_ms)} and {len(other.rounds_ms)} rounds, "
                "not side by side"
            )
        pairs = zip(self.rounds_ms, other.rounds_ms, strict=True)
        return statistics.median(a / b for a, b in pairs)


def take_turns(
    calls: Mapping[Key, Call],
    seconds: float,
    at_least: int = 3,
    at_most: int = 31,
    warm_up: bool = True,
) -> dict[Key, Timing]:
    """Time functions in turns.

    Args:
        calls: the functions, none with arguments.
        seconds: no new round begins after so many, once there are enough.
        at_least: rounds whatever the time.
        at_most: rounds at most.
        warm_up: call each once before; leave it out for what takes many seconds a call.

    Raises:
        ValueError: when there is nothing to do.
    """
    if not calls or not 1 <= at_least <= at_most:
        raise ValueError(f"{len(calls)} functions, {at_least} to {at_most} rounds")
    if warm_up:
        for call in calls.values():
            call()
    found: dict[Key, list[float]] = {key: [] for key in calls}
    gc.collect()
    begin = time.perf_counter()
    for number in range(at_most):
        if number >= at_least and time.perf_counter() - begin > seconds:
            break
        for key in calls if number % 2 == 0 else reversed(list(calls)):
            found[key].append(_duration_ms(calls[key]))
    return {key: Timing(tuple(rounds)) for key, rounds in found.items()}


def peak_mb(call: Call) -> float:
    """Most memory in MB (10^6 bytes) that one call of the function has at a time in tensors."""
    gc.collect()
    activities = [torch.profiler.ProfilerActivity.CPU]
    with torch.profiler.profile(activities=activities, profile_memory=True) as profile:
        call()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trace.json"
        profile.export_chrome_trace(str(path))
        events = json.loads(path.read_bytes())["traceEvents"]
    changes = [(e["ts"], e["args"]) for e in events if e.get("name") == "[memory]"]
    # What was allocated before the call may be released in it, which is no credit.
    live: dict[int, int] = {}
    now = most = 0
    for _, change in sorted(changes, key=lambda event: event[0]):
        if change["Bytes"] > 0:
            live[change["Addr"]] = change["Bytes"]
            now += change["Bytes"]
            most = max(most, now)
        else:
            now -= live.pop(change["Addr"], 0)
    return most / 1e6


def _duration_ms(call: Call) -> float:
    begin = time.perf_counter()
    call()
    return 1e3 * (time.perf_counter() - begin)
