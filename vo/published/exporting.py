"""A model of ours in a published layout, for the programs of monodepth2, SQLdepth and SPIdepth.

Their programs build the network from options and load a folder strictly; what they would build
otherwise than it is here is refused.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from vo.datasets.errors import InputError
from vo.depth.map_encoder import MapConfig
from vo.depth.net import DepthConfig
from vo.depth.self_query_decoder import SelfQueryConfig
from vo.depth.self_query_net import SelfQueryDepthConfig
from vo.model import Model, ModelConfig
from vo.pose_cnn import PoseCNNConfig
from vo.pose_net import PoseConfig
from vo.published import Layout
from vo.published.architecture import RESNET_PREFIX, RESNETS
from vo.published.files import ENCODER, POSE_ENCODER
from vo.published.importing import parts
from vo.published.names import export_weights

_NAMES = {"monodepth2": "monodepth2", "sqldepth": "SQLdepth", "spidepth": "SPIdepth"}
_POSE_SCALE = 0.01  # of rotation and translation, in all of them
_DECODER = (16, 32, 64, 128, 256)  # widths of monodepth2's


def export_model(
    model: Model, to: Layout, use_stereo: bool, where: str | Path
) -> dict[str, dict[str, object]]:
    """The files of a published folder.

    A ResNet gets the classifier that the published programs demand and never use: zeros.

    Args:
        model: on any device.
        to: whose folder.
        use_stereo: whether it was trained with the other camera of a stereo pair.
        where: file or flag that the model came from, for the message.

    Returns:
        file name -> key -> tensor, or plain value (height, width, use_stereo).

    Raises:
        InputError: see `demand_layout`.
    """
    demand_layout(model.config, to, where)
    files: dict[str, dict[str, object]] = {}
    for part, places in parts(model):
        own = part.state_dict()
        for file, content in export_weights(own, places(own)).items():
            plain = {key: value.detach().cpu().contiguous() for key, value in content.items()}
            files.setdefault(file, {}).update(plain)
    for file, prefix in _classifiers(model.config, to).items():
        files[file] |= _classifier(files[file], prefix)
    files[ENCODER] |= {
        "height": model.config.height,
        "width": model.config.width,
        "use_stereo": use_stereo,
    }
    return files


def demand_layout(config: ModelConfig, to: Layout, where: str | Path) -> None:
    """Refuse a model that a published program would build otherwise.

    Args:
        config: of the model.
        to: whose program.
        where: file or flag that the model came from, for the message.

    Raises:
        InputError: with every reason.
    """
    reasons = _obstacles(config, to)
    if reasons:
        problem = f"does not fit {_NAMES[to]}'s layout: {', '.join(reasons)}"
        raise InputError(where, problem, "keep it as it is, or choose another layout")


def published_range(config: ModelConfig) -> tuple[float, float, float]:
    """(min_depth, max_depth) that the published programs are to be given, and their unit in ours.

    They have one factor of translation, 0.01: where it is more here, lengths are more, too.
    """
    unit = config.pose.translation_scale / _POSE_SCALE
    return config.depth.min_depth / unit, config.depth.max_depth / unit, unit


def _obstacles(config: ModelConfig, to: Layout) -> list[str]:
    depth = config.depth
    if to == "monodepth2":
        if isinstance(depth, DepthConfig):
            found = _of_disparity(depth)
        else:
            found = ["its depth network has a Self Query Layer"]
    elif isinstance(depth, SelfQueryDepthConfig):
        found = _of_map(depth.map) + _of_layer(depth.layer)
    else:
        found = ["its depth network gives disparity"]
    return found + _of_pose(config.pose, to)


def _of_disparity(config: DepthConfig) -> list[str]:
    name = config.encoder.backbone.partition(".")[0]
    return _told(
        {
            f"backbone {name} instead of a ResNet": name in RESNETS.values(),
            f"normalisation {config.encoder.normalisation}": (
                config.encoder.normalisation == "monodepth2"
            ),
            f"decoder widths {_spaced(config.decoder_channels)}": (
                config.decoder_channels == _DECODER
            ),
            f"{config.scales} scales instead of 4": config.scales == 4,
        }
    )


def _of_map(config: MapConfig) -> list[str]:
    name = config.encoder.backbone.partition(".")[0]
    is_resnet = config.decoder == "resnet"
    expected = "monodepth2" if is_resnet else "none"
    halves = tuple(config.widths[0] >> i for i in range(len(config.widths)))
    return _told(
        {
            f"backbone {name} with the resnet decoder": not is_resnet or name in RESNETS.values(),
            f"normalisation {config.encoder.normalisation}": (
                config.encoder.normalisation == expected
            ),
            f"decoder widths {_spaced(config.widths)} that are no halves": (
                not is_resnet or config.widths == halves
            ),
        }
    )


def _of_layer(config: SelfQueryConfig) -> list[str]:
    return _told(
        {
            f"{config.query_source} queries": config.query_source == "tokens",
            f"{config.spacing} spacing of bins": config.spacing == "linear",
            f"{config.norm} bins": config.norm == "linear",
            f"{config.heads} heads instead of 4": config.heads == 4,
            f"{config.layers} layers instead of 4": config.layers == 4,
            f"{config.positions} positions instead of 500": config.positions == 500,
            f"feed-forward {config.feed_forward} instead of 1024 or 512": (
                config.feed_forward in (512, 1024)
            ),
            f"embedding {config.embedding} of {config.channels} channels": (
                config.embedding == config.channels
            ),
        }
    )


def _of_pose(config: PoseConfig | PoseCNNConfig, to: Layout) -> list[str]:
    found = _told(
        {f"rotations times {config.rotation_scale:g}": config.rotation_scale == _POSE_SCALE}
    )
    if isinstance(config, PoseCNNConfig):
        return found + _told({"the pose network is the small one": to != "spidepth"})
    if to == "sqldepth":
        return [*found, "the pose network is no PoseCNN"]
    encoder, name = config.encoder, config.encoder.backbone.partition(".")[0]
    normalisation, motions = ("monodepth2", 2) if to == "monodepth2" else ("none", 1)
    names = ("resnet18", "resnet50") if to == "monodepth2" else ("resnet18",)
    return found + _told(
        {
            f"pose backbone {name} instead of {' or '.join(names)}": name in names,
            f"pose normalisation {encoder.normalisation}": encoder.normalisation == normalisation,
            f"{config.motions} motions instead of {motions}": config.motions == motions,
            f"{config.hidden} hidden channels instead of 256": config.hidden == 256,
        }
    )


def _spaced(widths: tuple[int, ...]) -> str:
    return " ".join(map(str, widths))


def _told(fits: dict[str, bool]) -> list[str]:
    return [reason for reason, is_fit in fits.items() if not is_fit]


def _classifiers(config: ModelConfig, to: Layout) -> dict[str, str]:
    """File -> prefix of the ResNets that were whole models."""
    if to != "monodepth2":
        assert isinstance(config.depth, SelfQueryDepthConfig)
        return {ENCODER: RESNET_PREFIX} if config.depth.map.decoder == "resnet" else {}
    pose = {} if isinstance(config.pose, PoseCNNConfig) else {POSE_ENCODER: "encoder."}
    return {ENCODER: "encoder.", **pose}


def _classifier(content: dict[str, object], prefix: str) -> dict[str, Tensor]:
    """Of 1000 classes, as wide as the last normalisation of the ResNet."""
    last = content[f"{prefix}layer4.0.downsample.1.weight"]
    assert isinstance(last, Tensor)
    return {
        f"{prefix}fc.weight": torch.zeros(1000, len(last)),
        f"{prefix}fc.bias": torch.zeros(1000),
    }
