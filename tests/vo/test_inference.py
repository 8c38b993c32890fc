"""Networks made ready for inference are the same functions."""

from __future__ import annotations

import pytest
import timm
import torch
from torch import Tensor, nn

from vo.depth.encoder import EncoderConfig
from vo.depth.feature_net import FeatureConfig
from vo.depth.map_encoder import MapConfig
from vo.depth.net import DepthConfig
from vo.depth.self_query_decoder import SelfQueryConfig
from vo.depth.self_query_net import SelfQueryDepthConfig
from vo.inference import prepared
from vo.model import Model, ModelConfig
from vo.pose_cnn import PoseCNNConfig
from vo.pose_net import PoseConfig

pytestmark = pytest.mark.usefixtures("one_thread")

SIZE = (96, 64)


def learned(depth: DepthConfig | SelfQueryDepthConfig, source: str = "stem") -> Model:
    """A model whose normalisations are not those of the beginning, which do nothing."""
    torch.manual_seed(0)
    pose = (
        PoseConfig(EncoderConfig("resnet18", in_channels=6), 16, 1)
        if isinstance(depth, DepthConfig)
        else PoseCNNConfig()
    )
    features = FeatureConfig(source=source)  # type: ignore[arg-type]
    model = Model(ModelConfig(*SIZE, depth, pose, features)).eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None
            assert module.running_var is not None
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 2)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, 0, 0.1)
    return model


def disparity(backbone: str) -> DepthConfig:
    levels = timm.create_model(backbone, features_only=True).feature_info.reduction()[-1]  # type: ignore[union-attr]
    return DepthConfig(EncoderConfig(backbone), (8, 8, 8, 16, 16)[: levels.bit_length() - 1])


def answers(model: Model, bf16: bool = False) -> list[Tensor]:
    """All that an odometry asks of the networks."""
    x = torch.rand(2, 3, 64, 96, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        depth, pose = model.depth_net(x), model.pose_net(x, x.flip(3))
        levels = model.features(x, depth)
    maps = [m for level in levels for m in (level.features, level.confidence)]
    return [depth.depth, pose.axis_angle, pose.translation, *maps]


def off(found: list[Tensor], expected: list[Tensor]) -> float:
    """The largest difference, as a share of the largest number of its kind."""
    pairs = zip(found, expected, strict=True)
    return max(float((a - b).abs().max() / b.abs().max()) for a, b in pairs)


@pytest.mark.parametrize(
    ("depth", "source"),
    [
        (disparity("resnet18"), "stem"),
        (disparity("regnetx_002"), "encoder"),  # normalisation and activation in one
        (disparity("convnext_atto"), "grey"),  # linear layers, and no such normalisation
        (
            SelfQueryDepthConfig(
                MapConfig(EncoderConfig("resnet18"), "unet", (32, 16, 16, 8, 8), channels=32),
                SelfQueryConfig(patch=8, queries=4, bins=8),
            ),
            "stem",
        ),
    ],
    ids=["resnet", "regnet", "convnext", "self-query"],
)
def test_they_answer_as_before(depth: DepthConfig | SelfQueryDepthConfig, source: str) -> None:
    model = learned(depth, source)
    before = answers(model)
    ready = prepared(model, SIZE, bf16=False)
    assert off(answers(ready), before) < 1e-5
    coarse, plain = answers(prepared(model, SIZE, bf16=True), bf16=True), answers(model, bf16=True)
    assert [a.dtype for a in coarse] == [a.dtype for a in plain]
    # As near as what autocast gives without any preparation, and no bit-wise copy of float32.
    assert 1e-5 < off(coarse, before) < 2 * off(plain, before)
    assert all(torch.equal(a, b) for a, b in zip(answers(model), before, strict=True)), "untouched"


def test_normalisation_is_gone_and_one_disparity_is_left() -> None:
    model = learned(disparity("resnet18"))
    ready = prepared(model, SIZE, bf16=True)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in ready.modules())
    assert all(
        module.weight.dtype == torch.bfloat16
        for module in ready.modules()
        if isinstance(module, nn.Conv2d)
    )
    x = torch.rand(1, 3, 64, 96)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        assert len(ready.depth_net(x).disparities) == 1
    assert len(model.depth_net(x).disparities) == 4
    assert all(p.dtype == torch.float32 for p in model.parameters())


class Twice(nn.Module):
    """One convolution with two uses, of which only one is normalised: nothing can be folded."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution, self.norm = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)

    def forward(self, image: Tensor) -> Tensor:
        return self.norm(self.convolution(image)) + self.convolution(2 * image)


def test_what_has_two_uses_is_left_alone() -> None:
    model = learned(disparity("resnet18"))
    net = Twice().eval()
    nn.init.uniform_(net.norm.weight, 2, 3)
    model.feature_net = net  # type: ignore[assignment]
    ready = prepared(model, SIZE, bf16=False).feature_net
    x = torch.rand(1, 3, 64, 96)
    assert torch.allclose(ready(x), net(x), atol=1e-6)


def test_networks_without_weights_are_taken_as_they_are() -> None:
    model = learned(disparity("resnet18"))
    model.pose_net = nn.Identity()  # type: ignore[assignment]
    assert prepared(model, SIZE, bf16=True).pose_net is model.pose_net
