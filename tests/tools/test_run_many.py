"""`vo-run` on two processes of torchrun: the files of one, an end for all, one that speaks."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

INTRINSICS = "70,70,47.5,31.5"
GROWING = ("raw.txt", "refined.txt", "raw.tum.txt", "refined.tum.txt", "scale.csv")
# Of one process and of several, but for the time of day, the speed and the command itself.
SAME = (*GROWING, "metrics.json", "gt.txt")
LOST = range(6, 10)  # black, around the seam at 8
pictureless = pytest.mark.usefixtures("no_pictures", "one_thread")


@pytest.fixture
def one_thread() -> Iterator[None]:
    """As torchrun sets it: sums of other numbers of threads round otherwise."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def long_walk(long_street, tmp_path) -> Path:
    """The frames of the long street as a folder of images, some of them black."""
    folder = tmp_path / "walk"
    shutil.copytree(long_street / "sequences/00/image_2", folder)
    for i in LOST:
        assert cv2.imwrite(str(folder / f"{i:06d}.png"), np.zeros((64, 96, 3), np.uint8))
    return folder


def start(*words: object, processes: int = 2) -> subprocess.Popen[str]:
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    return subprocess.Popen(
        [sys.executable, *torchrun, "-m", "vo.tools.run", *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        # A shell's background jobs ignore interrupts, and so do their children: undo it.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def said(errors: str) -> list[str]:
    """What vo-run itself says on standard error, of all that torchrun adds to it."""
    return [line for line in errors.splitlines() if line.startswith("error: ")]


def growing(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in GROWING}


@pictureless
def test_several_drives_are_those_of_one_process(
    vo_run, tiny_street, long_street, tiny_checkpoint, tmp_path
):
    """One of 24 frames with seams, one of 12."""
    street = tmp_path / "street"
    for part in ("sequences/00", "sequences/09"):
        root = long_street if part.endswith("00") else tiny_street
        shutil.copytree(root / part, street / part)
        poses = f"poses/{part[-2:]}.txt"
        (street / "poses").mkdir(exist_ok=True)
        shutil.copyfile(root / poses, street / poses)
    words = ("--data", street, "--seq", "all", "--ckpt", tiny_checkpoint, "--deterministic")
    process = start(*words, "--out", "many")
    out, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    assert said(errors) == []
    done = vo_run(*words, "--out", "one")
    assert done.status == 0, done.err
    assert out == done.out.replace("one/", "many/"), "tables and lines, in the same order"
    for sequence in ("00", "09"):
        many, one = (tmp_path / name / sequence for name in ("many", "one"))
        for name in SAME:
            assert (many / name).read_bytes() == (one / name).read_bytes(), f"{sequence}/{name}"
        logs = [(folder / "log.txt").read_text().splitlines() for folder in (many, one)]
        told, expected = ([w for w in log if not w.startswith("pictures:")] for log in logs)
        assert [line.replace("many/", "one/") for line in told] == expected
    assert json.loads((tmp_path / "many/00/metrics.json").read_bytes())["tracked"] == 1
    assert (tmp_path / "many/00/trajectories.png").exists()
    assert (tmp_path / "many/09/report.html").exists()


@pictureless
def test_lost_frames_at_a_seam_and_a_damaged_one_end_as_in_one_process(
    vo_run, long_walk, tiny_checkpoint, tmp_path
):
    image = long_walk / "000020.png"
    image.write_bytes(image.read_bytes()[:200])
    words = ("--data", long_walk, "--intrinsics", INTRINSICS, "--ckpt", tiny_checkpoint)
    words = (*words, "--deterministic")
    process = start(*words, "--out", "many")
    out, errors = process.communicate(timeout=300)
    assert process.returncode != 0
    assert out == ""
    done = vo_run(*words, "--out", "one")
    assert done.status == 2
    assert said(errors) == [done.err.strip().replace("kept in one", "kept in many")]
    assert said(errors)[0].endswith("; 20 frames before it are kept in many")
    many, one = tmp_path / "many", tmp_path / "one"
    assert growing(many) == growing(one)
    table = (many / "scale.csv").read_text().splitlines()[1:]
    assert [i for i, row in enumerate(table) if ",False," in row] == [*LOST, LOST.stop]
    assert not (many / "metrics.json").exists()


def test_an_interrupt_ends_all_and_keeps_whole_frames(
    long_walk, tiny_checkpoint, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    for i in range(24, 1500):
        shutil.copyfile(long_walk / f"{i % 24:06d}.png", long_walk / f"{i:06d}.png")
    words = ("--data", long_walk, "--intrinsics", INTRINSICS, "--ckpt", tiny_checkpoint)
    process = start(*words, "--out", "run")
    deadline = time.monotonic() + 120
    table = tmp_path / "run/scale.csv"
    while not table.exists() or table.read_bytes().count(b"\n") < 20:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline, "no lines came"
        time.sleep(0.002)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode != 0
    kept = len((tmp_path / "run/raw.txt").read_text().splitlines())
    assert said(errors) == [f"error: interrupted; {kept} of 1500 frames are kept in run"]
    for name, content in growing(tmp_path / "run").items():
        assert content.count(b"\n") - (name == "scale.csv") == kept


def test_a_refusal_is_told_once(tiny_street, tiny_checkpoint, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = ("--data", tiny_street, "--ckpt", tiny_checkpoint)
    process = start(*words, "--seq", "11", "--out", "run")
    out, errors = process.communicate(timeout=120)
    assert process.returncode != 0
    assert out == ""
    (line,) = said(errors)
    assert line.startswith("error: --seq: there is no sequence '11' in ")
    assert not (tmp_path / "run").exists()
