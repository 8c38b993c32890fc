"""Coarse to fine: refined poses from two feature pyramids, and a verdict on each."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import pypose as pp
import torch
from torch import Tensor, nn

from vo.depth.feature_net import FeatureLevel
from vo.refine.config import Kernel, RefineConfig
from vo.refine.energy import FeaturePair, NormalEquations
from vo.refine.gradients import attach
from vo.refine.iteration import Prior, State, has_texture
from vo.refine.motion import as_SE3
from vo.refine.optimizer import Adaptive, FeatureMetricLM, PoseModel
from vo.refine.points import feature_pair, for_views, median_depth


class Reason(IntEnum):
    """Why an item's pose is as it is; all but REFINED leave the initial pose."""

    REFINED = 0
    TOO_FEW_POINTS = 1
    NO_TEXTURE = 2
    NOT_FINITE = 3
    MOVED_TOO_FAR = 4


@dataclass(frozen=True, slots=True, eq=False)
class Refinement:
    """What became of B poses.

    Attributes:
        pose: (B,) SE3 float64, T_s_t; the initial pose where ``success`` is False.
        levels: the pose after each level, coarse to fine.
        success: (B,) bool.
        reason: (B,) int64, a `Reason`.
        energy_before: (B,) mean robust cost of the finest level's points at the initial pose.
        energy: (B,) the same at the refined pose.
        valid_share: (B,) share of points that were compared at the refined pose.
        iterations: (B,) int64, over all levels.
        information: (B, 6, 6) H at the refined pose, in units of the features; it takes residuals
            for independent and is far too confident: for weighting and gating only.
    """

    pose: pp.LieTensor
    levels: tuple[pp.LieTensor, ...]
    success: Tensor
    reason: Tensor
    energy_before: Tensor
    energy: Tensor
    valid_share: Tensor
    iterations: Tensor
    information: Tensor


class PoseRefiner(nn.Module):
    """Refines poses over the levels of two feature pyramids.

    Args:
        config: all settings.
        solver: of PyPose; Cholesky when None.
        strategy: of damping; `Adaptive` from ``config.damping`` when None.
    """

    def __init__(
        self,
        config: RefineConfig | None = None,
        solver: nn.Module | None = None,
        strategy: Any = None,
    ) -> None:
        super().__init__()
        self.config = config = config or RefineConfig()
        self.kernel = make_kernel(config.kernel, config.kernel_scale)
        self.solver = solver or pp.optim.solver.Cholesky()
        self.strategy = strategy or Adaptive(config.damping)

    def forward(
        self,
        source: Sequence[FeatureLevel],
        target: Sequence[FeatureLevel],
        depth: Tensor,
        K: Tensor,
        T_init: pp.LieTensor,
        static: Tensor | None = None,
        damping: Tensor | None = None,
    ) -> Refinement:
        """Refine T_s_t, which maps points of the target camera to the source camera.

        Targets may have several sources each: with B pairs and A targets, pair i is that of source
        i and target i % A.

        Args:
            source: pyramid of the source frames (B), coarse to fine.
            target: pyramid of the target frames (A), of the same sizes; B is a multiple of A.
            depth: (A, 1, H, W) of the target frames.
            K: (A, 3, 3) intrinsics of the H x W image, of both frames.
            T_init: (B,) SE3.
            static: (A, 1, H, W), 1 where the scene stands still; None is everywhere.
            damping: (B,) initial lambda in place of the configured one.

        Raises:
            ValueError: when shapes do not fit together.
        """
        _check(source, target, depth, K, T_init, len(self.config.iterations))
        with torch.autocast(depth.device.type, enabled=False):
            start, finite = _finite_pose(T_init)
            median, views = median_depth(depth, self.config.min_depth), len(start) // len(depth)
            # What coarse levels get wrong would else be blamed on the depth, and on its scale.
            fixed = depth.detach() if self.config.detach_levels else depth
            depths = [fixed] * (len(source) - 1) + [depth]
            pairs = [
                self._pair(s, t, d, K, static, median, views)
                for s, t, d in zip(source, target, depths, strict=True)
            ]
            median = for_views(median.double(), views)
            # Only `unroll` keeps the iterations; the others attach a gradient to each level's pose.
            keep = torch.is_grad_enabled() and self.config.backward == "unroll"
            T = start.matrix().contiguous()
            prior = self._prior(T.clone(), median)
            with torch.set_grad_enabled(keep):
                states = self._descend(self._optimizer(start), pairs, T, prior, damping)
            poses = as_SE3(torch.cat([state.T for state in states])).tensor().chunk(len(states))
            poses = tuple(map(pp.SE3, poses))
            if torch.is_grad_enabled() and not keep:
                poses = tuple(
                    attach(pair, pose, state, self._model(pose), self.config)
                    for pair, pose, state in zip(pairs, poses, states, strict=True)
                )
            return self._judge(pairs[-1], states, start, poses, finite, median)

    def _descend(
        self,
        optimizer: FeatureMetricLM,
        pairs: list[FeaturePair],
        T: Tensor,
        prior: Prior | None,
        damping: Tensor | None,
    ) -> list[State]:
        """Levenberg-Marquardt on each level, from the pose of the coarser one."""
        states, config = [], self.config
        for pair, iterations in zip(pairs, config.iterations, strict=True):
            state = optimizer.begin(pair, T, damping, prior)
            for _ in range(iterations):
                if not state.active.any():
                    break
                state = optimizer.iterate(pair, state)
            states.append(state)
            T = state.T.detach() if config.detach_levels else state.T
        return states

    def _optimizer(self, start: pp.LieTensor) -> FeatureMetricLM:
        c = self.config
        return FeatureMetricLM(
            self._model(start), self.solver, self.strategy, c.tolerance_px, c.min_valid
        )

    def _model(self, pose: pp.LieTensor) -> PoseModel:
        return PoseModel(pose, self.kernel, self.config.backend)

    def _pair(
        self,
        source: FeatureLevel,
        target: FeatureLevel,
        depth: Tensor,
        K: Tensor,
        static: Tensor | None,
        median: Tensor,
        views: int,
    ) -> FeaturePair:
        c = self.config
        return feature_pair(
            source,
            target,
            depth,
            K,
            num_points=c.num_points,
            seed=c.seed,
            derivative=c.derivative,
            source_confidence=c.source_confidence,
            min_depth=c.min_depth,
            static=static,
            median=median,
            views=views,
        )

    def _prior(self, T: Tensor, median: Tensor) -> Prior | None:
        if not self.config.prior:
            return None
        sigma_t = self.config.prior_translation * median
        sigma_r = torch.full_like(median, math.radians(self.config.prior_rotation_deg))
        sigma = torch.stack([sigma_t] * 3 + [sigma_r] * 3, -1)
        return Prior(T, sigma**-2)

    def _judge(
        self,
        pair: FeaturePair,
        states: list[State],
        start: pp.LieTensor,
        poses: tuple[pp.LieTensor, ...],
        finite: Tensor,
        median: Tensor,
    ) -> Refinement:
        """Keep the refined pose where it can be trusted, and say why not elsewhere."""
        config, last, pose = self.config, states[-1].equations, poses[-1]
        with torch.no_grad():
            before = self._model(start)(pair, start)
            move = (pose @ start.Inv()).Log().tensor()
            far = move[:, :3].norm(dim=1) > config.gate_translation * median
            far |= move[:, 3:].norm(dim=1) > math.radians(config.gate_rotation_deg)
            valid = (last.weight > 0).double().mean(1)
            broken = ~(torch.isfinite(before.energy) & torch.isfinite(last.energy) & finite)
            reason = torch.zeros_like(states[-1].iterations)
            for fault, value in (  # the first of the list has the last word
                (far, Reason.MOVED_TOO_FAR),
                (~has_texture(before, pair), Reason.NO_TEXTURE),
                (valid < config.min_valid, Reason.TOO_FEW_POINTS),
                ((before.weight > 0).double().mean(1) < config.min_valid, Reason.TOO_FEW_POINTS),
                (broken | ~torch.isfinite(move).all(1), Reason.NOT_FINITE),
            ):
                reason = torch.where(fault, int(value), reason)
        success = reason == Reason.REFINED
        return Refinement(
            pose=_choose(success, pose, start),
            levels=tuple(_choose(success, level, start) for level in poses),
            success=success,
            reason=reason,
            energy_before=_mean_energy(before),
            energy=torch.where(success, _mean_energy(last), _mean_energy(before)),
            valid_share=valid,
            iterations=torch.stack([state.iterations for state in states]).sum(0),
            information=last.hessian.detach(),
        )


def make_kernel(name: Kernel, scale: float) -> nn.Module | None:
    """PyPose's robust kernel of that name."""
    match name:
        case "cauchy":
            return pp.optim.kernel.Cauchy(scale)
        case "huber":
            return pp.optim.kernel.Huber(scale)
        case "pseudo_huber":
            return pp.optim.kernel.PseudoHuber(scale)
        case "none":
            return None
    raise ValueError(f"kernel must be cauchy, huber, pseudo_huber or none, got {name!r}")


def _mean_energy(equations: NormalEquations) -> Tensor:
    weight = equations.weight.detach()
    return (weight * equations.cost.detach()).sum(1) / weight.sum(1).clamp(min=1e-12)


def _choose(mask: Tensor, a: pp.LieTensor, b: pp.LieTensor) -> pp.LieTensor:
    """SE3 of ``a`` where the mask (B,) holds, else of ``b``."""
    return pp.SE3(torch.where(mask[:, None], a.tensor(), b.tensor()))


def _finite_pose(T_init: pp.LieTensor) -> tuple[pp.LieTensor, Tensor]:
    """The poses in float64, the identity for those with NaN or infinity, and which are finite."""
    raw = T_init.tensor().double()
    finite = torch.isfinite(raw).all(-1)
    identity = pp.identity_SE3(len(raw), dtype=torch.float64, device=raw.device).tensor()
    return pp.SE3(torch.where(finite[:, None], raw, identity)), finite


def _check(
    source: Sequence[FeatureLevel], target: Sequence[FeatureLevel], depth: Tensor, K: Tensor,
    T_init: pp.LieTensor, levels: int,
) -> None:  # fmt: skip
    if not len(source) == len(target) == levels:
        raise ValueError(f"{levels} levels are configured, got {len(source)} and {len(target)}")
    for s, t in zip(source, target, strict=True):
        if s.maps.shape[1:] != t.maps.shape[1:]:
            got = f"{tuple(s.maps.shape)} and {tuple(t.maps.shape)}"
            raise ValueError(f"features of source and target differ: {got}")
    pairs, targets = len(source[0].maps), len(target[0].maps)
    if targets == 0 or pairs % targets:
        raise ValueError(f"each target needs as many sources, got {pairs} for {targets}")
    if depth.ndim != 4 or depth.shape[1] != 1 or len(depth) != targets:
        raise ValueError(
            f"depth must be ({targets}, 1, H, W) as the targets are, got {tuple(depth.shape)}"
        )
    if K.shape != (targets, 3, 3):
        raise ValueError(f"K must be ({targets}, 3, 3), got {tuple(K.shape)}")
    if (
        not isinstance(T_init, pp.LieTensor)
        or T_init.ltype != pp.SE3_type
        or T_init.lshape != (pairs,)
    ):
        raise ValueError(
            f"T_init must be a pypose.SE3 of shape ({pairs}, 7), got {tuple(T_init.shape)}"
        )
