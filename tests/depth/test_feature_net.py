import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from vo.datasets.errors import InputError
from vo.depth.feature_net import (
    FEATURE_NORM,
    FeatureConfig,
    FeatureNet,
    InstanceNorm,
    _UnitAndSure,
    grey_features,
)
from vo.refine.lookup import feature_rows

CONVNEXT = (40, 80, 160, 320), (4, 8, 16, 32)
RESNET18 = (64, 64, 128, 256, 512), (2, 4, 8, 16, 32)


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def features_of(channels: tuple[int, ...], strides: tuple[int, ...]) -> list[Tensor]:
    pairs = zip(channels, strides, strict=True)
    return [torch.randn(2, c, 64 // s, 96 // s, requires_grad=True) for c, s in pairs]


@pytest.mark.parametrize("source", ["stem", "grey"])
def test_levels_come_coarse_to_fine(source):
    levels = FeatureNet(FeatureConfig(source=source))(torch.rand(2, 3, 64, 96))
    channels = 3 if source == "grey" else 16
    assert [level.stride for level in levels] == [8, 4, 2]
    for level in levels:
        h, w = 64 // level.stride, 96 // level.stride
        assert level.features.shape == (2, channels, h, w)
        assert level.confidence.shape == (2, 1, h, w)
        assert 0 < level.confidence.min() <= level.confidence.max() < 1


@pytest.mark.parametrize("levels", [1, 2, 4, 5])
def test_other_numbers_of_levels_and_channels(levels):
    net = FeatureNet(FeatureConfig(channels=32, levels=levels))
    result = net(torch.rand(1, 3, 64, 96))
    assert [level.stride for level in result] == [2**i for i in range(levels, 0, -1)]
    assert all(level.features.shape[1] == 32 for level in result)


@pytest.mark.parametrize("pyramid", [RESNET18, CONVNEXT])
def test_a_head_on_encoder_features_trains_the_encoder_where_it_looks(pyramid):
    net = FeatureNet(FeatureConfig(source="encoder"), *pyramid)
    features = features_of(*pyramid)
    result = net(torch.rand(2, 3, 64, 96), features)
    assert [level.features.shape[-2:] for level in result] == [(8, 12), (16, 24), (32, 48)]
    sum((level.features**3).sum() for level in result).backward()  # type: ignore[union-attr]
    reached = [s for x, s in zip(features, pyramid[1], strict=True) if x.grad is not None]
    assert reached == [s for s in pyramid[1] if s <= 8]


def test_the_stem_is_small():
    count = sum(p.numel() for p in FeatureNet(FeatureConfig()).parameters())
    assert count < 50_000  # the budget is 300,000; this one leaves room on two cores


def test_unit_features_have_the_stated_length():
    for channels in (8, 16, 64):
        for level in FeatureNet(FeatureConfig(channels))(torch.rand(1, 3, 32, 32)):
            length = level.features.norm(dim=1)
            assert length.max() <= FEATURE_NORM + 1e-5
            assert length.median().item() == pytest.approx(FEATURE_NORM, rel=1e-3)
    # A robust kernel of scale 1 then begins to bend at this angle between two features.
    assert math.degrees(2 * math.asin(0.5 / FEATURE_NORM)) == pytest.approx(14.4, abs=0.1)


def test_the_gradient_of_unit_features_and_confidence_is_that_of_autograd():
    lengths = torch.logspace(-6, 1, 64, dtype=torch.float64).view(1, 1, 8, 8)
    lengths[..., 0, 0] = 0
    output = (torch.randn(2, 5, 8, 8) * lengths).requires_grad_()
    weights = torch.randn_like(output)
    vectors, doubt = output[:, :-1], output[:, -1:]
    unit = vectors * FEATURE_NORM / (vectors.square().sum(1, keepdim=True) + 1e-6).sqrt()
    plain = torch.cat([unit, 1e-4 + (1 - 2e-4) * torch.sigmoid(doubt)], 1)
    maps = _UnitAndSure.apply(output)
    assert torch.allclose(maps, plain, rtol=1e-12)
    mine, other = (torch.autograd.grad((weights * y).sum(), output)[0] for y in (maps, plain))
    assert torch.allclose(mine, other, rtol=1e-9)


def test_what_is_learned_from_is_what_is_run():
    """With and without gradients the head takes different ways to the same maps."""
    net, image = FeatureNet(FeatureConfig()), torch.rand(2, 3, 64, 96)
    learning = net(image)
    with torch.no_grad():
        running = net(image)
    for a, b in zip(learning, running, strict=True):
        assert torch.allclose(a.maps, b.maps, atol=1e-6)
        for maps in (a.maps, b.maps):
            assert feature_rows(maps).data_ptr() == maps.data_ptr(), "rows without a copy"


@pytest.mark.parametrize("batch", [1, 3])
def test_instance_normalisation_is_pytorchs(batch):
    norm = InstanceNorm(5, affine=True).double()
    torch.nn.init.normal_(norm.weight)
    torch.nn.init.normal_(norm.bias)
    x = (3 + torch.randn(batch, 5, 6, 8).double()).requires_grad_()
    plain = F.instance_norm(x, None, None, norm.weight, norm.bias)
    assert torch.allclose(norm(x), plain, rtol=1e-9, atol=1e-12)
    inputs, weights = (x, norm.weight, norm.bias), torch.randn_like(x)
    mine, other = (torch.autograd.grad((weights * y).sum(), inputs) for y in (norm(x), plain))
    for a, b in zip(mine, other, strict=True):
        assert torch.allclose(a, b, rtol=1e-9, atol=1e-12)


def test_the_learned_scale_multiplies_its_level():
    net = FeatureNet(FeatureConfig(normalise="scale"))
    image = torch.rand(1, 3, 32, 32)
    before = net(image)
    with torch.no_grad():
        net.get_parameter("head.log_scale")[1] = math.log(3.0)
    after = net(image)
    for i, factor in enumerate((1, 3, 1)):
        assert torch.allclose(after[i].features, factor * before[i].features, rtol=1e-5)
    assert "head.log_scale" not in FeatureNet(FeatureConfig()).state_dict()


def test_confidence_stays_inside_0_and_1_when_the_network_is_certain():
    net = FeatureNet(FeatureConfig())
    for value in (200.0, -200.0):
        for output in net.get_submodule("head.outputs").children():
            output.bias.data[-1] = value  # type: ignore[union-attr]
        for level in net(torch.rand(1, 3, 32, 32)):
            assert 0 < level.confidence.min() <= level.confidence.max() < 1


@pytest.mark.parametrize("normalise", ["l2", "scale"])
@pytest.mark.parametrize("image", [torch.zeros(1, 3, 32, 32), torch.ones(1, 3, 32, 32)])
def test_a_blank_image_gives_finite_features_and_gradients(normalise, image):
    net = FeatureNet(FeatureConfig(normalise=normalise))
    image = image.clone().requires_grad_()
    levels = net(image)
    sum(level.features.sum() + level.confidence.sum() for level in levels).backward()  # type: ignore[union-attr]
    assert image.grad is not None
    assert image.grad.isfinite().all()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in net.parameters())
    assert all(level.features.isfinite().all() for level in grey_features(image, 3))


def test_the_neighbours_in_a_batch_do_not_matter():
    net = FeatureNet(FeatureConfig())  # in training mode: no batch statistics
    images = torch.rand(3, 3, 32, 64)
    together, alone = net(images), net(images[1:2])
    for a, b in zip(together, alone, strict=True):
        assert torch.allclose(a.features[1:2], b.features, atol=1e-5)
        assert torch.allclose(a.confidence[1:2], b.confidence, atol=1e-6)


def test_brightness_and_contrast_of_the_whole_image_hardly_matter():
    image = F.interpolate(torch.rand(1, 3, 8, 8), (64, 64), mode="bilinear")
    for source in ("stem", "grey"):
        net = FeatureNet(FeatureConfig(source=source))
        for a, b in zip(net(image), net(0.6 * image + 0.2), strict=True):
            change = (a.features - b.features).norm(dim=1).median()
            assert change < 0.02 * a.features.norm(dim=1).median()


def test_grey_levels_lie_in_the_middle_of_their_blocks():
    """On a ramp, pixel i of stride s shows u = s i + (s - 1) / 2: the place that K belongs to."""
    ramp = torch.arange(128.0).expand(1, 3, 64, 128) / 128
    for level in grey_features(ramp, 3):
        s, row = level.stride, level.features[0, 0, 3].double()
        u = s * torch.arange(128 // s).double() + (s - 1) / 2
        inner = slice(2, -2)  # the border is repeated, which bends the ramp
        slope = (row[inner][-1] - row[inner][0]) / (u[inner][-1] - u[inner][0])
        zero = u[inner] - row[inner] / slope  # where the image's mean, 63.5, lies
        assert torch.allclose(zero, torch.full_like(zero, 63.5), atol=1e-3)


def test_stem_features_lie_in_the_middle_of_their_blocks():
    """A network that is symmetric left to right gives mirrored features of a mirrored image."""
    net = FeatureNet(FeatureConfig())
    with torch.no_grad():
        for name, p in net.named_parameters():
            if p.ndim == 4:
                net.get_parameter(name).copy_((p + p.flip(3)) / 2)
    image = torch.rand(1, 3, 32, 64)
    for a, b in zip(net(image), net(image.flip(3)), strict=True):
        assert torch.allclose(a.features, b.features.flip(3), atol=1e-4)


def test_grey_gradients_are_differences_of_the_grey_level():
    level = grey_features(torch.rand(1, 3, 32, 32), 1)[0]
    grey, right, below = level.features[0]
    assert torch.allclose(right[3, 4], grey[3, 5] - grey[3, 3])
    assert torch.allclose(below[3, 4], grey[4, 4] - grey[2, 4])
    assert grey.mean().abs() < 1e-5
    variance = grey.square().mean().item()
    assert variance == pytest.approx(1, abs=0.05)  # less by the allowance for a camera's noise
    assert not list(FeatureNet(FeatureConfig(source="grey")).parameters())


def test_features_are_float32_under_autocast():
    with torch.autocast("cpu", dtype=torch.bfloat16):
        levels = FeatureNet(FeatureConfig())(torch.rand(1, 3, 32, 32))
    assert all(x.features.dtype == x.confidence.dtype == torch.float32 for x in levels)


@pytest.mark.parametrize(
    ("config", "pyramid", "message"),
    [
        (FeatureConfig(levels=0), ((), ()), r"--features\.levels: is 0; it must be 1 to 5"),
        (FeatureConfig(channels=0), ((), ()), r"--features\.channels: is 0"),
        (FeatureConfig(source="encoder"), ((), ()), "this backbone has strides none"),
        (FeatureConfig(source="encoder", levels=1), CONVNEXT, "need features at stride 2"),
    ],
)
def test_unfitting_settings_name_the_flag(config, pyramid, message):
    with pytest.raises(InputError, match=message):
        FeatureNet(config, *pyramid)


def test_wrong_inputs_are_named():
    net = FeatureNet(FeatureConfig())
    with pytest.raises(ValueError, match=r"multiples of 8, at least 16, got \(1, 3, 32, 36\)"):
        net(torch.rand(1, 3, 32, 36))
    with pytest.raises(ValueError, match=r"at least 16, got \(1, 3, 8, 32\)"):
        net(torch.rand(1, 3, 8, 32))
    with pytest.raises(ValueError, match=r"\(B, 3, H, W\) .* got \(1, 1, 32, 32\)"):
        net(torch.rand(1, 1, 32, 32))
    with pytest.raises(ValueError, match="source 'stem' takes no encoder_features"):
        net(torch.rand(1, 3, 32, 32), [])
    with pytest.raises(ValueError, match="source 'encoder' needs encoder_features"):
        FeatureNet(FeatureConfig(source="encoder"), *RESNET18)(torch.rand(1, 3, 32, 32))
