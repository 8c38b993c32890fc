"""What a training leaves to look at: ``log.jsonl``, TensorBoard, and a bar on the terminal."""

from __future__ import annotations

import json
import math
import os
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from vo.atomic import write_atomically
from vo.datasets.errors import InputError
from vo.datasets.plain_file import read_file
from vo.tools.console import console
from vo.tools.strict_json import strict

if TYPE_CHECKING:
    from vo.training.trainer import Step
    from vo.training.validation import Validation

LOG_FILE = "log.jsonl"
_MOST_BYTES = 1 << 30  # of a million steps: 50,000 lines
_REMEDY = "leave --resume out to start anew"


class TrainLog:
    """Means over some steps as lines of JSON, to TensorBoard with pictures, and on a bar.

    Args:
        folder: of the run.
        steps: of the whole training.
        start: first step of this process; later lines of an earlier one are dropped, because these
            steps are done again.
        every: steps a line.
        timed: whether lines tell the speed.
        pictures_every: steps from one set of pictures to the next.
    """

    def __init__(
        self,
        folder: Path,
        steps: int,
        start: int,
        every: int = 20,
        timed: bool = True,
        pictures_every: int = 500,
    ) -> None:
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeRemainingColumn,
        )
        from torch.utils.tensorboard import SummaryWriter

        self.path, self.steps = folder / LOG_FILE, steps
        self.every, self.timed, self.pictures_every = every, timed, pictures_every
        _drop_from(self.path, start)
        self._folder = folder / "tensorboard"
        if self._folder.is_symlink():  # of a training by strangers: it may lead anywhere
            raise InputError(self._folder, "is a link", "remove it, and resume again")
        with self._named():
            self.board = SummaryWriter(str(self._folder), purge_step=start)
        columns = (
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(),
            TimeRemainingColumn(), TextColumn("{task.fields[note]}"),
        )  # fmt: skip
        self.bar = Progress(*columns, console=console, disable=not console.is_terminal)
        self.task = self.bar.add_task("train", total=steps, completed=start, note="")
        self.sums: dict[str, list[float]] = defaultdict(list)

    def __enter__(self) -> TrainLog:
        self.bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.bar.stop()
        with self._named():
            self.board.close()

    def step(self, step: Step) -> None:
        """Take in a step."""
        self.sums["loss"].append(step.loss)
        self.sums["gradient"].append(step.gradient)
        self.sums["images_per_s"].append(step.images_per_s)
        for name, value in step.terms.items():
            self.sums[name].append(value)
        done = step.number + 1
        self.bar.update(self.task, completed=done, description=step.phase)
        if done % self.every == 0 or done == self.steps:
            means = {name: _mean(values) for name, values in self.sums.items()}
            self.sums.clear()
            told = {k: v for k, v in means.items() if self.timed or k != "images_per_s"}
            self._write({"step": done, "phase": step.phase, "lr": step.lr} | told)
            with self._named():
                for name, value in means.items():
                    self.board.add_scalar(f"train/{name}", value, done)
                self.board.add_scalar("train/lr", step.lr, done)
            speed = f"{means['images_per_s']:.1f} images/s"
            note = f"loss {means['loss']:.4g}, {speed}, lr {step.lr:.2g}"
            self.bar.update(self.task, note=note)
            if not console.is_terminal:
                console.print(f"{done} {step.phase}: {note}", soft_wrap=True)
        if done % self.pictures_every == 0 and step.outcome is not None:
            with self._named():
                for name, picture in pictures(step).items():
                    self.board.add_image(name, picture, done, dataformats="HWC")

    def validation(self, found: Validation) -> None:
        """Take in a validation."""
        self._write({"step": found.step, "validation": found.numbers, "score": found.score})
        with self._named():
            for name, value in found.numbers.items():
                self.board.add_scalar(f"validation/{name}", value, found.step)

    @contextmanager
    def _named(self) -> Iterator[None]:
        """Let an error of the disk name TensorBoard's folder."""
        try:
            yield
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(self._folder)) from error

    def _write(self, content: dict[str, Any]) -> None:
        line = json.dumps(strict(content)) + "\n"
        size = self.path.stat().st_size if self.path.exists() else 0
        try:
            with open(self.path, "a") as file:  # in one write: a killed run leaves whole lines
                file.write(line)
        except OSError as error:
            os.truncate(self.path, size)  # a full disk takes a part of the line
            raise OSError(error.errno, error.strerror, str(self.path)) from error


def pictures(step: Step) -> dict[str, Any]:
    """Input as the networks saw it, depth, error and confidence of the first sample, (H, W, 3)."""
    import numpy as np

    from vo.tools.depth_colours import depth_colours

    outcome = step.outcome
    assert outcome is not None
    result = {
        "input": (step.seen[0, 0].permute(1, 2, 0).clamp(0, 1) * 255).byte().cpu().numpy(),
        "depth": depth_colours(outcome.depth[0, 0].float().cpu().numpy()),
    }
    maps = {"error": outcome.error}
    if outcome.confidence is not None:
        maps["confidence"] = outcome.confidence
    for name, values in maps.items():
        grey = values[0, 0].float().cpu().numpy()
        grey = grey / max(float(grey.max()), 1e-6)
        result[name] = np.repeat((grey * 255).astype(np.uint8)[..., None], 3, axis=2)
    return result


def _mean(values: list[float]) -> float:
    finite = [value for value in values if math.isfinite(value)]
    return sum(finite) / len(finite) if finite else math.nan


def _drop_from(path: Path, step: int) -> None:
    """Keep the lines of steps that will not be done again; a link in place of the file is replaced.

    Raises:
        InputError: when it cannot be read.
    """
    if not os.path.lexists(path):
        return
    lines = read_file(path, _MOST_BYTES, "a log", _REMEDY).splitlines()
    try:
        kept = [line for line in lines if json.loads(line)["step"] <= step]
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise InputError(path, "is no log of a training", _REMEDY) from error
    write_atomically(path, b"".join(line + b"\n" for line in kept))
