"""SSIM and photometric error: the published formula, its gradient, and equal images."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from vo.depth.photometric import moments_of, photometric_error, ssim_dissimilarity


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def ssim_by_the_formula(a: Tensor, b: Tensor, window: int) -> Tensor:
    """Equation 13 written down for every pixel of (H, W), with the image reflected."""
    half, (H, W) = window // 2, a.shape

    def reflected(i: int, n: int) -> int:
        i = abs(i)
        return i if i < n else 2 * (n - 1) - i

    result = torch.zeros(H, W, dtype=a.dtype)
    for y in range(H):
        for x in range(W):
            rows = [reflected(y + d, H) for d in range(-half, half + 1)]
            columns = [reflected(x + d, W) for d in range(-half, half + 1)]
            p, q = a[rows][:, columns], b[rows][:, columns]
            mp, mq = p.mean(), q.mean()
            vp, vq = ((p - mp) ** 2).mean(), ((q - mq) ** 2).mean()
            cov = ((p - mp) * (q - mq)).mean()
            top = (2 * mp * mq + 0.01**2) * (2 * cov + 0.03**2)
            bottom = (mp**2 + mq**2 + 0.01**2) * (vp + vq + 0.03**2)
            result[y, x] = ((1 - top / bottom) / 2).clamp(0, 1)
    return result


@pytest.mark.parametrize("window", [3, 7])
def test_ssim_is_the_published_formula(window):
    a, b = torch.rand(2, 9, 11, dtype=torch.float64)
    expected = ssim_by_the_formula(a, b, window)
    assert torch.allclose(ssim_dissimilarity(a[None, None], b[None, None], window), expected)


@pytest.mark.parametrize("window", [3, 7])
def test_equal_images_have_error_exactly_zero(window):
    a = torch.rand(2, 3, 24, 40)
    assert ssim_dissimilarity(a, a.clone(), window).abs().max() == 0
    assert photometric_error(a, a.clone(), window).abs().max() == 0


def test_ssim_is_symmetric_and_between_0_and_1():
    a, b = torch.rand(2, 2, 3, 16, 16)
    there, back = ssim_dissimilarity(a, b), ssim_dissimilarity(b, a)
    assert torch.allclose(there, back, atol=1e-6)
    assert 0 <= there.min() < there.max() <= 1
    checker = (torch.arange(16) % 2).float().expand(1, 1, 16, 16)
    # Opposite structure with equal means: SSIM is close to -1, the dissimilarity close to 1.
    assert ssim_dissimilarity(checker, 1 - checker)[..., 1:-1].min() > 0.85


def test_photometric_error_mixes_structure_and_l1_over_channels():
    a, b = torch.rand(2, 2, 3, 8, 8)
    structure = ssim_dissimilarity(a, b).mean(1, keepdim=True)
    absolute = (a - b).abs().mean(1, keepdim=True)
    error = photometric_error(a, b)
    assert error.shape == (2, 1, 8, 8)
    assert torch.allclose(error, 0.85 * structure + 0.15 * absolute)
    assert torch.equal(photometric_error(a, b, alpha=0), absolute)
    assert torch.allclose(photometric_error(a, b, alpha=1), structure)


def test_photometric_gradient_equals_finite_differences():
    a = torch.rand(1, 2, 5, 5, dtype=torch.float64, requires_grad=True)
    b = torch.rand(1, 2, 5, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(photometric_error, (a, b))


@pytest.mark.parametrize("window", [1, 3, 5, 7])
def test_written_gradient_is_that_of_the_formula(window):
    """Of three views of each image, by finite differences, and as autograd records the formula."""
    a = torch.rand(6, 2, 7, 9, dtype=torch.float64, requires_grad=True)
    b = torch.rand(2, 2, 7, 9, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda a: photometric_error(a, b, window), (a,))
    weight = torch.rand(6, 1, 7, 9, dtype=torch.float64)
    written, recorded = (
        torch.autograd.grad((weight * photometric_error(a, y, window)).sum(), a)[0]
        for y in (b, b.clone().requires_grad_())
    )
    assert torch.allclose(written, recorded, atol=1e-12)


def test_views_are_compared_with_the_image_that_they_belong_to():
    a, b = torch.rand(6, 3, 8, 10), torch.rand(2, 3, 8, 10)
    error = photometric_error(a, b, moments=moments_of(b))
    one_by_one = [photometric_error(a[i : i + 1], b[i % 2 : i % 2 + 1]) for i in range(6)]
    assert torch.equal(error, torch.cat(one_by_one))
    assert torch.equal(error, photometric_error(a, b))


def test_gradients_are_finite_on_flat_and_equal_images():
    a = torch.full((1, 3, 8, 8), 0.5, requires_grad=True)
    photometric_error(a, torch.full((1, 3, 8, 8), 0.5)).sum().backward()
    assert a.grad is not None
    assert a.grad.isfinite().all()


def test_half_precision_images_are_compared_in_float32():
    a, b = torch.rand(2, 1, 3, 8, 8).bfloat16()
    error = photometric_error(a, b)
    assert error.dtype == torch.float32
    assert torch.equal(error, photometric_error(a.float(), b.float()))


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda a: photometric_error(a, a[:, :1]), r"\(2, 3, 8, 8\), \(2, 1, 8, 8\)"),
        (lambda a: photometric_error(a[:1], a), r"\(1, 3, 8, 8\), \(2, 3, 8, 8\)"),
        (lambda a: ssim_dissimilarity(a[0], a[0]), r"\(3, 8, 8\)"),
        (lambda a: ssim_dissimilarity(a, a[:, :1]), r"\(2, 3, 8, 8\), \(2, 1, 8, 8\)"),
        (lambda a: ssim_dissimilarity(a, a, 4), "window must be odd .* got 4"),
        (lambda a: ssim_dissimilarity(a, a, 17), "window must .* fit into .* got 17"),
        (lambda a: photometric_error(a, a, 17), "window must .* fit into .* got 17"),
    ],
)
def test_wrong_shapes_are_named(call, named):
    with pytest.raises(ValueError, match=named):
        call(torch.rand(2, 3, 8, 8))
