"""A run's folder is its own, and whatever ends the run leaves whole lines in it."""

from __future__ import annotations

import errno
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from vo.datasets.errors import InputError
from vo.drive import Row
from vo.tools.running.record import LineFile, csv_line, new_folder
from vo.trajectory import Trajectory

GROWING = ("raw.txt", "refined.txt", "raw.tum.txt", "refined.tum.txt", "scale.csv")
FRAMES = 96


@pytest.fixture(scope="module")
def long_walk(tiny_street, tmp_path_factory) -> Path:
    """To and fro over the street's twelve frames: long enough to be killed on the way."""
    folder = tmp_path_factory.mktemp("long") / "walk"
    folder.mkdir()
    images = sorted((tiny_street / "sequences/09/image_2").iterdir())
    there_and_back = [*images, *images[-2:0:-1]]
    for i in range(FRAMES):
        shutil.copyfile(there_and_back[i % len(there_and_back)], folder / f"{i:06d}.png")
    return folder


def start(walk: Path, checkpoint: Path, out: Path) -> subprocess.Popen[str]:
    program = Path(sys.executable).with_name("vo-run")
    if not program.is_file():
        pytest.fail(f"{program} is not there: install the package")
    command = [program, "--data", walk, "--intrinsics", "70,70,47.5,31.5"]
    return subprocess.Popen(
        [*command, "--ckpt", checkpoint, "--out", out],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        # A shell's background jobs ignore interrupts, and so do their children: undo it.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def wait_for_lines(process: subprocess.Popen[str], file: Path, lines: int) -> None:
    deadline = time.monotonic() + 120
    while not file.exists() or file.read_bytes().count(b"\n") < lines:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline, f"no {lines} lines came"
        time.sleep(0.002)


@pytest.fixture(scope="module")
def unbroken(long_walk, tiny_checkpoint, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("unbroken") / "run"
    process = start(long_walk, tiny_checkpoint, out)
    _, errors = process.communicate(timeout=300)
    assert (process.returncode, errors) == (0, "")
    assert len((out / "raw.txt").read_text().splitlines()) == FRAMES
    return out


def test_a_killed_run_leaves_the_beginning_of_the_unbroken_one(
    unbroken, long_walk, tiny_checkpoint, tmp_path
):
    moments = random.Random(0)
    for attempt in range(5):
        out = tmp_path / str(attempt)
        process = start(long_walk, tiny_checkpoint, out)
        wait_for_lines(process, out / "raw.txt", moments.randint(1, FRAMES // 2))
        time.sleep(moments.uniform(0, 0.05))
        process.kill()
        process.communicate()
        assert process.returncode == -signal.SIGKILL, "it was killed before its end"
        counts = []
        for name in GROWING:
            killed, whole = (out / name).read_bytes(), (unbroken / name).read_bytes()
            assert killed.endswith(b"\n"), f"{name} ends in the middle of a line"
            assert whole.startswith(killed), f"{name} is no beginning of the unbroken run's"
            counts.append(killed.count(b"\n") - (name == "scale.csv"))
        assert max(counts) - min(counts) <= 1
        assert counts[0] > 0
        assert (out / "log.txt").read_bytes().endswith(b"\n")
        assert len(Trajectory.read_kitti(out / "refined.txt")) == counts[1]
        assert not (out / "metrics.json").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_run_between_two_frames_in_one_line(
    unbroken, long_walk, tiny_checkpoint, tmp_path, number
):
    out = tmp_path / "run"
    process = start(long_walk, tiny_checkpoint, out)
    wait_for_lines(process, out / "raw.txt", 5)
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    kept = len((out / "raw.txt").read_text().splitlines())
    assert 5 <= kept < FRAMES
    assert errors == f"error: interrupted; {kept} of {FRAMES} frames are kept in {out}\n"
    for name in GROWING:
        text = (out / name).read_bytes()
        assert text.count(b"\n") - (name == "scale.csv") == kept
        assert (unbroken / name).read_bytes().startswith(text)
    assert "interrupted" in (out / "log.txt").read_text()
    assert not list(out.glob("*.png"))


def test_numbers_go_on_and_no_two_runs_share_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs/09-2").mkdir(parents=True)
    with ThreadPoolExecutor(8) as pool:
        folders = [folder for folder, _ in pool.map(lambda _: new_folder(None, "09"), range(8))]
    numbers = sorted(int(folder.name.removeprefix("09-")) for folder in folders)
    assert numbers == [1, 3, 4, 5, 6, 7, 8, 9]


def test_one_of_many_runs_gets_the_folder_given(tmp_path):
    def claim(_: int) -> str:
        try:
            new_folder(tmp_path / "a/b", "09")
        except InputError as error:
            return error.problem
        return "mine"

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(claim, range(8)))
    assert answers.count("mine") == 1
    assert set(answers) == {"mine", "holds something already, which is never overwritten"}


def test_lines_are_written_whole_or_not_at_all(tmp_path, monkeypatch):
    file, write = LineFile(tmp_path / "lines"), os.write
    file.write("first")
    monkeypatch.setattr("vo.tools.running.record.os.write", lambda fd, data: write(fd, data[:2]))
    file.write("in many pieces")  # as a signal may have it

    def full(fd: int, data: bytes) -> int:
        if len(data) < 10:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(fd, data[:4])

    monkeypatch.setattr("vo.tools.running.record.os.write", full)
    with pytest.raises(OSError, match="No space left") as error:
        file.write("the disk is full after four letters")
    assert error.value.errno == errno.ENOSPC
    assert error.value.filename == str(tmp_path / "lines")
    file.close()
    assert (tmp_path / "lines").read_text() == "first\nin many pieces\n"
    with pytest.raises(FileExistsError):
        LineFile(tmp_path / "lines")


def test_a_line_of_numbers_has_nothing_where_nothing_was_measured():
    nan = float("nan")
    row = Row(7, 0.7, 0.5, 0.25, 2.0, 3.5, 8.0, nan, nan, nan, 4, False, "too far, or too fast")
    found = csv_line(row)
    assert found == '7,0.7,0.5,0.25,2.0,3.5,8.0,,,,4,False,"too far, or too fast",,,'
    assert csv_line(row, ("refined",)) == found.replace("0.5,0.25,2.0", ",0.25,")
    assert csv_line(row, ("raw",)) == '7,0.7,0.5,,,3.5,8.0,,,,,False,"too far, or too fast",,,'


def test_numbers_of_numpy_are_written_as_numbers():
    row = Row(*(np.float64(1.5),) * 10, 4, True, "")
    assert csv_line(row).startswith("1.5,1.5,")
