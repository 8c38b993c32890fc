"""``vo-eval trajectory``: the table, the files it leaves, and the line it says when it cannot."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from vo.tools.evaluate import _names
from vo.trajectory import Trajectory

COMMAND = [sys.executable, "-c", "from vo.tools.evaluate import main; main()"]
KEYS = {
    "t_rel_percent",
    "r_rel_deg_per_100m",
    "ate_m",
    "rpe_trans_m",
    "rpe_rot_deg",
    "alignment",
    "scale",
    "frames",
}
PICTURES = ["trajectories", "position_error", "segment_errors"]


def vo_eval(*arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *map(str, arguments)],
        env={**os.environ, "COLUMNS": "80", **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def curve(n: int, step_m: float) -> Trajectory:
    """A drive on a widening circle, n poses."""
    T_w_c = [np.eye(4)]
    for k in range(1, n):
        T = np.eye(4)
        T[:3, :3] = Rotation.from_euler("y", 60 / (k + 100), degrees=True).as_matrix()
        T[:3, 3] = [0, 0.01 * np.sin(k / 20), step_m]
        T_w_c.append(T_w_c[-1] @ T)
    return Trajectory(np.arange(n) / 10, np.array(T_w_c), np.arange(n))


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    truth = curve(300, 1.03)
    paths = {name: tmp_path / name / "09.txt" for name in ("truth", "small", "late", "short")}
    for path in paths.values():
        path.parent.mkdir()
    truth.write_kitti(paths["truth"])
    truth.scaled(0.1).write_kitti(paths["small"])
    truth.subset(np.arange(5, 290)).scaled(0.5).write_kitti(paths["late"])
    truth.subset(np.arange(20)).write_kitti(paths["short"])
    return paths


def test_help_names_every_choice() -> None:
    assert "trajectory" in vo_eval("--help").stdout
    text = vo_eval("trajectory", "--help").stdout
    for word in ("--gt FILE", "--est FILE [FILE ...]", "scale_sim3", "--match", "--out DIR"):
        assert word in text
    assert "(default: sim3)" in text


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys; from vo.tools.evaluate import main\n"
        "sys.argv = ['vo-eval', 'trajectory', '--help']\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'numpy', 'open3d', 'evo', 'matplotlib', 'scipy', 'cv2'}\n"
        "sys.exit(' '.join(heavy & set(sys.modules)) or 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_table_stays_whole_in_a_pipe(files: dict[str, Path]) -> None:
    done = vo_eval("trajectory", "--gt", files["truth"], "--est", files["small"], COLUMNS="40")
    assert done.returncode == 0, done.stderr
    row = next(line for line in done.stdout.splitlines() if line.startswith("09"))
    name, t_rel, r_rel, ate, rpe_m, rpe_deg, frames, path_m, scale, alignment = row.split()
    assert (name, frames, scale, alignment) == ("09", "300", "10", "sim3")
    assert float(path_m) == pytest.approx(curve(300, 1.03).path_length_m, abs=0.1)
    for number in (t_rel, r_rel, ate, rpe_m, rpe_deg):
        assert float(number) == pytest.approx(0, abs=1e-4)


def test_results_are_written(files: dict[str, Path], tmp_path: Path) -> None:
    out, home = tmp_path / "deep" / "results", tmp_path / "home"
    home.mkdir()
    arguments = ["--est", files["small"], files["late"], "--match", "index", "--out", out]
    done = vo_eval("trajectory", "--gt", files["truth"], *arguments, HOME=str(home))
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert "09.txt" in done.stdout
    names = [f"{name}.{suffix}" for name in PICTURES for suffix in ("png", "pdf")]
    assert sorted(p.name for p in out.iterdir()) == sorted([*names, "metrics.json"])
    for name in PICTURES:
        assert (out / f"{name}.png").read_bytes().startswith(b"\x89PNG")
        assert (out / f"{name}.pdf").read_bytes().startswith(b"%PDF")
    content = json.loads((out / "metrics.json").read_text())
    assert content["gt"] == str(files["truth"])
    assert set(content["estimates"]) == {"small/09.txt", "late/09.txt"}
    late = content["estimates"]["late/09.txt"]
    assert set(late) >= KEYS
    assert late["frames"] == 285
    assert late["scale"] == pytest.approx(2)
    assert late["alignment"] == "sim3"
    assert late["t_rel_percent"] == pytest.approx(0, abs=1e-6)
    # evo would leave its settings in the user's home.
    assert not (home / ".evo").exists()


def test_what_cannot_be_measured_is_null_and_never_zero(files, tmp_path: Path) -> None:
    arguments = ["--est", files["short"], "--match", "index", "--out", tmp_path / "out"]
    done = vo_eval("trajectory", "--gt", files["truth"], *arguments)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    row = next(line for line in done.stdout.splitlines() if line.startswith("09"))
    assert row.split()[1:3] == ["-", "-"]
    text = (tmp_path / "out" / "metrics.json").read_text()
    assert "NaN" not in text
    scores = json.loads(text)["estimates"]["09"]
    assert scores["t_rel_percent"] is None
    assert scores["r_rel_deg_per_100m"] is None
    assert scores["frames"] == 20


def test_earlier_results_are_kept_unless_told(files: dict[str, Path], tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "metrics.json").write_text("earlier")
    arguments = ["trajectory", "--gt", files["truth"], "--est", files["small"], "--out", out]
    done = vo_eval(*arguments)
    assert done.returncode == 2
    assert "holds metrics.json of an earlier evaluation; choose another" in done.stderr
    assert done.stdout == ""
    assert [p.name for p in out.iterdir()] == ["metrics.json"]
    assert vo_eval(*arguments, "--overwrite").returncode == 0
    assert json.loads((out / "metrics.json").read_text())["estimates"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--est", "{late}"], "15 of 300 frames of the ground truth have no pose: 0-4, 290-299"),
        (["--est", "{tmp}/none.txt"], "none.txt: no such file"),
        (["--est", "{tmp}"], "is a folder; a KITTI file has 12 or 13 numbers a line"),
        (["--est", "{small}", "{small}"], "is given twice"),
        (["--est", "{small}", "--out", "{small}"], "is a file; give --out the name of a folder"),
        (["--est", "{small}", "--times", "{small}"], "line 1 has 12 numbers; write one time"),
        (["--est", "{small}", "--max-time-difference", "-1"], "is no length of time"),
        (["--est", "{tum}"], "is a KITTI file, which holds no times; give them with --times"),
        (["--est", "{still}"], "the estimate does not move"),
    ],
)
def test_bad_input_is_one_line_and_status_2(files, tmp_path, arguments, message: str) -> None:
    curve(300, 1.03).write_tum(tmp_path / "tum.txt")
    (tmp_path / "still.txt").write_text("1 0 0 0 0 1 0 0 0 0 1 0\n" * 300)
    names = {"tmp": tmp_path, "tum": tmp_path / "tum.txt", "still": tmp_path / "still.txt"}
    filled = [text.format(**files, **names) for text in arguments]
    done = vo_eval("trajectory", "--gt", files["truth"], *filled)
    assert done.returncode == 2
    assert message in done.stderr
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""


def test_kitti_and_tum_compare_with_the_times_of_the_sequence(files, tmp_path: Path) -> None:
    curve(300, 1.03).subset(np.arange(0, 300, 3)).write_tum(tmp_path / "tum.txt")
    times = tmp_path / "times.txt"
    times.write_text("".join(f"{k / 10}\n" for k in range(300)))
    arguments = ["--est", tmp_path / "tum.txt", "--times", times, "--match", "time"]
    done = vo_eval("trajectory", "--gt", files["truth"], *arguments)
    assert done.returncode == 0, done.stderr
    row = next(line for line in done.stdout.splitlines() if line.startswith("tum"))
    assert row.split()[6] == "100"


def test_names_are_as_short_as_they_can_be_told_apart() -> None:
    assert list(_names((Path("a/09.txt"), Path("a/10.txt")))) == ["09", "10"]
    assert list(_names((Path("a/09.txt"), Path("b/09.txt")))) == ["a/09.txt", "b/09.txt"]
    far = (Path("x/a/09.txt"), Path("y/a/09.txt"))
    assert list(_names(far)) == ["x/a/09.txt", "y/a/09.txt"]


@pytest.mark.real_data
@pytest.mark.parametrize(
    ("align", "numbers"),
    [
        # t_rel, r_rel, ATE as kitti-odom-eval prints them for the first, then the second result
        ("sim3", [("2.8841", "0.24906", "8.3866"), ("2.5275", "0.28771", "10.7295")]),
        ("scale", [("2.8664", "0.24906", "10.6386"), ("2.6664", "0.28771", "17.8832")]),
    ],
)
def test_published_values_stand_in_the_table(real_data: Path, align: str, numbers) -> None:
    results = [real_data / f"trajectories/example_{k}/09.txt" for k in (0, 1)]
    truth = real_data / "kitti_odometry/poses/09.txt"
    arguments = ["--est", *results, "--align", align, "--match", "index"]
    done = vo_eval("trajectory", "--gt", truth, *arguments)
    assert done.returncode == 0, done.stderr
    rows = [line.split() for line in done.stdout.splitlines() if line.startswith("example_")]
    assert [tuple(row[1:4]) for row in rows] == numbers
