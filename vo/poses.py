"""Motions of a camera: half way between two, for another time, one after the other."""

from __future__ import annotations

import numpy as np
import pypose as pp

from vo.datasets.camera import Array


def middle(a: pp.LieTensor, b: pp.LieTensor) -> pp.LieTensor:
    """Half way from pose a to pose b on the straightest path of SE(3)."""
    return a @ pp.se3(0.5 * (a.Inv() @ b).Log().tensor()).Exp()


def scaled(T: pp.LieTensor, ratio: float) -> pp.LieTensor:
    """The same velocity for another time."""
    return pp.se3(ratio * T.Log().tensor()).Exp()


def composed(T_w_last: Array, T_last_c: Array) -> Array:
    """The product, with a rotation that stays one over any number of frames; NaN of any NaN."""
    T_w_c = T_w_last @ T_last_c
    if np.isnan(T_w_c).any():
        return np.full((4, 4), np.nan)
    U, _, Vt = np.linalg.svd(T_w_c[:3, :3])
    T_w_c[:3, :3] = U @ Vt
    return T_w_c
