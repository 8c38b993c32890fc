"""The joint model: what one checkpoint holds."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from vo.datasets.errors import InputError
from vo.depth.encoder import EncoderConfig
from vo.depth.feature_net import FeatureConfig, FeatureLevel, FeatureNet
from vo.depth.net import Depth, DepthConfig, DepthNet
from vo.depth.self_query_net import SelfQueryDepthConfig, SelfQueryDepthNet
from vo.pose_cnn import PoseCNN, PoseCNNConfig
from vo.pose_net import PoseConfig, PoseNet
from vo.refine import RefineConfig

MOST_PX, MOST_ITERATIONS = 8192, 10_000  # what a file from elsewhere may ask for


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """Networks and the size of the images that they see.

    Attributes:
        width: of the images in pixels, a multiple of the backbones' deepest stride (32).
        height: of the images in pixels, likewise.
        depth: the depth network.
        pose: the pose network.
        features: the features that the refinement aligns.
        refine: the refinement when the model is run; training has settings of its own.
    """

    width: int = 640
    height: int = 192
    depth: DepthConfig | SelfQueryDepthConfig = field(default_factory=DepthConfig)
    pose: PoseConfig | PoseCNNConfig = field(default_factory=PoseConfig)
    features: FeatureConfig = field(default_factory=FeatureConfig)
    refine: RefineConfig = field(default_factory=RefineConfig)


class Model(nn.Module):
    """Depth network, pose network and feature network.

    They are called one by one: what belongs to a frame (depth, features) is computed once and
    serves every pair that the frame is part of.

    Attributes:
        config: how it was built.
        depth_net: image to depth.
        pose_net: pair of images to motion.
        feature_net: image to features; see `features`.
    """

    def __init__(self, config: ModelConfig) -> None:
        """Build the networks.

        Raises:
            InputError: when the configuration cannot be met.
        """
        super().__init__()
        demand_size((config.width, config.height))
        self.config = config
        self.depth_net = _depth_net(config)
        self.pose_net = _pose_net(config.pose)
        encoder = self.depth_net.encoder
        self.feature_net = FeatureNet(config.features, encoder.channels, encoder.strides)
        if max(config.refine.iterations, default=0) > MOST_ITERATIONS:
            problem = f"is {max(config.refine.iterations)}"
            raise InputError("--refine.iterations", problem, f"give at most {MOST_ITERATIONS}")
        if len(config.refine.iterations) != config.features.levels:
            problem = f"has {len(config.refine.iterations)} numbers"
            remedy = f"give one for each of the {config.features.levels} levels of features"
            raise InputError("--refine.iterations", problem, remedy)

    def features(self, image: Tensor, depth: Depth | None = None) -> tuple[FeatureLevel, ...]:
        """Features of images, coarse to fine.

        Args:
            image: (B, 3, H, W) in [0, 1].
            depth: what the depth network said of them; needed when the features come from its
                encoder, unused otherwise.

        Raises:
            ValueError: when ``depth`` is needed and missing.
        """
        if self.config.features.source != "encoder":
            return self.feature_net(image)
        return self.feature_net(image, None if depth is None else depth.encoder_features)


def with_first_weights(config: ModelConfig, pretrained: bool) -> ModelConfig:
    """The same networks, their backbones with timm's weights at the start, or with random ones."""

    def change(part: Any) -> Any:
        if isinstance(part, EncoderConfig):
            return dataclasses.replace(part, pretrained=pretrained, weights_file=None)
        if not dataclasses.is_dataclass(part) or isinstance(part, type):
            return part
        fields = [field.name for field in dataclasses.fields(part)]
        return dataclasses.replace(part, **{name: change(getattr(part, name)) for name in fields})

    return change(config)


def demand_size(size: tuple[int, int]) -> None:
    """Refuse a size (width, height) of images that networks cannot take.

    Raises:
        InputError: naming --size.
    """
    problem = f"is {size[0]} {size[1]}"
    if max(size) > MOST_PX:
        raise InputError("--size", problem, f"give at most {MOST_PX} a side")
    if min(size) < 64 or size[0] % 32 or size[1] % 32:
        raise InputError("--size", problem, "give multiples of 32 from 64 on, such as 640 192")


def _depth_net(config: ModelConfig) -> DepthNet | SelfQueryDepthNet:
    if isinstance(config.depth, DepthConfig):
        return DepthNet(config.depth)
    return SelfQueryDepthNet(config.depth, (config.height, config.width))


def _pose_net(config: PoseConfig | PoseCNNConfig) -> PoseNet | PoseCNN:
    return PoseNet(config) if isinstance(config, PoseConfig) else PoseCNN(config)
