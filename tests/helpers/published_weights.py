"""Weights and images that follow from a rule: both ends compute them, none has to be stored.

The rules are those of the parity fixtures' README: a tensor follows from its key and shape, an
image from a tag.
"""

import json
import math
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vo.depth.encoder import EncoderConfig
from vo.depth.map_encoder import MapConfig
from vo.depth.self_query_decoder import SelfQueryConfig
from vo.depth.self_query_net import SelfQueryDepthConfig
from vo.model import Model, ModelConfig
from vo.pose_cnn import PoseCNNConfig
from vo.pose_net import PoseConfig


def rule_weight(key: str, shape: list[int]) -> Tensor:
    last = key.rpartition(".")[2]
    if last == "num_batches_tracked":
        return torch.zeros(shape, dtype=torch.int64)
    rng = np.random.RandomState(zlib.crc32(key.encode()) & 0x7FFFFFFF)
    n = torch.from_numpy(np.asarray(rng.standard_normal(shape), np.float32))
    match last:
        case "running_var":
            return 1 + 0.1 * n.abs()
        case "running_mean":
            return 0.1 * n
        case "gamma":
            return 0.5 + 0.1 * n
        case "positional_encodings":
            return 0.5 * n
    if len(shape) >= 2:
        return n / math.sqrt(math.prod(shape[1:]))
    return 1 + 0.1 * n if last.endswith("weight") else 0.05 * n


def rule_image(tag: str, H: int, W: int) -> Tensor:
    """(1, 3, H, W) float32 within [0, 1]."""
    y, x = np.meshgrid(np.arange(H) / H, np.arange(W) / W, indexing="ij")
    phase = zlib.crc32(tag.encode()) % 1000 / 1000
    turn = 2 * np.pi
    channels = [
        0.5
        + 0.25 * np.sin(turn * ((3 + i) * x + (2 + i) * y + phase))
        + 0.25 * np.cos(turn * ((7 - i) * x * y + 5 * y - phase * (i + 1)))
        for i in range(3)
    ]
    return torch.from_numpy(np.stack(channels)[None].astype(np.float32))


def read_fixture(folder: Path, name: str) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Description and expected outputs."""
    description = json.loads((folder / f"{name}.json").read_text())
    with np.load(folder / f"{name}.npz") as outputs:
        return description, {key: torch.from_numpy(outputs[key]) for key in outputs.files}


def rule_files(description: dict[str, Any]) -> dict[str, dict[str, object]]:
    """The published folder: every file with all its keys, and the plain values beside them."""
    files: dict[str, dict[str, object]] = {
        name: {key: rule_weight(key, shape) for key, shape, _ in entries}
        for name, entries in description["files"].items()
    }
    extras = {"height": description["height"], "width": description["width"], "use_stereo": False}
    files["encoder.pth"] |= extras
    return files


def save_folder(folder: Path, files: Mapping[str, Mapping[str, object]]) -> Path:
    """A published folder, as the systems write it."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        torch.save(dict(content), folder / name)
    return folder


def small_config(pose: PoseConfig | PoseCNNConfig) -> ModelConfig:
    """SQLdepth's networks for images of 96 x 64, with a narrow decoder on a small backbone."""
    backbone = EncoderConfig("convnextv2_atto", normalisation="none")
    layer = SelfQueryConfig(8, 8, 4, queries=9, bins=7, feed_forward=512)
    depth = SelfQueryDepthConfig(MapConfig(backbone, "unet", (16, 8, 8, 8), 8), layer)
    return ModelConfig(width=96, height=64, depth=depth, pose=pose)


def small_model(config: ModelConfig) -> Model:
    """A model with the weights of the rule, so that each of them leaves a trace."""
    model = Model(config)
    for key, value in model.state_dict().items():
        value.copy_(rule_weight(key, list(value.shape)))
    return model.eval()
