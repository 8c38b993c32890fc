"""The trajectory of a camera: where it was at each moment, and the files that hold it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from vo.atomic import write_atomically
from vo.datasets.camera import Array
from vo.datasets.errors import InputError
from vo.datasets.poses import pose_file_format, pose_problem, read_kitti_poses, read_tum_poses
from vo.datasets.text import check_increasing, read_times

if TYPE_CHECKING:
    from evo.core.trajectory import PosePath3D, PoseTrajectory3D

NOMINAL_PERIOD_S = 0.1  # KITTI's cameras run at 10 Hz; pose files of KITTI hold no times


@dataclass(frozen=True, slots=True, eq=False)
class Trajectory:
    """Camera poses over time; every change returns a new trajectory.

    Positions are in metres, or in scene units where the scale of a monocular estimate is unknown.

    Attributes:
        timestamps: (N,) float64 seconds, strictly increasing, N >= 1.
        T_w_c: (N, 4, 4) float64, camera to world.
        frames: (N,) int64, strictly increasing: the frame of the sequence that each pose belongs
            to. None where poses are known by their times only, as in TUM files.

    The arrays are copied and made read-only.

    Raises:
        ValueError: when a shape is wrong, times or frames do not increase strictly, or a pose is
            no rigid motion (`vo.datasets.poses.pose_problem`).
    """

    timestamps: Array
    T_w_c: Array
    frames: Array | None = None

    def __post_init__(self) -> None:
        """Refuse what is no trajectory and freeze the arrays."""
        T_w_c = _frozen(self.T_w_c, np.float64)
        # Looser than for files: products of rotations with few digits lose a little more.
        problem = pose_problem(T_w_c, rotation_tolerance=1e-2, farthest_m=np.inf)
        if problem is not None:
            raise ValueError(f"pose {problem[0]}: {problem[1]}")
        if len(T_w_c) == 0:
            raise ValueError("a trajectory needs at least one pose")
        object.__setattr__(self, "T_w_c", T_w_c)
        object.__setattr__(self, "timestamps", _series(self.timestamps, len(T_w_c), "timestamps"))
        if self.frames is not None:
            frames = _series(self.frames, len(T_w_c), "frames", np.int64)
            if frames[0] < 0:
                raise ValueError(f"frames must not be negative, got {frames[0]}")
            object.__setattr__(self, "frames", frames)

    def __len__(self) -> int:
        """Number of poses."""
        return len(self.T_w_c)

    @property
    def positions(self) -> Array:
        """Camera centres in the world, (N, 3) float64."""
        return self.T_w_c[:, :3, 3]

    @property
    def distances(self) -> Array:
        """Way travelled up to each pose, (N,) float64, starting with 0."""
        steps = np.linalg.norm(np.diff(self.positions, axis=0), axis=1)
        return np.concatenate([[0.0], np.cumsum(steps)])

    @property
    def path_length_m(self) -> float:
        """Way travelled from the first pose to the last, along straight steps."""
        return float(self.distances[-1])

    def T_c_next(self) -> Array:
        """Relative motions T_ck_ck+1 = T_w_ck^-1 T_w_ck+1, (N-1, 4, 4) float64."""
        return np.linalg.inv(self.T_w_c[:-1]) @ self.T_w_c[1:]

    def rebased(self) -> Trajectory:
        """The same motion with the first camera as the world."""
        return Trajectory(self.timestamps, np.linalg.inv(self.T_w_c[0]) @ self.T_w_c, self.frames)

    def scaled(self, scale: float) -> Trajectory:
        """Positions multiplied by ``scale``; ValueError when it is not finite."""
        if not np.isfinite(scale):
            raise ValueError(f"the scale must be finite, got {scale}")
        T_w_c = self.T_w_c.copy()
        T_w_c[:, :3, 3] *= scale
        return Trajectory(self.timestamps, T_w_c, self.frames)

    def transformed(self, T_v_w: Array) -> Trajectory:
        """The same motion in another world v: T_v_c = T_v_w T_w_c, with T_v_w (4, 4)."""
        if np.shape(T_v_w) != (4, 4):
            raise ValueError(f"T_v_w must be (4, 4), got {np.shape(T_v_w)}")
        return Trajectory(self.timestamps, np.asarray(T_v_w) @ self.T_w_c, self.frames)

    def subset(self, indices: Array) -> Trajectory:
        """The poses at ``indices`` (M,) int, ascending positions in this trajectory."""
        indices = np.asarray(indices)
        if indices.ndim != 1 or not np.issubdtype(indices.dtype, np.integer):
            raise ValueError(f"indices must be (M,) int, got {indices.dtype} {indices.shape}")
        frames = None if self.frames is None else self.frames[indices]
        return Trajectory(self.timestamps[indices], self.T_w_c[indices], frames)

    @classmethod
    def read(cls, path: str | Path, times: str | Path | None = None) -> Trajectory:
        """Read a KITTI or a TUM file, told apart by the number of columns.

        ``times`` belongs to KITTI files, see `read_kitti`; TUM files bring their own times.
        """
        if pose_file_format(path) == "kitti":
            return cls.read_kitti(path, times)
        return cls.read_tum(path)

    @classmethod
    def read_kitti(cls, path: str | Path, times: str | Path | None = None) -> Trajectory:
        """Read a KITTI pose file with 12 numbers a line (line i is frame i) or 13 (frame first).

        Args:
            path: the pose file.
            times: file with one time in seconds for each frame of the sequence (KITTI's
                ``times.txt``). Without it frame i has the nominal time i / 10 s.

        Raises:
            InputError: when either file is damaged, or ``times`` has no line for some frame.
        """
        poses = read_kitti_poses(path)
        frames = np.arange(len(poses.T_w_c)) if poses.frames is None else poses.frames
        if times is None:
            return cls(frames * NOMINAL_PERIOD_S, poses.T_w_c, frames)
        all_times = read_times(Path(times))
        check_increasing(all_times, Path(times))
        if frames[-1] >= len(all_times):
            problem = f"has {len(all_times)} times, but {path} goes on to frame {frames[-1]}"
            raise InputError(times, problem, "give the times file of the same sequence")
        return cls(all_times[frames], poses.T_w_c, frames)

    @classmethod
    def read_tum(cls, path: str | Path) -> Trajectory:
        """Read a TUM file: ``t tx ty tz qx qy qz qw``; InputError when it is damaged."""
        poses = read_tum_poses(path)
        return cls(poses.timestamps, poses.T_w_c)

    def write_kitti(self, path: str | Path) -> None:
        """Write the upper three rows of each pose, row by row: 12 numbers a line.

        Where frames other than 0 ... N-1 are known, each line leads with its frame: 13 numbers.
        Numbers have the digits that give back the same float64. The file is whole or not there.
        """
        rows = self.T_w_c[:, :3].reshape(-1, 12).tolist()
        if self.frames is None or np.array_equal(self.frames, np.arange(len(self))):
            lines = [_line(row) for row in rows]
        else:
            lines = [f"{frame} {_line(row)}" for frame, row in zip(self.frames, rows, strict=True)]
        write_atomically(path, "\n".join(lines) + "\n")

    def write_tum(self, path: str | Path) -> None:
        """Write ``t tx ty tz qx qy qz qw`` with the digits that give back the same float64.

        A quaternion holds the nearest rotation: rotations from files with few digits come back
        orthonormal. The file is whole or not there.
        """
        from scipy.spatial.transform import Rotation

        quaternions_xyzw = Rotation.from_matrix(self.T_w_c[:, :3, :3]).as_quat(canonical=True)
        table = np.column_stack([self.timestamps, self.positions, quaternions_xyzw]).tolist()
        write_atomically(path, "\n".join(_line(row) for row in table) + "\n")

    def to_evo(self) -> PoseTrajectory3D:
        """The same trajectory for evo, with exactly orthonormal rotations.

        evo refuses to measure rotations that are off by more than 1e-6, as those from text files
        with six digits are.
        """
        from evo.core.trajectory import PoseTrajectory3D
        from scipy.spatial.transform import Rotation

        T_w_c = self.T_w_c.copy()
        T_w_c[:, :3, :3] = Rotation.from_matrix(T_w_c[:, :3, :3]).as_matrix()
        return PoseTrajectory3D(poses_se3=list(T_w_c), timestamps=self.timestamps.copy())

    @classmethod
    def from_evo(cls, path: PosePath3D) -> Trajectory:
        """Trajectory of an evo path; one without times has frames 0 ... N-1 at 10 Hz.

        Raises:
            ValueError: when the path is no trajectory, for example with times that go back.
        """
        T_w_c = np.array(path.poses_se3)
        timestamps = getattr(path, "timestamps", None)
        if timestamps is None:
            frames = np.arange(len(T_w_c))
            return cls(frames * NOMINAL_PERIOD_S, T_w_c, frames)
        return cls(timestamps, T_w_c)


def _frozen(values: Array, dtype: type) -> Array:
    """A read-only copy, so that nobody changes a trajectory behind its back."""
    copy = np.array(values, dtype)
    copy.setflags(write=False)
    return copy


def _series(values: Array, length: int, name: str, dtype: type = np.float64) -> Array:
    """A read-only copy of (N,) values that increase strictly."""
    series = _frozen(values, dtype)
    if series.shape != (length,):
        raise ValueError(f"{name} must be ({length},) like the poses, got {series.shape}")
    if not np.isfinite(series).all() or (np.diff(series) <= 0).any():
        raise ValueError(f"{name} must be finite and increase strictly")
    return series


def _line(numbers: list[float]) -> str:
    # repr has the fewest digits that give the same float64 back.
    return " ".join(map(repr, numbers))
