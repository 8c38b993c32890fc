"""A Self Query Layer learns from one camera alone, where the published one sees nothing move."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from vo.datasets.frame import Sequence
from vo.datasets.triplets import Triplets
from vo.depth.encoder import EncoderConfig
from vo.depth.map_encoder import MapConfig
from vo.depth.self_query_decoder import SelfQueryConfig
from vo.depth.self_query_net import SelfQueryDepthConfig
from vo.model import ModelConfig
from vo.presets import preset
from vo.training.config import OptimConfig
from vo.training.trainer import SMALLEST_FLOW_PX, Step, Trainer

MAP = MapConfig(EncoderConfig("regnetx_002"), "unet", (16, 16, 16, 16, 16), channels=16)


def learn(layer: SelfQueryConfig, drive: Sequence, folder: Path, steps: int) -> list[Step]:
    """Train SQLdepth's networks in small by its preset, on one camera."""
    base = preset("sqldepth-r50+mono")
    layer = replace(layer, channels=16, embedding=16, patch=16, queries=16, bins=16)
    model = ModelConfig(128, 64, SelfQueryDepthConfig(MAP, layer), base.model.pose)
    config = replace(
        base,
        model=model,
        data=replace(base.data, batch=4, workers=1),
        optim=OptimConfig(steps=steps, lr=1e-3, rise=5),
        save_every=1000,
    )
    events = Trainer(config, Triplets([drive], batch=4), folder).run()
    return [event for event in events if isinstance(event, Step)]


def test_with_bins_of_log_depth_the_warp_moves_and_depth_varies(
    drive: Sequence, tmp_path: Path
) -> None:
    depth = preset("sqldepth-r50+mono").model.depth
    assert isinstance(depth, SelfQueryDepthConfig)
    last = learn(depth.layer, drive, tmp_path, 45)[-5:]  # after a first overshoot
    assert min(step.terms["flow_px"] for step in last) > SMALLEST_FLOW_PX
    for step in last:
        assert step.outcome is not None
        assert step.outcome.depth.log().std() > 0.1


def test_with_published_bins_nothing_moves(drive: Sequence, tmp_path: Path) -> None:
    """This is what the other test would see if the remedy were none."""
    steps = learn(SelfQueryConfig(), drive, tmp_path, 25)
    assert max(step.terms["flow_px"] for step in steps) < SMALLEST_FLOW_PX
