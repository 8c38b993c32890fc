from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def vo_data() -> Command:
    """Run the installed command, with its output into a pipe."""
    program = Path(sys.executable).with_name("vo-data")
    if not program.is_file():
        pytest.fail(f"{program} is not there: install the package")

    def command(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [program, *map(str, arguments)], capture_output=True, text=True, timeout=120
        )

    return command


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Sequence 00 with four 1242x375 images and nine poses, 1 m apart."""
    folder = tmp_path / "a folder [with] a long name" / "sequences" / "00"
    (folder / "image_0").mkdir(parents=True)
    for i in range(4):
        cv2.imwrite(str(folder / f"image_0/{i:06d}.png"), np.full((375, 1242), 9 * i, np.uint8))
    (folder / "calib.txt").write_text("P0: 721.5377 0 609.5593 0 0 721.5377 172.854 0 0 0 1 0\n")
    (folder / "times.txt").write_text("0\n0.1\n0.2\n0.3\n")
    poses = folder.parent.parent / "poses"
    poses.mkdir()
    (poses / "00.txt").write_text("".join(f"1 0 0 0 0 1 0 0 0 0 1 {i}\n" for i in range(9)))
    return folder.parent.parent


def test_check_prints_warnings_and_succeeds(vo_data: Command, root: Path) -> None:
    result = vo_data("check", root)
    assert result.returncode == 0
    assert result.stderr == ""
    assert result.stdout.splitlines() == [
        f"warning: {root / 'poses/00.txt'}: has 9 poses, the images end at frame 3",
        f"{root}: 4 images read, 1 warning",
    ]


def test_check_prints_each_problem_and_fails(vo_data: Command, root: Path) -> None:
    image = root / "sequences/00/image_0/000001.png"
    image.write_bytes(image.read_bytes()[:100])
    (root / "sequences/00/calib.txt").write_text("P1: 1\n")
    result = vo_data("check", root, "--seq", "0")
    assert result.returncode == 1
    lines = result.stdout.splitlines()
    assert f"error: {image}: is truncated (PNG ends after 100 bytes)" in lines
    assert len([line for line in lines if line.startswith("error: ")]) == 2
    assert lines[-1] == f"{root}: 4 images read, 2 errors, 1 warning"


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["check", "/nowhere/at/all"], "error: /nowhere/at/all: no such file or folder; check the"),
        (["info", "{root}", "--seq", "21"], "error: --seq: there is no sequence '21' in"),
        (["check", "{root}", "--workers", "0"], "error: --workers: is 0; give 1 or more"),
    ],
)
def test_bad_input_is_one_line_and_status_2(vo_data, root, arguments, line) -> None:
    result = vo_data(*(argument.format(root=root) for argument in arguments))
    assert result.returncode == 2
    assert result.stdout == ""
    assert result.stderr.startswith(line)
    assert result.stderr.count("\n") == 1


def test_info_is_whole_in_a_pipe(vo_data: Command, root: Path) -> None:
    result = vo_data("info", root)
    assert result.returncode == 0
    header, row = (line.split() for line in result.stdout.splitlines())
    assert header[:3] == ["sequence", "frames", "size"]
    assert row[:3] == ["00", "4", "1242x375"]
    assert row[3:7] == ["721.5", "721.5", "609.6", "172.9"]
    # 0.3 s for four frames are 10 Hz; the first four poses are 3 m long
    assert " ".join(row[7:]) == "0.3 s 10.00 Hz 3.0 m poses"


def test_info_goes_on_after_a_damaged_sequence(vo_data: Command, root: Path) -> None:
    (root / "sequences/01/image_0").mkdir(parents=True)
    result = vo_data("info", root)
    assert result.returncode == 1
    assert "1242x375" in result.stdout
    assert f"error: {root / 'sequences/01/image_0'}: holds no images of frames" in result.stdout


@pytest.mark.parametrize("command", [[], ["check"], ["info"]])
def test_help(vo_data: Command, command: list[str]) -> None:
    result = vo_data(*command, "--help")
    assert result.returncode == 0
    assert "vo-data" in result.stdout


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; sys.argv = ['vo-data', 'check', '--help']\n"
        "from vo.tools.data import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print(sorted({'numpy', 'cv2', 'av', 'open3d', 'matplotlib'} & set(sys.modules)))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.splitlines()[-1] == "[]"


@pytest.mark.real_data
def test_real_recordings(vo_data: Command, real_data: Path) -> None:
    result = vo_data("info", real_data / "kitti_odometry")
    assert result.returncode == 0
    assert "449.2 m" in result.stdout
    video = real_data / "video" / "street_drive.mp4"
    assert vo_data("info", video, "--intrinsics", "721,721,620,187").returncode == 0
    assert "--intrinsics" in vo_data("info", video, "--seq", "street_drive").stderr


def test_street_is_written_sound_and_only_once(vo_data: Command, tmp_path: Path) -> None:
    arguments = ["street", "--seq", "03", "04", "--size", "96", "32", "--frames", "3"]
    for _ in range(2):
        result = vo_data(*arguments, "--out", tmp_path / "street")
        assert result.returncode == 0
        assert result.stdout.splitlines() == [str(tmp_path / "street")]
    checked = vo_data("check", tmp_path / "street")
    # image, depth and mask of three frames of two sequences
    assert checked.stdout.splitlines() == [f"{tmp_path / 'street'}: 18 images read, no problems"]
    info = vo_data("info", tmp_path / "street", "--seq", "04").stdout
    assert "poses, depth, moving" in info


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--seq", "11"], "error: --seq: there is no sequence '11'; the street has 00 to 10"),
        (["--frames", "9"], "error: --frames: sequences in the shared cache have their own"),
        (["--size", "4", "4"], "error: --size: cannot draw 4x4"),
    ],
)
def test_street_refuses_in_one_line(vo_data: Command, arguments: list[str], line: str) -> None:
    result = vo_data("street", *arguments)
    assert result.returncode == 2
    assert result.stderr.startswith(line)
    assert result.stderr.count("\n") == 1


def test_interrupted_street_says_so_in_one_line(vo_data: Command, tmp_path: Path) -> None:
    program = Path(sys.executable).with_name("vo-data")
    arguments = ["street", "--seq", "06", "--out", str(tmp_path), "--frames", "400"]
    process = subprocess.Popen(
        [program, *arguments],
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # A shell's background jobs ignore interrupts, and so do their children: undo it.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob(".partial-06-*/image_2/*.png")):
        assert time.monotonic() < deadline, "no frames came"
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 130
    assert errors == "error: interrupted; nothing half-written was left behind\n"
    assert not list(tmp_path.glob(".partial*"))
    assert not (tmp_path / "sequences").exists()
