"""Weights that several processes share out (FSDP2), and how they become whole again.

Each process keeps a part of every parameter, of its average and of the optimizer's moments. A block
of the network is put together when it is called, and taken apart after it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from vo.model import Model
from vo.ranks import Ranks

SMALLEST_BLOCK = 500_000  # parameters; smaller ones are put together with the rest, once a step


def shard(loss: nn.Module, average: Model, ranks: Ranks) -> None:
    """Share out the networks of a loss and their average, in place.

    Args:
        loss: whose forward is the only place that calls the networks.
        average: of the same networks; never called as it is, see `whole_model`.
        ranks: of the processes, two at least.
    """
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    device = next(average.parameters()).device.type
    mesh = init_device_mesh(device, (ranks.size,))
    for root in (loss, average):
        root.to(memory_format=torch.contiguous_format)  # FSDP2 knows no other
        for block in _blocks(root):
            fully_shard(block, mesh=mesh)
        fully_shard(root, mesh=mesh)


def whole(values: Mapping[str, Any], keep: bool) -> dict[str, Any]:
    """Tensors by name, put together one by one on the CPU; all processes must call it.

    Args:
        values: tensors, shared out or not, and anything else, which stays as it is.
        keep: whether this process wants them.
    """
    from torch.distributed.tensor import DTensor

    result: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, DTensor):
            value = value.full_tensor().cpu()
        if keep:
            result[name] = value
    return result


def shared_as(value: Tensor, own: Tensor) -> Tensor:
    """This process's part of a whole tensor that all have, shared out as another one is."""
    from torch.distributed.tensor import DTensor, distribute_tensor

    if not isinstance(own, DTensor):
        return value
    value = value.to(own.device)
    return distribute_tensor(value, own.device_mesh, own.placements, src_data_rank=None)


def local(parameter: Tensor) -> Tensor:
    """The part of a parameter that this process holds, to be changed in place."""
    from torch.distributed.tensor import DTensor

    return parameter.to_local() if isinstance(parameter, DTensor) else parameter


def whole_model(average: Model) -> Model:
    """A model like any other of one that is shared out; all processes must call it."""
    weights = whole(average.state_dict(), keep=True)
    with torch.random.fork_rng(devices=[]):
        model = Model(average.config)
    model.load_state_dict(weights)
    model.eval().requires_grad_(False)
    device = next(average.parameters()).device
    return model.to(device).to(memory_format=torch.channels_last)


def _blocks(root: nn.Module) -> list[nn.Module]:
    """Large links of chains of layers, the inner ones first; what they return are tensors."""
    chains = [module for module in root.modules() if isinstance(module, nn.Sequential)]
    links = [link for chain in reversed(chains) for link in reversed(list(chain))]
    taken: set[int] = set()
    found = []
    for link in links:
        own = {id(p): p.numel() for p in link.parameters() if id(p) not in taken}
        if sum(own.values()) >= SMALLEST_BLOCK:
            found.append(link)
            taken |= own.keys()
    return found
