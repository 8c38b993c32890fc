"""Published weights as a model of ours.

The features that the refinement aligns are no part of published weights: the model gets fixed grey
values in their place, which need no training.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
from torch import nn

from vo.datasets.errors import InputError
from vo.depth.feature_net import FeatureConfig
from vo.depth.map_encoder import MapConfig, MapEncoder
from vo.depth.net import DepthConfig
from vo.depth.self_query_decoder import SelfQueryConfig, check_map_size
from vo.depth.self_query_net import SelfQueryDepthConfig, SelfQueryDepthNet
from vo.model import Model, ModelConfig
from vo.pose_cnn import PoseCNNConfig
from vo.pose_net import PoseConfig
from vo.published import Source
from vo.published.architecture import (
    EFFICIENTNET_PREFIX,
    disparity_config,
    map_config,
    pose_config,
    self_query_config,
)
from vo.published.files import ENCODER, Table, image_size
from vo.published.names import (
    Place,
    efficientnet_map_places,
    import_weights,
    monodepth2_depth_places,
    monodepth2_pose_places,
    pose_cnn_places,
    resnet_map_places,
    self_query_places,
    spidepth_pose_places,
    unet_map_places,
)

Places = Callable[[Iterable[str]], dict[str, Place]]


@dataclass(frozen=True, slots=True)
class Untold:
    """What published weights do not tell of themselves.

    Attributes:
        min_depth: smallest depth that they were trained with, in their unit of length.
        max_depth: largest depth.
        heads: of the attention in a Self Query Layer.
        size: (width, height) of images in pixels; that of the files when None.
        unit: their unit of length in ours: bounds of depth and translations are multiplied by it.
            Training with stereo calls KITTI's baseline of 0.54 m 0.1: 5.4 then gives metres.
        pose_unit: that of the translations, where it is another one.
    """

    min_depth: float
    max_depth: float
    heads: int = 4
    size: tuple[int, int] | None = None
    unit: float = 1.0
    pose_unit: float | None = None

    def __post_init__(self) -> None:
        """Refuse bounds and units that are none.

        Raises:
            InputError: naming the flag of ``vo-convert``.
        """
        if not 0 < self.min_depth < self.max_depth < math.inf:
            problem = f"is {self.min_depth:g} {self.max_depth:g}"
            raise InputError("--depth-range", problem, "give two depths, 0 < MIN < MAX")
        for flag, unit in (("--scale", self.unit), ("--pose-scale", self.pose_unit)):
            if unit is not None and not 0 < unit < math.inf:
                raise InputError(flag, f"is {unit:g}", "give a positive factor")


def import_model(tables: dict[str, Table], source: Source, untold: Untold) -> Model:
    """The model that published weights are of.

    Args:
        tables: what was read from a folder or file.
        source: the system that it is of.
        untold: what the files do not tell.

    Returns:
        the model in evaluation mode, float32, on the CPU.

    Raises:
        InputError: when the weights are of another network, a tensor is missing, superfluous or
            another one, and when what they do not tell is missing or does not fit them.
    """
    config = _model_config(tables, source, untold)
    with _building(tables[ENCODER]), torch.random.fork_rng(devices=[]):
        model = Model(config)
    tables = tables | {ENCODER: _without_head_layer(tables[ENCODER])}
    for part, places in parts(model):
        own = part.state_dict()
        part.load_state_dict(import_weights(tables, places(own), own), strict=True)
    return model.eval()


def parts(model: Model) -> list[tuple[nn.Module, Places]]:
    """Networks of a model that published layouts know, each with the function of its names."""
    depth, pose = model.depth_net, model.pose_net
    motion = (pose, _pose_places(model.config.pose))
    if not isinstance(depth, SelfQueryDepthNet):
        return [(depth, monodepth2_depth_places), motion]
    seen = (depth.map_encoder, _map_places(depth.config.map))
    return [seen, (depth.layer, self_query_places), motion]


@contextmanager
def _building(encoder: Table) -> Iterator[None]:
    """Say of networks that cannot be built which file is to blame."""
    try:
        yield
    # The words of torch for impossible channels are RuntimeError, those of our nets the other two.
    except (InputError, ValueError, RuntimeError) as error:
        if isinstance(error, InputError) and error.where in ("--size", "--heads"):
            raise
        reason = " ".join(str(error).split())[:300]
        raise encoder.error(f"its networks cannot be built ({reason})") from error


def _model_config(tables: dict[str, Table], source: Source, untold: Untold) -> ModelConfig:
    low, high = untold.min_depth * untold.unit, untold.max_depth * untold.unit
    pose = pose_config(tables)
    unit = untold.unit if untold.pose_unit is None else untold.pose_unit
    pose = replace(pose, translation_scale=pose.translation_scale * unit)
    depth: DepthConfig | SelfQueryDepthConfig
    if source == "monodepth2":
        depth = disparity_config(tables, low, high)
    else:
        seen = map_config(tables)
        depth = SelfQueryDepthConfig(seen, self_query_config(tables, untold.heads, low, high))
    size = untold.size or image_size(tables[ENCODER])
    if size is None:
        problem = f"{tables[ENCODER].path} does not say at what size it was trained"
        raise InputError("--size", problem, "give the width and height of the images")
    if isinstance(depth, SelfQueryDepthConfig):
        with _building(tables[ENCODER]), torch.device("meta"):
            stride = MapEncoder(depth.map).stride
        depth = replace(depth, layer=_fitted(depth.layer, stride, size))
    width, height = size
    return ModelConfig(width, height, depth, pose, features=FeatureConfig(source="grey"))


def _fitted(layer: SelfQueryConfig, stride: int, size: tuple[int, int]) -> SelfQueryConfig:
    """The layer, told to drop what its patches leave of maps of images of that size."""
    h, w = size[1] // stride, size[0] // stride
    layer = replace(layer, drop_remainder=bool(h % layer.patch or w % layer.patch))
    try:
        check_map_size(layer, h, w)
    except InputError as error:
        remedy = "give the size that the weights were trained at"
        raise InputError("--size", f"of {size[0]} {size[1]}: {error.problem}", remedy) from error
    return layer


def _map_places(config: MapConfig) -> Places:
    if config.decoder == "unet":
        return unet_map_places
    is_resnet = config.encoder.backbone.startswith("resnet")
    return resnet_map_places if is_resnet else efficientnet_map_places


def _pose_places(
    config: PoseConfig | PoseCNNConfig,
) -> Places:
    if isinstance(config, PoseCNNConfig):
        return pose_cnn_places
    is_spidepth = config.encoder.normalisation == "none"
    return spidepth_pose_places if is_spidepth else monodepth2_pose_places


def _without_head_layer(encoder: Table) -> Table:
    """SQLdepth's EfficientNet with its last layer made part of the bottleneck behind it.

    The network of its indoor weights goes on from the last features by a 1 x 1 convolution without
    bias (``conv_head``, 512 to 2048 channels) and then, with nothing in between, by the bottleneck,
    another 1 x 1 convolution. Both are linear, and the border of zeros that the second one sees is
    one of zeros before the first: one convolution with the product of their weights is the same.
    """
    head, bottleneck = f"{EFFICIENTNET_PREFIX}conv_head.weight", "decoder.conv2.weight"
    if head not in encoder:
        return encoder
    wide, before, *kernel = encoder.shape(head, 4)
    after = encoder.shape(bottleneck, 4)
    if [*after[1:], *kernel] != [wide, 1, 1, 1, 1]:
        name = f"{encoder.prefix}{bottleneck}"
        raise encoder.error(f"{name} is {after} behind {encoder.shape(head, 4)}")
    first, second = (encoder.values[key] for key in (head, bottleneck))
    assert isinstance(first, torch.Tensor)
    assert isinstance(second, torch.Tensor)
    product = second.double().flatten(1) @ first.double().flatten(1)
    weight = product.float().view(-1, before, 1, 1)
    return replace(encoder, values={**encoder.values, bottleneck: weight})
