"""Random numbers for some samples of a batch: those that they get when the whole batch is drawn.

So a batch that several processes share, or that is taken in parts, is changed as the whole one is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """Some samples of a batch, and where their random numbers come from.

    The whole batch is drawn each time and the rest thrown away: 10 ns a number on one core.

    Attributes:
        generator: of the whole batch, on the CPU.
        rows: the samples at hand, without steps.
        whole: samples of the whole batch.
    """

    generator: torch.Generator
    rows: slice
    whole: int


Source = torch.Generator | Part
"""Where random numbers come from; a generator has all of the batch at hand."""


def uniform(shape: Sequence[int], source: Source) -> Tensor:
    """Numbers in [0, 1) of a shape (B, ...) for B samples at hand, float32 on the CPU."""
    if isinstance(source, torch.Generator):
        return torch.rand(*shape, generator=source)
    return _at_hand(torch.rand(_whole(shape, source), generator=source.generator), source)


def normal(shape: Sequence[int], source: Source, dtype: torch.dtype = torch.float32) -> Tensor:
    """Normally distributed numbers of a shape (V B, ...): V views of B samples, view by view; on
    the generator's device."""
    if isinstance(source, torch.Generator):
        return torch.randn(*shape, generator=source, device=source.device, dtype=dtype)
    generator = source.generator
    drawn = torch.randn(
        _whole(shape, source), generator=generator, device=generator.device, dtype=dtype
    )
    return _at_hand(drawn, source)


def _whole(shape: Sequence[int], part: Part) -> tuple[int, ...]:
    """(V, whole, ...): the shape (V B, ...) for all samples."""
    at_hand = len(range(part.whole)[part.rows])
    return shape[0] // at_hand, part.whole, *shape[1:]


def _at_hand(drawn: Tensor, part: Part) -> Tensor:
    return drawn[:, part.rows].flatten(0, 1)
