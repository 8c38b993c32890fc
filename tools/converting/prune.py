"""``vo-convert prune``: a checkpoint whose depth decoder has fewer channels at one level."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np
import torch

from vo.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from vo.datasets import open_sequence
from vo.datasets.errors import InputError
from vo.depth.channel_pruning import prune_level
from vo.depth.disparity_decoder import DisparityDecoder
from vo.depth.net import DepthConfig
from vo.model import Model, ModelConfig
from vo.tools.converting.prune_flags import PruneFlags

if TYPE_CHECKING:
    from torch import Tensor

    from vo.datasets.camera import Array

_BATCH = 8


def prune(flags: PruneFlags) -> tuple[float, float]:
    """Write the smaller checkpoint.

    Returns:
        what the two layers that were fitted anew miss, as shares of their variance.

    Raises:
        InputError: when checkpoint, data, level or channels are not as they should be.
    """
    checkpoint = load_checkpoint(flags.ckpt)
    model = checkpoint.model.eval()
    decoder = getattr(model.depth_net, "decoder", None)
    if not isinstance(decoder, DisparityDecoder) or not isinstance(model.config.depth, DepthConfig):
        raise InputError(flags.ckpt, "has no disparity decoder", "only such a one can be pruned")
    if flags.images < 1:
        raise InputError("--images", f"is {flags.images}", "give 1 or more")
    images = [image for name in flags.seq for image in _images(flags, name, model.config)]
    state, errors = prune_level(decoder, _features(model, images), flags.level, flags.channels)
    save_checkpoint(
        flags.out,
        _rebuilt(model, model.config.depth, state, flags),
        dataclasses.replace(checkpoint.card, notes=_notes(checkpoint, flags, errors)),
        torch.float16 if flags.half else None,
    )
    return errors


def _images(flags: PruneFlags, name: str, config: ModelConfig) -> list[Array]:
    sequence = open_sequence(flags.data, name, size=(config.width, config.height))
    numbers = np.linspace(0, len(sequence) - 1, min(flags.images, len(sequence)))
    return [sequence[int(number)].image for number in numbers]


@torch.inference_mode()
def _features(model: Model, images: list[Array]) -> list[Tensor]:
    """The depth encoder's maps of all images, finest first."""
    batches = [images[i : i + _BATCH] for i in range(0, len(images), _BATCH)]
    levels = [
        model.depth_net.encoder(torch.from_numpy(np.stack(b)).permute(0, 3, 1, 2).float() / 255)
        for b in batches
    ]
    return [torch.cat(maps) for maps in zip(*levels, strict=True)]


def _rebuilt(
    model: Model, depth: DepthConfig, state: dict[str, Tensor], flags: PruneFlags
) -> Model:
    widths = list(depth.decoder_channels)
    widths[flags.level] = flags.channels
    smaller = dataclasses.replace(depth, decoder_channels=tuple(widths))
    pruned = Model(dataclasses.replace(model.config, depth=smaller))
    prefix = "depth_net.decoder."
    others = {k: v for k, v in model.state_dict().items() if not k.startswith(prefix)}
    pruned.load_state_dict(others | {prefix + key: value for key, value in state.items()})
    return pruned


def _notes(checkpoint: Checkpoint, flags: PruneFlags, errors: tuple[float, float]) -> str:
    here = f"level {flags.level} of the decoder pruned to {flags.channels} channels"
    said = f"{here}, of {checkpoint.sha256} (misses {max(errors):.2%} of a layer's variance)"
    before = checkpoint.card.notes
    return f"{before}; {said}" if before else said
