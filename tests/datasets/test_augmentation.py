"""Other light and another camera: what changes, what must not, and that draws are repeatable."""

from __future__ import annotations

from dataclasses import fields

import pytest
import torch
from torch import Tensor

from vo.datasets.augmentation import AugmentConfig, augment
from vo.datasets.errors import InputError

OFF = {field.name: 0.0 for field in fields(AugmentConfig) if field.name != "share"}


def only(**settings: float) -> AugmentConfig:
    """Every sample is changed, by these changes alone."""
    return AugmentConfig(**(OFF | {"share": 1.0} | settings))


def pictures(batch: int = 6, frames: int = 3, low: float = 0.3, high: float = 0.6) -> Tensor:
    """Coloured noise (batch, frames, 3, 16, 20) well inside of [0, 1], so that nothing is cut."""
    generator = torch.Generator().manual_seed(0)
    return low + (high - low) * torch.rand(batch, frames, 3, 16, 20, generator=generator)


def changed(images: Tensor, config: AugmentConfig, seed: int = 1) -> Tensor:
    return augment(images, config, torch.Generator().manual_seed(seed))


def luma(x: Tensor) -> Tensor:
    """Brightness by NTSC, (B, N, H, W)."""
    return (x * x.new_tensor([0.299, 0.587, 0.114]).view(3, 1, 1)).sum(2)


def test_nothing_changes_with_everything_off() -> None:
    images = pictures(low=0.0, high=1.0)
    # The matrix of colours times its inverse is the identity but for the last bits.
    torch.testing.assert_close(changed(images, only()), images, atol=2e-6, rtol=0)
    assert torch.equal(changed(images, AugmentConfig(share=0)), images), "not a bit without share"


def test_the_input_is_left_as_it_is_and_the_range_is_kept() -> None:
    images = pictures(low=0.0, high=1.0)
    before = images.clone()
    wild = AugmentConfig(1, 1, 1, 1, 0.5, 2, 0.3, 1.5, 0.5)
    result = changed(images, wild)
    assert torch.equal(images, before)
    assert result.shape == images.shape
    assert result.dtype == torch.float32
    assert 0 <= result.min() < 0.01 < 0.99 < result.max() <= 1
    extremes = torch.stack([torch.zeros(3, 16, 20), torch.ones(3, 16, 20)])[None]
    assert torch.isfinite(changed(extremes, wild)).all()


def test_frames_of_a_sample_are_changed_alike() -> None:
    images = pictures(frames=1).expand(-1, 3, -1, -1, -1)
    config = AugmentConfig(share=1.0, noise=0.0)
    result = changed(images, config)
    torch.testing.assert_close(result[:, 1], result[:, 0], atol=1e-6, rtol=0)
    torch.testing.assert_close(result[:, 2], result[:, 0], atol=1e-6, rtol=0)
    shift = (result - images).mean((1, 2, 3, 4))
    assert len(shift.round(decimals=4).unique()) == 6, "each sample has a draw of its own"


def test_noise_differs_from_frame_to_frame() -> None:
    images = pictures(frames=1).expand(-1, 3, -1, -1, -1)
    noise = changed(images, only(noise=0.05)) - images
    assert (noise[:, 0] - noise[:, 1]).abs().max() > 0.02
    deviation = noise.std((1, 2, 3, 4))
    assert (deviation < 0.055).all()
    assert deviation.max() > 2 * deviation.min(), "each sample has noise of its own strength"
    correlation = torch.corrcoef(noise[0].flatten(1))
    assert (correlation - torch.eye(3)).abs().max() < 0.12, "960 values: 0 with deviation 0.03"


def test_draws_follow_from_the_generator_alone() -> None:
    images = pictures()
    first = changed(images, AugmentConfig(), seed=5)
    torch.manual_seed(99)
    assert torch.equal(changed(images, AugmentConfig(), seed=5), first)
    assert not torch.equal(changed(images, AugmentConfig(), seed=6), first)
    generator = torch.Generator().manual_seed(5)
    assert torch.equal(augment(images, AugmentConfig(), generator), first)
    assert not torch.equal(augment(images, AugmentConfig(), generator), first), "it goes on"


def test_numbers_are_those_of_earlier_versions() -> None:
    """Were they others, a training that was killed before an update would not go on exactly."""
    result = changed(pictures(4, 2), AugmentConfig())
    means = result.mean((1, 3, 4)).flatten().tolist()
    assert means == pytest.approx(GOLDEN_MEANS, abs=1e-5)


GOLDEN_MEANS = [
    0.380702, 0.386720, 0.391667, 0.502445, 0.495147, 0.490893,
    0.391743, 0.394187, 0.392242, 0.468095, 0.461990, 0.459182,
]  # fmt: skip


def test_the_share_of_samples_is_changed() -> None:
    images = pictures(400, 1)
    same = (changed(images, AugmentConfig(share=0.7)) == images).flatten(1).all(1)
    assert 0.22 < same.double().mean() < 0.38, "400 draws: 0.3 with a deviation of 0.023"
    grey = changed(images, only(grey=0.3))
    spread = (grey.amax(2) - grey.amin(2)).flatten(1).amax(1)
    assert 0.22 < (spread < 1e-5).double().mean() < 0.38


def test_grey_samples_have_three_equal_channels_of_the_same_brightness() -> None:
    images = pictures()
    grey = changed(images, only(grey=1.0))
    torch.testing.assert_close(grey, grey[:, :, :1].expand_as(grey), atol=1e-6, rtol=0)
    torch.testing.assert_close(grey[:, :, 0], luma(images), atol=1e-6, rtol=0)
    # Blur, contrast, brightness, hue and gamma do not bring colour back.
    all_but_noise = changed(images, AugmentConfig(share=1.0, grey=1.0, noise=0.0))
    spread = all_but_noise.amax(2) - all_but_noise.amin(2)
    assert spread.max() < 1e-6


def test_brightness_multiplies() -> None:
    images = pictures(200)
    factor = changed(images, only(brightness=0.4)) / images
    each = factor.mean((1, 2, 3, 4))
    assert (factor - each.view(-1, 1, 1, 1, 1)).abs().max() < 1e-4, "one factor for a sample"
    assert 0.6 <= each.min() < 0.63 < 1.37 < each.max() <= 1.4


def test_contrast_stretches_about_the_mean() -> None:
    images = pictures(200)
    result = changed(images, only(contrast=0.4))
    mean = luma(images).mean((1, 2, 3)).view(-1, 1, 1, 1, 1)
    torch.testing.assert_close(luma(result).mean((1, 2, 3)), mean.flatten(), atol=1e-5, rtol=0)
    stretch = (result - mean).flatten(1).norm(dim=1) / (images - mean).flatten(1).norm(dim=1)
    assert 0.5999 <= stretch.min() < 0.63
    assert 1.37 < stretch.max() <= 1.4001


def test_saturation_scales_the_colour_and_leaves_the_brightness() -> None:
    images = pictures(200)
    result = changed(images, only(saturation=0.4))
    torch.testing.assert_close(luma(result), luma(images), atol=1e-6, rtol=0)
    factor = (result - luma(result)[:, :, None]) / (images - luma(images)[:, :, None])
    each = factor.flatten(1).median(1).values
    assert 0.5999 <= each.min() < 0.63
    assert 1.37 < each.max() <= 1.4001


def test_hue_turns_colours_and_leaves_brightness_and_saturation() -> None:
    red = torch.tensor([0.6, 0.4, 0.4]).view(1, 1, 3, 1, 1).expand(300, 2, 3, 4, 4)
    result = changed(red, only(hue=0.25))
    torch.testing.assert_close(luma(result), luma(red), atol=1e-6, rtol=0)
    axes = torch.tensor([[0.596, -0.274, -0.322], [0.211, -0.523, 0.312]])
    i_q = torch.einsum("kc,bnchw->bkn", axes, result) / 16
    i_q_red = torch.einsum("kc,bnchw->bkn", axes, red) / 16
    torch.testing.assert_close(i_q.norm(dim=1), i_q_red.norm(dim=1), atol=1e-6, rtol=0)
    turn = torch.atan2(i_q[:, 1], i_q[:, 0]) - torch.atan2(i_q_red[:, 1], i_q_red[:, 0])
    turns = turn[:, 0] / (2 * torch.pi)
    turns = turns - turns.round()
    assert -0.2501 < turns.min() < -0.23
    assert 0.23 < turns.max() < 0.2501


def test_gamma_bends_and_keeps_black_and_white() -> None:
    images = pictures(300)
    exponent = changed(images, only(gamma=0.5)).log() / images.log()
    each = exponent.mean((1, 2, 3, 4))
    assert (exponent - each.view(-1, 1, 1, 1, 1)).abs().max() < 1e-3
    assert 1 / 1.5 - 1e-3 < each.min() < 0.69
    assert 1.45 < each.max() < 1.5 + 1e-3
    ends = torch.cat([torch.zeros(1, 1, 3, 4, 4), torch.ones(1, 1, 3, 4, 4)])
    torch.testing.assert_close(changed(ends, only(gamma=0.5)), ends, atol=3e-3, rtol=0)


def test_blur_keeps_the_mean_and_has_the_drawn_width() -> None:
    point = torch.zeros(300, 2, 3, 15, 15)
    point[..., 7, 7] = 1.0
    result = changed(point, only(blur=1.5))
    torch.testing.assert_close(result.sum((3, 4)), torch.ones(300, 2, 3), atol=1e-4, rtol=0)
    offset = torch.arange(15) - 7.0
    variance_u = (result * offset**2).sum((3, 4))
    variance_v = (result * offset[:, None] ** 2).sum((3, 4))
    torch.testing.assert_close(variance_u, variance_v, atol=1e-5, rtol=1e-4)
    sigma = variance_u[:, 0, 0].sqrt()
    assert sigma.min() < 0.2
    # Cut off after three pixels, the widest loses some of its width.
    assert 1.3 < sigma.max() < 1.5
    flat = torch.full((2, 2, 3, 9, 9), 0.4)
    torch.testing.assert_close(changed(flat, only(blur=1.5)), flat, atol=1e-6, rtol=0)


def test_shapes_and_settings_out_of_range_are_refused() -> None:
    with pytest.raises(ValueError, match=r"images must be \(B, N, 3, H, W\), got \(2, 3, 8, 8\)"):
        changed(torch.zeros(2, 3, 8, 8), AugmentConfig())
    with pytest.raises(ValueError, match="got \\(2, 2, 1, 8, 8\\)"):
        changed(torch.zeros(2, 2, 1, 8, 8), AugmentConfig())
    with pytest.raises(
        InputError, match=r"--data\.augment\.blur: is 2; give a number from 0 to 1\.5"
    ):
        AugmentConfig(blur=2.0)
    with pytest.raises(InputError, match=r"--data\.augment\.noise: is nan"):
        AugmentConfig(noise=float("nan"))
    for name in OFF:
        with pytest.raises(InputError, match=rf"--data\.augment\.{name}: is -0\.1"):
            AugmentConfig(**{name: -0.1})
