"""What training from video minimises.

The photometric losses of Godard et al. (ICCV 2019), at poses that the feature-metric refinement has
aligned with the depth being learned, as SA4Depth does:

    L = L_photo(D, T_ref) + w_raw L_photo(sg D, T_raw) + w_dist |Log(T_raw sg(T_ref)^-1)|
        + w_coarse mean_l |Log(T_l sg(T_ref)^-1)| + w_smooth L_smooth(D)

where sg stops gradients and T_l is the pose after a level l of the refinement that is not its last.
A refinement that has converged passes little gradient to its start, so the pose network learns from
the second term, whose images are half as large, and the third; its own depth is held still there,
so that the pose follows the scale of the depth. For the same reason the features of coarser levels
learn from the fourth term alone, as in PixLoc (Sarlin et al., CVPR 2021) every level has a loss.
"""

from __future__ import annotations

from dataclasses import dataclass

import pypose as pp
import torch
import torch.nn.functional as F
from torch import Tensor

from vo.datasets.draws import Source
from vo.datasets.triplets import TripletBatch
from vo.depth.feature_net import FeatureLevel
from vo.depth.losses import minimum_reprojection, smoothness
from vo.depth.net import Depth, full_size_depths
from vo.depth.photometric import moments_of, photometric_error
from vo.depth.warp import padded, scale_intrinsics, warp
from vo.model import Model
from vo.refine import PoseRefiner, Refinement
from vo.refine.motion import as_SE3
from vo.refine.points import median_depth
from vo.training.config import LossConfig, RefineTraining


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """A step's loss, and what is worth a look.

    Attributes:
        loss: () what is minimised.
        terms: its parts, unweighted, and other numbers by name.
        depth: (B, 1, H, W) of the targets.
        error: (B, 1, H, W) photometric error, or that of log depth in the bootstrap.
        confidence: (B, 1, h, w) of the finest features of the targets, or None without them.
    """

    loss: Tensor
    terms: dict[str, float]
    depth: Tensor
    error: Tensor
    confidence: Tensor | None


def self_supervised(
    model: Model,
    refiner: PoseRefiner | None,
    batch: TripletBatch,
    seen: Tensor,
    config: LossConfig,
    refinement: RefineTraining,
    generator: Source,
    bf16: bool = False,
) -> Outcome:
    """Loss of a batch from images alone.

    Args:
        model: the networks.
        refiner: the refinement; None leaves the poses of the pose network.
        batch: clean images, which losses compare.
        seen: changed images as ``batch.images``, which the networks see.
        config: weights and kinds of the losses.
        refinement: which gradients flow.
        generator: of the tie-break of the auto-mask.
        bf16: whether networks compute in bfloat16.
    """
    with torch.autocast(seen.device.type, torch.bfloat16, enabled=bf16):
        depth = model.depth_net(seen[:, 0])
        T_raw = poses_of(model, seen)
        levels = None if refiner is None else features_of(model, seen, depth)
    sources = batch.images[:, 1:].transpose(0, 1).flatten(0, 1)
    scene = Scene(batch.images[:, 0], sources, batch.K, config, generator)
    depths = full_size_depths(depth, model.config.depth.min_depth, model.config.depth.max_depth)
    depths = depths[: config.scales]
    terms: dict[str, float] = {}
    confidence = None
    if refiner is None or levels is None:
        photo, error = scene.photometric(depths, with_stereo(T_raw, batch))
        loss = photo
    else:
        refined = _refined(refiner, levels, depths[0], batch.K, T_raw, refinement)
        photo, error = scene.photometric(depths, with_stereo(refined.pose, batch))
        target = pp.SE3(refined.pose.tensor().detach())
        success = refined.success
        distance = distances_in_steps(
            _where(success, T_raw), _where(success, target), depths[0]
        ).mean()
        coarse = _coarse_distance(refined, target, depths[0])
        loss = photo + config.distillation * distance + config.coarse * coarse
        if config.raw:
            raw = _raw(scene, depths[0].detach(), with_stereo(T_raw, batch), config.raw_stride)
            loss = loss + config.raw * raw
            terms["raw"] = raw.item()
        terms |= _refinement_terms(refined)
        terms |= {"distillation": distance.item(), "coarse": coarse.item()}
        confidence = levels[-1].confidence[: len(seen)].detach()
    smooth = scene.smoothness(depth, depths)
    loss = loss + config.smoothness * smooth
    flow = _median_flow(depths[0], batch.K, T_raw)
    terms |= {"photo": photo.item(), "smooth": smooth.item(), "flow_px": flow.item()}
    return Outcome(loss, terms, depths[0].detach(), error.detach(), confidence)


def poses_of(model: Model, seen: Tensor) -> pp.LieTensor:
    """T_s_t of both sources, (2B,): those of the frames before, then those after.

    The pose network always sees the earlier frame first; of the first pair target is the later.
    """
    now, before, after = seen[:, :3].unbind(1)
    motion = model.pose_net(torch.cat([before, now]), torch.cat([now, after])).se3()
    half = len(now)
    return pp.SE3(torch.cat([motion[:half].Inv().tensor(), motion[half:].tensor()]))


def features_of(model: Model, seen: Tensor, depth: Depth) -> tuple[FeatureLevel, ...]:
    """Features of the frames of one camera, coarse to fine, (3B): targets, frames before, after."""
    frames = seen[:, :3].transpose(0, 1).flatten(0, 1)
    if model.config.features.source != "encoder":
        return model.features(frames)
    rest = model.depth_net(frames[len(seen) :])
    joined = tuple(
        torch.cat(pair) for pair in zip(depth.encoder_features, rest.encoder_features, strict=True)
    )
    return model.features(frames, Depth(depth.depth, depth.disparities, joined))


def pyramids(
    levels: tuple[FeatureLevel, ...], refinement: RefineTraining
) -> tuple[list[FeatureLevel], list[FeatureLevel]]:
    """Pyramids of the 2B sources, in the order of `poses_of`, and of their B targets."""
    source, target = [], []
    for level in levels:
        maps = level.maps if refinement.gradient_to_features else level.maps.detach()
        B = len(maps) // 3
        targets, sources = maps.split([B, 2 * B])
        source.append(FeatureLevel(sources, level.stride))
        target.append(FeatureLevel(targets, level.stride))
    return source, target


def with_stereo(T_s_t: pp.LieTensor, batch: TripletBatch) -> pp.LieTensor:
    """Poses of all sources: the (2B,) that are estimated, and the known one of the other camera."""
    if batch.T_stereo is None:
        return T_s_t
    known = as_SE3(batch.T_stereo)
    return pp.SE3(torch.cat([T_s_t.tensor(), known.tensor()]))


class Scene:
    """Images of a batch, and how well depth and poses explain the targets."""

    def __init__(
        self, target: Tensor, sources: Tensor, K: Tensor, config: LossConfig,
        generator: Source,
    ) -> None:  # fmt: skip
        self.target, self.sources, self.config, self.generator = target, sources, config, generator
        self.padded = padded(sources)
        self.views = len(sources) // len(target)
        self.K = K.repeat(self.views, 1, 1)
        window, uses_ssim = config.ssim_window, config.ssim_share > 0
        self.moments = moments_of(target, window) if uses_ssim else None
        self.still = self._error(sources).chunk(self.views) if config.auto_mask else None

    def smaller(self, stride: int) -> Scene:
        """The same of images whose pixels are means of ``stride`` by ``stride``."""
        target, sources = (_mean_pixels(x, stride) for x in (self.target, self.sources))
        K = scale_intrinsics(self.K[: len(target)], 1 / stride, 1 / stride)
        return Scene(target, sources, K, self.config, self.generator)

    def _error(self, images: Tensor) -> Tensor:
        c = self.config
        return photometric_error(images, self.target, c.ssim_window, c.ssim_share, self.moments)

    def photometric(
        self, depths: tuple[Tensor, ...] | list[Tensor], T_s_t: pp.LieTensor
    ) -> tuple[Tensor, Tensor]:
        """Mean minimum reprojection error over the scales (), and the finest one's (B, 1, H, W)."""
        T = T_s_t.matrix().float()
        results = []
        for depth in depths:
            view = warp(self.padded, depth.repeat(self.views, 1, 1, 1), self.K, T)
            valid = view.valid.chunk(self.views) if self.config.mask_outside else None
            results.append(
                minimum_reprojection(
                    self._error(view.image).chunk(self.views), self.still, valid, self.generator
                )
            )
        return torch.stack([r.mean() for r in results]).mean(), results[0].error

    def smoothness(self, depth: Depth, depths: tuple[Tensor, ...]) -> Tensor:
        """Edge-aware smoothness over the scales, each at its own size and with half the weight of
        the one before, as published; on depth at full size."""
        total = self.target.new_zeros(())
        on_depth = self.config.smooth_on == "depth"
        # A network that learns depth itself has no disparity but its inverse.
        disparities = depth.disparities or (1 / depth.depth,)
        values = depths if on_depth else disparities[: self.config.scales]
        for scale, value in enumerate(values):
            image = self.target
            if value.shape[-2:] != image.shape[-2:]:
                image = F.interpolate(image, value.shape[-2:], mode="area")
            total = total + smoothness(value, image) / 2**scale
        return total / len(values)


def _raw(scene: Scene, depth: Tensor, T_s_t: pp.LieTensor, stride: int) -> Tensor:
    """Photometric error () at a pose, of images whose pixels are means of stride by stride."""
    return scene.smaller(stride).photometric([mean_depth(depth, stride)], T_s_t)[0]


def mean_depth(depth: Tensor, stride: int) -> Tensor:
    """Depth (B, 1, H, W) as (B, 1, H / stride, W / stride): the inverse of the mean disparity."""
    return 1 / _mean_pixels(1 / depth, stride)


def _mean_pixels(image: Tensor, stride: int) -> Tensor:
    """Means of stride by stride pixels of (B, C, H, W), a power of two that divides H and W: in
    halves, where the bilinear value is the mean of four, many times as quick as pooling."""
    while stride > 1:
        half = image.shape[-2] // 2, image.shape[-1] // 2
        image, stride = F.interpolate(image, half, mode="bilinear"), stride // 2
    return image


def _refined(
    refiner: PoseRefiner,
    levels: tuple[FeatureLevel, ...],
    depth: Tensor,
    K: Tensor,
    T_raw: pp.LieTensor,
    refinement: RefineTraining,
) -> Refinement:
    source, target = pyramids(levels, refinement)
    depth = depth if refinement.gradient_to_depth else depth.detach()
    start = T_raw if refinement.gradient_to_pose else pp.SE3(T_raw.tensor().detach())
    return refiner(source, target, depth, K, start)


def _coarse_distance(refined: Refinement, target: pp.LieTensor, depth: Tensor) -> Tensor:
    """Mean distance () of the poses after coarser levels; hopeless ones count as one step."""
    success = refined.success
    each = [
        distances_in_steps(_where(success, level), _where(success, target), depth).clamp(max=1.0)
        for level in refined.levels[:-1]
    ]
    return torch.stack(each).mean() if each else depth.new_zeros(())


def _where(mask: Tensor, T: pp.LieTensor) -> pp.LieTensor:
    """The poses SE3 (B,) for which the mask (B,) holds."""
    return pp.SE3(T.tensor()[mask])


def distances_in_steps(T: pp.LieTensor, T_ref: pp.LieTensor, depth: Tensor) -> Tensor:
    """Distances (N,) of poses from others, in units of the others' mean translation.

    A rotation moves the pixels of a point at depth d as a translation across the view does that is
    d times as long: it counts that much, at the median depth. Without any it is one distance of 0.
    """
    if not len(T):
        return depth.new_zeros(1)
    missed = (T @ T_ref.Inv()).Log().tensor()
    step = T_ref.matrix()[:, :3, 3].norm(dim=1).mean().clamp(min=1e-6)
    lever = median_depth(depth.reshape(1, -1), 0.0).double()
    added = missed[:, :3].norm(dim=1) + lever * missed[:, 3:].norm(dim=1)
    return (added / step).float()


def _refinement_terms(refined: Refinement) -> dict[str, float]:
    return {
        "refined_share": refined.success.double().mean().item(),
        "energy_ratio": (refined.energy / refined.energy_before.clamp(min=1e-12)).median().item(),
        "iterations": refined.iterations.double().mean().item(),
    }


@torch.no_grad()
def _median_flow(depth: Tensor, K: Tensor, T_raw: pp.LieTensor) -> Tensor:
    """Median length in pixels by which the translation alone moves pixels."""
    t = T_raw.matrix()[:, :3, 3].float()
    d = F.avg_pool2d(depth.detach(), 8).repeat(2, 1, 1, 1)
    fx = K[:, 0, 0].repeat(2).view(-1, 1, 1)
    H, W = d.shape[-2:]
    v, u = torch.meshgrid(
        torch.linspace(-0.5, 0.5, H, device=d.device) * depth.shape[-2],
        torch.linspace(-0.5, 0.5, W, device=d.device) * depth.shape[-1],
        indexing="ij",
    )
    tx, ty, tz = (t[:, i].view(-1, 1, 1) for i in range(3))
    du = (fx * tx - u * tz) / d[:, 0]
    dv = (fx * ty - v * tz) / d[:, 0]
    return torch.hypot(du, dv).median()
