"""The campaign of damaged inputs: a few cases, and that it finds what is wrong."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from vo.tools import faults
from vo.tools.faulting.damage import Damage, damages
from vo.tools.faulting.verdict import Answer, judge

SOUND = Answer(0, "fine\n", "", False, "", {"raw.txt": np.eye(3)}, "", frozenset(), ())
BAD = Damage("bad", lambda path, others, rng: None)
MAYBE = Damage("maybe", lambda path, others, rng: None, may_pass=True)


def test_twelve_cases(tmp_path: Path) -> None:
    cases = list(faults.campaign(tmp_path, seed=1, cases=12))
    assert [case.number for case in cases] == list(range(12))
    assert not [case for case in cases if case.outcome == "DEFECT"]
    count = Counter(case.outcome for case in cases)
    assert count["refused"] >= 3
    assert count["flagged"] >= 1
    assert [path.name for path in tmp_path.iterdir()] == ["sound"], "nothing is left"


def changed(**fields: object) -> Answer:
    values = {name: getattr(SOUND, name) for name in Answer.__slots__}
    return Answer(**(values | fields))  # type: ignore[arg-type]


OTHER = {"raw.txt": 2 * np.eye(3)}


@pytest.mark.parametrize(
    ("answer", "damage", "outcome"),
    [
        (changed(), BAD, "unharmed"),
        (changed(numbers={"raw.txt": np.eye(3) + 1e-5}), BAD, "unharmed"),
        (changed(status=2, err="error: it is bad"), BAD, "refused"),
        (changed(status=1, out="error: it is bad"), BAD, "flagged"),
        (changed(numbers=OTHER, lost=frozenset({"3"})), BAD, "flagged"),
        (changed(numbers=OTHER, warned=True), BAD, "flagged"),
        (changed(numbers=OTHER), MAYBE, "other data"),
        (changed(numbers=OTHER), BAD, "DEFECT"),
        (changed(numbers={}), BAD, "DEFECT"),
        (changed(numbers={"raw.txt": np.full((3, 3), np.nan)}), MAYBE, "DEFECT"),
        (changed(status=2, err="error: it is bad\nand so"), MAYBE, "DEFECT"),
        (changed(status=2, err="bad"), MAYBE, "DEFECT"),
        (changed(status=1), MAYBE, "DEFECT"),
        (changed(status=None, broken="ValueError: no"), MAYBE, "DEFECT"),
        (changed(leftovers=(".own.part",)), MAYBE, "DEFECT"),
        (changed(err="[ERROR] libpng"), MAYBE, "DEFECT"),
    ],
)
def test_verdicts(answer: Answer, damage: Damage, outcome: str) -> None:
    assert judge(answer, SOUND, damage)[0] == outcome


@pytest.mark.parametrize("damage", damages(), ids=lambda damage: damage.name)
def test_damage_is_done_to_the_file_alone(damage: Damage, tmp_path: Path) -> None:
    original, path = tmp_path / "original", tmp_path / "times.txt"
    path.write_text("1.5 2.5\n3.5 4.5\n")
    if not damage.suits(path.name) and damage.suits("a.png"):
        path = tmp_path / "a.png"
        cv2.imwrite(str(path), np.full((16, 16, 3), 90, np.uint8))
    elif not damage.suits(path.name):
        path = tmp_path / "a.pth"
        torch.save({"weight": torch.ones(3)}, path)
    original.hardlink_to(path)
    before = original.read_bytes()
    damage.do(path, [path], np.random.default_rng(0))
    assert original.read_bytes() == before
    if damage.name != "swapped":
        assert not path.is_file() or path.stat().st_size > 1e9 or path.read_bytes() != before


def test_a_clock_that_goes_back_suits_times_alone() -> None:
    damage = next(damage for damage in damages() if damage.name == "clock goes back")
    assert damage.suits("sequences/09/times.txt")
    assert not damage.suits("poses/09.txt")


def test_a_defect_is_shown_and_makes_the_status_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def found(folder: Path, seed: int, cases: int) -> list[faults.Case]:
        bad = faults.Case(1, "video", "vo-run", "drive.mp4", "empty", "DEFECT", "ValueError: no")
        return [faults.Case(0, "poses", "vo-run", "09.txt", "NaN", "refused", "error: no"), bad]

    def harmed(folder: Path, seed: int, count: int) -> list[faults.Case]:
        return [faults.Case(0, "killed", "vo-train", "", "kill -9", "DEFECT", "log.jsonl differs")]

    monkeypatch.setattr(faults, "campaign", found)
    monkeypatch.setattr(faults, "harmed", harmed)
    assert faults.faults(json_file=tmp_path / "cases.json") == 1
    said = capsys.readouterr().out
    assert "case 1: vo-run, video, drive.mp4, empty: ValueError: no" in said
    assert "case 0: vo-train, killed, kill -9: log.jsonl differs" in said
    assert "refused" in (tmp_path / "cases.json").read_text()
