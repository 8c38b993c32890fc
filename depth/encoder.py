"""The image encoder: any timm backbone that gives a pyramid of features.

timm is entered by one door, ``create_model(..., features_only=True)``; everything after it reads
the channels and strides that the backbone declares, never its name.
"""

from __future__ import annotations

import difflib
import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import safetensors
import safetensors.torch
import timm
import torch
from timm.models import adapt_input_conv
from torch import Tensor, nn

from vo.datasets.errors import InputError
from vo.datasets.pickled import demand_no_growth
from vo.datasets.plain_file import demand_file

Normalisation = Literal["monodepth2", "imagenet", "none"]

_FLAG = "--backbone"
_MEAN_AND_STD = {
    "monodepth2": ((0.45, 0.45, 0.45), (0.225, 0.225, 0.225)),
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "none": ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
}
# What wraps the weights in training checkpoints, and prefixes that torch's own wrappers leave.
_WRAPPERS = ("state_dict", "model")
_PREFIXES = ("module.", "_orig_mod.")


@dataclass(frozen=True, slots=True)
class EncoderConfig:
    """Which backbone, and where its first weights come from.

    Attributes:
        backbone: timm name, with or without a tag: ``resnet18``, ``convnext_tiny.fb_in1k``.
        in_channels: 3 for an image, 6 for a pair; a multiple of 3.
        pretrained: start from timm's published weights of the backbone, fetched once into the
            user's cache.
        weights_file: start from a local ``.safetensors`` or ``.pth`` file with timm's names.
        normalisation: what is done to images in [0, 1]: ``monodepth2`` (x - 0.45) / 0.225,
            ``imagenet`` per-channel mean and deviation, or ``none``.
    """

    backbone: str = "resnet18"
    in_channels: int = 3
    pretrained: bool = False
    weights_file: Path | None = None
    normalisation: Normalisation = "monodepth2"


class Encoder(nn.Module):
    """Images to features, finest first.

    Attributes:
        name: of the backbone.
        channels: channels of every level.
        strides: stride of every level, each twice the one before: (2, 4, 8, 16, 32) for a ResNet,
            (4, 8, 16, 32) for a ConvNeXt.
    """

    def __init__(self, config: EncoderConfig) -> None:
        """Build the backbone.

        Raises:
            InputError: when the backbone is unknown or has no pyramid of features, when its
                weights cannot be fetched, or when the weights file does not fit.
            ValueError: when ``in_channels`` is not a multiple of 3.
        """
        super().__init__()
        if config.in_channels < 3 or config.in_channels % 3:
            raise ValueError(f"in_channels must be a multiple of 3, got {config.in_channels}")
        if config.pretrained and config.weights_file is not None:
            problem = "pretrained weights and a weights file were asked for"
            raise InputError("--weights-file", problem, "choose one of the two")
        _check_name(config.backbone, config.pretrained)
        self.name, self.in_channels = config.backbone, config.in_channels
        self.backbone = _create(config.backbone, config.in_channels, config.pretrained)
        self.channels, self.strides = _pyramid(config.backbone, self.backbone)
        if config.weights_file is not None:
            load_backbone(self.backbone, config.weights_file, config.backbone, config.in_channels)
        mean, std = _MEAN_AND_STD[config.normalisation]
        views = config.in_channels // 3
        self.mean: Tensor
        self.std: Tensor
        # Not in the state dict: they are configuration, not something learned.
        self.register_buffer("mean", torch.tensor(mean * views).view(-1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std * views).view(-1, 1, 1), persistent=False)

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Features of a batch of images.

        Args:
            image: (B, in_channels, H, W) in [0, 1].

        Returns:
            (B, channels[i], H / strides[i], W / strides[i]) per level, finest first.

        Raises:
            ValueError: when the shape is another one.
        """
        if image.ndim != 4 or image.shape[1] != self.in_channels:
            wanted = f"(B, {self.in_channels}, H, W)"
            raise ValueError(f"image must be {wanted}, got {tuple(image.shape)}")
        image = (image - self.mean) / self.std
        # Channels last in memory: on CPU a third faster, for the decoder behind it as well.
        features = self.backbone(image.contiguous(memory_format=torch.channels_last))
        if getattr(self.backbone, "output_fmt", None) == "NHWC":
            features = [level.permute(0, 3, 1, 2) for level in features]
        return tuple(features)

    def aligned(self, image: Tensor) -> tuple[Tensor, ...]:
        """Features as `forward` gives them, which lie over the image as their strides say.

        Args:
            image: (B, in_channels, H, W) in [0, 1]; H and W multiples of the deepest stride.

        Raises:
            InputError: when the backbone cuts borders off, as inception_v3 does.
        """
        features = self(image)
        H, W = image.shape[-2:]
        for stride, level in zip(self.strides, features, strict=True):
            if level.shape[-2:] != (H // stride, W // stride):
                got = f"{tuple(level.shape[-2:])} at stride {stride} of an image {(H, W)}"
                raise InputError(_FLAG, f"{self.name} gives {got}", "choose another backbone")
        return features


def load_backbone(backbone: nn.Module, file: Path, name: str, in_channels: int) -> None:
    """Load a local file into a backbone: every weight but those of the classifier must fit.

    Args:
        backbone: module built by timm with ``features_only=True``.
        file: ``.safetensors``, or a pickle that holds nothing but tensors and plain values, with
            the names of timm's whole model or of its features.
        name: the backbone's timm name, for the message.
        in_channels: channels of the first convolution. Weights for 3 channels are repeated and
            scaled so that a pair of equal images gives what the single image gave.

    Raises:
        InputError: when the file cannot be read or does not fit.
    """
    inner = getattr(backbone, "model", None)  # some backbones are wrapped once more by timm
    body = inner if isinstance(inner, nn.Module) else backbone
    weights = _without_head(body, _read_weights(file))
    first = getattr(backbone, "pretrained_cfg", {}).get("first_conv") or ()
    for layer in (first,) if isinstance(first, str) else first:
        key = _flat_name(body, f"{layer}.weight")
        if key in weights and weights[key].ndim == 4 and weights[key].shape[1] == 3:
            weights[key] = adapt_input_conv(in_channels, weights[key])
    own = body.state_dict()
    problems = [f"{key} is missing" for key in own if key not in weights and _is_needed(key)]
    problems += [f"{key} is not part of it" for key in weights if key not in own]
    problems += [
        f"{key} is {tuple(value.shape)} instead of {tuple(own[key].shape)}"
        for key, value in weights.items()
        if key in own and value.shape != own[key].shape
    ]
    if problems:
        problem = f"does not fit {name}: {problems[0]}"
        if len(problems) > 1:
            problem += f", and {len(problems) - 1} more such differences"
        raise InputError(file, problem, "give weights of this very backbone with timm's names")
    body.load_state_dict(weights, strict=True)


def _check_name(name: str, pretrained: bool) -> None:
    stem, _, tag = name.partition(".")
    if not timm.is_model(stem):
        close = difflib.get_close_matches(stem, timm.list_models(), n=3)
        hint = f"did you mean {', '.join(close)}?" if close else "see timm.list_models()"
        raise InputError(_FLAG, f"timm knows no model {name!r}", hint)
    tags = [full.partition(".")[2] for full in timm.list_pretrained(f"{stem}.*")]
    if tag and tag not in tags:
        known = f"known are {', '.join(tags)}" if tags else "it has none"
        raise InputError(_FLAG, f"{stem} has no weights {tag!r}", known)
    if pretrained and not tags:
        remedy = "pass --init none, or a weights file"
        raise InputError(_FLAG, f"timm has no weights for {name}", remedy)


def _create(name: str, in_channels: int, pretrained: bool) -> nn.Module:
    extra: dict[str, Any] = {"features_only": True, "in_chans": in_channels}
    config = timm.get_pretrained_cfg(name)
    if config is not None and config.fixed_input_size:
        extra["strict_img_size"] = False  # Swin then pads its windows and takes any size
    try:
        return timm.create_model(name, pretrained=pretrained, **extra)
    # timm has no exception of its own for a model that takes no such option or has no features.
    except (AssertionError, NotImplementedError, TypeError, AttributeError) as error:
        problem = f"{name} does not give features of images of any size"
        remedy = "choose a convolutional one, such as resnet18 or convnext_tiny"
        raise InputError(_FLAG, problem, remedy) from error
    except OSError as error:
        problem = f"the weights of {name} could not be fetched ({type(error).__name__})"
        remedy = "check the connection, pass --init none, or give a local file by --weights-file"
        raise InputError(_FLAG, problem, remedy) from error


def _pyramid(name: str, backbone: nn.Module) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Channels and strides, when each stride is twice the one before."""
    info: Any = backbone.feature_info
    channels, strides = tuple(info.channels()), tuple(info.reduction())
    doubling = all(b == 2 * a for a, b in itertools.pairwise(strides))
    if len(strides) < 2 or strides[0] not in (1, 2, 4) or not doubling:
        problem = f"{name} gives features at strides {', '.join(map(str, strides))}"
        remedy = "choose one whose strides double from 4 or less, such as resnet18"
        raise InputError(_FLAG, problem, remedy)
    return channels, strides


def _read_weights(file: Path) -> dict[str, Tensor]:
    demand_file(file, "give the path of a .safetensors or .pth file")
    if file.suffix != ".safetensors":
        demand_no_growth(file)
    try:
        if file.suffix == ".safetensors":
            content: Any = safetensors.torch.load_file(file)
        else:
            content = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged pickle comes as any error
        remedy = "give .safetensors, or a .pth that holds tensors only"
        raise InputError(file, "is no readable file of weights", remedy) from error
    for wrapper in _WRAPPERS:
        if isinstance(content, dict) and isinstance(content.get(wrapper), dict):
            content = content[wrapper]
    if not isinstance(content, dict) or not all(map(torch.is_tensor, content.values())):
        raise InputError(file, "holds no table of tensors", "save a model's state_dict()")
    return {_without_prefix(key): value for key, value in content.items()}


def _without_prefix(key: str) -> str:
    for prefix in _PREFIXES:
        key = key.removeprefix(prefix)
    return key


def _without_head(body: nn.Module, weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weights under the names of ``body``, less those of modules that it does not have.

    What follows the last feature map (pooling, classifier) is no child of a features-only model;
    tables that the model computes itself (Swin's position index) are no weights either.
    """
    children = dict(body.named_children()).keys() | dict(body.named_parameters(recurse=False))
    computed = dict(body.named_buffers()).keys() - body.state_dict().keys()
    named = {_flat_name(body, key): value for key, value in weights.items()}
    return {
        key: value
        for key, value in named.items()
        if key.partition(".")[0] in children and key not in computed
    }


def _flat_name(body: nn.Module, key: str) -> str:
    """``stages.0.x`` of a whole model is ``stages_0.x`` in a flattened features-only one."""
    parts = key.split(".")
    if len(parts) > 2 and f"{parts[0]}_{parts[1]}" in dict(body.named_children()):
        return ".".join([f"{parts[0]}_{parts[1]}", *parts[2:]])
    return key


def _is_needed(key: str) -> bool:
    """Files older than PyTorch 0.4.1 have no such counters, and torch then starts them at 0."""
    return not key.endswith("num_batches_tracked")
