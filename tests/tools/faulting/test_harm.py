"""Commands that are harmed while they are at work, and that the campaign finds what is wrong."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from vo.tools.faulting.bench import Bench
from vo.tools.faulting.disks import read_only, small_disk
from vo.tools.faulting.harm import Came, harms
from vo.tools.faulting.processes import Ending, Trouble


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(tmp_path_factory.mktemp("bench"))


def come(bench: Bench, name: str, program: str, seed: int = 0) -> Came:
    do = next(harm.do for harm in harms() if (harm.name, harm.program) == (name, program))
    return do(bench, np.random.default_rng(seed))


@pytest.mark.parametrize(
    ("name", "program", "outcome"),
    [
        ("killed", "vo-run", "unharmed"),
        ("two at once", "vo-run", "refused"),
        ("disk full", "vo-run", "refused"),
        ("read-only folder", "vo-run", "refused"),
        ("clock goes back", "vo-run", "unharmed"),
        ("killed, goes on", "vo-train", "unharmed"),
        ("two at once", "vo-train", "refused"),
    ],
)
def test_a_harmed_command_leaves_nothing_wrong(bench, name, program, outcome) -> None:
    came = come(bench, name, program)
    assert came.problem == ""
    assert came.outcome == outcome, came


def test_harm_is_done_where_nothing_can_be_mounted(bench: Bench, monkeypatch, tmp_path) -> None:
    monkeypatch.setattr("vo.tools.faulting.disks.subprocess.run", lambda *words, **options: 1 / 0)
    monkeypatch.setattr("vo.tools.faulting.disks.os.geteuid", lambda: 1000)
    with small_disk(tmp_path, 5000) as most_bytes:
        assert most_bytes == 5000
    ending = bench.start(bench.words("vo-run", tmp_path / "out"), Trouble(2000)).ending()
    assert ending.wrong == ""
    assert f"{tmp_path / 'out'}/" in ending.err[0]
    with read_only(tmp_path) as place:
        assert place.stat().st_mode & 0o222 == 0
    assert tmp_path.stat().st_mode & 0o200


def test_what_is_wrong_with_files_is_found(bench: Bench, tmp_path: Path) -> None:
    sound, run = bench.sound("vo-run").out, tmp_path / "run"
    shutil.copytree(sound, run)
    assert bench.difference("vo-run", run) == bench.no_beginning("vo-run", run) == ""
    metrics = json.loads((run / "metrics.json").read_text())
    (run / "metrics.json").write_text(json.dumps(metrics | {"frames_per_s": 1e9}))
    assert bench.difference("vo-run", run) == bench.slow(run) == ""
    (run / "metrics.json").write_text(json.dumps(metrics | {"frames_per_s": -1.0}))
    assert bench.slow(run) == "metrics.json tells a speed that is none"
    (run / "metrics.json").write_text(json.dumps(metrics | {"tracked": 2}))
    assert bench.difference("vo-run", run) == "metrics.json differs"
    poses = (run / "raw.txt").read_bytes()
    (run / "raw.txt").write_bytes(poses[: len(poses) // 2])
    assert bench.no_beginning("vo-run", run) == "raw.txt is no beginning"
    (run / "raw.txt").write_bytes(b"0" + poses)
    assert bench.no_beginning("vo-run", run) == "raw.txt is no beginning"
    training = tmp_path / "training"
    training.mkdir()
    assert bench.no_beginning("vo-train", training) == ""
    (training / "log.jsonl").write_text('{"step": 2}\n{"ste')
    assert bench.no_beginning("vo-train", training).startswith("half-written: JSONDecodeError")


@pytest.mark.parametrize(
    ("ending", "right"),
    [
        (Ending(2, ("error: the disk is full",), 1.0), True),
        (Ending(2, ("error: the disk is full", "and more"), 1.0), False),
        (Ending(1, ("error: the disk is full",), 1.0), False),
        (Ending(1, ("Traceback", "ValueError: no"), 1.0), False),
        (Ending(0, (), 1.0), False),
        (Ending(None, (), 1.0), False),
    ],
)
def test_a_refusal_is_one_line_with_exit_status_2(ending: Ending, right: bool) -> None:
    assert (ending.wrong == "") is right
