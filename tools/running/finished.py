"""A run of ``vo-run`` read back from its folder: poses, numbers, and its frames with their depth.

A run that was killed is read as far as it came.
"""

from __future__ import annotations

import csv
import dataclasses
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vo.datasets.camera import Array
from vo.datasets.errors import InputError
from vo.datasets.optional import is_there
from vo.datasets.plain_file import read_file
from vo.datasets.plain_json import read_object
from vo.datasets.text import MOST_BYTES, MOST_LINES, check_increasing
from vo.drive import Drive, Row
from vo.settings import read_yaml
from vo.tools.running.flags import open_drive
from vo.tools.running.record import COMMAND_FILE, CONFIG_FILE, SCALE_FILE, RunConfig
from vo.tools.running.result import METRICS_FILE, Result, judged
from vo.trajectory import Trajectory

if TYPE_CHECKING:
    from vo.datasets.frame import Frame, Sequence
    from vo.odometry import Estimate, Look

_REMEDY = "give the folder of a run, as vo-run writes it"
_MOST_BYTES = 16 * 1024 * 1024  # of the small files of a run
_MOST_FRAME = 2**53


@dataclass(frozen=True, slots=True, eq=False)
class FinishedRun:
    """What a folder of ``vo-run`` says.

    Attributes:
        folder: the run's.
        config: its settings: checkpoint, size of the images, every flag.
        rows: numbers of every frame.
        trajectories: by kind of poses: raw, refined, or both; world is the first camera.
        truth: true poses of the same frames, or None.
        metrics: content of ``metrics.json``; empty where the run was ended before.
    """

    folder: Path
    config: RunConfig
    rows: list[Row]
    trajectories: dict[str, Trajectory]
    truth: Trajectory | None
    metrics: dict[str, Any]

    @property
    def name(self) -> str:
        """The folder's, which tells runs apart."""
        return self.folder.resolve().name

    def sequence(self) -> Sequence:
        """The drive that was run, opened again; frames after the last one of the run included.

        Raises:
            InputError: when it is no longer where it was.
        """
        name = self.config.sequence
        return open_drive(self.config.flags, name, (self.config.width, self.config.height))

    def drive(self) -> Drive:
        """What the run came to, as it was when its last frame was written."""
        poses = [self._poses(kind) for kind in ("refined", "raw")]
        motions = [[np.eye(4), *(np.linalg.inv(T[:-1]) @ T[1:])] for T in poses]
        return Drive(list(self.rows), *map(list, poses), *motions)

    def result(self) -> Result:
        """The run judged again by its own files, with the alignment of its flags.

        Raises:
            InputError: when a killed run's checkpoint, which alone knows its unit of length, is
                gone.
        """
        speed = self.metrics.get("frames_per_s")
        return judged(
            self.config.sequence,
            self.folder,
            self.drive(),
            tuple(self.trajectories),
            self._metric(),
            self.truth,
            self.config.flags.align,
            float(speed) if isinstance(speed, int | float) else math.nan,
        )

    def facts(self) -> dict[str, str]:
        """Lines of ``command.txt``: the command, when, by which versions, on what.

        Raises:
            InputError: when it cannot be read.
        """
        return read_facts(self.folder)

    def replay(
        self, device: str = "cpu", positions: Iterable[int] | None = None
    ) -> Iterator[tuple[Frame, Estimate]]:
        """Every frame again with poses and numbers as they were written; depth and confidence
        are computed anew by the checkpoint, and nothing is tracked again.

        Args:
            device: to compute on.
            positions: increasing, of the frames that are wanted; all by default.

        Raises:
            InputError: when drive or checkpoint are gone, or are others now.
        """
        from vo.checkpoint import load_checkpoint
        from vo.datasets.sequence import View, prefetch
        from vo.odometry import Odometry

        checkpoint = load_checkpoint(self.config.checkpoint, device)
        if checkpoint.sha256 != self.config.sha256:
            problem = "is no longer the checkpoint of the run"
            raise InputError(self.config.checkpoint, problem, "run vo-run again")
        sequence = self.sequence()
        if len(sequence) < len(self.rows):
            problem = f"has {len(sequence)} frames for the {len(self.rows)} of the run"
            raise InputError(sequence.name, problem, "run vo-run again")
        size, precision = (self.config.width, self.config.height), self.config.flags.precision
        odometry = Odometry(checkpoint.model, self.config.refine, size, device, precision)
        wanted = np.arange(len(self.rows)) if positions is None else np.array([*positions], int)
        frames = prefetch(View(sequence, wanted, sequence.camera))
        for index, frame in zip(wanted.tolist(), frames, strict=True):
            if (frame.index, frame.time_s) != (self.rows[index].frame, self.rows[index].time_s):
                problem = f"has another frame {frame.index} than the run"
                raise InputError(sequence.name, problem, "run vo-run again")
            yield frame, self._estimate(index, self.rows[index], odometry.look(frame))

    def _estimate(self, index: int, row: Row, look: Look) -> Estimate:
        from vo.odometry import Estimate

        raw, refined = self._poses("raw"), self._poses("refined")
        last = max(index - 1, 0)
        return Estimate(
            index=index,
            time_s=row.time_s,
            T_w_c=refined[index],
            T_w_c_raw=raw[index],
            T_last_c=np.linalg.inv(refined[last]) @ refined[index],
            T_last_c_raw=np.linalg.inv(raw[last]) @ raw[index],
            depth=look.depth,
            camera=look.camera,
            tracked=row.tracked,
            reason=row.reason,
            energy_before=row.energy_before,
            energy=row.energy,
            valid_share=row.valid_share,
            iterations=row.iterations,
            confidence=look.confidence,
        )

    def _poses(self, kind: str) -> Array:
        """(N, 4, 4) poses as estimates have them: without refinement both kinds are the raw ones,
        and without the pose network raw ones are NaN."""
        if kind in self.trajectories:
            return self.trajectories[kind].T_w_c
        if kind == "refined":
            return self.trajectories["raw"].T_w_c
        return np.full((len(self.rows), 4, 4), np.nan)

    def _metric(self) -> bool:
        from vo.checkpoint import read_card

        unit = self.metrics.get("unit")
        return unit == "m" if isinstance(unit, str) else read_card(self.config.checkpoint)[1].metric


def read_run(folder: str | Path) -> FinishedRun:
    """Read the folder of a run.

    Raises:
        InputError: naming the file, when one is missing, damaged, or does not fit the others.
    """
    folder = Path(folder)
    if not (folder / CONFIG_FILE).is_file():
        raise InputError(folder, f"has no {CONFIG_FILE}", _REMEDY)
    config = read_yaml(RunConfig, folder / CONFIG_FILE)
    rows = _read_rows(folder / SCALE_FILE)
    times = np.array([row.time_s for row in rows])
    trajectories = {
        kind: _read_poses(folder / f"{kind}.txt", times) for kind in config.flags.kinds()
    }
    true = folder / "gt.txt"
    truth = _read_poses(true, times) if is_there(true) else None
    return FinishedRun(folder, config, rows, trajectories, truth, _read_metrics(folder))


def read_facts(folder: Path) -> dict[str, str]:
    """Lines of a run's ``command.txt`` by their names.

    Raises:
        InputError: when it cannot be read.
    """
    path = folder / COMMAND_FILE
    try:
        data = read_file(path, _MOST_BYTES, "the facts of a run", _REMEDY)
        lines = data.decode("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(path, "cannot be read", _REMEDY) from error
    return {name: value for name, _, value in (line.partition(": ") for line in lines)}


def _read_poses(path: Path, times: Array) -> Trajectory:
    """As many poses as there are rows: a killed run may have written one more."""
    found = Trajectory.read_kitti(path)
    if len(found) < len(times):
        raise InputError(path, f"has {len(found)} poses for {len(times)} frames", _REMEDY)
    try:
        return Trajectory(times, found.T_w_c[: len(times)])
    except ValueError as error:  # the poses have been checked, the times have not
        where = path.with_name(SCALE_FILE)
        raise InputError(where, "has times that do not increase", _REMEDY) from error


def _read_rows(path: Path) -> list[Row]:
    fields = dataclasses.fields(Row)
    try:
        text = read_file(path, MOST_BYTES, "the numbers of a run", _REMEDY).decode("utf-8")
        if text.count("\n") >= MOST_LINES:
            raise InputError(path, f"has over {MOST_LINES:,} lines", _REMEDY)
        lines = list(csv.reader(text.splitlines()))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(path, "cannot be read", _REMEDY) from error
    if not text.endswith("\n"):  # runs write whole lines: a copy was cut off
        raise InputError(path, "ends within a line", "copy the run again")
    if not lines or lines[0] != [field.name for field in fields]:
        raise InputError(path, "has other columns than vo-run writes", "run vo-run again")
    if len(lines) == 1:
        raise InputError(path, "has no frames", "run vo-run again")
    rows = []
    for number, line in enumerate(lines[1:], start=2):
        try:
            cells = zip(fields, line, strict=True)
            rows.append(Row(**{field.name: _value(str(field.type), cell) for field, cell in cells}))
        except ValueError as error:
            raise InputError(path, f"line {number} is damaged", "run vo-run again") from error
    check_increasing(np.array([row.frame for row in rows]), path, range(2, 2 + len(rows)), "frame")
    return rows


def _value(kind: str, cell: str) -> Any:
    if kind == "str":
        return cell
    if kind == "bool":
        return ("False", "True").index(cell) == 1
    if kind == "int":
        if abs(number := int(cell or 0)) < _MOST_FRAME:
            return number
        raise ValueError(f"{kind} of {len(cell)} digits")
    return float(cell) if cell else math.nan


def _read_metrics(folder: Path) -> dict[str, Any]:
    path = folder / METRICS_FILE
    if not is_there(path):
        return {}
    try:
        return read_object(path, _MOST_BYTES, "the scores of a run", "run vo-run again")
    except OSError as error:
        raise InputError(path, "cannot be read", "run vo-run again") from error
