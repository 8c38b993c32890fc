"""Settings of trainings that take a second, for one process and for several."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from vo.datasets import open_sequence
from vo.datasets.triplets import Triplets
from vo.depth.encoder import EncoderConfig
from vo.depth.net import DepthConfig
from vo.model import ModelConfig
from vo.pose_net import PoseConfig
from vo.ranks import ALONE, Ranks
from vo.refine import RefineConfig
from vo.training.config import Bootstrap, DataConfig, OptimConfig, RefineTraining, TrainConfig
from vo.training.trainer import Step, Trainer

WITHOUT_BATCH_NORM = "convnext_atto"


def tiny_config(backbone: str = "regnetx_002") -> TrainConfig:
    """Four samples a step; no bootstrap, refinement from the first step."""
    settings = RefineConfig(iterations=(2, 2, 2), num_points=200)
    return TrainConfig(
        model=ModelConfig(
            width=128,
            height=64,
            depth=DepthConfig(EncoderConfig(backbone), (8, 8, 8, 16, 16), min_depth=1.0),
            pose=PoseConfig(EncoderConfig(backbone, in_channels=6), 16, 1, translation_scale=0.1),
            refine=settings,
        ),
        data=DataConfig(batch=4, workers=1),
        refinement=RefineTraining(warmup=0, settings=settings),
        bootstrap=Bootstrap(steps=0),
        optim=OptimConfig(steps=6, lr=1e-3, rise=0, ema=0.9),
        save_every=3,
        validate_every=100,
    )


def shared_config(backbone: str = "regnetx_002") -> TrainConfig:
    """One whose loss is the same in however many parts a batch is taken: the refinement comes and
    goes, so that parameters are used in some steps alone, and nothing looks at all of a batch."""
    config = tiny_config(backbone)
    return replace(
        config,
        bootstrap=Bootstrap(steps=3, refined_every=2),
        loss=replace(config.loss, distillation=0.0, coarse=0.0),
        optim=replace(config.optim, steps=5, lr=1e-4, batch_norm="frozen"),
    )


# What two processes train, by name; compared with one process that trains the same in one part.
CASES = {
    "two processes": shared_config(),
    "in parts": replace(shared_config(), optim=replace(shared_config().optim, accumulate=2)),
    "shards": replace(
        shared_config(WITHOUT_BATCH_NORM),
        optim=replace(shared_config(WITHOUT_BATCH_NORM).optim, shard=True),
    ),
}


def tiny_trainer(
    config: TrainConfig, street: Path, folder: Path, ranks: Ranks = ALONE, **options: object
) -> Trainer:
    """Learns from sequence 00 of a street."""
    samples = Triplets([open_sequence(street, "00")], config.data.batch, seed=config.optim.seed)
    return Trainer(config, samples, folder, ranks=ranks, **options)


def curve(trainer: Trainer) -> list[dict[str, float]]:
    """Loss, gradient and terms of every step that is left."""
    steps = (event for event in trainer.run() if isinstance(event, Step))
    return [{"loss": s.loss, "gradient": s.gradient} | s.terms for s in steps]


def fingerprint(trainer: Trainer) -> float:
    """A number that tells whether the weights of two trainings are the same, bit for bit."""
    weights = trainer.state.whole_average().state_dict().values()
    return sum(float(w.double().abs().sum()) for w in weights if isinstance(w, torch.Tensor))
