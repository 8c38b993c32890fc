"""Networks are told from the names and shapes of their tensors."""

from __future__ import annotations

from pathlib import Path

import pytest
import timm
import torch
from torch import Tensor

from vo.datasets.errors import InputError
from vo.depth.encoder import EncoderConfig
from vo.depth.map_encoder import MapConfig, MapEncoder
from vo.depth.net import DepthConfig, DepthNet
from vo.depth.self_query_decoder import SelfQueryConfig, SelfQueryDecoder
from vo.pose_cnn import PoseCNN, PoseCNNConfig
from vo.pose_net import PoseConfig, PoseNet
from vo.published.architecture import (
    backbone,
    disparity_config,
    map_config,
    pose_config,
    self_query_config,
)
from vo.published.files import Table
from vo.published.names import (
    efficientnet_map_places,
    export_weights,
    monodepth2_depth_places,
    monodepth2_pose_places,
    pose_cnn_places,
    resnet_map_places,
    self_query_places,
    spidepth_pose_places,
    unet_map_places,
)

SIZES = ("atto", "femto", "pico", "nano", "tiny", "small", "base", "large")
BACKBONES = (
    *(f"resnet{layers}" for layers in (18, 34, 50, 101, 152)),
    *(f"convnext_{size}" for size in (*SIZES, "xlarge")),
    *(f"convnextv2_{size}" for size in (*SIZES, "huge")),
    "tf_efficientnet_b5",
)


def features_table(name: str) -> Table:
    with torch.device("meta"):
        net = timm.create_model(name, features_only=True)
    return Table(Path("encoder.pth"), {f"encoder.{k}": v for k, v in net.state_dict().items()})


def tables(**nets: tuple[torch.nn.Module, object]) -> dict[str, Table]:
    """Networks without weights, as if they had been read."""
    found: dict[str, dict[str, Tensor]] = {}
    for net, places in nets.values():
        own = net.state_dict()
        for file, content in export_weights(own, places(own)).items():  # type: ignore[operator]
            found.setdefault(file, {}).update(content)
    return {file: Table(Path(file), content) for file, content in found.items()}


@pytest.mark.parametrize("name", BACKBONES)
def test_backbones_are_told_by_blocks_and_channels(name):
    assert backbone(features_table(name), "encoder.") == name


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("resnet26", "a ResNet of 2, 2, 2, 2 blocks"),
        ("convnext_zepto_rms", "a convnext of 32 channels and 2, 2, 4, 2 blocks"),
        ("tf_efficientnet_b0", "an EfficientNet of 32 channels and 1, 2, 2, 3, 3, 4, 1 blocks"),
        ("regnetx_002", "no backbone under encoder."),
    ],
)
def test_backbones_that_are_not_known_are_described(name, words):
    with pytest.raises(InputError, match=rf"encoder.pth: holds {words}.*; known are ResNet-18 to"):
        backbone(features_table(name), "encoder.")


@pytest.mark.parametrize(
    "config",
    [
        DepthConfig(min_depth=0.5, max_depth=60.0),
        DepthConfig(EncoderConfig("resnet50"), decoder_channels=(4, 8, 8, 12, 16), scales=2),
    ],
)
def test_disparity_networks(config):
    with torch.device("meta"):
        found = tables(depth=(DepthNet(config), monodepth2_depth_places))
    assert disparity_config(found, config.min_depth, config.max_depth) == config


@pytest.mark.parametrize(
    ("config", "places"),
    [
        (
            MapConfig(EncoderConfig("convnext_atto", normalisation="none"), "unet", (9, 8, 7, 6)),
            unet_map_places,
        ),
        (
            MapConfig(EncoderConfig("resnet34", normalisation="none"), "unet", (9, 8, 7, 6, 5), 16),
            unet_map_places,
        ),
        (
            MapConfig(
                EncoderConfig("tf_efficientnet_b5", normalisation="none"), "unet", (9, 8, 7, 6, 5)
            ),
            unet_map_places,
        ),
        (
            MapConfig(EncoderConfig("resnet18"), "resnet", (16, 8, 4, 2, 1), 8),
            resnet_map_places,
        ),
        (
            MapConfig(
                EncoderConfig("tf_efficientnet_b5", normalisation="none"),
                "resnet",
                (16, 8, 4, 2, 1),
            ),
            efficientnet_map_places,
        ),
    ],
)
def test_encoder_decoders_and_what_they_do_to_images(config, places):
    layer = (SelfQueryDecoder(SelfQueryConfig(patch=4)), self_query_places)
    with torch.device("meta"):
        found = tables(map=(MapEncoder(config), places), layer=layer)
    assert map_config(found) == config


def test_every_size_of_a_self_query_layer():
    config = SelfQueryConfig(
        channels=6, embedding=8, patch=3, queries=5, bins=7, feed_forward=12, heads=2, layers=3,
        positions=77, min_depth=0.2, max_depth=9.0,
    )  # fmt: skip
    found = tables(layer=(SelfQueryDecoder(config), self_query_places))
    assert self_query_config(found, heads=2, min_depth=0.2, max_depth=9.0) == config


@pytest.mark.parametrize(
    ("config", "places"),
    [
        (PoseConfig(hidden=8), monodepth2_pose_places),
        (PoseConfig(EncoderConfig("resnet50", 6), 8, motions=1), monodepth2_pose_places),
        (
            PoseConfig(EncoderConfig("resnet18", 6, normalisation="none"), 8, 1),
            spidepth_pose_places,
        ),
        (PoseCNNConfig(), pose_cnn_places),
    ],
)
def test_pose_networks_and_what_they_do_to_images(config, places):
    with torch.device("meta"):
        net = PoseCNN(config) if isinstance(config, PoseCNNConfig) else PoseNet(config)
    assert pose_config(tables(pose=(net, places))) == config


def test_networks_of_another_system_are_told_apart():
    disparity = tables(depth=(DepthNet(DepthConfig()), monodepth2_depth_places))
    unet = MapConfig(EncoderConfig("convnext_atto", normalisation="none"), "unet", (9, 8, 7, 6))
    layer = SelfQueryDecoder(SelfQueryConfig(patch=4))
    queries = tables(map=(MapEncoder(unet), unet_map_places), layer=(layer, self_query_places))
    with pytest.raises(
        InputError, match=r"depth.pth: is of SQLdepth or SPIdepth; say so with --fr"
    ):
        disparity_config(queries, 0.1, 100)
    with pytest.raises(InputError, match=r"encoder.pth: is of monodepth2; say so with --from"):
        map_config(disparity)
    with pytest.raises(InputError, match=r"depth.pth: embedding_convPxP.weight is missing"):
        self_query_config(disparity, 4, 0.1, 100)


def test_poses_from_the_depth_networks_features_are_refused():
    found = tables(pose=(PoseNet(PoseConfig(hidden=8)), monodepth2_pose_places))
    del found["pose_encoder.pth"]
    with pytest.raises(InputError, match=r"pose_encoder.pth: no such file; a pose network on the"):
        pose_config(found)


def test_tensors_that_are_missing_or_of_other_dimensions_are_named():
    depth = Table(Path("depth.pth"), {"embedding_convPxP.weight": torch.zeros(3)})
    with pytest.raises(InputError, match=r"convPxP.weight is \(3,\) instead of 4 dimensions"):
        self_query_config({"depth.pth": depth}, 4, 0.1, 100)
    empty = Table(Path("depth.pth"), {"embedding_convPxP.weight": torch.zeros(3, 0, 4, 4)})
    with pytest.raises(InputError, match=r"convPxP.weight is \(3, 0, 4, 4\)"):
        self_query_config({"depth.pth": empty}, 4, 0.1, 100)
    one = Table(Path("depth.pth"), {"decoder.0.conv.conv.weight": torch.zeros(8, 8, 3, 3)})
    with pytest.raises(InputError, match=r"depth.pth: decoder.1.conv.conv.weight is missing"):
        disparity_config({"depth.pth": one, "encoder.pth": one}, 0.1, 100)
