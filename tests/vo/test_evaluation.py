"""Scores: identities, degenerate drives, published values, and evo's own commands."""

from __future__ import annotations

import math
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from vo.association import associate
from vo.datasets.errors import InputError
from vo.evaluation import Scores, evaluate
from vo.trajectory import Trajectory


def wander(n: int = 300, seed: int = 0, step_m: float = 1.0) -> Trajectory:
    rng = np.random.default_rng(seed)
    T_w_c = [np.eye(4)]
    for turn in rng.normal(scale=0.05, size=(n - 1, 3)):
        T = np.eye(4)
        T[:3, :3] = Rotation.from_rotvec(turn).as_matrix()
        T[2, 3] = step_m
        T_w_c.append(T_w_c[-1] @ T)
    return Trajectory(np.arange(n) / 10, np.array(T_w_c), np.arange(n))


@pytest.mark.parametrize("alignment", ["none", "scale", "se3", "sim3", "scale_sim3"])
def test_the_truth_itself_has_no_error(alignment) -> None:
    scores = evaluate(wander(), wander(), alignment).scores
    assert scores.t_rel_percent == pytest.approx(0, abs=1e-9)
    assert scores.r_rel_deg_per_100m == pytest.approx(0, abs=1e-5)  # arccos near 1
    assert scores.ate_m == pytest.approx(0, abs=1e-9)
    assert scores.rpe_trans_m == pytest.approx(0, abs=1e-9)
    assert scores.rpe_rot_deg == pytest.approx(0, abs=1e-6)
    assert scores.scale == pytest.approx(1)
    assert scores.alignment == alignment
    assert scores.frames == 300
    assert scores.path_length_m == pytest.approx(299)


def test_errors_do_not_depend_on_either_world() -> None:
    # Steps of a metre would end a sub-sequence at 100 m exactly, where rounding decides.
    truth, estimate = wander(step_m=0.97), wander(seed=1, step_m=0.97)
    T = np.eye(4)
    T[:3, :3] = Rotation.from_euler("xyz", [50, 60, 70], degrees=True).as_matrix()
    T[:3, 3] = [1e4, -20, 3]
    a = evaluate(truth, estimate, "none").scores
    b = evaluate(truth.transformed(T), estimate.transformed(T @ T), "none").scores
    assert b.ate_m == pytest.approx(a.ate_m, rel=1e-9)
    assert b.t_rel_percent == pytest.approx(a.t_rel_percent, rel=1e-9)


def test_scale_is_found_and_reported() -> None:
    scores = evaluate(wander(), wander().scaled(1 / 30), "scale").scores
    assert scores.scale == pytest.approx(30)
    assert scores.ate_m == pytest.approx(0, abs=1e-9)
    unscaled = evaluate(wander(), wander().scaled(1 / 30), "none").scores
    assert unscaled.rpe_trans_m == pytest.approx(29 / 30)  # of steps of one metre


def test_ate_and_rpe_are_what_their_names_say() -> None:
    truth, estimate = wander(), wander(seed=1)
    result = evaluate(truth, estimate, "none")
    distances = np.linalg.norm(truth.positions - estimate.positions, axis=1)
    np.testing.assert_allclose(result.position_errors_m, distances, atol=1e-9)
    assert result.scores.ate_m == pytest.approx(math.sqrt(np.mean(distances**2)))
    E = np.linalg.inv(truth.T_c_next()) @ estimate.T_c_next()
    angles = np.degrees(Rotation.from_matrix(E[:, :3, :3]).magnitude())
    assert result.scores.rpe_rot_deg == pytest.approx(angles.mean())
    assert result.scores.rpe_rot_acos_deg == pytest.approx(angles.mean())
    assert result.scores.rpe_trans_m == pytest.approx(np.linalg.norm(E[:, :3, 3], axis=1).mean())


def test_short_and_still_drives() -> None:
    scores = evaluate(wander(40), wander(40, seed=1), "sim3").scores
    assert math.isnan(scores.t_rel_percent)
    assert math.isnan(scores.r_rel_deg_per_100m)
    assert scores.ate_m > 0
    still = wander(40, step_m=0.0)
    with np.errstate(all="raise"):
        scores = evaluate(still, still, "none").scores
    assert scores.path_length_m == 0
    with pytest.raises(InputError, match=r"mine\.txt: .* does not move"):
        evaluate(still, wander(40), "sim3", "mine.txt")
    with pytest.raises(InputError, match="one common pose is no trajectory"):
        evaluate(wander(1), wander(1), "none")
    assert evaluate(wander(2), wander(2), "none").scores.frames == 2


def test_rotations_with_few_digits_are_measured() -> None:
    # evo alone refuses to measure rotations that are off by more than 1e-6.
    rounded = Trajectory(wander().timestamps, np.round(wander().T_w_c, 4), wander().frames)
    assert evaluate(wander(), rounded, "sim3").scores.rpe_rot_deg < 0.02


def test_lengths_must_agree() -> None:
    with pytest.raises(ValueError, match="truth has 300 poses, the estimate 299"):
        evaluate(wander(), wander(299), "none")


# Values that kitti-odom-eval computes for the two results that it ships, as it prints them.
# fmt: off
PUBLISHED: list[tuple[str, str, str, dict[str, str]]] = [
    ("example_0", "09", "none", {"t_rel_percent": "72.109", "r_rel_deg_per_100m": ".24906"}),
    ("example_0", "10", "none", {"t_rel_percent": "82.070", "r_rel_deg_per_100m": ".30459"}),
    ("example_0", "09", "scale",
     {"t_rel_percent": "2.8664", "r_rel_deg_per_100m": ".24906", "ate_m": "10.6386"}),
    ("example_0", "10", "scale",
     {"t_rel_percent": "3.9021", "r_rel_deg_per_100m": ".30459", "ate_m": "12.9345"}),
    ("example_0", "09", "sim3",
     {"t_rel_percent": "2.8841", "r_rel_deg_per_100m": ".24906", "ate_m": "8.3866",
      "rpe_trans_m": ".34341", "rpe_rot_acos_deg": ".063389"}),
    ("example_0", "10", "sim3",
     {"t_rel_percent": "3.2978", "r_rel_deg_per_100m": ".30459", "ate_m": "6.6302",
      "rpe_trans_m": ".04735", "rpe_rot_acos_deg": ".066264"}),
    ("example_0", "09", "scale_sim3", {"t_rel_percent": "2.8841", "ate_m": "10.7226"}),
    ("example_0", "10", "scale_sim3", {"t_rel_percent": "3.2978", "ate_m": "18.2152"}),
    ("example_0", "09", "se3", {"t_rel_percent": "72.1", "ate_m": "215.44"}),
    ("example_0", "10", "se3", {"t_rel_percent": "82.1", "ate_m": "201.58"}),
    ("example_1", "09", "none",
     {"t_rel_percent": "2.6068", "r_rel_deg_per_100m": ".28771", "ate_m": "17.919"}),
    ("example_1", "10", "none",
     {"t_rel_percent": "2.2932", "r_rel_deg_per_100m": ".36933", "ate_m": "9.035"}),
    ("example_1", "09", "scale", {"t_rel_percent": "2.6664", "ate_m": "17.8832"}),
    ("example_1", "10", "scale", {"t_rel_percent": "2.2839", "ate_m": "9.0323"}),
    ("example_1", "09", "se3", {"t_rel_percent": "2.6068", "ate_m": "10.8803"}),
    ("example_1", "10", "se3", {"t_rel_percent": "2.2932", "ate_m": "3.7207"}),
    ("example_1", "09", "sim3", {"t_rel_percent": "2.5275", "ate_m": "10.7295"}),
    ("example_1", "10", "sim3", {"t_rel_percent": "2.2212", "ate_m": "3.3562"}),
]
# fmt: on


def scores_of(real_data: Path, result: str, sequence: str, alignment) -> Scores:
    truth = Trajectory.read(real_data / f"kitti_odometry/poses/{sequence}.txt")
    estimate = Trajectory.read(real_data / f"trajectories/{result}/{sequence}.txt")
    return evaluate(*associate(truth, estimate, "index"), alignment).scores


@pytest.mark.real_data
@pytest.mark.parametrize(("result", "sequence", "alignment", "expected"), PUBLISHED)
def test_published_values_to_the_printed_digits(
    real_data: Path, result: str, sequence: str, alignment, expected: dict[str, str]
) -> None:
    scores = scores_of(real_data, result, sequence, alignment)
    for name, text in expected.items():
        decimals = len(text.split(".")[1])
        printed = f"{getattr(scores, name):.{decimals}f}"
        assert float(printed) == float(text), f"{name} is {printed}, published {text}"


@pytest.mark.real_data
def test_why_two_rotation_errors_differ(real_data: Path) -> None:
    # The arccos of the trace is 0.4 % off the angle, because KITTI's true rotations have six
    # digits: made orthonormal first, the same poses give the angle that evo measures.
    truth = Trajectory.read(real_data / "kitti_odometry/poses/10.txt")
    estimate = Trajectory.read(real_data / "trajectories/example_1/10.txt")
    raw = evaluate(truth, estimate, "none").scores
    clean = evaluate(
        Trajectory(truth.timestamps, np.array(truth.to_evo().poses_se3)),
        Trajectory(truth.timestamps, np.array(estimate.to_evo().poses_se3)),
        "none",
    ).scores
    assert raw.rpe_rot_acos_deg == pytest.approx(raw.rpe_rot_deg, rel=1e-2)
    assert raw.rpe_rot_acos_deg != pytest.approx(raw.rpe_rot_deg, rel=1e-3)
    assert clean.rpe_rot_acos_deg == pytest.approx(raw.rpe_rot_deg, rel=1e-6)


def evo_command(home: Path, *arguments: str | Path) -> dict[str, float]:
    """Statistics that one of evo's own commands prints."""
    program = Path(sys.executable).parent / str(arguments[0])
    done = subprocess.run(
        [str(program), *map(str, arguments[1:])],
        env={**os.environ, "HOME": str(home)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    rows = re.findall(r"^\s*(max|mean|rmse|std)\s+(\S+)$", done.stdout, flags=re.MULTILINE)
    return {name: float(value) for name, value in rows}


@pytest.mark.real_data
@pytest.mark.parametrize(("alignment", "flags"), [("none", []), ("se3", ["-a"]), ("sim3", ["-as"])])
def test_evo_ape_and_evo_rpe_give_the_same_numbers(
    real_data: Path, tmp_path: Path, alignment, flags: list[str]
) -> None:
    truth = real_data / "kitti_odometry/poses/10.txt"
    estimate = real_data / "trajectories/example_1/10.txt"
    scores = scores_of(real_data, "example_1", "10", alignment)
    ape = evo_command(tmp_path, "evo_ape", "kitti", truth, estimate, *flags)
    # evo prints six decimals.
    assert ape["rmse"] == pytest.approx(scores.ate_m, abs=1e-6)
    rpe = evo_command(tmp_path, "evo_rpe", "kitti", truth, estimate, *flags)
    assert rpe["mean"] == pytest.approx(scores.rpe_trans_m, abs=1e-6)
    rotation = evo_command(tmp_path, "evo_rpe", "kitti", truth, estimate, *flags, "-r", "angle_deg")
    assert rotation["mean"] == pytest.approx(scores.rpe_rot_deg, abs=1e-6)


@pytest.mark.real_data
def test_evo_ape_tum_gives_the_same_number(real_data: Path, tmp_path: Path) -> None:
    files = [
        real_data / f"trajectories/evo/freiburg1_xyz-{name}.txt"
        for name in ("groundtruth", "rgbdslam")
    ]
    ape = evo_command(tmp_path, "evo_ape", "tum", *files, "-a", "--t_max_diff", "0.02")
    truth, estimate = associate(*map(Trajectory.read, files), "time")
    scores = evaluate(truth, estimate, "se3").scores
    assert ape["rmse"] == pytest.approx(scores.ate_m, abs=1e-6)


@pytest.mark.real_data
def test_evos_commands_read_what_is_written(real_data: Path, tmp_path: Path) -> None:
    truth = Trajectory.read(real_data / "kitti_odometry/poses/10.txt")
    estimate = Trajectory.read(real_data / "trajectories/example_1/10.txt")
    truth.write_kitti(tmp_path / "truth.txt")
    estimate.write_kitti(tmp_path / "estimate.txt")
    files = [tmp_path / "truth.txt", tmp_path / "estimate.txt"]
    ape = evo_command(tmp_path, "evo_ape", "kitti", *files)
    assert ape["rmse"] == pytest.approx(9.035133, abs=1e-6)
    evo_command(tmp_path, "evo_traj", "kitti", files[1], "--ref", files[0])
    truth.write_tum(tmp_path / "truth.tum")
    estimate.write_tum(tmp_path / "estimate.tum")
    ape = evo_command(tmp_path, "evo_ape", "tum", tmp_path / "truth.tum", tmp_path / "estimate.tum")
    assert ape["rmse"] == pytest.approx(9.035133, abs=1e-6)
