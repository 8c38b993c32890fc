"""How near the refinement brings disturbed true poses of a real or rendered drive."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence as Items
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from vo.datasets.errors import InputError
from vo.tools.console import console, print_table
from vo.tools.tables import new_table

if TYPE_CHECKING:
    import numpy as np
    import pypose as pp
    from torch import Tensor

    from vo.datasets.frame import Frame, Sequence
    from vo.depth.feature_net import FeatureLevel
    from vo.model import Model
    from vo.refine import PoseRefiner, Refinement

    See = Callable[[Frame], "Seen"]

NEAR_M, NEAR_DEG = 0.05, 0.1


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """What the refinement works with, of one frame.

    Attributes:
        levels: features, coarse to fine.
        depth: (1, 1, H, W) metres, 0 where unknown.
        K: (1, 3, 3) of ``depth``.
        static: (1, 1, H, W) 0 where something moves by itself; None where that is not known.
    """

    levels: Items[FeatureLevel]
    depth: Tensor
    K: Tensor
    static: Tensor | None = None


@dataclass(frozen=True, slots=True, eq=False)
class PairErrors:
    """Errors of P pairs against the data set's own poses.

    Attributes:
        before: (P, 2) translation error in metres and rotation error in degrees of the start.
        after: (P, 2) the same after refinement.
        success: (P,) bool.
        iterations: (P,) over all levels.
        energy_ratio: (P,) mean cost at the refined pose over that at the data set's pose: below 1
            the images agree better with the refined one.
    """

    before: np.ndarray
    after: np.ndarray
    success: np.ndarray
    iterations: np.ndarray
    energy_ratio: np.ndarray


def pairs(
    data: Annotated[Path | None, tyro.conf.arg(metavar="DATA")] = None,
    seq: str | None = None,
    gap: tuple[int, ...] = (1,),
    step: int = 5,
    error_m: float = 0.3,
    error_deg: float = 0.5,
    size: tuple[int, int] | None = None,
    points: int | None = 2000,
    ckpt: str | None = None,
    start: int = 0,
    end: int | None = None,
) -> None:
    """Refine disturbed true poses with grey features and measured depth; print what is left.

    With a checkpoint, depth and features are its own.

    Example: python -m vo.tools.benchmark pairs --seq 09

    Args:
        data: drive with poses, and depth where no checkpoint is given; the street when not given.
        seq: its sequence.
        gap: frames between target and source, one row of the table each.
        step: frames from one pair to the next.
        error_m: translation error of the start, in a random direction.
        error_deg: rotation error of the start, about a random axis.
        size: width and height to resize to.
        points: points on each level; None is all pixels.
        ckpt: file of the checkpoint whose depth and features are taken, at its size.
        start: first frame, from 0.
        end: frame after the last one.
    """
    from vo.checkpoint import load_checkpoint
    from vo.datasets import open_sequence
    from vo.refine import PoseRefiner, RefineConfig

    config, see = RefineConfig(num_points=points), None
    if ckpt is not None:
        if size is not None:
            raise InputError("--size", "is that of the checkpoint", "leave it out")
        model = load_checkpoint(ckpt).model
        size = model.config.width, model.config.height
        config = replace(model.config.refine, num_points=points)
        see = partial(by_networks, model)
    sequence = open_sequence(data, seq, size=size, start=start, end=end)
    refiner = PoseRefiner(config)
    errors = ("before", "after, median", "after, 90 %")
    table = new_table((), ("gap", "pairs", *errors, "near", "cost", "iterations"))
    for frames in gap:
        found = pair_errors(sequence, frames, step, error_m, error_deg, refiner, see)
        table.add_row(str(frames), str(len(found.before)), *_cells(found))
    print_table(table)
    console.print(
        f"near: below {NEAR_DEG} deg and {NEAR_M} m. cost: at the refined pose over that at the"
        " data set's own pose.",
        soft_wrap=True,
    )


def _cells(found: PairErrors) -> list[str]:
    import numpy as np

    near = (found.after[:, 0] < NEAR_M) & (found.after[:, 1] < NEAR_DEG) & found.success

    def errors(of: np.ndarray, share: float) -> str:
        metres, degrees = np.quantile(of, share, axis=0)
        return f"{metres:.4f} m {degrees:.3f} deg"

    return [
        errors(found.before, 0.5),
        errors(found.after, 0.5),
        errors(found.after, 0.9),
        f"{100 * near.mean():.0f} %",
        f"{np.median(found.energy_ratio):.3f}",
        f"{found.iterations.mean():.1f}",
    ]


def pair_errors(
    sequence: Sequence,
    gap: int,
    step: int,
    error_m: float,
    error_deg: float,
    refiner: PoseRefiner,
    see: See | None = None,
    seed: int = 0,
) -> PairErrors:
    """Refine pairs (k, k + gap), k = 0, step, 2 step, ..., from disturbed true poses.

    Args:
        sequence: the drive.
        gap: frames between target and source.
        step: frames from one pair to the next.
        error_m: translation error of the start, in a random direction.
        error_deg: rotation error of the start, about a random axis.
        refiner: the refinement.
        see: depth and features of a frame; grey features and measured depth by default.
        seed: of directions and axes.

    Raises:
        InputError: when the drive has no poses or no depth, or is too short.
    """
    import numpy as np
    import pypose as pp
    import torch

    if gap < 1 or step < 1 or len(sequence) <= gap:
        raise InputError("--gap", f"{gap} does not fit {len(sequence)} frames", "choose less")
    see = see or partial(as_measured, len(refiner.config.iterations))
    rng = np.random.default_rng(seed)
    rows = []
    with torch.no_grad():
        for k in range(0, len(sequence) - gap, step):
            frames = sequence[k], sequence[k + gap]
            truth = true_motion(*frames, sequence.name)
            target, source = map(see, frames)
            way = rng.normal(size=(2, 3))
            way /= np.linalg.norm(way, axis=1, keepdims=True)
            xi = np.concatenate([way[0] * error_m, way[1] * np.deg2rad(error_deg)])
            start = pp.se3(torch.from_numpy(xi)[None]).Exp() @ truth
            result = refine_pair(refiner, target, source, start)
            at_truth = refine_pair(refiner, target, source, truth).energy_before
            rows.append(
                (*_error(start, truth), *_error(result.pose, truth), bool(result.success),
                 int(result.iterations), float(result.energy / at_truth))
            )  # fmt: skip
    r = np.array(rows, np.float64)
    return PairErrors(r[:, :2], r[:, 2:4], r[:, 4] > 0, r[:, 5], r[:, 6])


def refine_pair(
    refiner: PoseRefiner, target: Seen, source: Seen, start: pp.LieTensor
) -> Refinement:
    """Refine T_source_target of two frames with the target's depth."""
    return refiner(source.levels, target.levels, target.depth, target.K, start, target.static)


def as_measured(levels: int, frame: Frame) -> Seen:
    """Grey features on so many levels, and the data set's own depth.

    Raises:
        InputError: when there is none.
    """
    import torch

    from vo.depth.feature_net import grey_features

    if frame.depth is None:
        problem = "has no depth"
        raise InputError(f"frame {frame.index}", problem, "give other data, or --ckpt")
    static = None
    if frame.moving is not None:
        static = torch.from_numpy(~frame.moving)[None, None].float()
    depth = torch.from_numpy(frame.depth)[None, None]
    return Seen(grey_features(_image(frame), levels), depth, _K(frame), static)


def by_networks(model: Model, frame: Frame) -> Seen:
    """Depth and features of networks; the frame has their size."""
    image = _image(frame)
    depth = model.depth_net(image)
    return Seen(model.features(image, depth), depth.depth, _K(frame))


def _K(frame: Frame) -> Tensor:
    import torch

    return torch.from_numpy(frame.camera.K)[None].float()


def true_motion(target: Frame, source: Frame, name: str) -> pp.LieTensor:
    """T_source_target of the data set, SE3 (1, 7) float64."""
    import numpy as np
    import torch

    from vo.refine.motion import as_SE3

    if target.T_w_c is None or source.T_w_c is None:
        raise InputError(name, "has no true poses", "give a drive that has them")
    T = np.linalg.inv(source.T_w_c) @ target.T_w_c
    return as_SE3(torch.from_numpy(T)[None])


def _error(pose: pp.LieTensor, truth: pp.LieTensor) -> tuple[float, float]:
    e = (pose @ truth.Inv()).Log().tensor()[0]
    return float(e[:3].norm()), float(e[3:].norm().rad2deg())


def _image(frame: Frame) -> Tensor:
    import torch

    return torch.from_numpy(frame.image).permute(2, 0, 1)[None].float() / 255
