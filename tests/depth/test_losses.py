import pytest
import torch
from torch import Tensor

from vo.depth.losses import minimum_reprojection, smoothness


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def row(*values: float) -> Tensor:
    return torch.tensor(values).view(1, 1, 1, -1)


def flags(*values: int) -> Tensor:
    return row(*values).bool()


# Minimum reprojection ---------------------------------------------------------------------------


def test_truth_table_of_minimum_and_mask():
    #                   first wins  second  still  tie->still
    first = row(0.1, 0.5, 0.5, 0.3)
    second = row(0.2, 0.4, 0.6, 0.3)
    still_first = row(0.9, 0.9, 0.2, 0.9)
    still_second = row(0.9, 0.8, 0.9, 0.3)
    best = minimum_reprojection([first, second], [still_first, still_second], noise=0)
    assert best.error.flatten().tolist() == pytest.approx([0.1, 0.4, 0.2, 0.3])
    assert best.winner.flatten().tolist() == [0, 1, -1, -1]
    assert best.static.flatten().tolist() == [False, False, True, True]
    assert best.counted.all()
    assert best.mean().item() == pytest.approx((0.1 + 0.4 + 0.2 + 0.3) / 4)


def test_without_identity_errors_nothing_is_static():
    best = minimum_reprojection([row(0.1, 0.5), row(0.2, 0.4)])
    assert best.winner.flatten().tolist() == [0, 1]
    assert not best.static.any()


def test_invalid_views_never_win_even_with_error_zero():
    first, second = row(0.0, 0.0, 0.0), row(0.7, 0.7, 0.0)
    valid = [flags(0, 1, 0), flags(1, 1, 0)]
    best = minimum_reprojection([first, second], valid=valid)
    assert best.winner.flatten().tolist() == [1, 0, -1]
    assert best.counted.flatten().tolist() == [True, True, False]
    assert best.error.flatten().tolist() == pytest.approx([0.7, 0.0, 0.0])
    assert best.mean().item() == pytest.approx(0.35)  # over two pixels, not three
    nothing = minimum_reprojection([first], valid=[flags(0, 0, 0)])
    assert nothing.mean().item() == 0


def test_an_invalid_pixel_may_still_be_static():
    best = minimum_reprojection([row(0.0)], [row(0.4)], valid=[flags(0)], noise=0)
    assert best.static.item()
    assert best.counted.item()
    assert best.error.item() == pytest.approx(0.4)


def test_ties_are_broken_by_the_seed_and_repeatably():
    error = torch.full((1, 1, 50, 50), 0.25)

    def drawn(seed: int) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        return minimum_reprojection([error], [error], generator=generator).static

    assert torch.equal(drawn(1), drawn(1))
    assert not torch.equal(drawn(1), drawn(2))
    assert 0.4 < drawn(1).float().mean() < 0.6  # either side wins half of the ties
    before = torch.random.get_rng_state()
    drawn(3)
    assert torch.equal(torch.random.get_rng_state(), before)  # the global generator is not used
    with pytest.raises(ValueError, match=r"torch\.Generator for the tie-break, or noise=0"):
        minimum_reprojection([error], [error])


def test_noise_decides_but_is_not_part_of_the_error():
    generator = torch.Generator().manual_seed(0)
    best = minimum_reprojection([row(0.5)], [row(0.1)], generator=generator, noise=1e-3)
    assert best.error.item() == pytest.approx(0.1, abs=1e-7)


def test_gradient_reaches_the_winner_only():
    views = [row(0.1, 0.5, 0.5), row(0.2, 0.4, 0.6), row(0.0, 0.0, 0.0)]
    first, second, unseen = (x.requires_grad_() for x in views)
    still = row(0.9, 0.9, 0.2)
    valid = [flags(1, 1, 1), flags(1, 1, 1), flags(0, 0, 0)]
    minimum_reprojection([first, second, unseen], [still], valid, noise=0).mean().backward()
    third = pytest.approx(1 / 3)
    for view, expected in ((first, [third, 0, 0]), (second, [0, third, 0]), (unseen, [0, 0, 0])):
        assert view.grad is not None
        assert view.grad.flatten().tolist() == expected


# Smoothness -------------------------------------------------------------------------------------


def test_smoothness_of_a_step_by_hand():
    values = torch.tensor([[[[1.0, 1.0, 3.0, 3.0]] * 3]])
    flat = torch.full((1, 3, 3, 4), 0.5)
    # Mean 2: the step is 1, one of three differences along x, none along y.
    assert smoothness(values, flat).item() == pytest.approx(1 / 3, abs=1e-6)
    edge = flat.clone()
    edge[..., 2:] += 2.0  # an edge of the image at the same place pays for the step
    assert smoothness(values, edge).item() == pytest.approx(torch.e**-2 / 3, abs=1e-6)


def test_smoothness_ignores_scale_and_sees_both_directions():
    values, image = 1 + torch.rand(2, 1, 6, 7), torch.rand(2, 3, 6, 7)
    assert smoothness(100 * values, image).item() == pytest.approx(
        smoothness(values, image).item(), rel=1e-4
    )
    turned = smoothness(values.transpose(2, 3), image.transpose(2, 3))
    assert turned.item() == pytest.approx(smoothness(values, image).item(), rel=1e-5)
    assert smoothness(torch.full((1, 1, 6, 7), 4.0), image[:1]).item() == 0


def test_smoothness_gradient_equals_finite_differences():
    values = (1 + torch.rand(1, 1, 4, 5, dtype=torch.float64)).requires_grad_()
    image = torch.rand(1, 3, 4, 5, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda v: smoothness(v, image), (values,))


# Wrong shapes -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda a, e: minimum_reprojection([]), "at least one view"),
        (lambda a, e: minimum_reprojection([e], []), "identity_errors is empty"),
        (lambda a, e: minimum_reprojection([e, e], valid=[e > 0]), "2 errors but 1 valid masks"),
        (lambda a, e: minimum_reprojection([e, e[:1]]), r"\(1, 1, 8, 8\), \(2, 1, 8, 8\)"),
        (lambda a, e: minimum_reprojection([a]), r"must all be \(B, 1, H, W\), got .*3, 8, 8"),
        (lambda a, e: smoothness(a, a), r"values must be \(B, 1, h, w\)"),
        (lambda a, e: smoothness(e[..., 1:], a), r"got \(2, 1, 8, 7\)"),
        (lambda a, e: smoothness(e[..., :1], a[..., :1]), "at least 2 x 2"),
    ],
)
def test_wrong_shapes_are_named(call, named):
    with pytest.raises(ValueError, match=named):
        call(torch.rand(2, 3, 8, 8), torch.rand(2, 1, 8, 8))
