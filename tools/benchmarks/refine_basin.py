"""From how far away the refinement finds the pose: on pairs of the rendered street.

Depth and poses are the true ones, features are grey values and their gradients without training,
the refinement is as it is by default (2000 points, early stop). A pair counts as found when it ends
within 0.1 degrees and 0.05 m of the truth. First guesses are off in random directions.
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import pypose as pp
import torch

from vo.datasets import open_sequence
from vo.datasets.frame import Frame
from vo.depth.feature_net import FeatureLevel, grey_features
from vo.refine import PoseRefiner, RefineConfig
from vo.refine.energy import Derivative
from vo.tools.benchmarks.refine_input import RefineInput, disturbed, pose_errors

FOUND_M, FOUND_DEG = 0.05, 0.1
NEAR_M, NEAR_DEG = 0.1, 0.2  # the error of the kind that is not swept
STEPS_M = (0.1, 0.2, 0.3, 0.5, 1.0, 2.0, 3.0)
STEPS_DEG = (0.2, 0.5, 1.0, 2.0, 3.0, 5.0)
USUAL = (0.3, 0.5)
BATCH = 8


@dataclass(frozen=True, slots=True)
class Share:
    """What became of all pairs from one initial error.

    Attributes:
        derivative: how features were differentiated.
        off_m: initial error in metres.
        off_deg: and in degrees.
        pairs: number of pairs.
        share: of pairs found, 0 to 1.
        median_m: median error at the end in metres.
        median_deg: and in degrees.
    """

    derivative: Derivative
    off_m: float
    off_deg: float
    pairs: int
    share: float
    median_m: float
    median_deg: float


def street_pairs(count: int, seq: str = "09") -> list[RefineInput]:
    """Pairs of neighbouring frames, spread evenly over a sequence, in batches.

    The earlier frame is the target; the first guess is the truth.

    Raises:
        InputError: when the street cannot be rendered.
    """
    sequence = open_sequence(None, seq)
    T_w_c = sequence.T_w_c
    if T_w_c is None:
        raise ValueError(f"{sequence.name} has no true poses")
    frames = np.linspace(0, len(sequence) - 2, count).round().astype(int)
    batches = []
    for i in np.array_split(frames, math.ceil(count / BATCH)):
        now, after = ([sequence[k] for k in frames.tolist()] for frames in (i, i + 1))
        truth = torch.from_numpy(np.linalg.inv(T_w_c[i + 1]) @ T_w_c[i])
        T_s_t = cast(pp.LieTensor, pp.from_matrix(truth, pp.SE3_type, check=False))
        depth = torch.from_numpy(np.stack([np.asarray(frame.depth) for frame in now]))[:, None]
        K = torch.from_numpy(sequence.camera.K).float().expand(len(i), 3, 3)
        batches.append(RefineInput(_features(after), _features(now), depth, K, T_s_t, T_s_t))
    return batches


def _features(frames: Sequence[Frame]) -> tuple[FeatureLevel, ...]:
    images = torch.from_numpy(np.stack([frame.image for frame in frames]))
    return grey_features(images.permute(0, 3, 1, 2) / 255, 3)


def basin(
    batches: Iterable[RefineInput], derivatives: tuple[Derivative, ...] = ("central", "exact")
) -> list[Share]:
    """Shares of pairs found over translation errors, over rotation errors, and at the usual one."""
    batches = list(batches)
    starts = {USUAL: None}
    starts |= dict.fromkeys((m, NEAR_DEG) for m in STEPS_M)
    starts |= dict.fromkeys((NEAR_M, deg) for deg in STEPS_DEG)
    return [
        share(batches, off_m, off_deg, derivative)
        for derivative in derivatives
        for off_m, off_deg in starts
    ]


@torch.no_grad()
def share(
    batches: Iterable[RefineInput], off_m: float, off_deg: float, derivative: Derivative
) -> Share:
    """Refine all pairs from one initial error."""
    refiner = PoseRefiner(RefineConfig(derivative=derivative))
    generator = torch.Generator().manual_seed(0)
    ends = []
    for d in batches:
        start = disturbed(d.truth, off_m, off_deg, generator)
        pose = refiner(d.source, d.target, d.depth, d.K, start).pose
        ends.append(torch.stack(pose_errors(pose, d.truth)))
    metres, degrees = torch.cat(ends, 1)
    found = (metres < FOUND_M) & (degrees < FOUND_DEG)
    return Share(
        derivative, off_m, off_deg, len(found), float(found.double().mean()),
        float(metres.median()), float(degrees.median()),
    )  # fmt: skip


def draw_basin(shares: Iterable[Share]) -> bytes:
    """A PNG: share of pairs found over the initial error, of translation and of rotation."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    shares = list(shares)
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    styles = {"central": ("#0173b2", "-", "o"), "exact": ("#de8f05", "--", "s")}
    for derivative in dict.fromkeys(s.derivative for s in shares):
        colour, line, marker = styles[derivative]
        of = [s for s in shares if s.derivative == derivative]
        look = {"color": colour, "ls": line, "marker": marker, "label": f"{derivative} derivative"}
        m = sorted((s.off_m, 100 * s.share) for s in of if s.off_deg == NEAR_DEG)
        deg = sorted((s.off_deg, 100 * s.share) for s in of if s.off_m == NEAR_M)
        left.plot(*zip(*m, strict=True), **look)
        right.plot(*zip(*deg, strict=True), **look)
    left.set(xlabel=f"initial error (m), with {NEAR_DEG:g} deg", ylabel="pairs found (%)")
    right.set(xlabel=f"initial error (deg), with {NEAR_M:g} m")
    for axes in (left, right):
        axes.set(xscale="log", ylim=(-3, 103))
        axes.grid(alpha=0.3)
    ticks = ((left, STEPS_M), (right, STEPS_DEG))
    for axes, steps in ticks:
        axes.set_xticks(steps, [f"{step:g}" for step in steps])
        axes.minorticks_off()
    left.legend()
    figure.suptitle(f"Ends within {FOUND_DEG:g} deg and {FOUND_M:g} m, {shares[0].pairs} pairs")
    picture = io.BytesIO()
    FigureCanvasAgg(figure).print_png(picture)
    return picture.getvalue()
