"""Trajectory text files of KITTI and TUM, read line by line and checked number by number."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from vo.datasets.camera import Array
from vo.datasets.errors import InputError
from vo.datasets.text import check_increasing, read_lines, read_number

ROTATION_TOLERANCE = 1e-3  # largest entry of |R^T R - I| of a rotation printed with few digits
QUATERNION_TOLERANCE = 1e-2  # TUM's own files print four decimals
FARTHEST_M = 1e9  # farther than any place on Earth: a damaged number, and squares still fit


@dataclass(frozen=True, slots=True, eq=False)
class KittiPoses:
    """Poses of a KITTI file.

    Attributes:
        frames: (N,) int64 frame indices, the leading column of files with 13 numbers a line; None
            for files with 12, where line i is frame i.
        T_w_c: (N, 4, 4) float64, camera to world, metres.
    """

    frames: Array | None
    T_w_c: Array


@dataclass(frozen=True, slots=True, eq=False)
class TumPoses:
    """Poses of a TUM file.

    Attributes:
        timestamps: (N,) float64 seconds, strictly increasing.
        T_w_c: (N, 4, 4) float64, camera to world, metres.
    """

    timestamps: Array
    T_w_c: Array


@dataclass(frozen=True, slots=True, eq=False)
class _Table:
    """Numbers of a text file (N, columns) and the line that each row stands on, from 1."""

    numbers: Array
    lines: list[int]


def read_kitti_poses(path: str | Path) -> KittiPoses:
    """Read a pose file in the layout of KITTI Odometry (Geiger et al., CVPR 2012).

    A line holds the upper three rows of T_w_c, row by row: 12 numbers. Results may have 13, the
    first of which is the frame index, because not every method gives every frame a pose.

    Raises:
        InputError: naming file and line, when the file is missing, empty or no text, when a line
            has another number of columns than 12 or 13 or than the line before it, when a number
            is none or not finite, when a pose is no rigid motion, and when the frame indices are
            not whole, not negative and strictly increasing.
    """
    path = Path(path)
    rows = read_lines(path, "write one line of 12 or 13 numbers for each pose", gaps=False)
    table = _table(path, rows, (12, 13), "KITTI poses have 12 numbers a line, 13 with the frame")
    frames = _frames(path, table) if table.numbers.shape[1] == 13 else None
    T_w_c = np.tile(np.eye(4), (len(table.numbers), 1, 1))
    T_w_c[:, :3] = table.numbers[:, -12:].reshape(-1, 3, 4)
    check_pose_matrices(T_w_c, path, table.lines)
    return KittiPoses(frames, T_w_c)


def read_tum_poses(path: str | Path) -> TumPoses:
    """Read a trajectory in the format of the TUM RGB-D benchmark (Sturm et al., IROS 2012).

    A line is ``t tx ty tz qx qy qz qw``, separated by blanks or commas; ``#`` starts a comment.
    Quaternions are normalised.

    Raises:
        InputError: naming file and line, when the file is missing, empty or no text, when a line
            has not 8 finite numbers, when a quaternion is farther than 1e-2 from unit length and
            when the times do not increase strictly.
    """
    remedy = "write one line `t tx ty tz qx qy qz qw` for each pose"
    path = Path(path)
    table = _table(path, read_lines(path, remedy), (8,), remedy)
    timestamps = table.numbers[:, 0].copy()
    check_increasing(timestamps, path, table.lines)
    T_w_c = np.tile(np.eye(4), (len(timestamps), 1, 1))
    T_w_c[:, :3, :3] = _rotations(path, table)
    T_w_c[:, :3, 3] = table.numbers[:, 1:4]
    check_pose_matrices(T_w_c, path, table.lines)
    return TumPoses(timestamps, T_w_c)


def check_pose_matrices(
    T_w_c: Array, where: str | Path, lines: Sequence[int] | None = None
) -> None:
    """Refuse matrices that are no rigid motion.

    Args:
        T_w_c: (N, 4, 4) poses.
        where: the file or folder that they came from, for the message.
        lines: the line of ``where`` that each pose stands on; None names poses by index, from 0.

    Raises:
        InputError: for the first pose that `pose_problem` finds.
        ValueError: when T_w_c is not (N, 4, 4).
    """
    found = pose_problem(T_w_c)
    if found is not None:
        index, problem = found
        place = f"pose {index}" if lines is None else f"line {lines[index]}"
        remedy = "repair or remove it; poses are camera-to-world matrices [R t; 0 1]"
        raise InputError(where, f"{place}: {problem}", remedy)


def pose_problem(
    T_w_c: Array,
    rotation_tolerance: float = ROTATION_TOLERANCE,
    farthest_m: float = FARTHEST_M,
) -> tuple[int, str] | None:
    """Index of the first matrix that is no rigid motion and what is wrong with it, or None.

    A rigid motion (N, 4, 4) has finite numbers, |R^T R - I| within the tolerance in every entry,
    det R > 0, a last row 0 0 0 1, and a position that is not farther than ``farthest_m``.

    Raises:
        ValueError: when T_w_c is not (N, 4, 4).
    """
    T_w_c = np.asarray(T_w_c, np.float64)
    if T_w_c.ndim != 3 or T_w_c.shape[1:] != (4, 4):
        raise ValueError(f"poses must be (N, 4, 4), got {T_w_c.shape}")
    finite = np.all(np.isfinite(T_w_c), axis=(1, 2))
    # Entries are bounded before they are multiplied: damaged numbers overflow.
    bounded = finite & np.all(np.abs(T_w_c[:, :3, :3]) < 2, axis=(1, 2))
    R = np.where(np.reshape(bounded, (-1, 1, 1)), T_w_c[:, :3, :3], 0.0)
    deviation = np.abs(R.transpose(0, 2, 1) @ R - np.eye(3)).max(axis=(1, 2))
    far = (np.abs(T_w_c[:, :3, 3]) > farthest_m).any(axis=1)
    odd_row = (np.abs(T_w_c[:, 3] - np.array([0, 0, 0, 1])) > 1e-6).any(axis=1)
    problems = [
        ("a number is NaN or infinite", ~finite),
        ("the upper left 3x3 block is no rotation", ~bounded | (deviation > rotation_tolerance)),
        ("the upper left 3x3 block is a reflection", np.linalg.det(R) < 0),
        ("the last row is not 0 0 0 1", odd_row),
        (f"the position is more than {farthest_m:g} m away", far),
    ]
    bad = np.array([mask for _, mask in problems])  # (5, N)
    if not bad.any():
        return None
    index = int(np.argmax(bad.any(axis=0)))
    return index, problems[int(np.argmax(bad[:, index]))][0]


def pose_file_format(path: str | Path) -> Literal["kitti", "tum"]:
    """Tell KITTI files (12 or 13 numbers a line) from TUM files (8) by the first line of numbers.

    Raises:
        InputError: when the file is missing, empty, no text or has another number of columns.
    """
    remedy = "a KITTI file has 12 or 13 numbers a line, a TUM file 8"
    path = Path(path)
    line, text = read_lines(path, remedy)[0]
    columns = len(text.replace(",", " ").split())
    if columns not in (8, 12, 13):
        raise InputError(path, f"line {line} has {columns} numbers", remedy)
    return "tum" if columns == 8 else "kitti"


def _table(
    path: Path, rows: list[tuple[int, str]], columns: tuple[int, ...], remedy: str
) -> _Table:
    """Numbers of all rows, which have one of the allowed numbers of columns and all the same."""
    numbers: list[list[float]] = []
    for line, text in rows:
        words = text.replace(",", " ").split()
        if len(words) not in columns:
            raise InputError(path, f"line {line} has {len(words)} numbers", remedy)
        if numbers and len(words) != len(numbers[0]):
            problem = f"line {line} has {len(words)} numbers, those before have {len(numbers[0])}"
            raise InputError(path, problem, remedy)
        numbers.append([read_number(word, path, line) for word in words])
    return _Table(np.array(numbers, np.float64), [line for line, _ in rows])


def _frames(path: Path, table: _Table) -> Array:
    """The leading column of 13 as frame indices, (N,) int64."""
    column = table.numbers[:, 0]
    # 2**53: the last whole number that float64 tells from its neighbour.
    whole = (column >= 0) & (column < 2**53) & (column == np.floor(column))
    if not whole.all():
        i = int(np.argmin(whole))
        problem = f"line {table.lines[i]}: {column[i]:.10g} is no frame index"
        remedy = "the first of 13 numbers is the frame, a whole number from 0"
        raise InputError(path, problem, remedy)
    check_increasing(column, path, table.lines, "frame")
    return column.astype(np.int64)


def _rotations(path: Path, table: _Table) -> Array:
    """Rotation matrices (N, 3, 3) of the quaternions in columns 4 to 7 (qx qy qz qw)."""
    from scipy.spatial.transform import Rotation

    quaternions_xyzw = table.numbers[:, 4:8]
    # A component beyond 2 is damage that might overflow when it is squared.
    bounded = np.clip(quaternions_xyzw, -2.0, 2.0)
    norms = np.linalg.norm(bounded, axis=1)
    bad = np.abs(norms - 1) > QUATERNION_TOLERANCE
    if bad.any():
        i = int(np.argmax(bad))
        problem = f"line {table.lines[i]}: the quaternion (qx qy qz qw) has length {norms[i]:.4g}"
        raise InputError(path, problem, "write unit quaternions in columns 5 to 8")
    return Rotation.from_quat(bounded).as_matrix()
