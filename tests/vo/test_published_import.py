"""Published weights become models of ours that compute what the published networks compute."""

from __future__ import annotations

import dataclasses
import gc
import math
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import torch.nn.functional as F
from published_weights import (
    read_fixture,
    rule_files,
    rule_image,
    rule_weight,
    save_folder,
    small_config,
    small_model,
)
from torch import Tensor

from vo.checkpoint import Card, load_checkpoint, save_checkpoint
from vo.datasets.errors import InputError
from vo.depth.encoder import EncoderConfig
from vo.depth.map_encoder import MapConfig
from vo.depth.net import DepthConfig
from vo.depth.self_query_decoder import SelfQueryConfig
from vo.depth.self_query_net import SelfQueryDepthConfig, SelfQueryDepthNet
from vo.model import Model
from vo.pose_cnn import PoseCNNConfig
from vo.pose_net import PoseConfig
from vo.published.exporting import export_model
from vo.published.files import read_finetuned, read_folder
from vo.published.importing import Untold, import_model

# Largest error relative to the largest output: seen is 3e-6 in single precision on two cores.
TOLERANCE = 1e-5
CARD = Card("published", "imported", "none", (), "", 0, "", "unknown", metric=False)
ON_KITTI = Untold(0.001, 80.0)

SOURCES = {
    "monodepth2_resnet18_192x640": ("monodepth2", "monodepth2"),
    "sqldepth_resnet50_192x640": ("sqldepth", "spidepth"),  # it has SPIdepth's pose network
    "spidepth_convnextv2_tiny_320x1024": ("spidepth", "spidepth"),
    "spidepth_convnext_large_320x1024": ("spidepth", "spidepth"),
}


def assert_close(got: Tensor, expected: Tensor) -> None:
    assert got.shape == expected.shape
    error = (got - expected).abs().max() / expected.abs().max()
    assert error < TOLERANCE, f"relative error {error:.1e}"


# Outputs of the published networks --------------------------------------------------------------


@dataclass(frozen=True)
class Imported:
    name: str
    folder: Path
    description: dict[str, Any]
    expected: dict[str, Tensor]
    model: Model

    def image(self, tag: str) -> Tensor:
        return rule_image(tag, self.description["height"], self.description["width"])


@pytest.fixture(scope="module", params=SOURCES)
def imported(request, fixtures, tmp_path_factory) -> Iterator[Imported]:
    """A published folder, read, written as a checkpoint, and read again."""
    description, expected = read_fixture(fixtures, request.param)
    root = tmp_path_factory.mktemp("published")
    folder = save_folder(root / "weights", rule_files(description))
    is_monodepth2 = request.param.startswith("monodepth2")
    untold = Untold(0.1, 100.0) if is_monodepth2 else ON_KITTI
    model = import_model(read_folder(folder), SOURCES[request.param][0], untold)
    save_checkpoint(root / "model.safetensors", model, CARD)
    del model
    loaded = load_checkpoint(root / "model.safetensors").model
    yield Imported(request.param, folder, description, expected, loaded)
    shutil.rmtree(root)  # a gigabyte of the largest
    gc.collect()


@torch.inference_mode()
def test_depth_equals_that_of_the_published_network(imported):
    net, expected, seen = imported.model.depth_net, imported.expected, []
    if isinstance(net, SelfQueryDepthNet):
        net.layer.register_forward_hook(lambda _, inputs, output: seen.extend([*inputs, output]))
    result = net(imported.image("a"))
    if "features" not in expected:
        for scale, step in enumerate((4, 2, 1, 1)):
            assert_close(result.disparities[scale][..., ::step, ::step], expected[f"disp{scale}"])
        assert_close(result.depth[..., ::4, ::4], expected["depth0"])
        return
    # The published depth is as large as the map, half the image.
    features, depth = seen
    assert_close(features[..., ::8, ::8], expected["features"])
    assert expected["depth"].std() > 1  # the weights of the rule do not give one depth everywhere
    assert_close(depth[..., ::2, ::2], expected["depth"])
    assert torch.equal(result.depth, F.interpolate(depth, scale_factor=2, mode="bilinear"))


@torch.inference_mode()
def test_motion_equals_that_of_the_published_network(imported):
    motion = imported.model.pose_net(imported.image("a"), imported.image("b"))
    assert_close(motion.axis_angle, imported.expected["axisangle"][:, 0, 0])
    assert_close(motion.translation, imported.expected["translation"][:, 0, 0])


def test_the_configuration_is_the_published_one(imported):
    config, settings = imported.model.config, imported.description.get("config", {})
    size = imported.description["width"], imported.description["height"]
    assert (config.width, config.height) == size
    assert (config.features.source, config.features.levels) == ("grey", 3)
    assert not list(imported.model.feature_net.parameters())
    if not settings:
        assert config.depth == DepthConfig()
        assert config.pose == PoseConfig()
        return
    is_resnet = settings["backbone"] == "resnet_lite"
    backbone = f"resnet{settings['num_layers']}" if is_resnet else settings["backbone"]
    widths = settings.get("dec_channels") or [settings["num_features"] >> i for i in range(5)]
    encoder = EncoderConfig(backbone, normalisation="monodepth2" if is_resnet else "none")
    layer = SelfQueryConfig(
        channels=settings["model_dim"],
        embedding=settings["model_dim"],
        patch=settings["patch_size"],
        queries=settings["query_nums"],
        bins=settings["dim_out"],
        feed_forward=512 if is_resnet else 1024,
        min_depth=settings["min_depth"],
        max_depth=settings["max_depth"],
    )
    decoder = "resnet" if is_resnet else "unet"
    maps = MapConfig(encoder, decoder, tuple(widths), settings["model_dim"])
    assert config.depth == SelfQueryDepthConfig(maps, layer)
    assert config.pose == PoseConfig(EncoderConfig("resnet18", 6, normalisation="none"), motions=1)


def test_export_gives_the_published_files_back(imported):
    files = export_model(imported.model, SOURCES[imported.name][1], False, "model")
    assert files.keys() == imported.description["files"].keys()
    for name, content in files.items():
        found = torch.load(imported.folder / name, weights_only=True, mmap=True)
        assert content.keys() == found.keys()
        for key, value in content.items():
            if not isinstance(value, Tensor):
                assert value == found[key]
            elif ".fc." in key:  # the classifier, which no one uses
                assert value.shape == found[key].shape
            else:
                assert torch.equal(value, found[key]), key


# Small networks ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> tuple[Model, Path]:
    """A model with PoseCNN, and its folder in SQLdepth's layout."""
    model = small_model(small_config(PoseCNNConfig()))
    files = export_model(model, "sqldepth", False, "model")
    return model, save_folder(tmp_path_factory.mktemp("small") / "weights", files)


def changed(folder: Path, to: Path, file: str, change) -> Path:
    """A copy of a folder with other content of one file."""
    shutil.copytree(folder, to)
    torch.save(change(torch.load(folder / file, weights_only=True)), to / file)
    return to


def imported_from(folder: Path, untold: Untold = ON_KITTI, source="sqldepth") -> Model:
    return import_model(read_folder(folder), source, untold)


def assert_equal_weights(model: Model, other: Model) -> None:
    for net in ("depth_net", "pose_net"):
        own, found = (getattr(m, net).state_dict() for m in (model, other))
        assert own.keys() == found.keys()
        assert all(torch.equal(own[key], value) for key, value in found.items())


def test_import_of_an_export_gives_the_same_tensors(small):
    model, folder = small
    found = imported_from(folder)
    assert_equal_weights(model, found)
    expected = dataclasses.replace(model.config, features=found.config.features)
    assert found.config == expected
    assert not found.training


def test_data_parallel_and_whole_timm_models_are_read_alike(small, tmp_path):
    def as_a_whole_model(content):
        dots = {
            key.replace("stem_", "stem.").replace("stages_", "stages."): content[key]
            for key in content
        }
        head = {"encoder.head.norm.weight": torch.ones(320), "encoder.head.fc.bias": torch.ones(10)}
        return {f"module.{key}": value for key, value in (dots | head).items()}

    model, folder = small
    whole = changed(folder, tmp_path / "whole", "encoder.pth", as_a_whole_model)
    names = torch.load(whole / "encoder.pth", weights_only=True)
    assert "module.encoder.stages.3.blocks.1.mlp.grn.weight" in names
    found = imported_from(whole)
    assert_equal_weights(model, found)
    assert (found.config.width, found.config.height) == (96, 64)


def test_fine_tuned_weights_take_their_pose_network_from_elsewhere(small, tmp_path):
    model, folder = small
    parts = {"encoder.pth": "module.encoder.", "depth.pth": "module.depth_decoder."}
    content = {
        prefix + key: value
        for file, prefix in parts.items()
        for key, value in torch.load(folder / file, weights_only=True).items()
        if isinstance(value, Tensor)
    }
    path = tmp_path / "best.pt"
    torch.save({"model": content, "optimizer": {}, "epoch": 5}, path)
    untold = dataclasses.replace(ON_KITTI, size=(96, 64), pose_unit=5.4)
    found = import_model(read_finetuned(path, folder), "spidepth-finetuned", untold)
    assert_equal_weights(model, found)
    assert found.config.depth.max_depth == 80
    assert found.config.pose.translation_scale == pytest.approx(0.054)


@torch.inference_mode()
def test_another_unit_of_length_multiplies_depth_and_translations(small):
    _, folder = small
    image, other = torch.rand(2, 1, 3, 64, 96)
    plain = imported_from(folder)
    metres = imported_from(folder, dataclasses.replace(ON_KITTI, unit=5.4))
    depth, depth_m = (model.depth_net(image).depth for model in (plain, metres))
    assert depth.std() > 1e-3
    assert torch.allclose(depth_m, 5.4 * depth, rtol=1e-5)
    motion, motion_m = (model.pose_net(image, other) for model in (plain, metres))
    assert torch.allclose(motion_m.translation, 5.4 * motion.translation, rtol=1e-5)
    assert torch.equal(motion_m.axis_angle, motion.axis_angle)


@pytest.mark.parametrize(("patch", "drops"), [(16, False), (12, True)])
def test_the_remainder_of_patches_is_dropped_where_there_is_one(tmp_path, patch, drops):
    """Maps are 48 x 32 pixels."""
    config = small_config(PoseCNNConfig())
    assert isinstance(config.depth, SelfQueryDepthConfig)
    layer = dataclasses.replace(config.depth.layer, patch=patch, queries=2, drop_remainder=drops)
    config = dataclasses.replace(config, depth=dataclasses.replace(config.depth, layer=layer))
    files = export_model(small_model(config), "sqldepth", False, "model")
    assert imported_from(save_folder(tmp_path, files)).config.depth.layer == layer


# SQLdepth's indoor network ----------------------------------------------------------------------


def indoor_map(encoder: dict[str, Tensor], image: Tensor) -> Tensor:
    """The published network, step by step: EfficientNet-B5 up to conv_head, AdaBins' decoder."""
    whole = timm.create_model("tf_efficientnet_b5").eval()
    prefix = "encoder.original_model."
    own = {key.removeprefix(prefix): value for key, value in encoder.items() if prefix in key}
    missing, unexpected = whole.load_state_dict(own, strict=False)
    assert (missing, unexpected) == (["classifier.weight", "classifier.bias"], [])
    x, blocks = whole.bn1(whole.conv_stem(image)), []
    for block in whole.blocks:
        x = block(x)
        blocks.append(x)
    x = whole.conv_head(x)
    x = F.conv2d(x, encoder["decoder.conv2.weight"], encoder["decoder.conv2.bias"], padding=1)
    for number, skip in enumerate((blocks[4], blocks[2], blocks[1], blocks[0]), start=1):
        x = F.interpolate(x, skip.shape[-2:], mode="bilinear", align_corners=True)
        x = torch.cat([x, skip], dim=1)
        for layer in ("0", "3"):
            name = f"decoder.up{number}._net.{layer}"
            x = F.conv2d(x, encoder[f"{name}.weight"], encoder[f"{name}.bias"], padding=1)
            name = f"decoder.up{number}._net.{int(layer) + 1}"
            mean, var = encoder[f"{name}.running_mean"], encoder[f"{name}.running_var"]
            x = F.batch_norm(x, mean, var, encoder[f"{name}.weight"], encoder[f"{name}.bias"])
            x = F.leaky_relu(x, 0.01)
    return F.conv2d(x, encoder["decoder.conv3.weight"], encoder["decoder.conv3.bias"], padding=1)


def indoor_encoder() -> dict[str, Tensor]:
    """encoder.pth with all that its network has, narrow in the decoder."""
    with torch.device("meta"):
        backbone = timm.create_model("tf_efficientnet_b5").state_dict()
    shapes = {
        f"encoder.original_model.{key}": list(value.shape)
        for key, value in backbone.items()
        if not key.startswith("classifier")
    }
    shapes |= {"decoder.conv2.weight": [32, 2048, 1, 1], "decoder.conv2.bias": [32]}
    before = 32
    for number, skip in enumerate((176, 64, 40, 24), start=1):
        width, net = before // 2, f"decoder.up{number}._net"
        shapes[f"{net}.0.weight"] = [width, before + skip, 3, 3]
        shapes[f"{net}.3.weight"] = [width, width, 3, 3]
        for layer in ("0", "3"):
            shapes[f"{net}.{layer}.bias"] = [width]
        for layer in ("1", "4"):
            for name in ("weight", "bias", "running_mean", "running_var"):
                shapes[f"{net}.{layer}.{name}"] = [width]
            shapes[f"{net}.{layer}.num_batches_tracked"] = []
        before = width
    shapes |= {"decoder.conv3.weight": [8, 2, 3, 3], "decoder.conv3.bias": [8]}
    return {key: rule_weight(key, shape) for key, shape in shapes.items()}


@torch.inference_mode()
def test_the_indoor_network_equals_the_published_one(small, tmp_path):
    """Its last layer has become part of the bottleneck. 27 M weights: it takes a few seconds."""
    encoder = indoor_encoder()
    shutil.copytree(small[1], tmp_path / "weights")
    torch.save({**encoder, "height": 64, "width": 96}, tmp_path / "weights/encoder.pth")
    model = imported_from(tmp_path / "weights", Untold(0.001, 10.0))
    assert isinstance(model.depth_net, SelfQueryDepthNet)
    assert model.config.depth.map.encoder.normalisation == "none"
    image = rule_image("a", 64, 96)
    expected = indoor_map(encoder, image)
    assert expected.shape == (1, 8, 32, 48)
    assert_close(model.depth_net.map_encoder(image).map, expected)
    with pytest.raises(
        InputError, match=r"SQLdepth's layout: backbone tf_efficientnet_b5 with the"
    ):
        export_model(model, "sqldepth", False, "model")


# What is refused --------------------------------------------------------------------------------


def refusal(*arguments, **named) -> str:
    with pytest.raises(InputError) as caught:
        imported_from(*arguments, **named)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_keys_that_are_missing_or_too_many_are_named_with_their_file(small, tmp_path):
    gone = "encoder.stages_1.blocks.1.norm.bias"

    def without(content):
        return {key: value for key, value in content.items() if key != gone}

    less = changed(small[1], tmp_path / "less", "encoder.pth", without)
    assert f"less/encoder.pth: {gone} is missing" in refusal(less)
    more = changed(
        small[1], tmp_path / "more", "depth.pth", lambda c: {**c, "rectify.0.bias": torch.ones(3)}
    )
    assert "more/depth.pth: rectify.0.bias is not part of it" in refusal(more)


def test_weights_of_another_system_are_told(small, tmp_path):
    assert "depth.pth: is of SQLdepth or SPIdepth" in refusal(small[1], source="monodepth2")
    disparity = {"decoder.0.conv.conv.weight": torch.ones(8, 8, 3, 3)}
    folder = changed(small[1], tmp_path / "other", "depth.pth", lambda _: disparity)
    assert "other/encoder.pth: is of monodepth2; say so with --from" in refusal(folder)


def test_networks_that_cannot_be_built_are_told_with_their_file(small, tmp_path):
    def three_blocks(content):
        return {k: v for k, v in content.items() if not k.startswith("decoder.blocks.3")}

    folder = changed(small[1], tmp_path / "less", "encoder.pth", three_blocks)
    message = refusal(folder)
    assert f"{folder / 'encoder.pth'}: its networks cannot be built (--decoder-channels" in message


@pytest.mark.parametrize(
    ("untold", "message"),
    [
        ({"heads": 3}, "--heads: 3 heads cannot share an embedding of 8"),
        ({"size": (32, 16)}, "--size: of 32 16: a map of 8x16 makes 8 tokens of 4x4, fewer than 9"),
        ({"size": (640, 192)}, "--size: of 640 192: a map of 96x320 makes 1920 tokens of 4x4"),
        ({"size": (96, 72)}, "--size: is 96 72; give multiples of 32"),
    ],
)
def test_what_the_weights_do_not_tell_must_fit_them(small, untold, message):
    assert message in refusal(small[1], dataclasses.replace(ON_KITTI, **untold))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ((0.0, 80.0), "--depth-range: is 0 80; give two depths"),
        ((80.0, 0.1), "--depth-range: is 80 0.1"),
        ((0.1, math.inf), "--depth-range: is 0.1 inf"),
        ((0.1, 80.0, 4, None, 0.0), "--scale: is 0; give a positive factor"),
        ((0.1, 80.0, 4, None, 1.0, -5.4), "--pose-scale: is -5.4"),
    ],
)
def test_senseless_ranges_and_factors_are_refused(values, message):
    with pytest.raises(InputError, match=message):
        Untold(*values)
