import os
import urllib.error
from pathlib import Path

import pytest
import safetensors.torch
import timm
import torch
from huggingface_hub import constants
from torch import Tensor

from vo.datasets.errors import InputError
from vo.depth.encoder import Encoder, EncoderConfig

SMALL = "mobilenetv3_small_050"  # 5 levels; its first convolution is `conv_stem`


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


@pytest.mark.parametrize(
    ("backbone", "strides"),
    [
        ("resnet18", (2, 4, 8, 16, 32)),
        ("convnext_tiny", (4, 8, 16, 32)),
        ("convnext_atto", (4, 8, 16, 32)),
        ("efficientnet_b0", (2, 4, 8, 16, 32)),
        ("mobilenetv3_small_100", (2, 4, 8, 16, 32)),
        ("swin_tiny_patch4_window7_224", (4, 8, 16, 32)),  # features with channels last
        ("vgg11", (1, 2, 4, 8, 16, 32)),  # a level at full size
    ],
)
@pytest.mark.parametrize("in_channels", [3, 6])
def test_backbones_give_the_pyramid_that_they_declare(backbone, strides, in_channels):
    encoder = Encoder(EncoderConfig(backbone, in_channels)).eval()
    assert encoder.strides == strides
    with torch.inference_mode():
        features = encoder(torch.rand(2, in_channels, 64, 96))
    shapes = [(2, c, 64 // s, 96 // s) for c, s in zip(encoder.channels, strides, strict=True)]
    assert [tuple(level.shape) for level in features] == shapes


def test_resnet18_has_the_published_size():
    encoder = Encoder(EncoderConfig("resnet18"))
    # 11,689,512 with the classifier of 512 x 1000 + 1000, which features_only leaves out.
    assert sum(p.numel() for p in encoder.parameters()) == 11_689_512 - 513_000
    assert encoder.channels == (64, 64, 128, 256, 512)


@pytest.mark.parametrize(
    ("normalisation", "expected"),
    [
        ("monodepth2", [(0.9 - 0.45) / 0.225] * 3),
        ("imagenet", [(0.9 - 0.485) / 0.229, (0.9 - 0.456) / 0.224, (0.9 - 0.406) / 0.225]),
        ("none", [0.9] * 3),
    ],
)
def test_normalisation_is_applied_to_every_frame_of_a_pair(normalisation, expected):
    encoder = Encoder(EncoderConfig(SMALL, in_channels=6, normalisation=normalisation))
    seen: list[Tensor] = []
    encoder.backbone.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    encoder(torch.full((2, 6, 32, 32), 0.9))
    assert seen[0][0, :, 0, 0].tolist() == pytest.approx(expected * 2)
    assert not {"mean", "std"} & encoder.state_dict().keys()


# Names ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("backbone", "message"),
    [
        ("resnet81", r"--backbone: timm knows no model 'resnet81'; did you mean .*resnet18"),
        ("hf-hub:someone/resnet18", "timm knows no model 'hf-hub:someone/resnet18'"),
        ("zzzzzzz", r"timm\.list_models\(\)"),
        ("resnet18.nonsense", r"resnet18 has no weights 'nonsense'; known are .*tv_in1k"),
        ("vit_tiny_patch16_224", "vit_tiny_patch16_224 .* choose a convolutional one"),
        ("coatnet_0_224", "coatnet_0_224 does not give features of images of any size"),
        ("convmixer_768_32", "convmixer_768_32 "),
    ],
)
def test_unsuitable_backbones_are_refused_in_one_line(backbone, message):
    with pytest.raises(InputError, match=message) as caught:
        Encoder(EncoderConfig(backbone))
    assert "\n" not in str(caught.value)


def test_wrong_channels_are_named():
    with pytest.raises(ValueError, match="multiple of 3, got 4"):
        Encoder(EncoderConfig(SMALL, in_channels=4))
    with pytest.raises(ValueError, match=r"image must be \(B, 3, H, W\), got \(1, 6, 32, 32\)"):
        Encoder(EncoderConfig(SMALL))(torch.rand(1, 6, 32, 32))


# Weights ----------------------------------------------------------------------------------------


def test_unreachable_hub_gives_the_two_ways_out(monkeypatch, tmp_path):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(InputError, match=r"resnet18 could not be fetched.*--init none.*local file"):
        Encoder(EncoderConfig("resnet18", pretrained=True))


def test_a_failing_download_gives_the_same_line(monkeypatch):
    def refuse(*_: object, **__: object) -> None:
        raise urllib.error.URLError("no route")

    monkeypatch.setattr(timm, "create_model", refuse)
    with pytest.raises(InputError, match=r"could not be fetched \(URLError\)"):
        Encoder(EncoderConfig("resnet18", pretrained=True))


def test_a_backbone_without_published_weights_says_so():
    none = next(n for n in timm.list_models("resnet*") if not timm.list_pretrained(f"{n}.*"))
    with pytest.raises(InputError, match=rf"timm has no weights for {none}; pass --init none"):
        Encoder(EncoderConfig(none, pretrained=True))


def test_two_sources_of_weights_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"--weights-file: .*choose one"):
        Encoder(EncoderConfig(SMALL, pretrained=True, weights_file=tmp_path / "a.pth"))


def saved(model: torch.nn.Module, path: Path, wrap: bool = False) -> Path:
    state = model.state_dict()
    if path.suffix == ".safetensors":
        safetensors.torch.save_file({k: v.contiguous() for k, v in state.items()}, path)
    else:
        torch.save(
            {"state_dict": {f"module.{k}": v for k, v in state.items()}} if wrap else state, path
        )
    return path


def randomised(model: torch.nn.Module) -> torch.nn.Module:
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.05)
    return model.eval()


@pytest.mark.parametrize("backbone", ["resnet18", "convnext_atto", SMALL])
@pytest.mark.parametrize("form", ["whole.safetensors", "whole.pth", "wrapped.pth", "features.pth"])
def test_a_local_file_of_the_whole_model_or_its_features_loads(backbone, form, tmp_path):
    whole = form.split(".")[0] != "features"
    source = randomised(timm.create_model(backbone, features_only=not whole))
    file = saved(source, tmp_path / form, wrap=form == "wrapped.pth")
    config = EncoderConfig(backbone, weights_file=file, normalisation="none")
    encoder = Encoder(config).eval()
    image = torch.rand(1, 3, 64, 64)
    with torch.inference_mode():
        if whole:
            reference = source.forward_intermediates(image, intermediates_only=True)  # type: ignore[operator]
        else:
            reference = source(image)
        features = encoder(image)
    assert torch.allclose(features[-1], reference[-1], atol=1e-5)
    assert features[-1].std() > 0


def test_a_pair_of_equal_images_gives_what_the_single_image_gave(tmp_path):
    source = randomised(timm.create_model("resnet18"))
    file = saved(source, tmp_path / "resnet18.pth")
    single = Encoder(EncoderConfig("resnet18", weights_file=file)).eval()
    pair = Encoder(EncoderConfig("resnet18", in_channels=6, weights_file=file)).eval()
    image = torch.rand(1, 3, 64, 64)
    with torch.inference_mode():
        one, two = single(image), pair(torch.cat([image, image], dim=1))
    for a, b in zip(one, two, strict=True):
        assert torch.allclose(a, b, atol=1e-4 * float(a.abs().max()))


def test_files_older_than_batch_counters_load(tmp_path):
    state = timm.create_model("resnet18").state_dict()
    old = {k: v for k, v in state.items() if not k.endswith("num_batches_tracked")}
    torch.save(dict(old), tmp_path / "old.pth")
    Encoder(EncoderConfig("resnet18", weights_file=tmp_path / "old.pth"))


def test_weights_that_do_not_fit_are_refused_with_the_first_difference(tmp_path):
    file = saved(timm.create_model("resnet34"), tmp_path / "resnet34.pth")
    message = (
        r"resnet34\.pth: does not fit resnet18: layer1\.2\.\S+ is not part of it, and \d+ more"
    )
    with pytest.raises(InputError, match=message):
        Encoder(EncoderConfig("resnet18", weights_file=file))
    state = timm.create_model("resnet18").state_dict()
    torch.save({k: v for k, v in state.items() if k != "layer2.0.conv1.weight"}, file)
    with pytest.raises(InputError, match=r"layer2\.0\.conv1\.weight is missing;"):
        Encoder(EncoderConfig("resnet18", weights_file=file))
    torch.save(state | {"bn1.weight": torch.ones(32)}, file)
    with pytest.raises(InputError, match=r"bn1\.weight is \(32,\) instead of \(64,\);"):
        Encoder(EncoderConfig("resnet18", weights_file=file))


class Surprise:
    """A pickle that makes a folder when it is opened without care."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("name", ["text.pth", "text.safetensors", "object.pth", "list.pth", "none"])
def test_unreadable_files_are_refused_in_one_line(name, tmp_path):
    file = tmp_path / name
    if name.startswith("text"):
        file.write_text("not weights at all, but longer than a header of eight bytes")
    elif name == "object.pth":
        torch.save({"conv1.weight": Surprise(tmp_path / "ran")}, file)
    elif name == "list.pth":
        torch.save([torch.zeros(2)], file)
    with pytest.raises(InputError, match=str(file)) as caught:
        Encoder(EncoderConfig(SMALL, weights_file=file))
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "ran").exists()
