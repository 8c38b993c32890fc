"""`vo-run`: what it writes and prints, and what it refuses."""

from __future__ import annotations

import csv
import dataclasses
import errno
import json
import math
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from vo.datasets import open_sequence
from vo.datasets.street import render_street
from vo.drive import Row
from vo.evaluation import evaluate
from vo.odometry import Odometry
from vo.settings import read_yaml
from vo.tools.running.record import RunConfig
from vo.trajectory import Trajectory

INTRINSICS = "70,70,47.5,31.5"
KEYS = ("t_rel_percent", "r_rel_deg_per_100m", "ate_m", "rpe_trans_m", "rpe_rot_deg", "alignment")
pictureless = pytest.mark.usefixtures("no_pictures")


def rows(folder: Path) -> list[dict[str, str]]:
    with open(folder / "scale.csv", newline="") as file:
        return list(csv.DictReader(file))


def numbers(file: Path) -> np.ndarray:
    return np.array([[float(n) for n in line.split(" ")] for line in file.read_text().splitlines()])


def metrics(folder: Path) -> dict:
    return json.loads((folder / "metrics.json").read_text())


@pytest.fixture
def street_run(vo_run, tiny_street, tmp_path) -> Path:
    done = vo_run("--data", tiny_street, "--seq", "9")
    assert (done.status, done.err) == (0, "")
    return tmp_path / "runs/09-1"


def test_a_run_leaves_everything(vo_run, tiny_street, tiny_checkpoint, tmp_path):
    done = vo_run("--data", tiny_street, "--seq", "9")
    assert (done.status, done.err) == (0, "")
    folder = tmp_path / "runs/09-1"
    pictures = [
        f"{name}.{suffix}"
        for name in ("trajectories", "position_error", "segment_errors", "scale")
        for suffix in ("png", "pdf")
    ]
    poses = ["raw.txt", "refined.txt", "raw.tum.txt", "refined.tum.txt", "gt.txt"]
    others = ["report.html", "scale.csv", "metrics.json", "config.yaml", "command.txt", "log.txt"]
    assert sorted(p.name for p in folder.iterdir()) == sorted([*pictures, *poses, *others])
    assert all(cv2.imread(str(folder / p)) is not None for p in pictures if p.endswith("png"))
    command = (folder / "command.txt").read_text()
    assert f"command: vo-run --data {tiny_street} --seq 9 --ckpt {tiny_checkpoint}" in command
    for word in ("sha256: ", "python: 3.", "torch: ", "pypose: 0.9", "timm: ", "vo: ", "commit: "):
        assert f"\n{word}" in command
    config = read_yaml(RunConfig, folder / "config.yaml")
    assert config.flags.seq == ("9",)
    assert config.refine == config.model.refine
    assert config.refine is not None
    assert config.refine.iterations == (3, 3)
    assert "12 frames" in (folder / "log.txt").read_text()


def test_table_has_raw_and_refined_in_rows(vo_run, tiny_street, no_pictures):
    done = vo_run("--data", tiny_street, "--seq", "09")
    titles, units, raw, refined, *below = done.out.splitlines()
    assert titles.split()[:6] == ["trajectory", "t_rel", "r_rel", "ATE", "RPE", "RPE"]
    assert "raw/refined" in titles
    assert "pose/depth" in titles
    assert units.split()[:2] == ["(%)", "(deg/100m)"]
    raw, refined = raw.split(), refined.split()
    assert (raw[0], refined[0]) == ("raw", "refined")
    assert len(raw) == len(refined) == 12
    # refined over refined is 1 by construction and is not shown as if it had been measured
    assert refined[6:8] == ["-", "-"]
    assert raw[-2] == refined[-2] == "sim3"
    assert float(raw[6]) == pytest.approx(
        np.nanmean([float(row["ratio"]) for row in rows(Path("runs/09-1"))[1:]]), abs=1e-4
    )
    assert below == [
        "t_rel, r_rel: no sub-sequence of 100 m or more to measure",
        "12 frames in runs/09-1/",
        "evo_ape kitti runs/09-1/gt.txt runs/09-1/refined.txt -as --plot",
        "report: runs/09-1/report.html",
    ]


def test_from_the_motion_before_only_refined_is_there_and_it_says_so(
    vo_run, street_run, tiny_street, tmp_path
):
    done = vo_run("--data", tiny_street, "--seq", "09", "--first-guess", "motion")
    assert (done.status, done.err) == (0, "")
    folder = tmp_path / "runs/09-2"
    before = {path.name for path in street_run.iterdir()}
    assert {path.name for path in folder.iterdir()} == before - {"raw.txt", "raw.tum.txt"}
    found, normal = metrics(folder), metrics(street_run)
    assert found["raw"] is None
    assert found["refinement"] is True
    assert found["scale"]["consistency"] is None
    assert set(found["scale"]["alignment"]) == {"refined"}
    assert found["depth"] == pytest.approx(normal["depth"])
    assert found["tracked"] == 1
    table = rows(folder)
    assert all(row["step_raw"] == row["ratio"] == "" for row in table), "the first pair's included"
    assert all(row["step"] and row["energy_before"] and row["energy"] for row in table[1:])
    guesses = [float(row["energy_before"]) for row in rows(street_run)[2:]]
    assert not np.allclose([float(row["energy_before"]) for row in table[2:]], guesses)
    poses, usual = (numbers(path / "refined.txt") for path in (folder, street_run))
    assert np.allclose(poses[:2], usual[:2], atol=1e-12), "the first pair has no motion before it"
    lines = done.out.splitlines()
    assert [line.split()[0] for line in lines[2:4]] == ["refined", "t_rel,"]
    assert "raw/refined" not in lines[0]
    assert "raw motions were not asked for (--first-guess motion): refined poses only" in lines
    assert lines[-2].startswith("evo_ape kitti runs/09-2/gt.txt runs/09-2/refined.txt")


@pictureless
def test_from_the_motion_before_the_refinement_comes_to_the_same(vo_run, tmp_path):
    render_street(tmp_path / "street", ["09"], (320, 96), 6, workers=1)
    found = []
    for guess in ("network", "motion"):
        flags = ("--data", tmp_path / "street", "--first-guess", guess, "--out", guess)
        done = vo_run(*flags, "--ckpt", "street.safetensors")
        assert done.status == 0, done.err
        found.append(numbers(tmp_path / guess / "refined.txt"))
    assert found[0][-1, -1] > 5, "metres"
    assert 0 < np.abs(found[0] - found[1]).max() < 0.03


@pictureless
def test_compile_asks_for_the_compiled_refinement(vo_run, tiny_street, monkeypatch):
    asked = []

    class Eager(Odometry):
        """What compiled code computes is tested with the refinement."""

        def __init__(self, model, refine, *rest):
            asked.append(refine.backend)
            super().__init__(model, replace(refine, backend="eager"), *rest)

    monkeypatch.setattr("vo.odometry.Odometry", Eager)
    flags = ("--data", tiny_street, "--seq", "09", "--end", "3")
    for more in ((), ("--compile",)):
        assert vo_run(*flags, *more).status == 0
    assert asked == ["eager", "compiled"]
    monkeypatch.setenv("CXX", "none")
    monkeypatch.setenv("PATH", "/nowhere")
    done = vo_run(*flags, "--compile")
    assert done.status == 2
    assert done.err.startswith("error: --compile: needs a C++ compiler, and there is no none or ")


@pictureless
def test_files_are_those_that_trajectories_write(street_run, tiny_street, tmp_path):
    again = tmp_path / "again.txt"
    for name in ("raw", "refined"):
        assert numbers(street_run / f"{name}.txt").shape == (12, 12)
        poses = Trajectory.read_kitti(street_run / f"{name}.txt")
        assert np.array_equal(poses.T_w_c[0], np.eye(4)), "the world is the first camera"
        poses.write_kitti(again)
        assert again.read_bytes() == (street_run / f"{name}.txt").read_bytes()
        times = open_sequence(tiny_street, "09").timestamps
        Trajectory(times, poses.T_w_c).write_tum(again)
        assert again.read_bytes() == (street_run / f"{name}.tum.txt").read_bytes()
    truth = open_sequence(tiny_street, "09").T_w_c
    assert truth is not None
    found = Trajectory.read_kitti(street_run / "gt.txt").T_w_c
    assert np.allclose(found, np.linalg.inv(truth[0]) @ truth, atol=1e-12)


@pictureless
def test_metrics_are_those_of_the_written_files(street_run):
    found = metrics(street_run)
    truth = Trajectory.read_kitti(street_run / "gt.txt")
    for name in ("raw", "refined"):
        scores = evaluate(truth, Trajectory.read_kitti(street_run / f"{name}.txt"), "sim3").scores
        assert set(KEYS) | {"frames"} <= found[name].keys()
        assert found[name]["ate_m"] == pytest.approx(scores.ate_m, rel=1e-6)
        assert found[name]["rpe_trans_m"] == pytest.approx(scores.rpe_trans_m, rel=1e-6)
        assert found[name]["rpe_rot_deg"] == pytest.approx(scores.rpe_rot_deg, rel=1e-6)
        assert found[name]["t_rel_percent"] is None, "12 frames are no 100 m"
        assert found[name]["alignment"] == "sim3"
        assert found[name]["frames"] == 12
    assert set(found["scale"]["consistency"]) >= {"median", "mean", "spread", "coverage"}
    # Known depth and grey features give motions in the scale of the depth, whatever that is.
    raw, refined = (found["scale"]["alignment"][name] for name in ("raw", "refined"))
    assert refined["mean_error"] < 0.5 * raw["mean_error"]
    assert set(found["depth"]) == {"abs_rel", "depth_scale", "depth_scale_spread"}
    assert found["tracked"] == 1
    assert found["frames_per_s"] > 0


@pictureless
def test_scale_csv_has_every_number_of_every_frame(street_run):
    table = rows(street_run)
    assert list(table[0]) == [field.name for field in dataclasses.fields(Row)]
    assert [row["frame"] for row in table] == [str(i) for i in range(12)]
    assert table[0]["step"] == table[0]["energy"] == "", "the first frame has no motion"
    assert all(float(row["energy"]) <= float(row["energy_before"]) for row in table[1:])
    positions = Trajectory.read_kitti(street_run / "refined.txt").positions
    steps = np.linalg.norm(np.diff(positions, axis=0), axis=1)
    assert np.allclose([float(row["step"]) for row in table[1:]], steps, rtol=1e-9)


@pictureless
def test_evo_reads_the_files(street_run, tmp_path):
    program = Path(sys.executable).with_name("evo_ape")
    command = [program, "kitti", "gt.txt", "refined.txt", "-as"]
    environment = {**os.environ, "HOME": str(tmp_path)}
    done = subprocess.run(
        command, cwd=street_run, env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    (rmse,) = (line for line in done.stdout.splitlines() if "rmse" in line)
    assert float(rmse.split()[1]) == pytest.approx(
        metrics(street_run)["refined"]["ate_m"], abs=1e-6
    )


@pictureless
def test_part_of_a_drive_has_twelve_columns_and_its_own_truth(vo_run, tiny_street, tmp_path):
    done = vo_run("--data", tiny_street, "--seq", "09", "--start", "3", "--stride", "2")
    assert done.status == 0, done.err
    folder = tmp_path / "runs/09-1"
    assert [row["frame"] for row in rows(folder)] == ["3", "5", "7", "9", "11"]
    truth = numbers(folder / "gt.txt")
    assert truth.shape == numbers(folder / "refined.txt").shape == (5, 12)
    assert np.allclose(truth[0], np.eye(4)[:3].ravel(), atol=1e-12)
    whole = open_sequence(tiny_street, "09").T_w_c
    assert whole is not None
    assert np.allclose(truth[4], (np.linalg.inv(whole[3]) @ whole[11])[:3].ravel(), atol=1e-12)


@pictureless
def test_without_refinement_only_raw_is_there_and_it_says_so(
    vo_run, street_run, tiny_street, tmp_path
):
    done = vo_run("--data", tiny_street, "--seq", "09", "--no-refine")
    assert done.status == 0, done.err
    folder = tmp_path / "runs/09-2"
    assert not list(folder.glob("refined*"))
    assert (folder / "raw.txt").read_bytes() == (street_run / "raw.txt").read_bytes()
    found = metrics(folder)
    assert found["refined"] is None
    assert found["refinement"] is False
    assert found["scale"]["consistency"] is None
    assert found["raw"]["ate_m"] == pytest.approx(metrics(street_run)["raw"]["ate_m"])
    assert all(row["step"] == row["ratio"] == row["iterations"] == "" for row in rows(folder))
    assert read_yaml(RunConfig, folder / "config.yaml").refine is None
    lines = done.out.splitlines()
    assert [line.split()[0] for line in lines[2:4]] == ["raw", "t_rel,"]
    assert "refinement was off (--no-refine): raw poses only" in lines
    assert lines[-2].startswith("evo_ape kitti runs/09-2/gt.txt runs/09-2/raw.txt")
    assert lines[-1] == "report: runs/09-2/report.html"


def test_black_frame_is_told_and_every_frame_has_its_pose(vo_run, walk, tmp_path):
    assert cv2.imwrite(str(walk / "000005.png"), np.zeros((64, 96, 3), np.uint8))
    done = vo_run("--data", walk, "--intrinsics", INTRINSICS)
    assert done.status == 0, done.err
    folder = tmp_path / "runs/walk-1"
    assert numbers(folder / "raw.txt").shape == numbers(folder / "refined.txt").shape == (12, 12)
    lost = [row for row in rows(folder) if row["tracked"] == "False"]
    assert "5" in [row["frame"] for row in lost]
    assert all(row["reason"] for row in lost)
    assert len(lost) < 5, "frames far from the black one are tracked"
    reason = next(row["reason"] for row in lost if row["frame"] == "5")
    assert f"not tracked: {len(lost)} of 12 frames: 5 ({reason})" in done.out
    assert f"frame 5 is not tracked: {reason}" in (folder / "log.txt").read_text()
    # without truth: the length of the path and what is known without it
    titles, units = done.out.splitlines()[:2]
    assert titles.split()[:4] == ["trajectory", "path", "residual", "tracked"]
    assert units.split()[:2] == ["(scene", "units)"]
    assert not (folder / "gt.txt").exists()
    assert "evo_ape" not in done.out
    found = metrics(folder)
    assert all(found["refined"][key] is None for key in KEYS)
    assert found["refined"]["frames"] == 12
    assert found["refined"]["estimated_path_length"] > 0
    assert found["tracked"] == pytest.approx(1 - len(lost) / 12)
    assert sorted(p.name for p in folder.glob("*.png")) == ["scale.png", "trajectories.png"]


@pictureless
@pytest.mark.parametrize("frames", [1, 2])
@pytest.mark.parametrize(("guess", "kind"), [("network", "raw"), ("motion", "refined")])
def test_a_drive_too_short_to_judge_is_still_written(
    vo_run, tiny_street, tmp_path, frames, guess, kind
):
    flags = ("--data", tiny_street, "--seq", "09", "--first-guess", guess)
    done = vo_run(*flags, "--end", str(frames))
    assert done.status == 0, done.err
    assert f"errors could not be measured: {kind}: " in done.out
    found = metrics(tmp_path / "runs/09-1")
    assert found[kind]["ate_m"] is None
    assert found[kind]["frames"] == frames
    assert found["unjudged"].startswith(f"{kind}: ")
    assert numbers(tmp_path / "runs/09-1/refined.txt").shape == (frames, 12)


def test_short_drive_is_drawn(vo_run, tiny_street, tmp_path):
    assert vo_run("--data", tiny_street, "--seq", "09", "--end", "1").status == 0
    assert vo_run("--data", tiny_street, "--seq", "09", "--end", "3").status == 0
    assert (tmp_path / "runs/09-1/trajectories.pdf").stat().st_size > 1000
    assert not (tmp_path / "runs/09-1/scale.pdf").exists()  # one frame has none
    assert (tmp_path / "runs/09-2/scale.pdf").stat().st_size > 1000


@pictureless
def test_several_sequences_end_with_one_table(vo_run, tiny_street, tmp_path):
    done = vo_run("--data", tiny_street, "--seq", "all", "--out", "both", "--align", "none")
    assert done.status == 0, done.err
    assert numbers(tmp_path / "both/09/refined.txt").shape == (12, 12)
    # the same images give the same poses: nothing of the first drive is left in the second
    for name in ("raw.txt", "refined.txt"):
        first, second = (tmp_path / "both" / seq / name for seq in ("09", "10"))
        assert first.read_bytes() == second.read_bytes()
    last = done.out.splitlines()[-6:]
    assert last[0].split()[:2] == ["sequence", "trajectory"]
    starts = [line.split()[:2] for line in last[2:]]
    assert starts == [["09", "raw"], ["09", "refined"], ["10", "raw"], ["10", "refined"]]
    assert all(" none " in line for line in last[2:])


@pictureless
def test_street_is_drawn_at_the_checkpoints_size(vo_run, tmp_path, monkeypatch):
    monkeypatch.setattr("vo.datasets.street.dataset.default_frames", lambda seq: 3)
    done = vo_run("--seq", "4", "--out", "run")
    assert done.status == 0, done.err
    assert list((tmp_path / "cache").glob("street-96x64-*/sequences/04"))
    assert numbers(tmp_path / "run/gt.txt").shape == (3, 12)


@pictureless
def test_earlier_runs_stay_as_they_are(vo_run, street_run, tiny_street, tmp_path):
    before = {path.name: path.read_bytes() for path in street_run.iterdir()}
    assert vo_run("--data", tiny_street, "--seq", "09").status == 0
    assert {path.name: path.read_bytes() for path in street_run.iterdir()} == before
    assert (tmp_path / "runs/09-2/metrics.json").is_file()
    done = vo_run("--data", tiny_street, "--seq", "09", "--out", street_run)
    assert done.status == 2
    assert done.err.startswith(f"error: {street_run}: holds something already")
    assert {path.name: path.read_bytes() for path in street_run.iterdir()} == before


@pictureless
def test_damaged_image_ends_the_run_and_keeps_what_was_before(vo_run, walk, tmp_path):
    whole = vo_run("--data", walk, "--intrinsics", INTRINSICS)
    assert whole.status == 0, whole.err
    image = walk / "000007.png"
    image.write_bytes(image.read_bytes()[:200])
    done = vo_run("--data", walk, "--intrinsics", INTRINSICS)
    assert done.status == 2
    assert done.err.startswith(f"error: {image}: is truncated")
    assert done.err.endswith("; 7 frames before it are kept in runs/walk-2\n")
    assert done.err.count("\n") == 1
    first, second = (tmp_path / "runs" / name for name in ("walk-1", "walk-2"))
    for name in ("raw.txt", "refined.txt", "raw.tum.txt", "refined.tum.txt"):
        kept = (second / name).read_text().splitlines()
        assert kept == (first / name).read_text().splitlines()[:7]
    assert len(rows(second)) == 7
    assert str(image) in (second / "log.txt").read_text()
    assert not (second / "metrics.json").exists(), "it stands for a run that came to its end"


@pictureless
def test_full_disk_is_one_line_and_leaves_whole_lines(vo_run, walk, tmp_path, monkeypatch):
    write, left = os.write, 3000

    def almost_full(file: int, data: bytes) -> int:
        nonlocal left
        if left == 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        done = write(file, data[:left])
        left -= done
        return done

    monkeypatch.setattr("vo.tools.running.record.os.write", almost_full)
    done = vo_run("--data", walk, "--intrinsics", INTRINSICS, "--out", "run")
    assert done.status == 2
    assert "the disk is full" in done.err
    assert done.err.startswith("error: run/")
    assert done.err.count("\n") == 1
    files = [path for path in (tmp_path / "run").iterdir() if path.name != "config.yaml"]
    assert sum(path.stat().st_size for path in files) > 2500
    for path in files:
        assert path.read_bytes().endswith(b"\n") or path.stat().st_size == 0


def test_refusals_are_one_line_before_any_work(vo_run, tiny_street, tiny_checkpoint, tmp_path):
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken/notes").write_text("mine")
    (tmp_path / "file").write_text("mine")
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(tiny_checkpoint.read_bytes()[:-1])
    data = ("--data", tiny_street)
    cases = {
        ("--seq", "09", "--ckpt", "none.safetensors"): "none.safetensors: no such checkpoint; ",
        (*data, "--seq", "9", "--ckpt", broken): f"{broken}: is no safetensors file, or not",
        (*data, "--seq", "11"): "--seq: there is no sequence '11' in ",
        ("--seq", "11"): "--seq: there is no sequence '11'; the street has 00 to 10",
        (): "--seq: is missing; name sequences of the street: 00 to 10, or all",
        data: f"{tiny_street}: holds 2 sequences; choose one with --seq: 09, 10",
        (*data, "--seq", "09", "9"): "--seq: 09 is given twice; name each sequence once",
        ("--data", "/nowhere"): "/nowhere: no such file or folder; ",
        (*data, "--seq", "9", "--out", "taken"): "taken: holds something already, which is never",
        (*data, "--seq", "9", "--out", "file"): "file: is a file; give --out the name of a folder",
        (*data, "--seq", "9", "--device", "cpuu"): "--device: there is no 'cpuu' here; ",
        (*data, "--seq", "9", "--device", "meta"): "--device: there is no 'meta' here; ",
        (*data, "--seq", "9", "--device", "cuda:99"): "--device: there is no 'cuda:99' here; ",
        (*data, "--seq", "9", "--size", "100", "64"): "--size: is 100 64; give multiples of 32",
        (*data, "--seq", "9", "--start", "12"): "--start: is 12, but 09 has 12 frames; ",
        (*data, "--seq", "9", "--first-guess", "motion", "--no-refine"): (
            "--first-guess: the motion before is no answer, unless it is refined; leave out "
        ),
        (*data, "--seq", "9", "--compile", "--no-refine"): "--compile: compiles the refinement, ",
        (*data, "--seq", "9", "--fps", "3"): f"--fps: {tiny_street} has its own times; ",
    }
    for arguments, line in cases.items():
        done = vo_run(*arguments)
        assert done.status == 2, arguments
        assert done.err.startswith(f"error: {line}"), done.err
        assert (done.err.count("\n"), done.out) == (1, ""), arguments
        assert not (tmp_path / "runs").exists(), arguments
    assert (tmp_path / "taken/notes").read_text() == "mine"


def test_help_imports_nothing_heavy():
    code = (
        "import sys; sys.argv = ['vo-run', '--help']\n"
        "from vo.tools.run import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print(sorted({'numpy', 'torch', 'cv2', 'pypose', 'matplotlib'} & set(sys.modules)))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "usage: vo-run" in out.stdout
    assert out.stdout.splitlines()[-1] == "[]"


@pytest.mark.real_data
@pictureless
@pytest.mark.parametrize(
    ("arguments", "frames", "truth"),
    [
        (["kitti_odometry", "--seq", "03", "--start", "441", "--end", "446"], 5, "poses"),
        (["kitti_raw", "--end", "4"], 4, ""),
        (["7scenes/redkitchen", "--stride", "40"], 6, "poses and depth"),
        (["tum_rgbd/fr2_desk_clip", "--end", "4"], 4, "poses"),
        (["video/street_drive.mp4", "--end", "4", "--intrinsics", "721,721,620,187"], 4, ""),
    ],
)
def test_real_recordings(vo_run, real_data, tmp_path, arguments, frames, truth):
    done = vo_run("--data", real_data / arguments[0], *arguments[1:], "--out", "run")
    assert done.status == 0, done.err
    assert numbers(tmp_path / "run/refined.txt").shape == (frames, 12)
    found = metrics(tmp_path / "run")
    assert (found["refined"]["ate_m"] is not None) == ("poses" in truth)
    table = rows(tmp_path / "run")
    assert any(row["abs_rel"] for row in table) == ("depth" in truth)
    assert not any(math.isnan(float(row["depth_median"])) for row in table)
