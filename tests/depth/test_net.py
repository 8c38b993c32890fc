import dataclasses

import pytest
import torch

from vo.datasets.errors import InputError
from vo.depth.encoder import EncoderConfig
from vo.depth.net import DepthConfig, DepthNet, disparity_to_depth, full_size_depths

TINY = DepthConfig(EncoderConfig("mobilenetv3_small_050"), decoder_channels=(8, 8, 16, 16, 32))


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def test_disparity_to_depth_reaches_both_bounds_and_inverts():
    depth = disparity_to_depth(torch.tensor([1.0, 0.0, 0.5]), 0.1, 100.0)
    assert depth.tolist() == pytest.approx([0.1, 100.0, 1 / 5.005], rel=1e-5)
    disparity = torch.rand(1, 1, 3, 4, dtype=torch.float64, requires_grad=True)
    depth = disparity_to_depth(disparity, 0.1, 100.0)
    assert torch.allclose((1 / depth - 0.01) / 9.99, disparity)
    assert torch.autograd.gradcheck(lambda d: disparity_to_depth(d, 0.1, 100.0), (disparity,))


@pytest.mark.parametrize(
    "backbone", ["resnet18", "convnext_atto", "efficientnet_b0", "mobilenetv3_small_100"]
)
def test_depth_of_an_image_is_bounded_and_named(backbone):
    net = DepthNet(DepthConfig(EncoderConfig(backbone))).eval()
    with torch.inference_mode():
        result = net(torch.rand(2, 3, 64, 96))
    assert result.depth.shape == (2, 1, 64, 96)
    assert 0.1 <= result.depth.min() <= result.depth.max() <= 100
    assert [tuple(d.shape) for d in result.disparities] == [
        (2, 1, 64 >> s, 96 >> s) for s in range(4)
    ]
    assert torch.equal(result.depth, disparity_to_depth(result.disparities[0], 0.1, 100.0))
    assert [x.shape[1] for x in result.encoder_features] == list(net.encoder.channels)
    with pytest.raises(dataclasses.FrozenInstanceError):
        result.depth = result.depth  # type: ignore[misc]


def test_training_reaches_every_parameter():
    net = DepthNet(TINY)
    result = net(torch.rand(2, 3, 64, 64))
    sum(d.mean() for d in full_size_depths(result, 0.1, 100.0)).backward()  # type: ignore[union-attr]
    without = [
        n for n, p in net.named_parameters() if p.grad is None or not p.grad.isfinite().all()
    ]
    assert without == []


def test_full_size_depths_enlarge_disparity_before_inverting():
    result = DepthNet(TINY).eval()(torch.rand(1, 3, 64, 64))
    depths = full_size_depths(result, 0.1, 100.0)
    assert [tuple(d.shape) for d in depths] == [(1, 1, 64, 64)] * 4
    assert depths[0] is result.depth
    # An enlarged pixel centre at half a coarse pixel: the mean of two disparities, not of depths.
    coarse = result.disparities[3][0, 0, 0]
    expected = disparity_to_depth(coarse[0] * 9 / 16 + coarse[1] * 7 / 16, 0.1, 100.0)
    assert depths[3][0, 0, 0, 7].item() == pytest.approx(expected.item(), rel=1e-5)


@pytest.mark.parametrize("shape", [(1, 3, 64, 100), (1, 3, 60, 96), (1, 3, 32, 96), (3, 64, 96)])
def test_sizes_that_do_not_fit_are_named(shape):
    net = DepthNet(TINY)
    with pytest.raises(ValueError, match="multiples of 32, at least 64, got") as caught:
        net(torch.rand(shape))
    assert str(tuple(shape)) in str(caught.value)


def test_a_backbone_that_cuts_borders_off_is_refused():
    net = DepthNet(DepthConfig(EncoderConfig("inception_v3"))).eval()
    with pytest.raises(InputError, match=r"--backbone: inception_v3 gives .* at stride 2 of an"):
        net(torch.rand(1, 3, 96, 160))


@pytest.mark.parametrize("bounds", [(0.0, 100.0), (5.0, 5.0), (-1.0, 80.0), (0.1, float("inf"))])
def test_senseless_depth_bounds_are_refused(bounds):
    config = dataclasses.replace(TINY, min_depth=bounds[0], max_depth=bounds[1])
    with pytest.raises(InputError, match=r"--min-depth: is .*0 < min-depth < max-depth"):
        DepthNet(config)
