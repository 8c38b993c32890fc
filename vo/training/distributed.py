"""A step on several processes and in several parts: what each takes, and what all agree on."""

from __future__ import annotations

import dataclasses
import inspect
import math
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal, TypeVar

import torch
import torch.distributed as dist
from timm.layers import convert_sync_batchnorm  # pyright: ignore[reportPrivateImportUsage]
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parallel import DistributedDataParallel

from vo.datasets.annotated_batches import AnnotatedBatch
from vo.datasets.errors import InputError
from vo.datasets.triplets import TripletBatch
from vo.model import Model
from vo.ranks import Ranks

Batch = TypeVar("Batch", bound=TripletBatch | AnnotatedBatch)


def parts_of(batch: int, accumulate: int, ranks: Ranks) -> tuple[slice, ...]:
    """Rows of the batch that this process takes, part by part: all parts have one size, so that
    the mean over them is the mean over the batch.

    Raises:
        InputError: when the batch cannot be shared out evenly.
    """
    parts = ranks.size * accumulate
    if batch % parts:
        problem = f"is {batch}, which {ranks.size} processes cannot share"
        if accumulate > 1:
            problem += f" in {accumulate} parts each (--optim.accumulate)"
        raise InputError("--data.batch", problem, f"give a multiple of {parts}")
    size, first = batch // parts, ranks.rank * accumulate
    return tuple(slice(i * size, (i + 1) * size) for i in range(first, first + accumulate))


def part_of(batch: Batch, rows: slice) -> Batch:
    """Some samples of a batch."""
    values = {field.name: getattr(batch, field.name) for field in dataclasses.fields(batch)}
    chosen = {name: None if value is None else value[rows] for name, value in values.items()}
    return dataclasses.replace(batch, **chosen)


def parallel(loss: nn.Module, ranks: Ranks) -> nn.Module:
    """A loss whose gradients are the means over all processes; itself where there is one.

    Parameters that a phase does not use have no gradient, as in a single process. Buffers are left
    to `average_statistics`.
    """
    if ranks.size == 1:
        return loss
    named = inspect.signature(DistributedDataParallel).parameters  # the setting was renamed
    buffers = "forward_sync_buffers" if "forward_sync_buffers" in named else "broadcast_buffers"
    settings: dict[str, Any] = {buffers: False, "find_unused_parameters": True}
    return DistributedDataParallel(loss, **settings)


def unsynchronised(loss: nn.Module) -> AbstractContextManager[None]:
    """Where a gradient is only added to this process's own: in all parts but the last. Shards are
    added to their owner's at once: nobody has room for the whole."""
    return loss.no_sync() if isinstance(loss, DistributedDataParallel) else nullcontext()


def mean_over(numbers: Sequence[dict[str, float]], ranks: Ranks, device: str) -> dict[str, float]:
    """Means over the parts of all processes, which have the same names, by name."""
    if ranks.size == len(numbers) == 1:
        return numbers[0]
    names = list(numbers[0])
    sums = torch.tensor(
        [math.fsum(n[name] for n in numbers) for name in names], dtype=torch.float64
    )
    if ranks.size > 1:
        sums = sums.to(device)
        dist.all_reduce(sums)
    return dict(zip(names, (sums / (len(numbers) * ranks.size)).tolist(), strict=True))


@torch.no_grad()
def average_statistics(model: nn.Module, ranks: Ranks) -> None:
    """Running statistics, of which every process has gathered its own, become their mean."""
    if ranks.size == 1:
        return
    buffers = [buffer for buffer in model.buffers() if buffer.is_floating_point()]
    if not buffers:
        return
    flat = torch.cat([buffer.flatten() for buffer in buffers])
    dist.all_reduce(flat)
    sizes = [buffer.numel() for buffer in buffers]
    for buffer, mean in zip(buffers, (flat / ranks.size).split(sizes), strict=True):
        buffer.copy_(mean.view_as(buffer))


def with_batch_norm(
    model: Model, how: Literal["own", "sync", "frozen"], ranks: Ranks, device: str
) -> Model:
    """The networks, with batch normalisation over all processes where that is asked for.

    Raises:
        InputError: when the device has none.
    """
    if how != "sync" or ranks.size == 1:
        return model
    if not device.startswith("cuda"):
        remedy = "choose own or frozen, or --device cuda"
        raise InputError("--optim.batch-norm", f"sync is not to be had on {device}", remedy)
    for part in ("depth_net", "pose_net", "feature_net"):  # not the model, whose type would change
        setattr(model, part, convert_sync_batchnorm(getattr(model, part)))
    return model


def freeze_statistics(model: nn.Module) -> None:
    """Batch normalisation by running statistics, which stay as they are; weights still learn."""
    for module in model.modules():
        if isinstance(module, _BatchNorm):
            module.eval()


def known_pixels(batch: TripletBatch, farthest_m: float, parts: int, ranks: Ranks) -> float | None:
    """Pixels with true depth in the batch over its parts, which makes means over parts those over
    the batch; None where the batch is one part, or has no true depth.

    Args:
        batch: this process's samples.
        farthest_m: depth from which on pixels do not count.
        parts: of this process.
        ranks: of the processes.
    """
    if batch.depth is None or ranks.size == parts == 1:
        return None
    count = ((batch.depth > 0) & (batch.depth < farthest_m)).sum().double()
    if ranks.size > 1:
        dist.all_reduce(count)
    return max(float(count.item()), 1.0) / (parts * ranks.size)


def seed_of(seed: int, number: int, ranks: Ranks) -> int:
    """Seed of what networks draw in a step, such as dropout: every process its own."""
    return (seed << 32) + number + (ranks.rank << 48)
