"""What is in a checkpoint, in words for people and as JSON for programs."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from vo.depth.encoder import EncoderConfig
from vo.depth.net import DepthConfig
from vo.depth.self_query_decoder import SelfQueryConfig
from vo.pose_cnn import PoseCNNConfig
from vo.settings import to_plain
from vo.tools.strict_json import strict

if TYPE_CHECKING:
    from torch import nn

    from vo.checkpoint import Checkpoint
    from vo.model import Model

_LEARNED_FROM = {
    "M": "neighbouring frames of one camera",
    "S": "the other camera of a stereo pair",
    "MS": "neighbouring frames and the other camera of a stereo pair",
    "metric": "true depth or poses",
    "none": "nothing, or nothing that is known",
}


def as_lines(checkpoint: Checkpoint) -> list[str]:
    """The card and the networks, a line for each of what there is to say."""
    card, config = checkpoint.card, checkpoint.model.config
    depth, pose, features = network_words(checkpoint.model)
    bounds = f"{config.depth.min_depth:g} to {config.depth.max_depth:g}"
    iterations = " + ".join(map(str, config.refine.iterations))
    said = {
        "file": str(checkpoint.path),
        "sha256": checkpoint.sha256,
        "name": card.name,
        "preset": card.preset,
        "supervision": _supervision(card.supervision),
        "trained on": ", ".join(card.trained_on),
        "split hash": card.split_hash,
        "images seen": str(card.images_seen) if card.images_seen else "",
        "bootstrap": card.bootstrap,
        "commit": card.commit,
        "licence": card.licence,
        "unit": "metre" if card.metric else "free: scene units",
        "size": f"{config.width}x{config.height}",
        "depth": depth,
        "depth range": bounds + (" m" if card.metric else " scene units"),
        "pose": pose,
        "features": features,
        "refinement": f"at most {iterations} iterations, {config.refine.kernel} kernel",
        "notes": card.notes,
        **{f"  {name}": f"{value:.6g}" for name, value in card.metrics.items()},
    }
    width = max(map(len, said)) + 2
    return [f"{name:<{width}}{words or '-'}" for name, words in said.items()]


def as_json(checkpoint: Checkpoint) -> str:
    """The same and every setting, as strict JSON: null stands for what is no finite number."""
    model = checkpoint.model
    content = {
        "file": str(checkpoint.path),
        "sha256": checkpoint.sha256,
        "card": to_plain(checkpoint.card),
        "config": to_plain(model.config),
        "parameters": {
            "depth": _count(model.depth_net),
            "pose": _count(model.pose_net),
            "features": _count(model.feature_net),
        },
    }
    return json.dumps(strict(content), indent=2, allow_nan=False, ensure_ascii=False)


def network_words(model: Model) -> tuple[str, str, str]:
    """The depth, pose and feature networks, each in a few words with its parameters."""
    config = model.config
    if isinstance(config.depth, DepthConfig):
        depth = f"disparity on {_encoder(config.depth.encoder)}"
    else:
        net = config.depth
        depth = f"{_layer(net.layer)}, {net.map.decoder} on {_encoder(net.map.encoder)}"
    if isinstance(config.pose, PoseCNNConfig):
        pose = "PoseCNN"
    else:
        pose = f"{_encoder(config.pose.encoder)}, translations x {config.pose.translation_scale:g}"
    features = {
        "grey": "grey values and their gradients",
        "stem": f"{config.features.channels} learned channels",
        "encoder": f"{config.features.channels} learned channels on the depth encoder",
    }[config.features.source]
    levels = f"{features}, {config.features.levels} levels"
    nets = model.depth_net, model.pose_net, model.feature_net
    words = zip((depth, pose, levels), nets, strict=True)
    first, second, third = (f"{said}, {_millions(net)}" for said, net in words)
    return first, second, third


def _layer(config: SelfQueryConfig) -> str:
    return f"Self Query Layer of {config.queries} queries and {config.bins} bins"


def _encoder(config: EncoderConfig) -> str:
    inside = "images as they are" if config.normalisation == "none" else config.normalisation
    return f"{config.backbone} ({inside})"


def _supervision(name: str) -> str:
    first, plus, rest = name.partition("+")
    words = _LEARNED_FROM[first] + (f", then {_LEARNED_FROM[rest]}" if plus else "")
    return f"{name} ({words})"


def _count(net: nn.Module) -> int:
    return sum(parameter.numel() for parameter in net.parameters())


def _millions(net: nn.Module) -> str:
    count = _count(net)
    return f"{count / 1e6:.2f} M parameters" if count else "no parameters"
