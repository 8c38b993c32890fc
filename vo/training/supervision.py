"""A start with true depth and poses, where data have them.

It stands in for weights learned from millions of images where these cannot be had, and it gives
depth and poses the metre as their unit.
"""

from __future__ import annotations

import math

import pypose as pp
import torch
from torch import Tensor

from vo.datasets.draws import Source, normal
from vo.datasets.triplets import TripletBatch
from vo.depth.net import full_size_depths
from vo.model import Model
from vo.refine import PoseRefiner
from vo.refine.motion import as_SE3
from vo.training.config import Bootstrap, RefineTraining
from vo.training.objective import Outcome, features_of, poses_of, pyramids

FARTHEST = 80.0  # metres; truth beyond is left out, as in every evaluation of KITTI


def supervised(
    model: Model,
    refiner: PoseRefiner | None,
    batch: TripletBatch,
    seen: Tensor,
    config: Bootstrap,
    refinement: RefineTraining,
    generator: Source,
    bf16: bool = False,
    pixels: float | None = None,
) -> Outcome:
    """Loss of a batch with truth: log depth, poses, and poses refined from a disturbed start.

    Args:
        model: the networks.
        refiner: the refinement; None leaves out the third part.
        batch: samples with truth.
        seen: changed images as ``batch.images``, which the networks see.
        config: weights of the parts.
        refinement: which gradients flow.
        generator: of the disturbance.
        bf16: whether networks compute in bfloat16.
        pixels: that the error of depth is divided by; those with true depth when not given.

    Raises:
        ValueError: when the batch has no true depth or no true poses.
    """
    if batch.depth is None or batch.T_s_t is None:
        raise ValueError("a bootstrap needs true depth and true poses")
    with torch.autocast(seen.device.type, torch.bfloat16, enabled=bf16):
        depth = model.depth_net(seen[:, 0])
        T_raw = poses_of(model, seen)
        levels = None if refiner is None else features_of(model, seen, depth)
    bounds = model.config.depth.min_depth, model.config.depth.max_depth
    errors = torch.stack(
        [log_error(d, batch.depth, config.beyond) for d in full_size_depths(depth, *bounds)]
    )
    near = (batch.depth > 0) & (batch.depth < FARTHEST)
    depth_loss = errors.sum() / len(errors) / (pixels or near.sum().clamp(min=1))
    T_true = as_SE3(batch.T_s_t.transpose(0, 1).flatten(0, 1))
    pose_loss = pose_error(T_raw, T_true)
    loss = config.depth * depth_loss + config.pose * pose_loss
    terms = {"depth": depth_loss.item(), "pose": pose_loss.item()}
    confidence = None
    if refiner is not None and levels is not None:
        source, target = pyramids(levels, refinement)
        start = disturbed(T_true, config, generator)
        refined = refiner(source, target, batch.depth, batch.K, start)
        # Every level answers for its own result, and none for a start that was hopeless.
        each = [pose_errors(pose, T_true).clamp(max=1.0) for pose in refined.levels]
        refined_loss = torch.stack(each).mean()
        loss = loss + config.refined * refined_loss
        terms |= {"refined": each[-1].mean().item(), "start": pose_error(start, T_true).item()}
        terms["refined_share"] = refined.success.double().mean().item()
        confidence = levels[-1].confidence[: len(seen)].detach()
    return Outcome(loss, terms, depth.depth.detach(), errors[0].detach(), confidence)


def log_error(depth: Tensor, truth: Tensor, beyond: float) -> Tensor:
    """|log depth - log truth| up to FARTHEST; beyond, what depth falls short of it, weighted.

    Args:
        depth: (B, 1, H, W) positive, in metres.
        truth: (B, 1, H, W) in metres, 0 where unknown, which counts as far away.
        beyond: weight of the second part.

    Returns:
        (B, 1, H, W).
    """
    near = (truth > 0) & (truth < FARTHEST)
    error = depth.log() - torch.where(near, truth, FARTHEST).log()
    return torch.where(near, error.abs(), beyond * (-error).relu())


def pose_errors(T: pp.LieTensor, T_true: pp.LieTensor) -> Tensor:
    """(N,) distance in metres, plus angle times 20 m, which weighs a degree like 0.35 m."""
    missed = (T @ T_true.Inv()).Log().tensor()
    return (missed[:, :3].norm(dim=1) + 20.0 * missed[:, 3:].norm(dim=1)).float()


def pose_error(T: pp.LieTensor, T_true: pp.LieTensor) -> Tensor:
    """Mean of `pose_errors`, ()."""
    return pose_errors(T, T_true).mean()


def disturbed(T: pp.LieTensor, config: Bootstrap, generator: Source) -> pp.LieTensor:
    """Poses off by normally distributed translations and rotations."""
    noise = normal((len(T), 6), generator, torch.float64).to(T.device)
    noise[:, :3] *= config.start_translation
    noise[:, 3:] *= math.radians(config.start_rotation_deg)
    return pp.se3(noise).Exp() @ T
