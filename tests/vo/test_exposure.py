"""Dark images are brightened, others untouched."""

from __future__ import annotations

import torch

from vo.exposure import DARK, MOST_GAIN, brightened


def image(mean: float) -> torch.Tensor:
    noise = torch.rand(1, 3, 8, 16, generator=torch.Generator().manual_seed(0)) - 0.5
    return mean * (1 + 0.5 * (noise - noise.mean()))


def test_what_is_bright_enough_stays_bit_for_bit() -> None:
    for mean in (DARK + 0.001, 0.45, 0.6):
        assert torch.equal(brightened(image(mean)), image(mean))


def test_a_dark_image_becomes_as_bright_as_needed() -> None:
    for mean in (0.05, 0.1, 0.2, 0.29):
        torch.testing.assert_close(brightened(image(mean)), image(DARK))


def test_each_image_by_itself() -> None:
    both = brightened(torch.cat([image(0.1), image(0.5)]))
    torch.testing.assert_close(both, torch.cat([image(DARK), image(0.5)]))


def test_black_stays_black_and_the_gain_is_bounded() -> None:
    assert torch.equal(brightened(torch.zeros(1, 3, 8, 8)), torch.zeros(1, 3, 8, 8))
    torch.testing.assert_close(brightened(image(0.01)), image(0.01 * MOST_GAIN))


def test_nothing_is_brighter_than_white() -> None:
    lamp = torch.zeros(1, 3, 8, 8)
    lamp[..., 0, 0] = 0.9
    assert brightened(lamp).max() == 1
