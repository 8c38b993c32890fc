"""Commands that write, what they write unharmed, and whether other files are that."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vo.tools.faulting.processes import Process, Trouble

GROWING = ("raw.txt", "refined.txt", "raw.tum.txt", "refined.tum.txt", "gt.txt", "scale.csv")
CHECKPOINTS = ("best.safetensors", "last.safetensors")
SPEEDS = ("frames_per_s", "images_per_s")
_TRAINING = (
    "--init none --model.width 96 --model.height 64 --model.depth.encoder.backbone regnetx_002 "
    "--model.pose.encoder.backbone regnetx_002 --model.depth.decoder-channels 8 8 8 8 8 "
    "--data.batch 2 --bootstrap.steps 0 --refinement.warmup 2 "
    "--refinement.settings.num-points 200 --save-every 2 --validate-every 4 --optim.steps 8"
)


@dataclass(frozen=True, slots=True)
class Sound:
    """What a command left when nothing harmed it.

    Attributes:
        out: the folder.
        seconds: that it took.
    """

    out: Path
    seconds: float


class Bench:
    """Small inputs, and a new folder for each process.

    Args:
        folder: empty, to work in.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self._number = folder, 0
        self._sound: dict[str, Sound] = {}

    def new(self) -> Path:
        """A new folder."""
        self._number += 1
        made = self.folder / f"{self._number:03d}"
        made.mkdir()
        return made

    def words(self, program: str, out: Path) -> list[str]:
        """A command line that writes to a folder."""
        sound, target = self._inputs(), str(out)
        if program == "vo-run":
            model = str(sound / "checkpoint/model.safetensors")
            drive = ["--seq", "09", "--data", str(sound / "kitti")]
            return ["vo-run", *drive, "--ckpt", model, "--out", target]
        if program == "vo-train":
            drives = ["--data", str(sound / "training"), "--seq", "09", "--val", "10"]
            return ["vo-train", *drives, *_TRAINING.split(), "--out", target]
        size = ["--size", "96", "64", "--frames", "10"]
        return ["vo-data", "street", "--seq", "09", *size, "--workers", "1", "--out", target]

    def start(self, words: list[str], trouble: Trouble | None = None) -> Process:
        """Start a command."""
        return Process(words, self.new() / "said", trouble)

    def sound(self, program: str) -> Sound:
        """What a command leaves when nothing harms it.

        Raises:
            RuntimeError: when it does not end well.
        """
        if program not in self._sound:
            out = self.new() / "out"
            if not self._sound:  # the first process of all waits for what is loaded once
                self.start(self.words(program, self.new() / "first")).ending()
            ending = self.start(self.words(program, out)).ending()
            if ending.status != 0:
                raise RuntimeError(f"{program}: {ending.status}: {' / '.join(ending.err)}")
            self._sound[program] = Sound(out, ending.seconds)
        return self._sound[program]

    def difference(self, program: str, out: Path) -> str:
        """Which file is not as it is when nothing harms the command; empty where none is."""
        sound = self.sound(program).out
        if program == "vo-run":
            names = [name for name in GROWING if (sound / name).exists()]
            different = [n for n in names if _bytes(out / n) != _bytes(sound / n)]
            if _without_speed(out / "metrics.json") != _without_speed(sound / "metrics.json"):
                different.append("metrics.json")
        elif program == "vo-train":
            different = [n for n in CHECKPOINTS if not _same_weights(out / n, sound / n)]
            if _without_speed(out / "log.jsonl") != _without_speed(sound / "log.jsonl"):
                different.append("log.jsonl")
        else:
            names = {_relative(p, root) for root in (out, sound) for p in root.rglob("*")}
            different = [
                n for n in sorted(names)
                if ".lock" not in n and _bytes(out / n) != _bytes(sound / n)
            ]  # fmt: skip
        return f"{different[0]} differs" if different else ""

    def no_beginning(self, program: str, out: Path) -> str:
        """Which file is half-written or no beginning of that of the unharmed command; or empty."""
        sound = self.sound(program).out
        if program == "vo-run":
            for name in GROWING:
                data, whole = _bytes(out / name) or b"", _bytes(sound / name) or b""
                if not whole.startswith(data) or (data and not data.endswith(b"\n")):
                    return f"{name} is no beginning"
            log = _bytes(out / "log.txt")
            return "log.txt ends within a line" if log and not log.endswith(b"\n") else ""
        return _half_written(out) if program == "vo-train" else ""

    def slow(self, out: Path) -> str:
        """Which file tells a speed that is none; empty where none does."""
        for name in ("metrics.json", "log.jsonl"):
            for line in _json(out / name) or []:
                if any(not 0 < line[key] < math.inf for key in SPEEDS if key in line):
                    return f"{name} tells a speed that is none"
        return ""

    def _inputs(self) -> Path:
        from vo.tools.faulting.inputs import build

        sound = self.folder / "sound"
        if not sound.exists():
            sound.mkdir()
            build(sound, "training")
        return sound


def _half_written(out: Path) -> str:
    """Which file of a training cannot be read; empty where all can."""
    import safetensors.numpy
    import torch

    try:
        for name in CHECKPOINTS:
            if (out / name).exists():
                safetensors.numpy.load_file(out / name)
        if (out / "state.pt").exists():
            torch.load(out / "state.pt", weights_only=True)
        if (out / "log.jsonl").exists():
            _without_speed(out / "log.jsonl")
    except Exception as error:  # whatever a reader raises, the file is not whole
        return f"half-written: {type(error).__name__}: {error}"[:200]
    return ""


def _without_speed(path: Path) -> list[dict[str, Any]] | None:
    found = _json(path)
    if found is None:
        return None
    return [{k: v for k, v in line.items() if k not in SPEEDS} for line in found]


def _json(path: Path) -> list[dict[str, Any]] | None:
    """Content of a file of JSON, line by line for .jsonl; None where there is no file."""
    if not path.exists():
        return None
    text = path.read_text()
    return [json.loads(line) for line in (text.splitlines() if path.suffix == ".jsonl" else [text])]


def _same_weights(one: Path, other: Path) -> bool:
    import safetensors.numpy

    if not (one.exists() and other.exists()):
        return False
    a, b = safetensors.numpy.load_file(one), safetensors.numpy.load_file(other)
    return a.keys() == b.keys() and all(np.array_equal(a[key], b[key]) for key in a)


def _bytes(path: Path) -> bytes | None:
    return path.read_bytes() if path.is_file() else None


def _relative(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix()
