"""A tiny street and tiny networks."""

from __future__ import annotations

from pathlib import Path

import pytest

from vo.datasets import open_sequence
from vo.datasets.frame import Sequence
from vo.datasets.street import render_street
from vo.depth.encoder import EncoderConfig
from vo.depth.net import DepthConfig
from vo.model import ModelConfig
from vo.pose_net import PoseConfig
from vo.refine import RefineConfig
from vo.training.config import Bootstrap, DataConfig, OptimConfig, RefineTraining, TrainConfig


@pytest.fixture(scope="session")
def street(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two sequences of 14 frames at 128 x 64."""
    root = tmp_path_factory.mktemp("street")
    render_street(root, ["00", "01"], size=(128, 64), frames=14)
    return root


@pytest.fixture
def drive(street: Path) -> Sequence:
    return open_sequence(street, "00")


@pytest.fixture
def config() -> TrainConfig:
    """Four samples a step; no bootstrap, refinement from the first step."""
    settings = RefineConfig(iterations=(2, 2, 2), num_points=200)
    return TrainConfig(
        model=ModelConfig(
            width=128,
            height=64,
            depth=DepthConfig(EncoderConfig("regnetx_002"), (8, 8, 8, 16, 16), min_depth=1.0),
            pose=PoseConfig(
                EncoderConfig("regnetx_002", in_channels=6), 16, 1, translation_scale=0.1
            ),
            refine=settings,
        ),
        data=DataConfig(batch=4, workers=1),
        refinement=RefineTraining(warmup=0, settings=settings),
        bootstrap=Bootstrap(steps=0),
        optim=OptimConfig(steps=6, lr=1e-3, rise=0, ema=0.9),
        save_every=3,
        validate_every=100,
    )
