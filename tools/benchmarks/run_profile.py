"""Where the time of a run goes, what the processor could do, and what a long run keeps."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from vo.drive import Drive, run_ahead
from vo.model import Model
from vo.odometry import Odometry
from vo.tools.benchmarks.measure import take_turns
from vo.tools.benchmarks.run_ways import Images, Repeated, Way, our_odometry, our_run

STAGES = ("decode", "depth", "pose", "features", "refine", "rest")


@dataclass(frozen=True, slots=True)
class Profile:
    """Time of a frame by stage, one stage after the other.

    Attributes:
        stage_ms: by name, see `STAGES`; the rest is composing, measuring and writing.
        refinement_share: of the whole.
    """

    stage_ms: dict[str, float]
    refinement_share: float


@dataclass(frozen=True, slots=True)
class Roofline:
    """What the depth encoder reaches of what the processor can do, side by side.

    Attributes:
        precision: of both.
        gflops: billions of operations a second of the encoder.
        peak_gflops: of a product of matrices.
        share: median over rounds of the one over the other.
    """

    precision: str
    gflops: float
    peak_gflops: float
    share: float


class _Stages:
    """Seconds that modules took, and all others."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = dict.fromkeys(STAGES, 0.0)

    @contextmanager
    def watching(self, name: str, module: nn.Module) -> Iterator[None]:
        """Count the calls of a module for a stage."""
        begun: list[float] = []

        def before(*_: Any) -> None:
            begun.append(time.perf_counter())

        def after(*_: Any) -> None:
            self.seconds[name] += time.perf_counter() - begun.pop()

        hooks = [module.register_forward_pre_hook(before), module.register_forward_hook(after)]
        yield
        for hook in hooks:
            hook.remove()


def profile(odometry: Odometry, images: Images) -> Profile:
    """Time by stage of the loop without looking ahead."""
    stages, model, refiner = _Stages(), odometry.model, odometry.refiner
    assert refiner is not None
    reading = _Reading(images)
    with (
        stages.watching("depth", model.depth_net),
        stages.watching("pose", model.pose_net),
        stages.watching("features", model.feature_net),
        stages.watching("refine", refiner),
    ):
        begun = time.perf_counter()
        frames = len(our_run(odometry, reading.images, ahead=False).rows)
        whole = time.perf_counter() - begun
    stages.seconds["decode"] = reading.seconds
    stages.seconds["rest"] = whole - sum(stages.seconds.values())
    found = {name: 1e3 * seconds / frames for name, seconds in stages.seconds.items()}
    return Profile(found, stages.seconds["refine"] / whole)


class _Reading:
    """Images that count the seconds of reading them."""

    def __init__(self, images: Images) -> None:
        self.frames, self.seconds = images.sequence, 0.0
        self.images = Images(images.folder, self, images.size)  # type: ignore[arg-type]

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, index: int) -> Any:
        begun = time.perf_counter()
        frame = self.frames[index]
        self.seconds += time.perf_counter() - begun
        return frame


def roofline(odometry: Odometry, seconds: float) -> Roofline:
    """The prepared depth encoder beside a product of matrices, in turns."""
    width, height = odometry.size
    net = odometry.model.depth_net
    encoder = next(m for m in net.modules() if hasattr(m, "backbone"))
    image = torch.rand(1, 3, height, width)
    kind = torch.bfloat16 if odometry.bf16 else torch.float32
    a, b = torch.rand(2048, 1024).to(kind), torch.rand(1024, 1024).to(kind)

    def encode() -> object:
        with torch.autocast("cpu", torch.bfloat16, enabled=odometry.bf16):
            return encoder(image)

    with torch.inference_mode():
        with FlopCounterMode(display=False) as counter:
            encode()
        timings = take_turns({"encoder": encode, "matrices": lambda: a @ b}, seconds)
    work, most = counter.get_total_flops() / 1e6, 2 * 2048 * 1024 * 1024 / 1e6  # per ms: billions
    encoding, product = timings["encoder"], timings["matrices"]
    return Roofline(
        "bf16" if odometry.bf16 else "fp32",
        work / encoding.median_ms,
        most / product.median_ms,
        product.over(encoding) * work / most,
    )


def memory_mb(model: Model, images: Images, frames: int, way: Way) -> dict[int, float]:
    """Memory of this process in MB (10^6 bytes) in use at eight places of a long run."""
    odometry, drive = our_odometry(model, images, way), Drive()
    found = {}
    sequence: Any = Repeated(images.sequence, frames)
    for frame, estimate in run_ahead(odometry, sequence):
        drive.add(frame, estimate)
        if len(drive.rows) % max(frames // 8, 1) == 0:
            found[len(drive.rows)] = rss_mb()
    return found


def rss_mb() -> float:
    """Memory of this process that is in use, in MB; NaN where the system does not tell."""
    file = Path("/proc/self/statm")
    if not file.is_file():
        return float("nan")
    return int(file.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6
