"""What published layouts can hold, and what is refused because their programs would differ."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from vo.datasets.errors import InputError
from vo.depth.encoder import EncoderConfig
from vo.depth.map_encoder import MapConfig
from vo.depth.net import DepthConfig
from vo.depth.self_query_decoder import SelfQueryConfig
from vo.depth.self_query_net import SelfQueryDepthConfig
from vo.model import Model, ModelConfig
from vo.pose_cnn import PoseCNNConfig
from vo.pose_net import PoseConfig
from vo.presets import preset
from vo.published.exporting import demand_layout, export_model, published_range

RESNET, PLAIN = EncoderConfig("resnet18"), EncoderConfig("resnet18", normalisation="none")
UNET = MapConfig(
    EncoderConfig("convnext_atto", normalisation="none"), "unet", (16, 8, 8, 8), channels=8
)
LAYER = SelfQueryConfig(8, 8, 4, queries=9, bins=7, feed_forward=512)
STRONG = PoseConfig(EncoderConfig("resnet18", 6, normalisation="none"), motions=1)


def disparity(**changes) -> ModelConfig:
    return ModelConfig(96, 64, DepthConfig(**changes))


def queries(pose=None, maps=UNET, **changes) -> ModelConfig:
    layer = dataclasses.replace(LAYER, **changes)
    return ModelConfig(96, 64, SelfQueryDepthConfig(maps, layer), pose or PoseCNNConfig())


def with_pose(**changes) -> ModelConfig:
    return ModelConfig(96, 64, pose=PoseConfig(**changes))


@pytest.mark.parametrize(
    ("config", "to", "files", "classifiers"),
    [
        (
            *(disparity(), "monodepth2", "encoder depth pose_encoder pose"),
            {"encoder.pth": 512, "pose_encoder.pth": 512},
        ),
        (
            ModelConfig(96, 64, DepthConfig(EncoderConfig("resnet50")), PoseCNNConfig()),
            *("monodepth2", "encoder depth pose", {"encoder.pth": 2048}),
        ),
        (queries(), "sqldepth", "encoder depth pose", {}),
        (queries(STRONG, feed_forward=1024), "spidepth", "encoder depth pose", {}),
        (
            queries(maps=MapConfig(RESNET, "resnet", (64, 32, 16, 8, 4), 8)),
            *("sqldepth", "encoder depth pose", {"encoder.pth": 512}),
        ),
    ],
)
def test_folders_have_all_that_the_programs_demand(config, to, files, classifiers):
    """They load strictly, and monodepth2's ResNet is torchvision's whole one."""
    found = export_model(Model(config), to, True, "model")
    assert sorted(found) == sorted(f"{name}.pth" for name in files.split())
    extras = {k: v for k, v in found["encoder.pth"].items() if not isinstance(v, torch.Tensor)}
    assert extras == {"height": 64, "width": 96, "use_stereo": True}
    for file, content in found.items():
        keys = [key for key in content if ".fc." in key]
        if file not in classifiers:
            assert keys == []
            continue
        prefix = "encoder.encoder." if to == "sqldepth" else "encoder."
        assert keys == [f"{prefix}fc.weight", f"{prefix}fc.bias"]
        weight, bias = (content[key] for key in keys)
        assert isinstance(weight, torch.Tensor)
        assert isinstance(bias, torch.Tensor)
        assert (weight.shape, bias.shape) == ((1000, classifiers[file]), (1000,))
        assert not weight.any()


@pytest.mark.parametrize(
    ("config", "to", "reason"),
    [
        (disparity(encoder=EncoderConfig("convnext_atto")), "monodepth2", "backbone convnext_atto"),
        (disparity(encoder=PLAIN), "monodepth2", "normalisation none"),
        (
            disparity(decoder_channels=(8, 8, 8, 8, 8)),
            *("monodepth2", "decoder widths 8 8 8 8 8"),
        ),
        (disparity(scales=3), "monodepth2", "3 scales instead of 4"),
        (disparity(), "sqldepth", "its depth network gives disparity"),
        (queries(), "monodepth2", "its depth network has a Self Query Layer"),
        (with_pose(motions=1), "monodepth2", "1 motions instead of 2"),
        (with_pose(hidden=64), "monodepth2", "64 hidden channels instead of 256"),
        (with_pose(rotation_scale=0.1), "monodepth2", "rotations times 0.1"),
        (
            with_pose(encoder=EncoderConfig("resnet34", 6)),
            *("monodepth2", "pose backbone resnet34 instead of resnet18 or resnet50"),
        ),
        (
            with_pose(encoder=EncoderConfig("resnet18", 6, normalisation="imagenet")),
            *("monodepth2", "pose normalisation imagenet"),
        ),
        (queries(query_source="learned"), "sqldepth", "learned queries"),
        (queries(spacing="log"), "sqldepth", "log spacing of bins"),
        (queries(norm="softmax"), "sqldepth", "softmax bins"),
        (queries(heads=2), "sqldepth", "2 heads instead of 4"),
        (queries(layers=2), "sqldepth", "2 layers instead of 4"),
        (queries(positions=400), "sqldepth", "400 positions instead of 500"),
        (queries(feed_forward=256), "sqldepth", "feed-forward 256 instead of 1024 or 512"),
        (queries(embedding=16), "sqldepth", "embedding 16 of 8 channels"),
        (queries(), "spidepth", "the pose network is the small one"),
        (queries(STRONG), "sqldepth", "the pose network is no PoseCNN"),
        (
            queries(dataclasses.replace(STRONG, motions=2)),
            *("spidepth", "2 motions instead of 1"),
        ),
        (
            queries(maps=dataclasses.replace(UNET, encoder=EncoderConfig("convnext_atto"))),
            *("sqldepth", "normalisation monodepth2"),
        ),
        (
            queries(maps=MapConfig(RESNET, "resnet", (64, 32, 16, 8, 8), 8)),
            *("sqldepth", "decoder widths 64 32 16 8 8 that are no halves"),
        ),
        (
            queries(maps=MapConfig(EncoderConfig("regnetx_002"), "resnet", (64, 32, 16, 8, 4), 8)),
            *("sqldepth", "backbone regnetx_002 with the resnet decoder"),
        ),
    ],
)
def test_what_a_published_program_would_build_otherwise_is_refused(config, to, reason):
    with pytest.raises(InputError) as caught:
        demand_layout(config, to, "model.safetensors")
    name = {"monodepth2": "monodepth2", "sqldepth": "SQLdepth", "spidepth": "SPIdepth"}[to]
    assert caught.value.problem.startswith(f"does not fit {name}'s layout: ")
    reasons = caught.value.problem.partition(": ")[2].split(", ")
    assert any(found.startswith(reason) for found in reasons), reasons


def test_every_reason_is_named_and_no_other():
    with pytest.raises(InputError) as caught:
        demand_layout(queries(STRONG, heads=2, spacing="log"), "sqldepth", "model.safetensors")
    reasons = "log spacing of bins, 2 heads instead of 4, the pose network is no PoseCNN"
    assert str(caught.value) == (
        f"model.safetensors: does not fit SQLdepth's layout: {reasons}; "
        "keep it as it is, or choose another layout"
    )


def test_the_depth_range_is_told_in_the_unit_of_the_published_programs():
    """Our presets with stereo are in metres, of which their unit of length has 5.4."""
    for name, low in (("sqldepth-r50-320", 0.01), ("spidepth-huge", 0.001)):
        found = published_range(preset(name).model)
        assert found == pytest.approx((low, 80.0, 5.4))
    assert published_range(preset("monodepth2").model) == pytest.approx((0.1, 100.0, 1.0))
