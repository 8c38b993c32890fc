"""Ways in which a command can be harmed while it is at work, and what has to come of each."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vo.tools.faulting.bench import Bench
from vo.tools.faulting.disks import read_only, small_disk
from vo.tools.faulting.processes import KILLED, Ending, Trouble
from vo.tools.faulting.verdict import Outcome

Rng = np.random.Generator
MOST_KILLS = 3


@dataclass(frozen=True, slots=True)
class Came:
    """What came of a harm.

    Attributes:
        harm: what was done exactly.
        problem: what is wrong; empty where nothing is.
        outcome: where nothing is.
        detail: what was seen.
    """

    harm: str
    problem: str
    outcome: Outcome
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Harm:
    """A way to harm a command.

    Attributes:
        name: of it.
        program: the command.
        do: does it, once.
    """

    name: str
    program: str
    do: Callable[[Bench, Rng], Came]


def harms() -> list[Harm]:
    """All of them."""
    found = [
        Harm("killed", "vo-run", _killed_run),
        Harm("killed, goes on", "vo-train", _killed_training),
        Harm("killed, again", "vo-data", _killed_street),
    ]
    for program in ("vo-run", "vo-train", "vo-data"):
        found.append(Harm("two at once", program, _of(_two, program)))
        found.append(Harm("disk full", program, _of(_full, program)))
        found.append(Harm("read-only folder", program, _of(_read_only, program)))
        found.append(Harm("clock goes back", program, _of(_clock, program)))
    return found


def _of(do: Callable[[str, Bench, Rng], Came], program: str) -> Callable[[Bench, Rng], Came]:
    return lambda bench, rng: do(program, bench, rng)


def _killed_run(bench: Bench, rng: Rng) -> Came:
    """A beginning of the unbroken run stays, of which report and comparison can be made."""
    sound, out = bench.sound("vo-run"), bench.new() / "out"
    moment = rng.uniform(0.3, 1.0) * sound.seconds
    ending = bench.start(bench.words("vo-run", out)).ending(kill_after_s=moment)
    harm = f"kill -9 after {moment:.2f} s"
    if ending.status != KILLED:
        return Came(harm, _not_sound(bench, "vo-run", out, ending), "unharmed", "had ended")
    rows = (out / "scale.csv").read_text().count("\n") - 1 if (out / "scale.csv").exists() else 0
    problem = bench.no_beginning("vo-run", out)
    for words in (
        ["report", str(out), "--out", str(bench.new() / "report.html")],
        ["vo-eval", "compare", str(out), str(sound.out), "--out", str(bench.new() / "both.html")],
    ):
        ending = bench.start(words).ending()
        read = _fails(ending) if rows > 0 else ending.wrong
        problem = problem or (f"{words[0]}: {read}" if read else "")
    return Came(harm, problem, "unharmed", f"{max(rows, 0)} frames are there")


def _killed_training(bench: Bench, rng: Rng) -> Came:
    """Whatever is there is whole, and the end is that of the unbroken training."""
    seconds, out = bench.sound("vo-train").seconds, bench.new() / "out"
    words, moments = bench.words("vo-train", out), []
    for _ in range(rng.integers(1, MOST_KILLS + 1)):
        moments.append(rng.uniform(0, seconds))
        ending = bench.start(words).ending(kill_after_s=moments[-1])
        if ending.status != KILLED:
            break
        if problem := bench.no_beginning("vo-train", out):
            return Came(_kills(moments), problem, "unharmed")
        if (out / "state.pt").exists():
            words = ["vo-train", "--resume", "--out", str(out)]
        elif out.exists():  # nothing to go on from, and nothing that is overwritten
            out = bench.new() / "out"
            words = bench.words("vo-train", out)
    else:
        ending = bench.start(words).ending()
    problem = _not_sound(bench, "vo-train", out, ending) or _leftover(out)
    return Came(_kills(moments), problem, "unharmed", "ended as the unbroken training")


def _kills(moments: list[float]) -> str:
    return "kill -9 after " + ", ".join(f"{moment:.2f}" for moment in moments) + " s"


def _killed_street(bench: Bench, rng: Rng) -> Came:
    """The next one draws it whole and leaves nothing of the killed one."""
    seconds, out = bench.sound("vo-data").seconds, bench.new() / "out"
    moment = rng.uniform(0, seconds)
    words = bench.words("vo-data", out)
    bench.start(words).ending(kill_after_s=moment)
    ending = bench.start(words).ending()
    problem = _not_sound(bench, "vo-data", out, ending)
    return Came(f"kill -9 after {moment:.2f} s", problem, "unharmed", "drawn again")


def _two(program: str, bench: Bench, rng: Rng) -> Came:
    """One wins and the other is refused; of the street both have the same."""
    bench.sound(program)
    out, pause = bench.new() / "out", rng.uniform(0, 0.3)
    first = bench.start(bench.words(program, out))
    time.sleep(pause)
    second = bench.start(bench.words(program, out))
    endings = sorted((first.ending(), second.ending()), key=lambda ending: ending.status or 0)
    harm = f"another one {pause:.2f} s later"
    problem = _not_sound(bench, program, out, endings[0])
    if program == "vo-data":
        problem = problem or _fails(endings[1])
        return Came(harm, problem, "unharmed", "both have drawn the same")
    problem = problem or endings[1].wrong
    return Came(harm, problem, "refused", " / ".join(endings[1].err))


def _full(program: str, bench: Bench, rng: Rng) -> Came:
    """One line; what was written before stays, and a training goes on from it elsewhere."""
    sound, place = bench.sound(program), bench.new()
    most = sum(path.stat().st_size for path in sound.out.rglob("*"))
    size = 4096 * int(rng.integers(1, 6))  # for the small files, and for the large ones
    if rng.integers(2):
        size = int(0.95 * most * rng.uniform())
    out = place / "out"
    with small_disk(place, size) as most_bytes:
        process = bench.start(bench.words(program, out), Trouble(most_bytes))
        ending = process.ending()
        kept = bench.new() / "kept"
        if out.exists():
            shutil.copytree(out, kept)
    how = f"disk of {size} bytes" if most_bytes is None else f"files of {size} bytes at most"
    if ending.status == 0:
        return Came(how, bench.difference(program, kept), "unharmed", "there was room")
    problem = ending.wrong or ("" if str(place) in ending.err[0] else f"no file: {ending.err[0]}")
    problem = problem or bench.no_beginning(program, kept) or _leftover(kept)
    if program == "vo-train" and not problem and (kept / "state.pt").exists():
        again = bench.start(["vo-train", "--resume", "--out", str(kept)]).ending()
        problem = _not_sound(bench, program, kept, again)
    return Came(how, problem, "refused", " / ".join(ending.err))


def _read_only(program: str, bench: Bench, rng: Rng) -> Came:
    """One line."""
    folder = bench.new()
    with read_only(folder) as place:
        out = place / ("out" if rng.integers(2) else "a/b/out")
        ending = bench.start(bench.words(program, out)).ending()
    return Came("read-only", ending.wrong, "refused", " / ".join(ending.err))


def _clock(program: str, bench: Bench, rng: Rng) -> Came:
    """Nobody looks at it but to tell the time of day."""
    out = bench.new() / "out"
    ending = bench.start(bench.words(program, out), Trouble(clock_goes_back=True)).ending()
    problem = _not_sound(bench, program, out, ending) or bench.slow(out)
    return Came("a minute at every look", problem, "unharmed", "as with a right clock")


def _fails(ending: Ending) -> str:
    """Why an ending is none of success; empty where it is."""
    return "" if ending.status == 0 and not ending.err else ending.wrong or "refused"


def _not_sound(bench: Bench, program: str, out: Path, ending: Ending) -> str:
    """Why a command did not end as an unharmed one; empty where it did."""
    return _fails(ending) or bench.difference(program, out)


def _leftover(out: Path) -> str:
    left = [path.name for path in out.rglob("*.part")] if out.exists() else []
    return f"{left[0]} is left behind" if left else ""
