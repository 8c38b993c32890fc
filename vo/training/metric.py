"""Learning metric depth from sparse truth (Eigen et al., NeurIPS 2014, as SQLdepth fine-tunes).

    L = 10 sqrt(var(g) + 0.15 mean(g)^2),   g = ln p - ln d

over all pixels of a batch whose true depth d counts, with the unbiased variance. Published
trainings also scale the predictions of the first half of each batch by their median before the
loss; that is not done here, because it takes the metre out of what is to be learned in metres.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from vo.datasets.annotated_batches import AnnotatedBatch, depth_of
from vo.datasets.camera import Array
from vo.datasets.frame import Sequence as Drive
from vo.datasets.sequence import prefetch, resize_image
from vo.depth_scores import METRICS, DepthProtocol, DepthScores, score_depth, summarise
from vo.model import Model
from vo.ranks import ALONE, Ranks
from vo.training.config import MetricConfig
from vo.training.objective import Outcome

_FACTOR = 10.0  # of the loss, as published


def learn_depth(
    model: Model, batch: AnnotatedBatch, config: MetricConfig, bf16: bool = False
) -> Outcome:
    """Loss of a batch from true depth; only the depth network is called.

    Args:
        model: the networks.
        batch: images and true depth.
        config: which depths count, and how much their common scale does.
        bf16: whether the network computes in bfloat16.
    """
    with torch.autocast(batch.images.device.type, torch.bfloat16, enabled=bf16):
        depth = model.depth_net(batch.images).depth
    depth = depth.float()
    enlarged = F.interpolate(depth, batch.depth.shape[-2:], mode="bilinear")
    counts = counted(batch.depth, config)
    g = log_ratio(enlarged, batch.depth, counts)
    loss = silog(g, config.scale_share)
    with torch.no_grad():
        abs_rel = (g.exp() - 1).abs()
        error = torch.zeros_like(batch.depth)
        error[counts] = abs_rel
        terms = {"abs_rel": abs_rel.mean().item(), "scale": g.mean().exp().item()}
    return Outcome(loss, terms, depth.detach(), error, None)


def counted(truth: Tensor, config: MetricConfig) -> Tensor:
    """Where a true depth is known and within the range that is learned; bool of the same shape."""
    return (truth > config.min_depth) & (truth < config.max_depth)


def log_ratio(depth: Tensor, truth: Tensor, counts: Tensor) -> Tensor:
    """g = ln p - ln d of the N pixels that count, (N,)."""
    return depth[counts].log() - truth[counts].log()


def silog(g: Tensor, scale_share: float) -> Tensor:
    """10 sqrt(var(g) + share mean(g)^2): () and not finite for fewer than two pixels.

    Args:
        g: (N,) logarithms of predicted over true depth.
        scale_share: 0 forgives a common scale, 1 forgives nothing.
    """
    variance = (g - g.mean()).square().sum() / (len(g) - 1)
    return _FACTOR * (variance + scale_share * g.mean() ** 2).sqrt()


def protocol_of(config: MetricConfig) -> DepthProtocol:
    """How depth is validated: in metres, without any scaling."""
    return DepthProtocol(
        "metric",
        crop=config.score_crop,
        min_depth=config.min_depth,
        max_depth=config.max_depth,
        scaling="none",
        resize="depth",
        flip_tta=True,
    )


def validate_depth(
    model: Model,
    drives: Sequence[Drive],
    config: MetricConfig,
    device: str = "cpu",
    ranks: Ranks = ALONE,
) -> tuple[float, dict[str, float]]:
    """Score the depth of drives that were not trained on.

    Args:
        model: the networks; left in evaluation mode.
        drives: sequences with true depth, already cropped; images of any size.
        config: protocol, see `protocol_of`.
        device: to compute on.
        ranks: of the processes, which share the drives.

    Returns:
        the score, which is abs_rel over all images, and all numbers by name: ``abs_rel`` and so on
        over all images, ``DRIVE/abs_rel`` over those of one drive; the same on all processes.
    """
    protocol = protocol_of(config)
    everything: list[DepthScores] = []
    numbers: dict[str, float] = {}
    found = ranks.unshare(
        [
            [score_depth(p, d, protocol) for p, d in _predictions(model, drive, device)]
            for drive in ranks.share(drives)
        ]
    )
    for drive, scores in zip(drives, found, strict=True):
        numbers |= {f"{drive.name}/{k}": v for k, v in _means(scores).items()}
        everything += scores
    numbers |= _means(everything)
    return numbers.get("abs_rel", math.inf), numbers


@torch.no_grad()
def mean_with_mirrored(model: Model, images: Tensor) -> Tensor:
    """Mean of the depth of images and that of their mirror images, mirrored back.

    Args:
        model: the networks, in evaluation mode.
        images: (B, 3, H, W) in [0, 1].

    Returns:
        (B, 1, H, W).
    """
    direct = model.depth_net(images).depth
    mirrored = model.depth_net(images.flip(-1)).depth
    return (direct + mirrored.flip(-1)) / 2


def _predictions(model: Model, drive: Drive, device: str) -> Iterator[tuple[Array, Array]]:
    """Predicted (h, w) and true depth (H, W) of every frame."""
    model.eval()
    size = model.config.width, model.config.height
    for frame in prefetch(drive):
        image = np.ascontiguousarray(resize_image(frame.image, size).transpose(2, 0, 1))
        x = torch.from_numpy(image).to(device).float().div_(255)[None]
        depth = mean_with_mirrored(model, x)[0, 0].float().cpu().numpy()
        yield depth, depth_of(frame, drive)


def _means(scores: list[DepthScores]) -> dict[str, float]:
    summary = summarise(scores)
    numbers = {name: summary.mean[name] for name in METRICS} | {"scale": summary.ratio_median}
    return {name: value for name, value in numbers.items() if math.isfinite(value)}
