import pytest
import torch

from vo.datasets.errors import InputError
from vo.depth.disparity_decoder import DisparityDecoder

RESNET18 = (64, 64, 128, 256, 512), (2, 4, 8, 16, 32)
RESNET50 = (64, 256, 512, 1024, 2048), (2, 4, 8, 16, 32)


def features_of(channels: tuple[int, ...], strides: tuple[int, ...], H: int = 64, W: int = 96):
    return [torch.rand(2, c, H // s, W // s) for c, s in zip(channels, strides, strict=True)]


@pytest.mark.parametrize(("pyramid", "count"), [(RESNET18, 3_152_724), (RESNET50, 9_014_100)])
def test_parameter_counts_of_the_published_decoder(pyramid, count):
    assert sum(p.numel() for p in DisparityDecoder(*pyramid).parameters()) == count


def test_layers_have_the_published_shapes():
    """[out, in] of every convolution, from the deepest level upwards."""
    decoder = DisparityDecoder(*RESNET18)
    shapes = []
    for narrow, fuse in zip(reversed(decoder.narrow), reversed(decoder.fuse), strict=True):
        shapes += [list(narrow.weight.shape[:2]), list(fuse.weight.shape[:2])]
    assert shapes == [
        [256, 512], [256, 512], [128, 256], [128, 256], [64, 128],
        [64, 128], [32, 64], [32, 96], [16, 32], [16, 16],
    ]  # fmt: skip
    assert [head.weight.shape[1] for head in decoder.heads] == [16, 32, 64, 128]


@pytest.mark.parametrize(
    "pyramid",
    [
        RESNET18,
        ((40, 80, 160, 320), (4, 8, 16, 32)),  # nothing at stride 2: doubled without a skip
        ((8, 16, 32, 64, 64, 64), (1, 2, 4, 8, 16, 32)),  # a skip at full size as well
    ],
)
def test_four_scales_in_0_1_finest_first(pyramid):
    torch.manual_seed(0)
    outputs = DisparityDecoder(*pyramid)(features_of(*pyramid))
    assert [tuple(x.shape) for x in outputs] == [(2, 1, 64 >> s, 96 >> s) for s in range(4)]
    for output in outputs:
        assert 0 < output.min() < output.max() < 1


def test_every_level_of_the_encoder_is_used():
    torch.manual_seed(0)
    for pyramid in (RESNET18, ((8, 16, 32, 64, 64, 64), (1, 2, 4, 8, 16, 32))):
        features = [x.requires_grad_() for x in features_of(*pyramid)]
        DisparityDecoder(*pyramid)(features)[0].sum().backward()
        assert all(x.grad is not None and x.grad.abs().max() > 0 for x in features)


def test_a_small_decoder_of_another_depth():
    pyramid = (16, 24, 40), (2, 4, 8)
    outputs = DisparityDecoder(*pyramid, channels=(8, 12, 16), scales=2)(features_of(*pyramid))
    assert [tuple(x.shape[-2:]) for x in outputs] == [(64, 96), (32, 48)]


def test_the_sigmoid_is_taken_in_float32_under_autocast():
    decoder = DisparityDecoder(*RESNET18)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        outputs = decoder(features_of(*RESNET18))
    assert all(x.dtype == torch.float32 for x in outputs)


@pytest.mark.parametrize(
    ("channels", "scales", "message"),
    [
        ((16, 32, 64), 4, r"--decoder-channels: 3 widths .* give 5 widths"),
        ((16, 32, 64, 0, 8), 4, "--decoder-channels"),
        ((16, 32, 64, 128, 256), 6, r"--scales: is 6; it must be 1 to 5"),
        ((16, 32, 64, 128, 256), 0, r"--scales: is 0"),
    ],
)
def test_unfitting_settings_name_the_flag(channels, scales, message):
    with pytest.raises(InputError, match=message):
        DisparityDecoder(*RESNET18, channels=channels, scales=scales)
