from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from vo.datasets.camera import Camera
from vo.datasets.depth_truth import TruthFrames
from vo.datasets.recording import Recording
from vo.depth_protocols import STREET
from vo.odometry import Estimate, Look
from vo.scale_report import measure_scales

CAMERA = Camera(8, 8, 3.5, 2.5, 8, 6)
TRUE_DEPTH = 10.0
STEPS_M = (0.0, 1.0, 0.5, 0.01, 2.0)  # of the true camera, to each of five frames


def said(depth: float, step_raw: float, step: float) -> Estimate:
    """An estimate with an even depth and motions straight ahead."""
    T_raw, T = np.eye(4), np.eye(4)
    T_raw[2, 3], T[2, 3] = step_raw, step
    even = np.full((6, 8), depth, np.float32)
    return Estimate(0, 0.0, T, T_raw, T, T_raw, even, CAMERA, True, "", 0.0, 0.0, 1.0, 1)


class Estimator:
    """Says depth and motion of known scale: depth 1 / r of the truth, poses 1 / p of it."""

    def __init__(self, r: list[float], p_raw: float, p_refined: float) -> None:
        self.r, self.p, self.i = r, (p_raw, p_refined), 7

    def reset(self) -> None:
        self.i = 0

    def look(self, frame: Any) -> Look:
        depth = self.step(frame).depth
        return Look(depth, None, CAMERA)

    def step(self, frame: Any) -> Estimate:
        r, step_m = self.r[self.i], STEPS_M[self.i]
        self.i += 1
        return said(TRUE_DEPTH / r, step_m / self.p[0], step_m / self.p[1])


def truth(folder: Path, poses: bool = True, unknown: int | None = None) -> TruthFrames:
    """Five frames at 10 m, the camera going ahead; one without any true depth."""
    paths = tuple(folder / f"{i}.png" for i in range(5))
    for path in paths:
        assert cv2.imwrite(str(path), np.zeros((6, 8, 3), np.uint8))
    T_w_c = np.tile(np.eye(4), (5, 1, 1))
    T_w_c[:, 2, 3] = np.cumsum(STEPS_M)
    recording = Recording(
        "drive", CAMERA, np.arange(5.0), T_w_c if poses else None,
        np.arange(3, 8), paths,
    )  # fmt: skip

    def read(path: Path) -> np.ndarray:
        known = path.stem != str(unknown)
        return np.full((6, 8), TRUE_DEPTH if known else 0.0, np.float32)

    return TruthFrames(recording, "l", np.arange(5), paths, read)


def test_scales_are_truth_over_estimate(tmp_path: Path) -> None:
    r = [2.0, 2.2, 1.8, 2.0, 2.0]
    estimator: Any = Estimator(r, p_raw=3.0, p_refined=2.0)
    found = measure_scales(estimator, truth(tmp_path), STREET, refined=True)
    assert found.frames.tolist() == [3, 4, 5, 6, 7]
    np.testing.assert_allclose(found.depth, r, rtol=1e-6)
    # The camera all but stands from frame 2 to 3.
    np.testing.assert_allclose(found.poses["raw"], [3, 3, np.nan, 3], rtol=1e-12)
    np.testing.assert_allclose(found.poses["refined"], [2, 2, np.nan, 2], rtol=1e-12)


def test_poses_are_compared_with_the_depth_of_the_frame_before(tmp_path: Path) -> None:
    r = [2.0, 2.2, 1.8, 2.0, 9.0]
    estimator: Any = Estimator(r, p_raw=3.0, p_refined=2.0)
    found = measure_scales(estimator, truth(tmp_path), STREET, refined=True)
    a = [2.0 / 2.0, 2.2 / 2.0, np.nan, 2.0 / 2.0]
    np.testing.assert_allclose(found.alignments["refined"].a, a, rtol=1e-6)
    assert found.alignments["raw"].median == pytest.approx(2.0 / 3.0)


def test_without_poses_only_depth_is_measured(tmp_path: Path) -> None:
    estimator: Any = Estimator([1.0] * 5, 1.0, 1.0)
    found = measure_scales(estimator, truth(tmp_path, poses=False), STREET, refined=True)
    assert found.poses == {}
    assert found.alignments == {}
    np.testing.assert_allclose(found.depth, 1.0)


def test_frames_without_true_depth_are_nan(tmp_path: Path) -> None:
    estimator: Any = Estimator([1.0] * 5, 1.0, 1.0)
    found = measure_scales(estimator, truth(tmp_path, unknown=1), STREET, refined=False)
    assert np.flatnonzero(np.isnan(found.depth)).tolist() == [1]
    assert list(found.poses) == ["raw"]
    assert np.flatnonzero(np.isnan(found.alignments["raw"].a)).tolist() == [1, 2]
