"""Parameters of whole published networks, as they were counted on the published code."""

from __future__ import annotations

import pytest
import torch

from vo.depth.encoder import EncoderConfig
from vo.depth.map_encoder import MapConfig, MapEncoder, ResNetDecoder
from vo.depth.self_query_decoder import SelfQueryConfig, SelfQueryDecoder
from vo.depth.self_query_net import SelfQueryDepthNet
from vo.model import Model, with_first_weights
from vo.pose_net import PoseConfig, PoseNet
from vo.presets import preset


def count(net: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in net.parameters())


@pytest.mark.parametrize(
    ("name", "map_millions", "layer", "pose"),
    [
        ("spidepth-huge", 719.19, 3_738_816, 12_498_950),
        ("spidepth-large", 238.41, 3_738_816, 12_498_950),
        ("sqldepth-large", 238.41, 3_738_816, 1_586_774),
        ("sqldepth-b5", 35.38, 10_322_240, 1_586_774),
        # The ResNet-50 without its classifier, and a decoder of 256 features.
        ("sqldepth-r50", (25_557_032 - 2_049_000 + 2_675_648) / 1e6, 2_819_264, 1_586_774),
        ("sqldepth-r50-320", (25_557_032 - 2_049_000 + 2_675_648) / 1e6, 9_550_144, 1_586_774),
    ],
)
def test_networks_with_a_self_query_layer(name, map_millions, layer, pose):
    with torch.device("meta"):
        model = Model(with_first_weights(preset(name).model, pretrained=False))
    assert isinstance(model.depth_net, SelfQueryDepthNet)
    assert count(model.depth_net.map_encoder) / 1e6 == pytest.approx(map_millions, abs=0.005)
    assert count(model.depth_net.layer) == layer
    assert count(model.pose_net) == pose


def test_monodepth2s_networks():
    """Encoder and decoder of depth, encoder of six channels and decoder of pose."""
    with torch.device("meta"):
        model = Model(with_first_weights(preset("monodepth2-r18").model, pretrained=False))
    resnet = 11_689_512 - 513_000  # without its classifier
    assert count(model.depth_net) == resnet + 3_152_724
    assert count(model.pose_net) == resnet + 64 * 3 * 7 * 7 + 1_314_572


def test_monodepth2s_pose_decoder_on_a_resnet50():
    with torch.device("meta"):
        net = PoseNet(PoseConfig(EncoderConfig("resnet50", in_channels=6)))
    assert count(net.decoder) == 1_707_788


def test_sqldepths_indoor_decoder():
    """43.88 M with the layer of 2048 channels before it, which is made part of its bottleneck."""
    with torch.device("meta"):
        decoder = ResNetDecoder((24, 40, 64, 176, 2048), (2048, 1024, 512, 256, 128), 32)
        fused = MapConfig(
            EncoderConfig("tf_efficientnet_b5", normalisation="none"),
            "resnet",
            (2048, 1024, 512, 256, 128),
        )
        net = MapEncoder(fused)
    assert count(decoder) / 1e6 == pytest.approx(43.88, abs=0.005)
    assert count(net.decoder) == count(decoder) - 2048 * (2048 - 512)
    assert count(net.encoder) == 27_288_112


def test_the_self_query_layer_of_cityscapes():
    """About 17 M with 100 bins."""
    with torch.device("meta"):
        layer = SelfQueryDecoder(SelfQueryConfig(64, 64, 16, queries=120, bins=100))
    assert count(layer) / 1e6 == pytest.approx(17.0, abs=0.1)
