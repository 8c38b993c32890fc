"""A drive that was run: its trajectories and its numbers, and a verdict by the truth."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
import torch

from vo.datasets.camera import Array
from vo.datasets.errors import InputError
from vo.datasets.frame import Frame, Sequence
from vo.datasets.sequence import prefetch
from vo.depth_protocols import STREET
from vo.depth_scores import pixels_that_count, score_depth
from vo.evaluation import Evaluation, evaluate
from vo.odometry import Estimate, Odometry, Seen
from vo.protocol import Alignment
from vo.scale import (
    ScaleAlignment,
    ScaleConsistency,
    scale_consistency,
    translation_flow_px,
    true_scale_alignment,
)
from vo.trajectory import Trajectory

MOST_WORKERS = 4  # that look ahead: more only wait for the thread that finds the motions


@dataclass(frozen=True, slots=True)
class Row:
    """One frame's numbers; those of a motion are NaN for the first frame.

    Lengths are in the unit of the depth.

    Attributes:
        frame: number on disk.
        time_s: time stamp.
        step_raw: |t| of the pose network since the last frame.
        step: |t| after refinement.
        ratio: scale of the pose network's translation over the refined one's
            (`vo.scale.pair_scale`).
        flow_px: mean flow by the refined translation in pixels of the network's image.
        depth_median: median of the depth.
        energy_before: robust feature cost at the first guess.
        energy: after refinement: the residual.
        valid_share: share of points compared.
        iterations: of the refinement.
        tracked: False where the motion is only the one before it.
        reason: why it is not tracked, or empty.
        depth_scale: median of depth over median of true depth where that is known, or NaN.
        depth_true_median: median of the true depth over the same pixels, or NaN.
        abs_rel: mean |d / s - d*| / d*, with s = depth_scale, or NaN; see `STREET` of
            `vo.depth_protocols`.
    """

    frame: int
    time_s: float
    step_raw: float
    step: float
    ratio: float
    flow_px: float
    depth_median: float
    energy_before: float
    energy: float
    valid_share: float
    iterations: int
    tracked: bool
    reason: str
    depth_scale: float = math.nan
    depth_true_median: float = math.nan
    abs_rel: float = math.nan


@dataclass(slots=True, eq=False)
class Drive:
    """What a run has come to so far; two kilobytes a frame.

    Attributes:
        rows: numbers of every frame.
        T_w_c: refined poses.
        T_w_c_raw: poses of the pose network; NaN where it is not asked, as the motions.
        T_last_c: refined motions.
        T_last_c_raw: motions of the pose network.
    """

    rows: list[Row] = field(default_factory=list)
    T_w_c: list[Array] = field(default_factory=list)
    T_w_c_raw: list[Array] = field(default_factory=list)
    T_last_c: list[Array] = field(default_factory=list)
    T_last_c_raw: list[Array] = field(default_factory=list)

    def add(self, frame: Frame, estimate: Estimate) -> Row:
        """Take in what the odometry said of a frame, and measure its depth where truth exists."""
        row = measured(frame, estimate)
        self.append(row, estimate)
        return row

    def append(self, row: Row, estimate: Estimate) -> None:
        """Take in a frame whose numbers are known; of the estimate poses and motions are taken."""
        self.rows.append(row)
        self.T_w_c.append(estimate.T_w_c)
        self.T_w_c_raw.append(estimate.T_w_c_raw)
        self.T_last_c.append(estimate.T_last_c)
        self.T_last_c_raw.append(estimate.T_last_c_raw)

    def trajectory(self, kind: str) -> Trajectory:
        """That of the pose network (raw), or after refinement (refined); world at its first camera.

        Raises:
            ValueError: when there are no raw poses.
        """
        poses = np.array(self.T_w_c_raw if kind == "raw" else self.T_w_c)
        times, frames = [row.time_s for row in self.rows], [row.frame for row in self.rows]
        return Trajectory(np.array(times), poses, np.array(frames))

    def motions(self, kind: str) -> list[Array]:
        """Motions since the frame before, of that kind."""
        return self.T_last_c_raw if kind == "raw" else self.T_last_c

    def consistency(self) -> ScaleConsistency:
        """Scale of raw over refined translations."""
        motions = slice(1, None)
        tracked = np.array([row.tracked for row in self.rows[motions]], bool)
        flow_px = np.array([row.flow_px for row in self.rows[motions]], float)
        raw, refined = np.array(self.T_last_c_raw[motions]), np.array(self.T_last_c[motions])
        none = np.zeros((0, 4, 4))
        return scale_consistency(
            raw if len(raw) else none, refined if len(raw) else none, flow_px, tracked
        )


@dataclass(frozen=True, slots=True, eq=False)
class Verdict:
    """A drive beside the truth.

    Attributes:
        errors: of the trajectories, by kind of poses.
        scales: of the poses over that of the depth, by kind; none without true depth.
        abs_rel: mean over frames, each scaled by its median; NaN without true depth.
        depth_scale_spread: standard deviation of the depths' scale over its median; NaN likewise.
        depth_scale: median of the depths' scale.
    """

    errors: dict[str, Evaluation]
    scales: dict[str, ScaleAlignment]
    abs_rel: float
    depth_scale_spread: float
    depth_scale: float

    @property
    def raw(self) -> Evaluation:
        """Errors of the pose network's trajectory, which must have been judged."""
        return self.errors["raw"]

    @property
    def refined(self) -> Evaluation:
        """Errors of the refined trajectory, which must have been judged."""
        return self.errors["refined"]

    @property
    def scale_raw(self) -> ScaleAlignment | None:
        """Scale of the raw poses over that of the depth."""
        return self.scales.get("raw")

    @property
    def scale_refined(self) -> ScaleAlignment | None:
        """Scale of the refined poses over that of the depth."""
        return self.scales.get("refined")


def run(odometry: Odometry, frames: Iterable[Frame]) -> Iterator[tuple[Frame, Estimate]]:
    """The odometry over a drive, frame by frame; the first frame is its world."""
    odometry.reset()
    for frame in frames:
        yield frame, odometry.step(frame)


def run_ahead(odometry: Odometry, sequence: Sequence) -> Iterator[tuple[Frame, Estimate]]:
    """`run` over a drive that can be read by position, and what it gives, in less time.

    Threads read the frames ahead and compute their depth and features, one frame each, while this
    one finds the motion of an earlier frame: small steps that keep no second core busy. A few
    frames are held at a time. PyTorch's threads are shared out among all until the end.
    """
    odometry.reset()
    threads, cpu = torch.get_num_threads(), torch.device(odometry.device).type == "cpu"
    workers = min(threads, MOST_WORKERS) if cpu else 1
    torch.set_num_threads(max(threads // workers, 1))
    seen = _SeenFrames(sequence, odometry)
    try:
        for frame, look in prefetch(seen, workers, ahead=2 * workers):
            yield frame, odometry.follow(look)
    finally:
        torch.set_num_threads(threads)


@dataclass(frozen=True, slots=True)
class _SeenFrames:
    """A drive whose frames come with what `Odometry.see` says of them."""

    frames: Sequence
    odometry: Odometry

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, index: int) -> tuple[Frame, Seen]:
        frame = self.frames[index]
        return frame, self.odometry.see(frame)


def judge(
    drive: Drive,
    truth: Trajectory,
    alignment: Alignment = "sim3",
    kinds: tuple[str, ...] = ("raw", "refined"),
) -> Verdict:
    """Errors of a whole drive.

    Args:
        drive: what was run.
        truth: true pose of every frame that was run.
        alignment: what may be adjusted before errors are measured.
        kinds: of poses that the drive has.

    Raises:
        InputError: when the drive is too short, or does not move, for the alignment.
    """
    if len(truth) != len(drive.rows):
        raise InputError("truth", f"has {len(truth)} poses for {len(drive.rows)} frames")
    errors = {kind: evaluate(truth, drive.trajectory(kind), alignment, kind) for kind in kinds}
    scales = np.array([row.depth_scale for row in drive.rows])
    known = np.isfinite(scales)
    if not known.any():
        return Verdict(errors, {}, math.nan, math.nan, math.nan)
    middle = float(np.median(scales[known]))
    return Verdict(
        errors,
        {kind: _alignment(drive, truth, drive.motions(kind)) for kind in kinds},
        float(np.nanmean([row.abs_rel for row in drive.rows])),
        float(np.std(scales[known] / middle)),
        middle,
    )


def _alignment(drive: Drive, truth: Trajectory, T_last_c: list[Array]) -> ScaleAlignment:
    """Pose scale over depth scale of each pair; its depth is that of the frame before, whose scale
    is `Row.depth_scale`."""
    before = drive.rows[:-1]
    true_median = np.array([row.depth_true_median for row in before])
    median = np.array([row.depth_scale for row in before]) * true_median
    tracked = np.array([row.tracked for row in drive.rows[1:]], bool)
    t = np.array([T[:3, 3] for T in T_last_c[1:]]).reshape(-1, 3)
    return true_scale_alignment(t, truth.T_c_next()[:, :3, 3], median, true_median, tracked)


def measured(frame: Frame, estimate: Estimate) -> Row:
    """A frame's numbers, those of its depth by the truth included, where there is any."""
    t_raw, t = estimate.T_last_c_raw[:3, 3], estimate.T_last_c[:3, 3]
    first = estimate.index == 0
    square = float(t @ t)
    depth_scale, true_median, abs_rel = _depth_errors(frame.depth, estimate.depth)
    return Row(
        frame=frame.index,
        time_s=frame.time_s,
        step_raw=math.nan if first else float(np.linalg.norm(t_raw)),
        step=math.nan if first else float(np.linalg.norm(t)),
        ratio=float(t_raw @ t) / square if square > 0 else math.nan,
        flow_px=math.nan if first else _flow_px(estimate),
        depth_median=float(np.median(estimate.depth)),
        energy_before=estimate.energy_before,
        energy=estimate.energy,
        valid_share=estimate.valid_share,
        iterations=estimate.iterations,
        tracked=estimate.tracked,
        reason=estimate.reason,
        depth_scale=depth_scale,
        depth_true_median=true_median,
        abs_rel=abs_rel,
    )


def _flow_px(estimate: Estimate) -> float:
    # The target is this frame, whose depth is at hand; T_last_c is its T_s_t.
    return translation_flow_px(estimate.depth, estimate.camera, estimate.T_last_c)


def _depth_errors(truth: Array | None, depth: Array) -> tuple[float, float, float]:
    """Scale, true median and abs_rel of a depth (h, w), by the protocol of the street."""
    if truth is None:
        return math.nan, math.nan, math.nan
    scores = score_depth(depth, truth, STREET)
    if not scores.pixels:
        return math.nan, math.nan, math.nan
    true_median = float(np.median(truth[pixels_that_count(truth, STREET)]))
    return 1 / scores.ratio, true_median, scores.abs_rel
