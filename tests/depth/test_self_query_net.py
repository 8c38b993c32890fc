"""The depth network of SQLdepth, whole."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from vo.datasets.errors import InputError
from vo.depth.encoder import EncoderConfig
from vo.depth.map_encoder import MapConfig
from vo.depth.net import full_size_depths
from vo.depth.self_query_decoder import SelfQueryConfig
from vo.depth.self_query_net import SelfQueryDepthConfig, SelfQueryDepthNet

MAP = MapConfig(EncoderConfig("resnet10t"), "resnet", (32, 16, 16, 8, 8), channels=8)
LAYER = SelfQueryConfig(8, 8, patch=8, queries=8, bins=8, heads=2, layers=1, min_depth=0.1)
TINY = SelfQueryDepthConfig(MAP, LAYER)


def test_depth_of_half_size_is_enlarged_and_nothing_else() -> None:
    torch.manual_seed(0)
    net = SelfQueryDepthNet(TINY, (64, 128)).eval()
    image = torch.rand(2, 3, 64, 128)
    seen = net(image)
    half = net.layer(net.map_encoder(image).map)
    assert half.shape == (2, 1, 32, 64)
    torch.testing.assert_close(seen.depth, F.interpolate(half, (64, 128), mode="bilinear"))
    assert seen.disparities == ()
    assert full_size_depths(seen, TINY.min_depth, TINY.max_depth) == (seen.depth,)
    assert len(seen.encoder_features) == len(net.encoder.strides)
    assert (seen.depth > TINY.min_depth).all()
    assert (seen.depth < TINY.max_depth).all()


@pytest.mark.parametrize("spacing", ["linear", "log"])
def test_where_the_depth_of_a_new_network_begins(spacing: str) -> None:
    """Half of the farthest with linear bins, the geometric mean of the bounds with those of log
    depth: with random weights the bins are about equally wide."""
    torch.manual_seed(0)
    layer = replace(LAYER, bins=64, spacing=spacing, min_depth=0.1, max_depth=100.0)  # type: ignore[arg-type]
    net = SelfQueryDepthNet(SelfQueryDepthConfig(MAP, layer)).eval()
    found = net(torch.rand(1, 3, 64, 128)).depth.median().item()
    expected = 50.0 if spacing == "linear" else 10**0.5
    assert found == pytest.approx(expected, rel=0.4)


def test_learned_queries_take_images_with_fewer_tokens() -> None:
    many = replace(TINY, layer=replace(LAYER, queries=9))
    with pytest.raises(InputError, match="fewer than 9 queries"):
        SelfQueryDepthNet(many, (32, 64))
    learned = replace(TINY, layer=replace(many.layer, query_source="learned"))
    net = SelfQueryDepthNet(learned, (32, 64)).eval()
    assert net(torch.rand(1, 3, 32, 64)).depth.shape == (1, 1, 32, 64)


def test_a_layer_for_other_maps_is_refused() -> None:
    with pytest.raises(InputError, match="is 16 on maps of 8 channels"):
        SelfQueryDepthNet(replace(TINY, layer=replace(LAYER, channels=16)))
