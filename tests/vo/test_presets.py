"""Trainings by name: the facts of the papers, and names that can be combined."""

from __future__ import annotations

import math

import pytest

from vo.depth.self_query_net import SelfQueryDepthConfig
from vo.pose_cnn import PoseCNNConfig
from vo.pose_net import PoseConfig
from vo.presets import PRESETS, preset
from vo.settings import from_plain, to_plain
from vo.training.config import TrainConfig

MORE = ("", "+sa4", "+mono", "+mono+sa4")
NAMES = [name + more for name in PRESETS for more in MORE]


@pytest.mark.parametrize("name", NAMES)
def test_every_preset_survives_the_way_to_a_file(name: str) -> None:
    config = preset(name)
    assert from_plain(TrainConfig, to_plain(config), name) == config
    assert config.data.stereo == (name.startswith(("sqldepth", "spidepth")) and "mono" not in name)
    if "sa4" in name:
        assert config.refinement.enabled


@pytest.mark.parametrize(
    ("name", "size", "batch", "lr", "epochs", "drop", "queries", "patch"),
    [
        ("spidepth-huge", (1024, 320), 4, 4e-5, 20, 0.5, 64, 32),
        ("spidepth-large", (1024, 320), 8, 1e-4, 20, 0.5, 64, 32),
        ("sqldepth-large", (1024, 320), 16, 1e-4, 20, 0.5, 64, 32),
        ("sqldepth-r50", (640, 192), 16, 1e-4, 25, 0.6, 64, 16),
        ("sqldepth-r50-320", (1024, 320), 16, 1e-4, 25, 0.6, 128, 20),
        ("sqldepth-b5", (1024, 320), 16, 1e-4, 25, 0.6, 128, 32),
    ],
)
def test_published_trainings(
    name: str, size: tuple[int, int], batch: int, lr: float, epochs: int, drop: float,
    queries: int, patch: int,
) -> None:  # fmt: skip
    config = preset(name)
    depth = config.model.depth
    assert isinstance(depth, SelfQueryDepthConfig)
    assert (config.model.width, config.model.height) == size
    assert (config.data.batch, config.optim.lr) == (batch, lr)
    assert config.optim.steps == epochs * 39_810 // batch
    assert config.optim.drop == pytest.approx(drop)
    assert math.isinf(config.optim.clip)
    assert depth.layer.queries == depth.layer.bins == queries
    assert depth.layer.patch == patch
    assert depth.max_depth / depth.min_depth == pytest.approx(8000 if patch == 20 else 80_000)
    assert (config.loss.ssim_window, config.loss.scales, config.loss.smooth_on) == (7, 1, "depth")
    strong = isinstance(config.model.pose, PoseConfig)
    assert strong == name.startswith("spidepth")
    assert config.optim.pose_lr == (1.0 if strong else 0.1)


def test_without_stereo_a_self_query_layer_begins_near() -> None:
    config = preset("sqldepth-r50+mono+sa4")
    assert isinstance(config.model.depth, SelfQueryDepthConfig)
    assert config.model.depth.layer.spacing == "log"
    assert config.model.pose == PoseCNNConfig()
    assert config.refinement.warmup == config.optim.steps // 10


def test_published_fine_tuning_on_true_depth() -> None:
    kitti, nyu = preset("metric"), preset("metric-nyu")
    for config in (kitti, nyu):
        assert config.metric.enabled
        assert config.optim.schedule == "onecycle"
        assert (config.optim.lr, config.optim.encoder_lr) == (1e-5, 0.1)
        assert (config.optim.weight_decay, config.optim.clip, config.optim.ema) == (0.01, 0.1, 0)
        assert config.metric.scale_share == 0.15
    assert kitti.optim.steps * kitti.data.batch == pytest.approx(5 * 22_441, abs=16)
    assert (kitti.metric.max_depth, kitti.metric.crop, kitti.metric.score_crop) == (
        80, "kitti", "garg",
    )  # fmt: skip
    assert kitti.metric.augment.rotation_deg == 1
    assert (nyu.metric.max_depth, nyu.metric.crop, nyu.metric.score_crop) == (10, "none", "nyu")
    assert nyu.metric.augment.rotation_deg == 2.5
    assert nyu.metric.augment.brightness == 0.25


@pytest.mark.parametrize("name", ["street+", "street+sa5", "sa4", "", "street+mono+mono"])
def test_other_names_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="no preset"):
        preset(name)
