"""Names of published weights: which tensor of which file is which of ours.

monodepth2, SQLdepth and SPIdepth each save a folder of state dicts. For every network there is one
function from our names to their places in that folder; importing and exporting follow it in
opposite directions. Nothing here reads or writes a file.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from vo.published.files import DEPTH, ENCODER, POSE, POSE_ENCODER, Table

# What follows the last features in a whole model of torchvision or timm; of no use here.
_HEAD = re.compile(r"^(encoder\.)+(original_model\.)?(fc|head|classifier|conv_head|bn2)\.")
# Halves of a double convolution in a timm U-Net, in the order of our nn.Sequential.
_UNET_LAYERS = {"0": "conv1.conv", "1": "conv1.bn", "3": "conv2.conv", "4": "conv2.bn"}
_SPIDEPTH_POSE = {"0": "squeeze.0", "2": "decoder.0.0", "4": "decoder.1.0", "6": "decoder.2"}
_SELF_QUERY = {
    "positions": "positional_encodings",
    "patches": "embedding_convPxP",
    "transformer": "transformer_encoder",
    "pixels": "conv3x3",
    "widths": "bins_regressor",
    "logits": "convert_to_prob.0",
}


@dataclass(frozen=True, slots=True)
class Place:
    """Where a published tensor lies.

    Attributes:
        file: name of the file in the folder, ``encoder.pth``.
        key: name in its state dict.
    """

    file: str
    key: str


def monodepth2_depth_places(own: Iterable[str]) -> dict[str, Place]:
    """Places of a `DepthNet` on a ResNet: ``encoder.pth`` and ``depth.pth``.

    Args:
        own: keys of its state dict.

    Raises:
        ValueError: when a key is none of such a network; so do the other functions.
    """
    own = list(own)
    levels = sum(key.startswith("decoder.narrow.") and key.endswith(".bias") for key in own)

    def place(key: str) -> Place:
        part, rest = _split(key)
        if part == "encoder":
            return Place(ENCODER, "encoder." + _of_backbone(key))
        kind, index, name = rest.split(".")
        # One list: two convolutions for each level, deepest first, then the heads, finest first.
        if kind == "heads":
            return Place(DEPTH, f"decoder.{2 * levels + int(index)}.conv.{name}")
        number = 2 * (levels - 1 - int(index)) + ("narrow", "fuse").index(kind)
        return Place(DEPTH, f"decoder.{number}.conv.conv.{name}")

    return _places(own, place)


def monodepth2_pose_places(own: Iterable[str]) -> dict[str, Place]:
    """Places of a `PoseNet` on a ResNet: ``pose_encoder.pth`` and ``pose.pth``."""

    def place(key: str) -> Place:
        part, rest = _split(key)
        if part == "encoder":
            return Place(POSE_ENCODER, "encoder." + _of_backbone(key))
        index, name = rest.split(".")
        return Place(POSE, f"net.{int(index) // 2}.{name}")

    return _places(own, place)


def spidepth_pose_places(own: Iterable[str]) -> dict[str, Place]:
    """Places of SPIdepth's strengthened pose network, a `PoseNet` of one motion: ``pose.pth``."""

    def place(key: str) -> Place:
        part, rest = _split(key)
        if part == "encoder":
            return Place(POSE, "encoder." + _of_backbone(key))
        index, name = rest.split(".")
        return Place(POSE, f"{_SPIDEPTH_POSE[index]}.{name}")

    return _places(own, place)


def pose_cnn_places(own: Iterable[str]) -> dict[str, Place]:
    """Places of a `PoseCNN`: ``pose.pth``."""

    def place(key: str) -> Place:
        part, rest = _split(key)
        return Place(POSE, {"convolutions": "net.", "motion": "pose_conv."}[part] + rest)

    return _places(own, place)


def unet_map_places(own: Iterable[str]) -> dict[str, Place]:
    """Places of a `MapEncoder` with the ``unet`` decoder: ``encoder.pth``."""

    def place(key: str) -> Place:
        part, rest = _split(key)
        if part == "encoder":
            return Place(ENCODER, "encoder." + _of_backbone(key))
        if rest.startswith("output."):
            return Place(ENCODER, "decoder.final_conv." + rest.removeprefix("output."))
        _, block, layer, name = rest.split(".")
        return Place(ENCODER, f"decoder.blocks.{block}.{_UNET_LAYERS[layer]}.{name}")

    return _places(own, place)


def resnet_map_places(own: Iterable[str]) -> dict[str, Place]:
    """Places of a `MapEncoder` with the ``resnet`` decoder on a ResNet: ``encoder.pth``."""
    return _places(own, lambda key: _resnet_map_place(key, "encoder.encoder."))


def efficientnet_map_places(own: Iterable[str]) -> dict[str, Place]:
    """Places of a `MapEncoder` with the ``resnet`` decoder on an EfficientNet: ``encoder.pth``.

    The published network has one more layer between them: see `vo.published.importing`.
    """
    return _places(own, lambda key: _resnet_map_place(key, "encoder.original_model."))


def self_query_places(own: Iterable[str]) -> dict[str, Place]:
    """Places of a `SelfQueryDecoder` without learned queries: ``depth.pth``."""

    def place(key: str) -> Place:
        part, rest = _split(key)
        return Place(DEPTH, _SELF_QUERY[part] + (f".{rest}" if rest else ""))

    return _places(own, place)


def import_weights(
    tables: Mapping[str, Table], places: Mapping[str, Place], own: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Published weights under our names, ready for ``load_state_dict(strict=True)``.

    The classifier of a backbone and values that are no tensors (height, width, use_stereo) are
    passed over.

    Args:
        tables: file name -> what was read; files that ``places`` does not name are not looked at.
        places: our key -> published place, of one of the functions above.
        own: the network's state dict, for its keys, shapes and types.

    Raises:
        InputError: when a file or a key is missing, a key is not part of the network, or a tensor
            has another shape or type or is not finite; the message has the published name.
        ValueError: when ``places`` and ``own`` are not of one network.
    """
    if places.keys() != own.keys():
        raise ValueError(f"places of {len(places)} keys for a network of {len(own)} keys")
    needed = set(places.values())
    for file in dict.fromkeys(place.file for place in places.values()):
        if file not in tables:
            raise next(iter(tables.values())).error(f"there is no {file} beside it")
        table = tables[file]
        for key in table.values:
            if key in table and Place(file, key) not in needed and not _HEAD.match(key):
                raise table.error(f"{table.prefix}{key} is not part of it")
    return {key: _fitting(tables[place.file], place.key, own[key]) for key, place in places.items()}


def export_weights(
    own: Mapping[str, Tensor], places: Mapping[str, Place]
) -> dict[str, dict[str, Tensor]]:
    """Our weights in the published layout, file name -> key -> tensor.

    Args:
        own: the network's state dict.
        places: our key -> published place.
    """
    files: dict[str, dict[str, Tensor]] = {}
    for key, value in own.items():
        files.setdefault(places[key].file, {})[places[key].key] = value
    return files


def _places(own: Iterable[str], place: Callable[[str], Place]) -> dict[str, Place]:
    result = {}
    for key in own:
        try:
            result[key] = place(key)
        except (KeyError, ValueError) as error:
            raise ValueError(f"{key!r} has no place in the published weights") from error
    return result


def _split(key: str) -> tuple[str, str]:
    head, _, rest = key.partition(".")
    return head, rest


def _of_backbone(key: str) -> str:
    if not key.startswith("encoder.backbone."):
        raise ValueError(key)
    return key.removeprefix("encoder.backbone.")


def _resnet_map_place(key: str, backbone: str) -> Place:
    part, rest = _split(key)
    if part == "encoder":
        return Place(ENCODER, backbone + _of_backbone(key))
    kind, tail = _split(rest)
    if kind == "blocks":
        block, name = _split(tail)
        return Place(ENCODER, f"decoder.up{int(block) + 1}._net.{name}")
    name = {"bottleneck": "conv2", "output": "conv3"}[kind]
    return Place(ENCODER, f"decoder.{name}.{tail}")


def _fitting(table: Table, key: str, own: Tensor) -> Tensor:
    value, name = table.values.get(key), table.prefix + key
    if value is None and key.endswith("num_batches_tracked"):
        return torch.zeros_like(own)  # unknown to files older than PyTorch 0.4.1, and without use
    if not isinstance(value, Tensor):
        raise table.error(f"{name} is missing")
    if value.shape != own.shape:
        raise table.error(f"{name} is {tuple(value.shape)} instead of {tuple(own.shape)}")
    if value.is_complex() or value.is_floating_point() != own.is_floating_point():
        raise table.error(f"{name} holds {value.dtype} instead of {own.dtype}")
    if value.layout != torch.strided or value.is_quantized:
        raise table.error(f"{name} is no plain tensor")
    if value.is_floating_point() and not value.isfinite().all():
        raise table.error(f"{name} is not finite")
    return value
