"""What a command did with its input, and whether that is right."""

from __future__ import annotations

import csv
import os
import re
import resource
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Literal
from unittest.mock import patch

import numpy as np

if TYPE_CHECKING:
    from vo.tools.faulting.damage import Damage
    from vo.tools.faulting.inputs import Input

Outcome = Literal["refused", "flagged", "unharmed", "other data", "DEFECT"]
MOST_MORE_BYTES = 4 * 1024**3  # of memory that a command may take for small inputs
CLOSE = 1e-3  # of results whose difference does not matter


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """What came of a command.

    Attributes:
        status: its exit status, or None where it did not end by itself.
        out: standard output.
        err: standard error, without warnings.
        warned: whether it warned of anything.
        broken: the exception that came out of it, or that time was up; empty else.
        numbers: its result by name.
        text: its result where that is words.
        lost: numbers of frames that it flagged.
        leftovers: files that nobody was meant to see.
    """

    status: object
    out: str
    err: str
    warned: bool
    broken: str
    numbers: dict[str, np.ndarray]
    text: str
    lost: frozenset[str]
    leftovers: tuple[str, ...]


class _TimeUpError(BaseException):
    """Not an Exception, so that no command catches it."""


def answer(kind: Input, folder: Path, out: Path, limit_s: float) -> Answer:
    """Run the command of an input, in this process, on the files in ``folder``."""
    from vo.tools.faulting.inputs import program

    words = [w.replace("{in}", str(folder)).replace("{out}", str(out)) for w in kind.words]
    status: object = None
    broken = ""
    # Pictures and report take ten times as long as all the rest.
    with (
        patch("sys.argv", [kind.program, *words]),
        patch("vo.tools.running.plots.draw_run", lambda result, truth: []),
        patch("vo.tools.report.run_page", lambda reported: ""),
        _captured() as said,
        _signals_kept(),
    ):
        try:
            with _limited(limit_s), _memory_limited():
                program(kind.program)()
        except SystemExit as end:
            status = end.code
        except _TimeUpError:
            broken = f"no end within {limit_s:g} s"
        except BaseException as error:
            where = traceback.extract_tb(error.__traceback__)[-1]
            place = f"{Path(where.filename).name}:{where.lineno}"
            broken = f"{type(error).__name__} at {place}: {error}"[:300]
    stdout, stderr = (_without(text, folder, out) for text in said)
    lines = [line for line in stderr.splitlines() if line.strip()]
    errors = "\n".join(line for line in lines if not line.startswith("warning: "))
    numbers, lost = _results(out)
    is_file = kind.program in ("vo-run", "vo-train") and bool(numbers)
    return Answer(
        status, stdout, errors, "warning" in stdout + stderr, broken, numbers,
        "" if is_file else stdout, lost, _leftovers(out, folder),
    )  # fmt: skip


def judge(found: Answer, sound: Answer, damage: Damage) -> tuple[Outcome, str]:
    """Whether a command did right by a damaged input, and what it said or did wrong.

    Args:
        found: what came of the damaged input.
        sound: what came of the undamaged one.
        damage: what was done to it.
    """
    if found.broken:
        return "DEFECT", found.broken
    if found.leftovers:
        return "DEFECT", f"left {', '.join(found.leftovers)} behind"
    if any(not np.isfinite(values).all() for values in found.numbers.values()):
        return "DEFECT", "wrote numbers that are not finite"
    if found.status == 2:
        lines = found.err.splitlines()
        if len(lines) == 1 and lines[0].startswith("error: "):
            return "refused", lines[0]
        return "DEFECT", f"{len(lines)} lines of error: {found.err[:300]!r}"
    if found.err:
        return "DEFECT", f"talks on standard error: {found.err[:300]!r}"
    if found.status == 1:
        errors = [line for line in found.out.splitlines() if line.startswith("error: ")]
        return ("flagged", errors[0]) if errors else ("DEFECT", "exit status 1 and no reason")
    if found.status != 0:
        return "DEFECT", f"exit status {found.status}"
    if _same(found, sound):
        return "unharmed", ""
    if found.warned and not sound.warned:
        return "flagged", "a warning"
    if found.lost - sound.lost:
        return "flagged", f"frames {', '.join(sorted(found.lost))} are not tracked"
    if damage.may_pass:
        return "other data", "another sound input"
    return "DEFECT", "another result, and nothing said"


def _same(found: Answer, sound: Answer) -> bool:
    if found.text != sound.text or found.numbers.keys() != sound.numbers.keys():
        return False
    pairs = ((found.numbers[name], sound.numbers[name]) for name in sound.numbers)
    return all(a.shape == b.shape and np.allclose(a, b, atol=CLOSE) for a, b in pairs)


def _results(out: Path) -> tuple[dict[str, np.ndarray], frozenset[str]]:
    """Poses and weights that were written, and the frames that were flagged."""
    numbers: dict[str, np.ndarray] = {}
    for path in sorted(out.rglob("*.txt")):
        if path.name in ("raw.txt", "refined.txt", "gt.txt", "refined.tum.txt"):
            numbers[path.name] = np.loadtxt(path, ndmin=2)
    for path in out.rglob("*.safetensors"):
        import safetensors.numpy

        numbers |= safetensors.numpy.load_file(path)
    lost: set[str] = set()
    for path in out.rglob("scale.csv"):
        with path.open() as file:
            rows = csv.DictReader(line for line in file if not line.startswith("#"))
            lost |= {row["frame"] for row in rows if row["tracked"] not in ("1", "True", "true")}
    return numbers, frozenset(lost)


def _leftovers(*folders: Path) -> tuple[str, ...]:
    return tuple(path.name for folder in folders for path in folder.rglob(".*.part"))


def _without(text: str, folder: Path, out: Path) -> str:
    """What was said, without names, hashes and speeds that differ from run to run."""
    text = text.replace(str(out), "OUT").replace(str(folder), "IN")
    return re.sub(r'"sha256": "\w+"', "", text)


@contextmanager
def _captured() -> Iterator[list[str]]:
    """Both outputs, those of C libraries included; the list is filled at the end."""
    said: list[str] = []
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        with _descriptor(1, out), _descriptor(2, err), redirect_stdout(out), redirect_stderr(err):
            yield said
        for file in (out, err):
            file.flush()
            file.seek(0)
            said.append(file.read())


@contextmanager
def _descriptor(number: int, file: IO[str]) -> Iterator[None]:
    sys.stdout.flush()
    sys.stderr.flush()
    kept = os.dup(number)
    os.dup2(file.fileno(), number)
    try:
        yield
    finally:
        file.flush()
        os.dup2(kept, number)
        os.close(kept)


@contextmanager
def _signals_kept() -> Iterator[None]:
    """Commands set handlers for a process that is theirs."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGPIPE)
    before = {number: signal.getsignal(number) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _memory_limited() -> Iterator[None]:
    """What takes the memory of the machine is to be a defect, and not the end of the campaign."""
    pages = int(Path("/proc/self/statm").read_text().split()[0]) if sys.platform == "linux" else 0
    before = resource.getrlimit(resource.RLIMIT_AS)
    if pages:
        most = pages * resource.getpagesize() + MOST_MORE_BYTES
        resource.setrlimit(resource.RLIMIT_AS, (most, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


@contextmanager
def _limited(seconds: float) -> Iterator[None]:
    def ring(number: int, stack: object) -> None:
        raise _TimeUpError

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    begun = time.perf_counter()
    try:
        yield
        if time.perf_counter() - begun > seconds:
            raise _TimeUpError
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
