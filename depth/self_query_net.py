"""The depth network of SQLdepth and SPIdepth: one image to one map, and the map to depth."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch.nn.functional as F
from torch import Tensor, nn

from vo.datasets.errors import InputError
from vo.depth.encoder import Encoder
from vo.depth.map_encoder import MapConfig, MapEncoder
from vo.depth.net import Depth
from vo.depth.self_query_decoder import SelfQueryConfig, SelfQueryDecoder


@dataclass(frozen=True, slots=True)
class SelfQueryDepthConfig:
    """A depth network with a Self Query Layer.

    Attributes:
        map: its encoder-decoder.
        layer: its Self Query Layer, on maps of ``map.channels`` channels.
    """

    map: MapConfig = field(default_factory=MapConfig)
    layer: SelfQueryConfig = field(default_factory=SelfQueryConfig)

    @property
    def min_depth(self) -> float:
        """Smallest depth, in scene units."""
        return self.layer.min_depth

    @property
    def max_depth(self) -> float:
        """Largest depth, in scene units."""
        return self.layer.max_depth


class SelfQueryDepthNet(nn.Module):
    """One image to depth, which is learned as depth: there is no disparity.

    Attributes:
        config: how it was built.
        map_encoder: image to map.
        layer: map to depth.
    """

    def __init__(
        self, config: SelfQueryDepthConfig, image_size: tuple[int, int] | None = None
    ) -> None:
        """Build the layers.

        Args:
            config: what to build.
            image_size: (H, W) of the images to come, if known: whether they make enough tokens is
                then checked now rather than when the first one comes.

        Raises:
            InputError: when the configuration cannot be met, or does not fit ``image_size``.
        """
        super().__init__()
        if config.layer.channels != config.map.channels:
            problem = f"is {config.layer.channels} on maps of {config.map.channels} channels"
            raise InputError("--layer.channels", problem, "give both the same number")
        self.config = config
        self.map_encoder = MapEncoder(config.map)
        stride = self.map_encoder.stride
        map_size = (
            None if image_size is None else (image_size[0] // stride, image_size[1] // stride)
        )
        self.layer = SelfQueryDecoder(config.layer, map_size)

    @property
    def encoder(self) -> Encoder:
        """The backbone, whose features serve others as well."""
        return self.map_encoder.encoder

    def forward(self, image: Tensor) -> Depth:
        """Depth of a batch of images, at full size by bilinear interpolation.

        Args:
            image: (B, 3, H, W) in [0, 1]; H and W multiples of the deepest stride (32).

        Raises:
            ValueError: when the shape is another one.
            InputError: when the backbone or the Self Query Layer cannot take images of this size.
        """
        seen = self.map_encoder(image)
        depth = self.layer(seen.map)
        if depth.shape[-2:] != image.shape[-2:]:
            depth = F.interpolate(depth, image.shape[-2:], mode="bilinear")
        return Depth(depth, (), seen.encoder_features)
