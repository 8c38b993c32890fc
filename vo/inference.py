"""Networks made ready to be run and nothing else: the same function, less work for it.

Batch normalisation is folded into the convolution before it, only the finest disparity is
computed, and weights lie in memory as convolutions read them, in bfloat16 where they are computed
so: autocast would cast them again for every image.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from vo.depth.disparity_decoder import DisparityDecoder
from vo.model import Model

Net = TypeVar("Net", bound=nn.Module)

# What autocast computes in bfloat16 from the weights of. Not their descendants, which may use
# weights otherwise, as weight standardisation does.
_CAST = (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)
# Their own fast path in inference reads the weights of their layers, and wants one type of number.
_OPAQUE = (nn.MultiheadAttention, nn.TransformerEncoderLayer)


def prepared(model: Model, size: tuple[int, int], bf16: bool) -> Model:
    """The networks of a model, ready to be run at one size; the model itself is left as it is.

    Args:
        model: in evaluation mode.
        size: (width, height) of the images to come.
        bf16: whether the networks are run under autocast to bfloat16.

    Returns:
        a model that gives what ``model`` gives, to rounding, but for the coarser disparities; its
        weights follow no later change of ``model``.
    """
    ready = copy.copy(model)
    ready._modules = dict(model._modules)  # what is exchanged here stays in the model
    image = torch.zeros(1, 3, *size[::-1], device=_device(model))
    ready.depth_net = _prepared(model.depth_net, (image,), bf16)
    ready.pose_net = _prepared(model.pose_net, (image, image), bf16)
    if model.config.features.source == "stem":
        ready.feature_net = _prepared(model.feature_net, (image,), bf16)
    elif model.config.features.source == "encoder":
        ready.feature_net = _prepared(model.feature_net, None, bf16)
    return ready


def _prepared(net: Net, images: tuple[Tensor, ...] | None, bf16: bool) -> Net:
    """A network for inference; without ``images`` to run it on nothing is folded."""
    if next(net.parameters(), None) is None:
        return net
    net = copy.deepcopy(net).requires_grad_(False)
    for module in net.modules():
        if isinstance(module, DisparityDecoder):
            module.heads = module.heads[:1]
    if images is not None and any(isinstance(m, nn.BatchNorm2d) for m in net.modules()):
        _fold(net, images)
    if bf16:
        for module in _layers(net):
            if type(module) in _CAST:
                module.to(torch.bfloat16)
    return net.to(memory_format=torch.channels_last)


def _fold(net: nn.Module, images: tuple[Tensor, ...]) -> None:
    """Put every batch normalisation into the convolution whose output it is given."""
    owners = {
        child: (owner, name) for owner in net.modules() for name, child in owner.named_children()
    }
    for convolution, norm in _pairs(net, images):
        owner, name = owners[convolution]
        setattr(owner, name, fuse_conv_bn_eval(convolution, norm))
        owner, name = owners[norm]
        # timm's normalisation has the activation behind it in the same module.
        setattr(owner, name, getattr(norm, "act", None) or nn.Identity())


def _pairs(net: nn.Module, images: tuple[Tensor, ...]) -> list[tuple[nn.Conv2d, nn.BatchNorm2d]]:
    """Convolutions and the normalisation that is given their output, each called once in a run."""
    calls: dict[nn.Module, int] = {}
    made: dict[int, tuple[nn.Conv2d, Tensor]] = {}  # holds the tensors: no two share an id
    found: list[tuple[nn.Conv2d, nn.BatchNorm2d]] = []

    def after(module: nn.Conv2d, _: object, output: Tensor) -> None:
        calls[module] = calls.get(module, 0) + 1
        made[id(output)] = module, output

    def before(module: nn.BatchNorm2d, inputs: tuple[Tensor, ...]) -> None:
        calls[module] = calls.get(module, 0) + 1
        if id(inputs[0]) in made:
            found.append((made[id(inputs[0])][0], module))

    hooks = []
    for module in net.modules():
        if type(module) is nn.Conv2d:
            hooks.append(module.register_forward_hook(after))
        elif isinstance(module, nn.BatchNorm2d) and module.track_running_stats:
            hooks.append(module.register_forward_pre_hook(before))
    with torch.no_grad():
        net(*images)
    for hook in hooks:
        hook.remove()
    used = [convolution for convolution, _ in found]
    return [
        (convolution, norm)
        for convolution, norm in found
        if calls[convolution] == calls[norm] == used.count(convolution) == 1
    ]


def _layers(net: nn.Module) -> Iterator[nn.Module]:
    """All modules but those inside of what is opaque."""
    yield net
    if not isinstance(net, _OPAQUE):
        for child in net.children():
            yield from _layers(child)


def _device(model: nn.Module) -> torch.device:
    parameter = next(model.parameters(), None)
    return torch.device("cpu") if parameter is None else parameter.device
