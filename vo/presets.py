"""Trainings by name: what published systems do, and what is shipped."""

from __future__ import annotations

from typing import Literal

from vo.datasets.augmentation import AugmentConfig
from vo.depth.encoder import EncoderConfig
from vo.depth.net import DepthConfig
from vo.model import ModelConfig
from vo.pose_net import PoseConfig
from vo.refine import RefineConfig
from vo.training.config import (
    Bootstrap,
    DataConfig,
    LossConfig,
    OptimConfig,
    RefineTraining,
    TrainConfig,
)

Preset = Literal["street", "finetune", "sa4depth", "monodepth2"]

# What monodepth2 does to its images: torchvision's ColorJitter on every other sample.
_MONODEPTH2_JITTER = AugmentConfig(share=0.5, gamma=0, grey=0, blur=0, noise=0)


def preset(name: Preset) -> TrainConfig:
    """The configuration of a name.

    ``street``: the small model that is shipped, with a start from the street's true depth and
    poses. ``finetune``: a checkpoint goes on learning from other video. ``monodepth2``: Godard et
    al., ICCV 2019: ResNet-18, 192 x 640, no refinement. ``sa4depth``: the same networks with
    refinement in the loop.

    Raises:
        ValueError: when there is none of that name.
    """
    match name:
        case "street":
            return _street()
        case "finetune":
            return _finetune()
        case "monodepth2":
            return _monodepth2()
        case "sa4depth":
            return _sa4depth()
    raise ValueError(f"no preset {name!r}")


def _monodepth2() -> TrainConfig:
    """20 epochs of its 39,810 samples; weights of ImageNet at the start."""
    return TrainConfig(
        model=ModelConfig(
            depth=DepthConfig(EncoderConfig("resnet18", pretrained=True)),
            pose=PoseConfig(EncoderConfig("resnet18", in_channels=6, pretrained=True)),
        ),
        data=DataConfig(batch=12, augment=_MONODEPTH2_JITTER),
        refinement=RefineTraining(enabled=False),
        optim=OptimConfig(steps=66_350, lr=1e-4, schedule="step", rise=0, weight_decay=0, ema=0),
        validate_every=3000,
    )


def _sa4depth() -> TrainConfig:
    base = _monodepth2()
    return TrainConfig(
        model=base.model,
        data=base.data,
        refinement=RefineTraining(warmup=6635),
        optim=base.optim,
        validate_every=base.validate_every,
    )


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
        optim=OptimConfig(steps=4600, lr=1e-4, ema=0.998, bf16=True),
        save_every=100,
        validate_every=1000,
    )


def _finetune() -> TrainConfig:
    """Refinement from the first step on: depth is already good enough."""
    return TrainConfig(
        data=DataConfig(batch=8),
        loss=LossConfig(scales=2),
        refinement=RefineTraining(warmup=0),
        optim=OptimConfig(steps=1500, lr=1e-4, rise=100, ema=0.998, bf16=True),
        save_every=100,
        validate_every=250,
    )
