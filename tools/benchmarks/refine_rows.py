"""What a benchmark of the refinement measures, and how its rows come about."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pypose as pp

from vo.refine import Refinement
from vo.refine.config import Backward
from vo.refine.energy import Backend
from vo.tools.benchmarks.measure import Call, Timing, peak_mb, take_turns
from vo.tools.benchmarks.refine_input import pose_errors


@dataclass(frozen=True, slots=True)
class Setting:
    """What a row measures.

    Attributes:
        task: ``refinement``, ``iteration``, ``training``, ``three steps`` or ``depth net``.
        method: ``ours`` or the name of another.
        batch: items B.
        channels: of the features; 0 where there are none.
        points: of each level; None is all of its pixels.
        backend: ``eager`` or ``compiled``.
        variant: ``to the end``, ``early stop``, or how gradients pass.
    """

    task: str
    method: str = "ours"
    batch: int = 1
    channels: int = 16
    points: int | None = None
    backend: Backend = "eager"
    variant: str = ""


@dataclass(frozen=True, slots=True)
class Row:
    """A measured setting.

    Attributes:
        setting: what was measured.
        ms: median time of a call.
        fastest_ms: that of the fastest round.
        rounds: number of rounds.
        peak_mb: most memory of a call, None where it was not measured.
        iterations: mean over the batch, None where the method does not tell.
        error_m: mean distance of the poses from the true ones at the end, None without poses.
        error_deg: and in degrees.
    """

    setting: Setting
    ms: float
    fastest_ms: float
    rounds: int
    peak_mb: float | None = None
    iterations: float | None = None
    error_m: float | None = None
    error_deg: float | None = None


@dataclass(frozen=True, slots=True)
class Report:
    """Rows, and ratios by name."""

    rows: tuple[Row, ...]
    ratios: dict[str, float]


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured.

    Attributes:
        seconds: of each group of methods that take turns, beyond the least number of rounds.
        rounds: the least number of rounds.
        batches: batch sizes of the refinement.
        channels: widths of the features.
        training_batches: batch sizes of the refinement forward and backward.
        backends: ``eager``, and ``compiled``, which needs a C++ compiler.
        training_backends: of the refinement forward and backward.
        dense_backwards: ways of gradients that are measured with all pixels, too.
        size: (H, W) of the images.
    """

    seconds: float = 3.0
    rounds: int = 3
    batches: tuple[int, ...] = (1, 8)
    channels: tuple[int, ...] = (16, 32, 64)
    training_batches: tuple[int, ...] = (1, 8)
    backends: tuple[Backend, ...] = ("eager", "compiled")
    training_backends: tuple[Backend, ...] = ("eager", "compiled")
    dense_backwards: tuple[Backward, ...] = ("unroll", "one_step", "implicit")
    size: tuple[int, int] = (192, 640)


def measure(
    calls: Mapping[Setting, Call],
    plan: Plan,
    truth: pp.LieTensor | None = None,
    memory: bool = True,
) -> tuple[tuple[Row, ...], dict[Setting, Timing]]:
    """Time calls in turns, and each once more for its memory and its result.

    Args:
        calls: by what they are; they give a `Refinement`, poses, or something of no interest.
        plan: how long.
        truth: (B,) true poses.
        memory: whether memory is measured.
    """
    timings = take_turns(calls, plan.seconds, plan.rounds, max(plan.rounds, 31))
    rows = []
    for setting, call in calls.items():
        results: list[object] = []
        most = (
            peak_mb(lambda call=call, results=results: results.append(call())) if memory else None
        )
        rows.append(make_row(setting, timings[setting], most, *results, truth=truth))
    return tuple(rows), timings


def make_row(
    setting: Setting,
    timing: Timing,
    most_mb: float | None = None,
    result: object = None,
    truth: pp.LieTensor | None = None,
) -> Row:
    """A row from its parts."""
    iterations = error_m = error_deg = None
    if isinstance(result, Refinement):
        iterations = float(result.iterations.double().mean())
        result = result.pose
    if isinstance(result, pp.LieTensor) and truth is not None:
        error_m, error_deg = (float(error.mean()) for error in pose_errors(result, truth))
    return Row(
        setting, timing.median_ms, timing.fastest_ms, len(timing.rounds_ms), most_mb,
        iterations, error_m, error_deg,
    )  # fmt: skip
