"""Trainings by name: what published systems do, and what is shipped.

The numbers are those of Godard et al. (ICCV 2019), Wang et al. (AAAI 2024) and Lavreniuk (2024).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

from vo.datasets.annotated_batches import AnnotatedAugment
from vo.datasets.augmentation import AugmentConfig
from vo.depth.encoder import EncoderConfig
from vo.depth.map_encoder import MapConfig
from vo.depth.net import DepthConfig
from vo.depth.self_query_decoder import SelfQueryConfig
from vo.depth.self_query_net import SelfQueryDepthConfig
from vo.model import ModelConfig
from vo.pose_cnn import PoseCNNConfig
from vo.pose_net import PoseConfig
from vo.refine import RefineConfig
from vo.training.config import (
    Bootstrap,
    DataConfig,
    LossConfig,
    MetricConfig,
    OptimConfig,
    RefineTraining,
    TrainConfig,
)

# What monodepth2 does to its images: torchvision's ColorJitter on every other sample.
_MONODEPTH2_JITTER = AugmentConfig(share=0.5, gamma=0, grey=0, blur=0, noise=0)
_EIGEN_ZHOU = 39_810  # samples that the epochs of the papers have
_ANNOTATED = 22_441  # images with annotated depth that they fine-tune on
_NYU = 24_231

# monodepth2 and its heirs call KITTI's stereo baseline of 0.54 m 0.1. Ours is in metres: the bounds
# of depth and the factor of translation mean the same when they are so many times as large.
_UNIT = 5.4


def preset(name: str) -> TrainConfig:
    """The configuration of a name.

    ``street``: the small model that is shipped, with a start from the street's true depth and
    poses. ``finetune``: a checkpoint goes on learning from other video. ``metric`` and
    ``metric-nyu``: its depth learns metres from sparse truth, on KITTI and on NYU.
    ``monodepth2-r18``, also ``monodepth2``: Godard et al.: ResNet-18, 192 x 640, no refinement.
    ``sqldepth-...`` and ``spidepth-...``: the published trainings on KITTI, with stereo.

    Behind any name, ``+mono`` leaves stereo out (and lets a Self Query Layer share out the
    logarithm of depth, without which it would collapse), and ``+sa4`` adds SA4Depth's refinement.
    ``sa4depth`` is ``monodepth2-r18+sa4``.

    Raises:
        ValueError: when there is none of that name.
    """
    base, *more = name.split("+")
    unknown = [word for word in more if word not in SUFFIXES]
    if base not in PRESETS or unknown or len(set(more)) < len(more):
        raise ValueError(f"no preset {name!r}")
    config = PRESETS[base]()
    for word in more:
        config = SUFFIXES[word](config)
    return config


def _monodepth2() -> TrainConfig:
    """20 epochs of its 39,810 samples; weights of ImageNet at the start."""
    return TrainConfig(
        model=ModelConfig(
            depth=DepthConfig(EncoderConfig("resnet18", pretrained=True)),
            pose=PoseConfig(EncoderConfig("resnet18", in_channels=6, pretrained=True)),
        ),
        data=DataConfig(batch=12, augment=_MONODEPTH2_JITTER),
        refinement=RefineTraining(enabled=False),
        optim=_published_optim(batch=12, epochs=20, drop_after=15, lr=1e-4),
        validate_every=3000,
    )


@dataclass(frozen=True, slots=True)
class _SelfQuery:
    """What distinguishes the published trainings with a Self Query Layer."""

    backbone: str
    decoder: str
    widths: tuple[int, ...]
    size: tuple[int, int]  # width, height
    patch: int
    bins: int  # and queries
    batch: int
    epochs: int
    drop_after: int
    lr: float = 1e-4
    min_depth: float = 0.001
    strong_pose: bool = False  # SPIdepth's pose network; else PoseCNN
    slow_pose: bool = False  # the pose network learns at a tenth of the rate


_CONVNEXT = ("unet", (1024, 512, 256, 128))
_RESNET = ("resnet", (256, 128, 64, 32, 16))
_WIDE = (1024, 320)
_SELF_QUERY = {
    "spidepth-huge": _SelfQuery(
        "convnextv2_huge.fcmae_ft_in22k_in1k_384", *_CONVNEXT, _WIDE, 32, 64, 4, 20, 10, 4e-5,
        strong_pose=True,
    ),
    "spidepth-large": _SelfQuery(
        "convnext_large.fb_in22k_ft_in1k", *_CONVNEXT, _WIDE, 32, 64, 8, 20, 10, strong_pose=True,
    ),
    "sqldepth-large": _SelfQuery(
        "convnext_large.fb_in22k_ft_in1k", *_CONVNEXT, _WIDE, 32, 64, 16, 20, 10, slow_pose=True,
    ),
    "sqldepth-r50": _SelfQuery(
        "resnet50", *_RESNET, (640, 192), 16, 64, 16, 25, 15, slow_pose=True,
    ),
    "sqldepth-r50-320": _SelfQuery(
        "resnet50", *_RESNET, _WIDE, 20, 128, 16, 25, 15, min_depth=0.01, slow_pose=True,
    ),
    "sqldepth-b5": _SelfQuery(
        "tf_efficientnet_b5.ap_in1k", "unet", (512, 256, 128, 64, 32), _WIDE, 32, 128, 16, 25, 15,
        slow_pose=True,
    ),
}  # fmt: skip


def _self_query(facts: _SelfQuery) -> TrainConfig:
    is_resnet = facts.decoder == "resnet"
    normalisation = "monodepth2" if is_resnet else "none"
    depth = SelfQueryDepthConfig(
        MapConfig(
            EncoderConfig(facts.backbone, pretrained=True, normalisation=normalisation),
            "resnet" if is_resnet else "unet",
            facts.widths,
        ),
        SelfQueryConfig(
            patch=facts.patch,
            queries=facts.bins,
            bins=facts.bins,
            feed_forward=512 if is_resnet else 1024,
            drop_remainder=facts.patch == 20,  # 512 / 20 leaves columns over, as published
            min_depth=facts.min_depth * _UNIT,
            max_depth=80.0 * _UNIT,
        ),
    )
    scale = 0.01 * _UNIT
    six = EncoderConfig("resnet18", in_channels=6, pretrained=True, normalisation="none")
    strong = PoseConfig(six, motions=1, translation_scale=scale)
    optim = _published_optim(facts.batch, facts.epochs, facts.drop_after, facts.lr)
    width, height = facts.size
    return TrainConfig(
        model=ModelConfig(
            width=width,
            height=height,
            depth=depth,
            pose=strong if facts.strong_pose else PoseCNNConfig(translation_scale=scale),
        ),
        data=DataConfig(batch=facts.batch, stereo=True, augment=_MONODEPTH2_JITTER),
        loss=LossConfig(ssim_window=7, scales=1, smooth_on="depth"),
        refinement=RefineTraining(enabled=False),
        optim=replace(optim, pose_lr=0.1 if facts.slow_pose else 1.0),
        validate_every=3000,
    )


def _published_optim(batch: int, epochs: int, drop_after: int, lr: float) -> OptimConfig:
    """Adam at a rate that drops once; nothing is clipped, nothing averaged."""
    return OptimConfig(
        steps=epochs * _EIGEN_ZHOU // batch, lr=lr, schedule="step", drop=drop_after / epochs,
        rise=0, weight_decay=0, clip=math.inf, ema=0,
    )  # fmt: skip


def _sa4(config: TrainConfig) -> TrainConfig:
    """SA4Depth: every pose is refined, once a tenth of the training has brought depth near."""
    refinement = replace(config.refinement, enabled=True, warmup=config.optim.steps // 10)
    return replace(config, refinement=refinement, optim=replace(config.optim, clip=1.0))


def _mono(config: TrainConfig) -> TrainConfig:
    """From one camera alone: the unit of length is free, and the scene begins a few units away."""
    depth, pose = config.model.depth, replace(config.model.pose, translation_scale=0.01)
    if isinstance(depth, SelfQueryDepthConfig):
        layer = replace(depth.layer, spacing="log", min_depth=0.1, max_depth=100.0)
        depth = replace(depth, layer=layer)
    model = replace(config.model, depth=depth, pose=pose)
    return replace(config, model=model, data=replace(config.data, stereo=False))


def _street() -> TrainConfig:
    return TrainConfig(
        model=ModelConfig(
            width=416,
            height=128,
            depth=DepthConfig(
                EncoderConfig("regnetx_004"), (16, 16, 32, 64, 96), min_depth=1.0, max_depth=100.0
            ),
            pose=PoseConfig(
                EncoderConfig("regnetx_002", in_channels=6),
                hidden=96,
                motions=1,
                translation_scale=0.1,
            ),
            refine=RefineConfig(),
        ),
        data=DataConfig(batch=8, gaps=(1,)),
        loss=LossConfig(scales=2),
        refinement=RefineTraining(warmup=0),
        bootstrap=Bootstrap(steps=4000),
        optim=OptimConfig(steps=4600, lr=1e-4, ema=0.998, precision="auto"),
        save_every=100,
        validate_every=1000,
    )


def _finetune() -> TrainConfig:
    """Refinement from the first step on: depth is already good enough."""
    return TrainConfig(
        data=DataConfig(batch=8),
        loss=LossConfig(scales=2),
        refinement=RefineTraining(warmup=0),
        optim=OptimConfig(steps=1500, lr=1e-4, rise=100, ema=0.998, precision="auto"),
        save_every=100,
        validate_every=250,
    )


def _metric() -> TrainConfig:
    """SQLdepth's and SPIdepth's fine-tuning: 5 epochs at a small rate, smaller for the backbone."""
    return TrainConfig(
        data=DataConfig(batch=16),
        refinement=RefineTraining(enabled=False),
        metric=MetricConfig(enabled=True),
        optim=OptimConfig(
            steps=5 * _ANNOTATED // 16, lr=1e-5, schedule="onecycle", rise=0, encoder_lr=0.1,
            weight_decay=0.01, clip=0.1, ema=0, precision="auto",
        ),
        validate_every=500,
    )  # fmt: skip


def _metric_nyu() -> TrainConfig:
    """8 epochs of rooms, up to 10 m."""
    config = _metric()
    metric = replace(
        config.metric,
        max_depth=10.0,
        crop="none",
        score_crop="nyu",
        augment=AnnotatedAugment(rotation_deg=2.5, brightness=0.25),
    )
    optim = replace(config.optim, steps=8 * _NYU // 16)
    return replace(config, metric=metric, optim=optim)


def _self_query_preset(name: str) -> Callable[[], TrainConfig]:
    return lambda: _self_query(_SELF_QUERY[name])


PRESETS: dict[str, Callable[[], TrainConfig]] = {
    "street": _street,
    "finetune": _finetune,
    "metric": _metric,
    "metric-nyu": _metric_nyu,
    "sa4depth": lambda: _sa4(_monodepth2()),
    "monodepth2": _monodepth2,
    "monodepth2-r18": _monodepth2,
    **{name: _self_query_preset(name) for name in _SELF_QUERY},
}
SUFFIXES = {"sa4": _sa4, "mono": _mono}
FROM_A_CHECKPOINT = ("finetune", "metric", "metric-nyu")
"""Presets that say nothing of the networks: these come from a checkpoint."""
