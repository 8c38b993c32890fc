"""Commands in processes of their own, which can be killed, starved, and set against each other."""

from __future__ import annotations

import itertools
import multiprocessing
import os
import resource
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

LIMIT_S = 180.0
KILLED = -9


@dataclass(frozen=True, slots=True)
class Trouble:
    """What a process has to live with.

    Attributes:
        most_bytes: size that no file can exceed; None leaves files alone.
        clock_goes_back: by a minute at every look at it.
    """

    most_bytes: int | None = None
    clock_goes_back: bool = False


@dataclass(frozen=True, slots=True)
class Ending:
    """How a process ended.

    Attributes:
        status: exit status, `KILLED`, or None where it did not end by itself.
        err: lines of standard error, without warnings.
        seconds: from its start.
    """

    status: int | None
    err: tuple[str, ...]
    seconds: float

    @property
    def wrong(self) -> str:
        """Why this is no refusal in one line with exit status 2; empty where it is one."""
        if self.status is None:
            return f"no end within {LIMIT_S:g} s"
        if self.status == 2 and len(self.err) == 1 and self.err[0].startswith("error: "):
            return ""
        return f"exit status {self.status}, {len(self.err)} lines: {' / '.join(self.err)[-300:]}"


class Process:
    """A command at work.

    Args:
        words: the command's name and its arguments.
        said: beginning of the names of two files that take what it says.
        trouble: that it has.
    """

    def __init__(self, words: list[str], said: Path, trouble: Trouble | None = None) -> None:
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["vo.tools.faulting.preload"])
        self._said = said
        self._process = context.Process(target=_live, args=(words, said, trouble or Trouble()))
        self._process.start()
        self._begun = time.perf_counter()

    def ending(self, kill_after_s: float | None = None) -> Ending:
        """Wait for the end; or for a while, and then kill it (SIGKILL)."""
        self._process.join(LIMIT_S if kill_after_s is None else kill_after_s)
        in_time = self._process.exitcode is not None or kill_after_s is not None
        self._process.kill()
        self._process.join()
        seconds = time.perf_counter() - self._begun
        err = self._said.with_suffix(".err")
        lines = err.read_text(errors="replace").splitlines() if err.exists() else []
        complaints = tuple(x for x in lines if x.strip() and not x.startswith("warning: "))
        return Ending(self._process.exitcode if in_time else None, complaints, seconds)


def _live(words: list[str], said: Path, trouble: Trouble) -> None:
    """The life of the process."""
    import torch

    for number, suffix in ((1, ".out"), (2, ".err")):
        os.dup2(os.open(said.with_suffix(suffix), os.O_WRONLY | os.O_CREAT, 0o600), number)
    torch.set_num_threads(1)  # sums depend on how they are shared out
    if trouble.most_bytes is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (trouble.most_bytes, trouble.most_bytes))
    with ExitStack() as patches:
        patches.enter_context(patch("sys.argv", words))
        # Pictures take ten times as long as all the rest.
        patches.enter_context(patch("vo.tools.running.plots.draw_run", lambda result, truth: []))
        # Nothing here has to outlive a power cut, and a busy disk takes seconds to see to that.
        patches.enter_context(patch("os.fsync", lambda descriptor: None))
        if trouble.clock_goes_back:
            for name, clock in _clocks().items():
                patches.enter_context(patch(name, clock))
        _main(words[0])()


def _clocks() -> dict[str, Callable[..., object]]:
    """The clocks of the day, each look a minute earlier than the last one."""
    falling: Iterator[float] = itertools.count(time.time(), -60.0)
    text, local = time.strftime, time.localtime
    return {
        "time.time": lambda: next(falling),
        "time.time_ns": lambda: int(next(falling) * 1e9),
        "time.strftime": lambda form, at=None: text(form, at or local(next(falling))),
    }


def _main(program: str) -> Callable[[], None]:
    from vo.tools import data, evaluate, report, run, train

    return {
        "vo-data": data.main,
        "vo-eval": evaluate.main,
        "vo-run": run.main,
        "vo-train": train.main,
        "report": report.main,
    }[program]
