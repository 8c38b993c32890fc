import pytest
import torch
import torch.nn.functional as F

from vo.datasets.errors import InputError
from vo.depth.encoder import EncoderConfig
from vo.depth.map_encoder import MapConfig, MapEncoder, ResNetDecoder, UNetDecoder

UNET = MapConfig(EncoderConfig("convnext_atto", normalisation="none"), "unet", (32, 16, 16, 8), 8)
RESNET = MapConfig(EncoderConfig("resnet18"), "resnet", (32, 16, 8, 8, 8), 8)
B5 = "tf_efficientnet_b5.ap_in1k"


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def count(module: torch.nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize(
    ("backbone", "decoder", "widths", "encoder_parameters", "decoder_parameters", "stride"),
    [
        # Sums are 719.19 M, 238.41 M and 35.38 M, as published.
        (
            "convnextv2_huge.fcmae_ft_in22k_in1k_384",
            *("unet", (1024, 512, 256, 128), 657_467_008, 61_722_144, 2),
        ),
        (
            "convnext_large.fb_in22k_ft_in1k",
            *("unet", (1024, 512, 256, 128), 196_227_264, 42_184_224, 2),
        ),
        (B5, "unet", (512, 256, 128, 64, 32), 27_288_112, 8_092_064, 1),
        # torchvision's counts less those of the classifier, which has 1000 classes.
        ("resnet50", "resnet", (256, 128, 64, 32, 16), 25_557_032 - 2_049_000, 2_675_648, 2),
        ("resnet50", "resnet", (512, 256, 128, 64, 32), 25_557_032 - 2_049_000, 6_526_304, 2),
        ("resnet18", "resnet", (256, 128, 64, 32, 16), 11_689_512 - 513_000, 1_121_216, 2),
    ],
)
def test_parameter_counts_of_the_published_networks(
    backbone, decoder, widths, encoder_parameters, decoder_parameters, stride
):
    with torch.device("meta"):
        net = MapEncoder(MapConfig(EncoderConfig(backbone, normalisation="none"), decoder, widths))
    assert count(net.encoder) == encoder_parameters
    assert count(net.decoder) == decoder_parameters
    assert net.stride == stride


@pytest.mark.parametrize(
    ("config", "stride"),
    [
        (UNET, 2),
        (RESNET, 2),
        (MapConfig(EncoderConfig("efficientnet_b0"), "unet", (32, 16, 16, 8, 8), 8), 1),
        (MapConfig(EncoderConfig("resnet18"), "unet", (32, 16, 16, 8, 8), 8), 1),
    ],
)
def test_the_map_lies_over_the_image(config, stride):
    net = MapEncoder(config).eval()
    with torch.inference_mode():
        result = net(torch.rand(2, 3, 64, 96))
    assert net.stride == stride
    assert result.map.shape == (2, 8, 64 // stride, 96 // stride)
    shapes = [tuple(level.shape) for level in result.encoder_features]
    places = zip(net.encoder.channels, net.encoder.strides, strict=True)
    assert shapes == [(2, C, 64 // s, 96 // s) for C, s in places]


@pytest.mark.parametrize("config", [UNET, RESNET])
def test_training_reaches_every_parameter(config):
    net = MapEncoder(config)
    net(torch.rand(2, 3, 64, 64)).map.square().mean().backward()
    without = [
        n for n, p in net.named_parameters() if p.grad is None or not p.grad.isfinite().all()
    ]
    assert without == []


def test_the_resnet_bottleneck_grows_a_border_of_its_bias():
    decoder = ResNetDecoder((4, 4, 4, 4, 6), (5, 4, 4, 4, 4), 3)
    x = decoder.bottleneck(torch.randn(1, 6, 2, 3))
    assert x.shape == (1, 5, 4, 5)
    bias = decoder.bottleneck.bias
    assert bias is not None
    for border in (x[0, :, 0], x[0, :, -1], x[0, :, :, 0], x[0, :, :, -1]):
        assert torch.equal(border, bias[:, None].expand_as(border))


@pytest.mark.parametrize("kind", [UNetDecoder, ResNetDecoder])
def test_blocks_see_the_coarser_level_enlarged_corner_to_corner_before_the_skip(kind):
    decoder = kind((4, 4, 4, 4, 6), (8, 8, 8, 8, 8), 3).eval()
    features = [torch.randn(1, 4, 2 * 2**i, 3 * 2**i) for i in (4, 3, 2, 1)]
    features.append(torch.randn(1, 6, 2, 3))
    seen: list[torch.Tensor] = []
    decoder.blocks[0].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    decoder(features)
    x = features[-1] if kind is UNetDecoder else decoder.bottleneck(features[-1])
    assert torch.equal(seen[0][:, -4:], features[3])
    # Pixel 1 of 6 lies at (width - 1) / 5 of the coarse row: corner pixels fall on each other.
    at = (x.shape[-1] - 1) / 5
    left = int(at)
    row = 0 if kind is UNetDecoder else 1  # row 0 of the bottleneck is a border of one value
    expected = x[:, :, row, left] * (1 - at + left) + x[:, :, row, left + 1] * (at - left)
    assert torch.allclose(seen[0][:, :-4, row, 1], expected, atol=1e-6)
    assert torch.allclose(seen[0][:, :-4, -1, -1], x[:, :, -1, -1], atol=1e-6)


def test_the_last_block_of_a_unet_doubles_by_pixel_areas():
    decoder = UNetDecoder((4, 6), (8, 5), 3).eval()
    seen: list[torch.Tensor] = []
    coarse: list[torch.Tensor] = []
    decoder.blocks[0].register_forward_hook(lambda _m, _i, output: coarse.append(output))
    decoder.blocks[1].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    out = decoder([torch.randn(1, 4, 4, 6), torch.randn(1, 6, 2, 3)])
    assert out.shape == (1, 3, 8, 12)
    # A pixel next to the corner is a quarter of the way to the neighbour.
    expected = 0.75 * coarse[0][..., 0, 0] + 0.25 * coarse[0][..., 0, 1]
    assert torch.allclose(seen[0][..., 0, 1], expected, atol=1e-6)
    assert torch.equal(seen[0], F.interpolate(coarse[0], scale_factor=2, mode="bilinear"))


def test_published_unets_see_raw_images():
    assert MapConfig().encoder.normalisation == "none"
    encoder = MapEncoder(UNET).encoder
    assert not encoder.mean.any()
    assert (encoder.std == 1).all()


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (
            MapConfig(EncoderConfig("convnext_atto"), "resnet", (8, 8, 8, 8, 8)),
            "--backbone: convnext_atto has strides 4, 8, 16, 32; the resnet decoder needs 2, 4",
        ),
        (
            MapConfig(EncoderConfig("vgg11_bn"), "unet", (8,) * 6),
            "--backbone: vgg11_bn begins at stride 1",
        ),
        (
            MapConfig(EncoderConfig("convnext_atto"), "unet", (8, 8, 8)),
            r"--decoder-channels: 3 widths \(8, 8, 8\) for 4 levels; give 4 positive widths",
        ),
        (
            MapConfig(EncoderConfig("convnext_atto"), "unet", (8, 8, 8, 0)),
            "--decoder-channels: 4 widths",
        ),
        (MapConfig(EncoderConfig("convnext_atto"), channels=0), "--map-channels: is 0"),
    ],
)
def test_settings_that_do_not_fit_are_refused(config, message):
    with torch.device("meta"), pytest.raises(InputError, match=message):
        MapEncoder(config)


@pytest.mark.parametrize("shape", [(1, 3, 64, 100), (3, 64, 96), (1, 3, 0, 64)])
def test_sizes_that_do_not_fit_are_named(shape):
    with pytest.raises(ValueError, match=r"multiples of 32, got") as caught:
        MapEncoder(UNET)(torch.zeros(shape))
    assert str(shape) in str(caught.value)


def test_a_backbone_that_cuts_borders_off_is_refused():
    config = MapConfig(EncoderConfig("inception_v3"), "unet", (8, 8, 8, 8, 8), 8)
    with pytest.raises(InputError, match=r"--backbone: inception_v3 gives .* at stride 2 of an"):
        MapEncoder(config).eval()(torch.rand(1, 3, 96, 160))
