"""The folder of a run: its own, never another's, and whole at any moment that the run may die."""

from __future__ import annotations

import csv
import dataclasses
import io
import math
import os
import platform
import shlex
import sys
import time
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from types import TracebackType

import numpy as np
import torch
from scipy.spatial.transform import Rotation

from vo import __version__
from vo.checkpoint import Checkpoint
from vo.datasets.camera import Array
from vo.datasets.errors import InputError
from vo.drive import Row
from vo.model import ModelConfig
from vo.odometry import Estimate
from vo.ranks import ranks_of_environment
from vo.refine import RefineConfig
from vo.settings import write_yaml
from vo.tools.running.flags import KINDS, RunFlags
from vo.tools.version import commit

RUNS = Path("runs")
LOG_FILE, COMMAND_FILE, CONFIG_FILE = "log.txt", "command.txt", "config.yaml"
SCALE_FILE = "scale.csv"
OF_NETWORK = ("step_raw", "ratio")
OF_REFINEMENT = ("step", "ratio", "energy_before", "energy", "valid_share", "iterations")


@dataclass(frozen=True, slots=True)
class RunConfig:
    """What is written to ``config.yaml``.

    Attributes:
        checkpoint: the file.
        sha256: its first digits.
        sequence: name of the drive.
        width: of the images that the networks saw, in pixels.
        height: of them.
        refine: settings of the refinement; None where it was off.
        model: the networks.
        flags: the command's, with every default.
    """

    checkpoint: str
    sha256: str
    sequence: str
    width: int
    height: int
    refine: RefineConfig | None
    model: ModelConfig
    flags: RunFlags


class LineFile:
    """A new text file that grows by whole lines: whoever reads it, at any moment and after any
    end of the process, finds no half of a line.

    Args:
        path: of a file that does not exist.

    Raises:
        FileExistsError: when it does.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._size = 0
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o666)

    def write(self, line: str) -> None:
        """Append a line, in one call of the system.

        Raises:
            OSError: naming the file, when the disk is full; the line is then not there at all.
        """
        data = f"{line}\n".encode()
        rest = data
        try:
            while rest:  # a second round is for the error only: it tells why the first fell short
                rest = rest[os.write(self._file, rest) :]
        except OSError as error:
            os.ftruncate(self._file, self._size)
            raise OSError(error.errno, error.strerror, str(self.path)) from error
        self._size += len(data)

    def close(self) -> None:
        """Close the file; nothing was waiting to be written."""
        os.close(self._file)


class Record:
    """Files of a run that grow with it, a line a frame: poses, true poses, numbers, and the log.

    Args:
        folder: made by `new_folder`.
        kinds: of poses: raw, refined, or both.
        log: the run's log, which it has from the beginning.
        timed: whether its lines tell the time of day.
    """

    def __init__(
        self, folder: Path, kinds: tuple[str, ...], log: LineFile, timed: bool = True
    ) -> None:
        self.folder, self.kinds, self.frames = folder, kinds, 0
        self._log, self._timed = log, timed
        self._files = {SCALE_FILE: LineFile(folder / SCALE_FILE)}
        self._files[SCALE_FILE].write(",".join(f.name for f in dataclasses.fields(Row)))
        for kind in kinds:
            for file in (f"{kind}.txt", f"{kind}.tum.txt"):
                self._files[file] = LineFile(folder / file)
        self._T_first_w: Array | None = None

    def __enter__(self) -> Record:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for file in (*self._files.values(), self._log):
            file.close()

    def log(self, text: str) -> None:
        """Write a line to the log."""
        begin = time.strftime("%Y-%m-%d %H:%M:%S ") if self._timed else ""
        self._log.write(begin + " ".join(text.split()))

    def add(self, row: Row, estimate: Estimate, T_w_c_true: Array | None) -> None:
        """Write a frame's lines.

        Args:
            row: its numbers.
            estimate: its poses.
            T_w_c_true: (4, 4) true pose in any world, of all frames or of none.
        """
        for kind in self.kinds:
            T_w_c = estimate.T_w_c_raw if kind == "raw" else estimate.T_w_c
            self._files[f"{kind}.txt"].write(kitti_line(T_w_c))
            self._files[f"{kind}.tum.txt"].write(tum_line(row.time_s, T_w_c))
        if T_w_c_true is not None:
            if self._T_first_w is None:
                self._T_first_w = np.linalg.inv(T_w_c_true)
                self._files["gt.txt"] = LineFile(self.folder / "gt.txt")
            self._files["gt.txt"].write(kitti_line(self._T_first_w @ T_w_c_true))
        self._files[SCALE_FILE].write(csv_line(row, self.kinds))
        self.frames += 1
        if not row.tracked:
            self.log(f"frame {row.frame} is not tracked: {row.reason}")


def new_folder(out: Path | None, name: str) -> tuple[Path, LineFile]:
    """A folder that belongs to this run alone, and the log in it.

    Args:
        out: the folder, which must be new or empty; None is ``runs/NAME-N`` with the first N that
            is free.
        name: of the sequence.

    Raises:
        InputError: when ``out`` is taken.
    """
    if out is None:
        RUNS.mkdir(exist_ok=True)
        number = 1
        while True:
            folder = RUNS / f"{name.replace(os.sep, '_')}-{number}"
            try:
                folder.mkdir()
                break
            except FileExistsError:
                number += 1
        return folder, LineFile(folder / LOG_FILE)
    demand_free(out)
    out.mkdir(parents=True, exist_ok=True)
    try:
        return out, LineFile(out / LOG_FILE)
    except FileExistsError:  # another run has just come to the same empty folder
        raise _taken(out) from None


def demand_free(out: Path) -> None:
    """Refuse a folder that holds something.

    Raises:
        InputError: when it does, or is no folder.
    """
    # In this order: another run may make the folder between two looks at it.
    if out.exists() and not out.is_dir():
        raise InputError(out, "is a file", "give --out the name of a folder")
    if out.is_dir() and any(out.iterdir()):
        raise _taken(out)


def _taken(out: Path) -> InputError:
    problem = "holds something already, which is never overwritten"
    return InputError(out, problem, "choose another --out, or leave it out")


def write_settings(
    folder: Path,
    flags: RunFlags,
    checkpoint: Checkpoint,
    sequence: str,
    size: tuple[int, int],
    device: str,
) -> None:
    """Write ``config.yaml`` and ``command.txt``: all that is needed to do the run again."""
    config = checkpoint.model.config
    refine = config.refine if flags.refine else None
    path, sha256 = str(checkpoint.path.resolve()), checkpoint.sha256
    run = RunConfig(path, sha256, sequence, *size, refine, config, _absolute(flags))
    write_yaml(run, folder / CONFIG_FILE)
    versions = {name: metadata.version(name) for name in ("torch", "pypose", "timm", "numpy")}
    lines = {
        "command": shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        "started": time.strftime("%Y-%m-%d %H:%M:%S %z"),
        "checkpoint": path,
        "sha256": sha256,
        "vo": __version__,
        "commit": commit() or "not a checkout",
        "python": platform.python_version(),
        **versions,
        "device": device,
        "processes": f"{ranks_of_environment().size}",
        "threads": f"{torch.get_num_threads()}",
        "machine": f"{platform.machine()}, {platform.system()} {platform.release()}",
    }
    if flags.deterministic:
        del lines["started"]
    file = LineFile(folder / COMMAND_FILE)
    for key, value in lines.items():
        file.write(f"{key}: {value}")
    file.close()


def _absolute(flags: RunFlags) -> RunFlags:
    """The same flags for a reader that stands in another folder."""
    data = None if flags.data is None else flags.data.resolve()
    intrinsics = flags.intrinsics
    if intrinsics is not None and Path(intrinsics).is_file():
        intrinsics = str(Path(intrinsics).resolve())
    return dataclasses.replace(flags, data=data, intrinsics=intrinsics)


def kitti_line(T_w_c: Array) -> str:
    """The upper three rows of a pose (4, 4) as `Trajectory.write_kitti` writes them."""
    return " ".join(map(repr, T_w_c[:3].reshape(12).tolist()))


def tum_line(time_s: float, T_w_c: Array) -> str:
    """``t tx ty tz qx qy qz qw`` as `Trajectory.write_tum` writes it."""
    quaternion_xyzw = Rotation.from_matrix(T_w_c[:3, :3]).as_quat(canonical=True)
    numbers = [float(time_s), *T_w_c[:3, 3].tolist(), *quaternion_xyzw.tolist()]
    return " ".join(map(repr, numbers))


def csv_line(row: Row, kinds: tuple[str, ...] = KINDS) -> str:
    """A row in the order of its fields; what was not measured is empty."""
    values = dataclasses.asdict(row)
    if "refined" not in kinds:  # nothing was refined: these would repeat the raw motion
        values |= dict.fromkeys(OF_REFINEMENT, math.nan)
    if "raw" not in kinds:  # the network was asked for a motion here and there
        values |= dict.fromkeys(OF_NETWORK, math.nan)
    cells = ["" if isinstance(v, float) and math.isnan(v) else v for v in values.values()]
    line = io.StringIO()
    csv.writer(line, lineterminator="").writerow(cells)
    return line.getvalue()
