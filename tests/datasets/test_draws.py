"""Parts of a batch draw what the whole one draws."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from vo.datasets.augmentation import AugmentConfig, augment
from vo.datasets.draws import Part, Source, normal, uniform


def drawn(source: Source, batch: int) -> list[Tensor]:
    """One after the other: each goes on where the one before has ended."""
    twice = normal((2 * batch, 6), source, torch.float64)
    return [uniform((batch, 1, 1), source), normal((batch, 5, 7), source), *twice.chunk(2)]


@pytest.mark.parametrize("rows", [slice(0, 1), slice(1, 4), slice(0, 6), slice(5, 6)])
def test_a_part_gets_its_rows_of_the_whole(rows: slice) -> None:
    whole = drawn(torch.Generator().manual_seed(7), 6)
    part = drawn(Part(torch.Generator().manual_seed(7), rows, 6), len(range(6)[rows]))
    for ours, theirs in zip(part, whole, strict=True):
        assert torch.equal(ours, theirs[rows])


def test_a_part_is_lit_as_in_the_whole_batch() -> None:
    images = torch.rand(4, 2, 3, 16, 20, generator=torch.Generator().manual_seed(0))
    whole = augment(images, AugmentConfig(), torch.Generator().manual_seed(3))
    part = Part(torch.Generator().manual_seed(3), slice(1, 3), 4)
    assert torch.allclose(augment(images[1:3], AugmentConfig(), part), whole[1:3], atol=1e-6)
