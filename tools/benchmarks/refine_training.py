"""A training step of the networks, with and without the refinement in it."""

from __future__ import annotations

from typing import Literal

import pypose as pp
import torch
import torch.nn.functional as F
from torch import Tensor

from vo.depth.feature_net import FeatureConfig, FeatureLevel, FeatureNet, stack_levels
from vo.depth.losses import minimum_reprojection, smoothness
from vo.depth.net import Depth, DepthConfig, DepthNet, full_size_depths
from vo.depth.photometric import photometric_error
from vo.depth.warp import warp
from vo.pose_net import PoseConfig, PoseNet
from vo.refine import PoseRefiner, RefineConfig, Refinement
from vo.tools.benchmarks.refine_input import canyon_images

Content = Literal["plain", "features", "refinement"]


class TrainingStep:
    """Networks with random weights on a batch of three frames that follow each other.

    Args:
        batch: number of triplets.
        size: (H, W) of the images.
        refine: configuration of the refinement.
    """

    def __init__(self, batch: int, size: tuple[int, int], refine: RefineConfig) -> None:
        torch.manual_seed(0)
        self.config = DepthConfig()
        self.depth_net, self.pose_net = DepthNet(self.config), PoseNet(PoseConfig())
        self.feature_net, self.refiner = FeatureNet(FeatureConfig()), PoseRefiner(refine)
        nets = (self.depth_net, self.pose_net, self.feature_net)
        self.optimizer = torch.optim.AdamW([p for net in nets for p in net.parameters()], lr=1e-4)
        self.images, self.K = canyon_images(batch, 3, size)
        self.noise = torch.Generator().manual_seed(0)

    def __call__(self, content: Content) -> Refinement | None:
        """One step: losses, gradients, update. Returns what the refinement said of the 2B pairs."""
        before, now, after = self.images
        depth = self.depth_net(now)
        poses = self._poses(before, now, after)
        refined, loss = None, torch.zeros(())
        if content != "plain":
            levels = self.feature_net(torch.cat(self.images))
            if content == "refinement":
                refined = self._refined(levels, depth, poses)
                # The pose net learns from where the refinement went: through it nothing arrives.
                missed = (poses @ pp.SE3(refined.pose.tensor().detach()).Inv()).Log().tensor()
                loss = loss + missed.abs().mean()
                poses = refined.pose
            else:
                loss = loss + sum(l.features.std() + l.confidence.mean() for l in levels)
        loss = loss + self._photometric(depth, poses.matrix().float())
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        return refined

    def _poses(self, before: Tensor, now: Tensor, after: Tensor) -> pp.LieTensor:
        """T_s_t of both sources, (2B,): the pose net sees the earlier frame first."""
        motion = self.pose_net(torch.cat([before, now]), torch.cat([now, after])).se3()
        batch = len(now)
        T_before_now = motion[:batch].Inv()
        return pp.SE3(torch.cat([T_before_now.tensor(), motion[batch:].tensor()]))

    def _refined(
        self, levels: tuple[FeatureLevel, ...], depth: Depth, T_init: pp.LieTensor
    ) -> Refinement:
        batch = len(depth.depth)
        frames = [
            [FeatureLevel(l.features[i], l.confidence[i], l.stride) for l in levels]
            for i in (slice(0, batch), slice(batch, 2 * batch), slice(2 * batch, None))
        ]
        before, now, after = frames
        return self.refiner(
            stack_levels(before, after),
            stack_levels(now, now),
            depth.depth.repeat(2, 1, 1, 1),
            self.K.repeat(2, 1, 1),
            T_init,
        )

    def _photometric(self, depth: Depth, T_s_t: Tensor) -> Tensor:
        """Minimum reprojection on all scales, and smoothness."""
        before, now, after = self.images
        sources = torch.cat([before, after])
        still = photometric_error(sources, now.repeat(2, 1, 1, 1)).chunk(2)
        loss = torch.zeros(())
        for z in full_size_depths(depth, self.config.min_depth, self.config.max_depth):
            seen = warp(sources, z.repeat(2, 1, 1, 1), self.K.repeat(2, 1, 1), T_s_t)
            errors = photometric_error(seen.image, now.repeat(2, 1, 1, 1)).chunk(2)
            loss = loss + minimum_reprojection(errors, still, generator=self.noise).mean() / 4
        for scale, disparity in enumerate(depth.disparities):
            image = F.interpolate(now, disparity.shape[-2:], mode="area")
            loss = loss + 1e-3 / 2**scale * smoothness(disparity, image)
        return loss
