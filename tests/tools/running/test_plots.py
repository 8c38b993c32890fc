"""Series of the picture of scales."""

from __future__ import annotations

import numpy as np

from vo.tools.running.plots import pose_scale, scale_drift
from vo.trajectory import Trajectory


def along(steps: list[float]) -> Trajectory:
    T_w_c = np.tile(np.eye(4), (len(steps) + 1, 1, 1))
    T_w_c[1:, 2, 3] = np.cumsum(steps)
    return Trajectory(np.arange(len(steps) + 1) / 10, T_w_c)


def test_pose_scale_is_that_of_each_pair():
    found = pose_scale(along([0.5, 2.0, 1.0, 0.3]), along([1.0, 1.0, 0.0, 1.0]))
    assert np.allclose(found, [0.5, 2.0, np.nan, 0.3], equal_nan=True)


def test_drift_is_the_path_of_the_last_frames():
    found = scale_drift(along([1.0, 1.0, 3.0, 1.0]), along([1.0] * 4), window=2)
    assert np.allclose(found, [np.nan, 1, 2, 2], equal_nan=True)
    short = scale_drift(along([1.0, 1.0]), along([1.0, 1.0]), window=5)
    assert np.isnan(short).all()
