"""A run read back from its folder: what was written, and the same depth once more."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from vo.datasets.errors import InputError
from vo.odometry import Odometry
from vo.tools.running.finished import read_run
from vo.tools.running.result import metrics
from vo.trajectory import Trajectory

pytestmark = pytest.mark.usefixtures("no_pictures")


@pytest.fixture
def run_folder(tiny_run, tmp_path) -> Path:
    """A copy, to be changed."""
    return shutil.copytree(tiny_run, tmp_path / "run")


def numbers(folder: Path) -> dict:
    return json.loads((folder / "metrics.json").read_text())


def numeric(values: dict) -> dict:
    return {key: value for key, value in values.items() if isinstance(value, int | float)}


def close(values: dict) -> object:
    return pytest.approx(numeric(values), rel=1e-6, abs=1e-9)


def cut(folder: Path, frames: int) -> None:
    """Leave what a run leaves that is killed while it writes the frame after these."""
    for path in folder.iterdir():
        if path.name in ("metrics.json", "report.html"):
            path.unlink()
        elif path.suffix in (".txt", ".csv") and path.stem not in ("command", "log"):
            lines = path.read_text().splitlines(keepends=True)
            extra = 1 if path.stem in ("scale", "raw") else 0  # the header, or a pose ahead
            path.write_text("".join(lines[: frames + extra]))


def test_what_was_written_is_read(run_folder):
    run = read_run(run_folder)
    assert (run.name, run.config.sequence, len(run.rows)) == ("run", "09", 12)
    assert set(run.trajectories) == {"raw", "refined"}
    for kind, trajectory in run.trajectories.items():
        assert np.array_equal(
            trajectory.T_w_c, Trajectory.read_kitti(run_folder / f"{kind}.txt").T_w_c
        )
        times = Trajectory.read_tum(run_folder / f"{kind}.tum.txt").timestamps
        assert np.array_equal(trajectory.timestamps, times)
    assert run.truth is not None
    assert len(run.truth) == 12
    assert run.metrics == numbers(run_folder)
    assert np.isnan(run.rows[0].step)
    assert all(row.tracked and row.reason == "" for row in run.rows)
    assert [row.frame for row in run.rows] == list(range(12))
    assert run.facts()["sha256"] == run.config.sha256


@pytest.mark.parametrize(
    "more",
    [("--no-refine",), ("--first-guess", "motion"), ("--align", "scale", "--start", "2")],
)
def test_scores_computed_again_are_those_of_the_run(vo_run, tiny_street, tmp_path, more):
    done = vo_run("--data", tiny_street, "--seq", "09", "--out", "run", *more)
    assert done.status == 0, done.err
    again, written = metrics(read_run(tmp_path / "run").result()), numbers(tmp_path / "run")
    for kind in ("raw", "refined"):
        assert (written[kind] is None) == (again[kind] is None)
        if written[kind] is not None:
            assert numeric(again[kind]) == close(written[kind])
            assert again[kind]["alignment"] == written[kind]["alignment"]
    scales, scales_again = (found["scale"]["alignment"] for found in (written, again))
    assert scales.keys() == scales_again.keys()
    assert all(numeric(scales_again[kind]) == close(scales[kind]) for kind in scales)
    for key in ("tracked", "frames_per_s", "unit", "refinement", "sequence", "residual", "depth"):
        assert again[key] == written[key]


def test_a_run_from_the_motion_before_has_no_raw_poses(vo_run, tiny_street, tmp_path):
    flags = ("--data", tiny_street, "--seq", "09", "--end", "4", "--first-guess", "motion")
    assert vo_run(*flags, "--out", "run").status == 0
    run = read_run(tmp_path / "run")
    assert tuple(run.trajectories) == ("refined",)
    assert np.isnan(run.drive().T_w_c_raw).all()
    replayed = [estimate for _, estimate in run.replay()]
    assert all(np.isnan(again.T_w_c_raw).all() for again in replayed)
    poses = Trajectory.read_kitti(tmp_path / "run/refined.txt").T_w_c
    assert np.array_equal([again.T_w_c for again in replayed], poses)
    (tmp_path / "run/refined.txt").unlink()
    with pytest.raises(InputError, match=r"refined\.txt"):
        read_run(tmp_path / "run")


def test_a_run_of_before_the_choice_of_the_first_guess_is_read(run_folder):
    config = run_folder / "config.yaml"
    lines = config.read_text().splitlines(keepends=True)
    rest = [line for line in lines if "first_guess" not in line]
    assert len(rest) == len(lines) - 1
    config.write_text("".join(rest))
    assert set(read_run(run_folder).trajectories) == {"raw", "refined"}


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_replay_is_the_run_bit_for_bit(vo_run, tiny_street, tiny_checkpoint, tmp_path, precision):
    flags = ("--data", tiny_street, "--seq", "09", "--end", "4", "--precision", precision)
    assert vo_run(*flags, "--out", "run").status == 0
    run = read_run(tmp_path / "run")
    odometry = Odometry.from_checkpoint(tiny_checkpoint, precision=precision)
    replayed = list(run.replay())
    assert len(replayed) == 4
    for frame, again in replayed:
        first = odometry.step(frame)
        assert again.confidence is not None
        assert first.confidence is not None
        assert np.array_equal(again.depth, first.depth)
        assert np.array_equal(again.confidence, first.confidence)
        assert np.array_equal(again.T_w_c, first.T_w_c)
        assert np.array_equal(again.T_w_c_raw, first.T_w_c_raw)
        assert np.allclose(again.T_last_c, first.T_last_c, atol=1e-9)
        assert np.allclose(again.T_last_c_raw, first.T_last_c_raw, atol=1e-9)
        assert again.camera == first.camera
        assert (again.index, again.time_s) == (first.index, first.time_s)
        assert again.energy == first.energy or again.index == 0
    whole = {estimate.index: estimate.depth for _, estimate in replayed}
    some = [(estimate.index, estimate.depth) for _, estimate in run.replay(positions=[1, 3])]
    assert [index for index, _ in some] == [1, 3]
    assert all(np.array_equal(depth, whole[index]) for index, depth in some)


def test_killed_run_is_read_as_far_as_it_came(run_folder):
    whole = read_run(run_folder)
    cut(run_folder, 7)
    run = read_run(run_folder)
    assert (len(run.rows), len(run.trajectories["raw"]), run.metrics) == (7, 7, {})
    assert np.array_equal(
        run.trajectories["refined"].T_w_c, whole.trajectories["refined"].T_w_c[:7]
    )
    assert [estimate.index for _, estimate in run.replay()] == list(range(7))
    assert metrics(run.result())["unit"] == "scene units"
    assert metrics(run.result())["frames_per_s"] is None


def test_other_data_are_refused(run_folder, tiny_street, tiny_checkpoint, tmp_path, monkeypatch):
    run = read_run(run_folder)
    config = run_folder / "config.yaml"
    text = config.read_text()
    config.write_text(text.replace(run.config.sha256, "f" * 12))
    with pytest.raises(InputError, match="is no longer the checkpoint of the run"):
        next(read_run(run_folder).replay())
    config.write_text(text.replace("start: 0", "start: 5"))
    with pytest.raises(InputError, match="has 7 frames for the 12 of the run"):
        next(read_run(run_folder).replay())
    cut(run_folder, 3)
    with pytest.raises(InputError, match="has another frame 5 than the run"):
        next(read_run(run_folder).replay())
    moved = tmp_path / "moved"
    shutil.copytree(tiny_street, moved)
    config.write_text(text.replace(str(tiny_street), str(moved)))
    shutil.rmtree(moved)
    with pytest.raises(InputError, match="no such file or folder"):
        next(read_run(run_folder).replay())


def test_damage_is_one_line_that_names_the_file(run_folder, tmp_path):
    table = (run_folder / "scale.csv").read_text().splitlines(keepends=True)
    swapped = "".join([*table[:3], table[4], table[3], *table[5:]])
    frame, _, rest = table[4].split(",", 2)
    early = "".join([*table[:4], f"{frame},0.0,{rest}", *table[5:]])
    cases = {
        "config.yaml": [(None, "run: has no config.yaml"), ("{", "is no YAML")],
        "scale.csv": [
            (None, "no such file"),
            ("frame,time\n", "has other columns"),
            (table[0], "has no frames"),
            ("".join(table[:5])[:-9], "ends within a line"),
            ("".join(table[:4]) + "3,0.3\n", "line 5 is damaged"),
            ("".join(table).replace("True", "Yes"), "line 2 is damaged"),
            (swapped, "line 5: frames do not increase"),
            (early, "has times that do not increase"),
        ],
        "refined.txt": [(None, "no such file"), ("1 0 0\n", "refined.txt"), ("", "refined.txt")],
        "raw.txt": [("1 0 0 0 0 1 0 0 0 0 1 0\n", "has 1 poses for 12 frames")],
        "gt.txt": [("1 0 0 0 0 1 0 0 0 0 1 0\n", "has 1 poses for 12 frames")],
        "metrics.json": [("{", "is no JSON"), ("[]", "holds no JSON object")],
    }
    for name, contents in cases.items():
        path = run_folder / name
        kept = path.read_text()
        for content, problem in contents:
            path.unlink()
            if content is not None:
                path.write_text(content)
            with pytest.raises(InputError) as refused:
                read_run(run_folder)
            assert problem in str(refused.value)
            assert "\n" not in str(refused.value)
            path.write_text(kept)
    with pytest.raises(InputError, match=r"has no config\.yaml"):
        read_run(tmp_path / "nowhere")
    (run_folder / "command.txt").unlink()
    with pytest.raises(InputError, match=r"command\.txt: no such file"):
        read_run(run_folder).facts()
