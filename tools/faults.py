"""``python -m vo.tools.faults``: damaged inputs, harmed commands, and what is made of them."""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, get_args
from unittest.mock import patch

import tyro

from vo.datasets.errors import InputError
from vo.tools.console import FAILED_CHECK, console, print_table, run
from vo.tools.tables import new_table

if TYPE_CHECKING:
    from vo.tools.faulting.damage import Damage
    from vo.tools.faulting.inputs import Input
    from vo.tools.faulting.verdict import Answer

LIMIT_S = 60.0


@dataclass(frozen=True, slots=True)
class Case:
    """One damaged file or harmed command, and what became of it.

    Attributes:
        number: of the case; with the seed it tells everything.
        input: kind of input, or of harm.
        program: command that took it.
        file: that was damaged; empty where the command was harmed.
        damage: what was done to it.
        outcome: see `main`.
        detail: what the command said, or what is wrong.
    """

    number: int
    input: str
    program: str
    file: str
    damage: str
    outcome: str
    detail: str


def main() -> None:
    """Entry point of ``python -m vo.tools.faults``."""
    run(lambda: tyro.cli(faults, prog="vo.tools.faults"))


def faults(
    seed: int = 0,
    cases: int = 200,
    harms: int = 30,
    json_file: Annotated[Path | None, tyro.conf.arg(name="json", metavar="FILE")] = None,
) -> int:
    """Damage small inputs of every kind, give them to the commands, and judge what they do; then
    harm the commands at work: kill -9, disk full, read-only folder, two at once, clock going back.

    Outcomes: refused (one line, exit status 2), flagged (the problem or the frame is named),
    unharmed (the result is that of the sound input, or of a killed run its beginning), other data
    (a sound input with other content, which no program can tell from the right one), and DEFECT: a
    traceback, no end, more than one line, another result with nothing said, something half-written.
    The exit status is 1 when there is a DEFECT.

    Example: python -m vo.tools.faults --cases 400 --json faults.json

    Args:
        seed: of the damage and of the moments of harm.
        cases: how many damaged inputs; they take the kinds of input in turns.
        harms: how many harmed commands; likewise. Full and read-only disks are mounted where this
            user may mount; else files are limited in size, and folders in permission.
        json_file: file for all cases.
    """
    from vo.atomic import write_atomically

    for flag, value in (("--cases", cases), ("--harms", harms), ("--seed", seed)):
        if value < 0:
            raise InputError(flag, f"is {value}", "give 0 or more")
    found: list[Case] = []
    with console.status("sound inputs") as status, tempfile.TemporaryDirectory() as folder:
        for case in _all(Path(folder), seed, cases, harms):
            found.append(case)
            status.update(f"{len(found)} of {cases + harms}")
    _print(found)
    if json_file is not None:
        write_atomically(json_file, json.dumps([asdict(case) for case in found], indent=1) + "\n")
    return FAILED_CHECK if any(case.outcome == "DEFECT" for case in found) else 0


def _all(folder: Path, seed: int, cases: int, harms: int) -> Iterator[Case]:
    for name, part, count in (("damage", campaign, cases), ("harm", harmed, harms)):
        (folder / name).mkdir()
        yield from part(folder / name, seed, count)


def harmed(folder: Path, seed: int, count: int) -> Iterator[Case]:
    """Harmed commands 0, 1, ... of a seed.

    Args:
        folder: empty, to work in.
        seed: of the moments of harm.
        count: how many.

    Raises:
        RuntimeError: when a command does not end well where nothing harms it.
    """
    import numpy as np

    from vo.tools.faulting.bench import Bench
    from vo.tools.faulting.harm import harms

    bench, kinds = Bench(folder), harms()
    for number in range(count):
        kind = kinds[number % len(kinds)]
        came = kind.do(bench, np.random.default_rng([seed, number, 1]))
        outcome, detail = ("DEFECT", came.problem) if came.problem else (came.outcome, came.detail)
        yield Case(number, kind.name, kind.program, "", came.harm, outcome, detail)


def campaign(folder: Path, seed: int, cases: int) -> Iterator[Case]:
    """Cases 0, 1, ... of a seed.

    Args:
        folder: empty, to work in.
        seed: of the damage.
        cases: how many.

    Raises:
        RuntimeError: when a command does not take a sound input.
    """
    import numpy as np

    from vo.tools.faulting.damage import damages
    from vo.tools.faulting.inputs import build, inputs

    sound = folder / "sound"
    sound.mkdir()
    kinds, answers = inputs(), {}
    for number in range(cases):
        rng = np.random.default_rng([seed, number])
        which = number % len(kinds)
        kind = kinds[which]
        if which not in answers:
            with _undurable():
                build(sound, kind.folder)
            answers[which] = _sound_answer(kind, sound, folder)
        target = kind.targets[rng.integers(len(kind.targets))]
        suited = [damage for damage in damages() if damage.suits(target)]
        damage = suited[rng.integers(len(suited))]
        yield _case(number, kind, target, damage, rng, folder, answers[which])


def _sound_answer(kind: Input, sound: Path, folder: Path) -> Answer:
    import shutil

    from vo.tools.faulting.verdict import answer

    out = folder / "out"
    out.mkdir()
    with _undurable():
        found = answer(kind, sound / kind.folder, out, LIMIT_S)
    shutil.rmtree(out)
    if found.status != 0:
        said = found.broken or found.err or found.out
        raise RuntimeError(f"{kind.program} {kind.name}: sound, and yet {found.status}: {said}")
    return found


def _case(
    number: int, kind: Input, target: str, damage: Damage, rng: object, folder: Path, sound: Answer
) -> Case:
    import shutil

    from vo.tools.faulting.inputs import copied
    from vo.tools.faulting.verdict import answer, judge

    work, out = folder / "sound" / "damaged", folder / "out"
    copied(folder / "sound" / kind.folder, work, target)
    out.mkdir()
    others = [work / other for other in kind.targets]
    damage.do(work / target, others, rng)  # type: ignore[arg-type]
    if damage.shortens and target in kind.lists:
        damage = replace(damage, may_pass=True)
    with _undurable():
        outcome, detail = judge(answer(kind, work, out, LIMIT_S), sound, damage)
    shutil.rmtree(work)
    shutil.rmtree(out)
    return Case(number, kind.name, kind.program, target, damage.name, outcome, detail)


def _undurable() -> AbstractContextManager[object]:
    """Nothing here has to outlive a power cut, and a busy disk takes seconds to see to that."""
    return patch("os.fsync", lambda descriptor: None)


def _print(cases: list[Case]) -> None:
    from vo.tools.faulting.verdict import Outcome

    outcomes = get_args(Outcome)
    table = new_table(("input or harm", "command"), ("cases", *outcomes))
    for name, program in dict.fromkeys((case.input, case.program) for case in cases):
        count = Counter(c.outcome for c in cases if (c.input, c.program) == (name, program))
        numbers = (str(count[outcome]) for outcome in outcomes)
        table.add_row(name, program, str(count.total()), *numbers)
    total = Counter(case.outcome for case in cases)
    table.add_row("all", "", str(len(cases)), *(str(total[outcome]) for outcome in outcomes))
    print_table(table)
    for case in cases:
        if case.outcome == "DEFECT":
            what = ", ".join(filter(None, (case.program, case.input, case.file, case.damage)))
            where = f"case {case.number}: {what}"
            console.print(f"{where}: {case.detail}", soft_wrap=True, markup=False)


if __name__ == "__main__":
    main()
