import math

import numpy as np
import pytest
import torch
from torch import Tensor

from vo.datasets import open_sequence
from vo.depth.warp import (
    Z_MIN,
    Warped,
    back_project,
    grid_of,
    in_view,
    padded,
    project,
    sample,
    scale_intrinsics,
    warp,
)


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def intrinsics(H: int, W: int, B: int = 1, dtype: torch.dtype = torch.float32) -> Tensor:
    K = [[0.58 * W, 0, 0.49 * W], [0, 1.92 * H, 0.46 * H], [0, 0, 1]]
    return torch.tensor(K, dtype=dtype).repeat(B, 1, 1)


def motion(
    yaw: float = 0.0, t: tuple[float, float, float] = (0, 0, 0), dtype: torch.dtype = torch.float32
) -> Tensor:
    """A rotation about y and a translation, (1, 4, 4)."""
    c, s = math.cos(yaw), math.sin(yaw)
    rows = [[c, 0, s, t[0]], [0, 1, 0, t[1]], [-s, 0, c, t[2]], [0, 0, 0, 1]]
    return torch.tensor([rows], dtype=dtype)


def pixel_grid(H: int, W: int, dtype: torch.dtype = torch.float32) -> Tensor:
    v, u = torch.meshgrid(torch.arange(H), torch.arange(W), indexing="ij")
    return torch.stack([u, v])[None].to(dtype)


# Identity ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("padding", ["border", "zeros"])
@pytest.mark.parametrize(
    "size", [(192, 640), (320, 1024), (375, 1242), (370, 1226), (480, 640), (96, 320), (7, 3)]
)
def test_identity_warp_returns_its_input_bit_for_bit(size, padding):
    H, W = size
    image = torch.rand(2, 3, H, W)
    depth = 0.1 + 100 * torch.rand(2, 1, H, W)
    warped = warp(image, depth, intrinsics(H, W, 2), torch.eye(4).repeat(2, 1, 1), padding=padding)
    assert torch.equal(warped.image, image)
    assert torch.equal(warped.pixels, pixel_grid(H, W).expand(2, -1, -1, -1))
    assert warped.valid.all()


@pytest.mark.parametrize("padding", ["border", "zeros"])
def test_an_image_that_was_padded_before_gives_the_same(padding):
    image, depth = torch.rand(2, 3, 24, 40), 2 + 3 * torch.rand(2, 1, 24, 40)
    T = torch.eye(4).repeat(2, 1, 1)
    T[:, :3, 3] = torch.tensor([0.4, -0.2, -1.0])
    K = intrinsics(24, 40, 2)
    once, before = (warp(x, depth, K, T, padding=padding) for x in (image, padded(image)))
    assert torch.equal(once.image, before.image)
    assert torch.equal(once.valid, before.valid)
    assert 0 < once.valid.sum() < once.valid.numel()


@pytest.mark.parametrize("size", [(192, 640), (375, 1242), (1, 5), (2, 2)])
def test_sample_at_integer_pixels_is_exact(size):
    image = torch.randn(1, 4, *size)
    assert torch.equal(sample(image, pixel_grid(*size)), image)


def test_sample_interpolates_linearly_between_centres():
    image = torch.tensor([[[[0.0, 1.0, 4.0], [10.0, 11.0, 14.0]]]])
    pixels = torch.tensor([[[[0.25, 1.5, 1.0]], [[0.0, 0.0, 0.5]]]])
    assert torch.allclose(sample(image, pixels)[0, 0, 0], torch.tensor([0.25, 2.5, 6.0]))


def test_padding_outside_the_image():
    image = torch.full((1, 1, 4, 6), 2.0)
    pixels = torch.tensor([[[[-5.0, 5.5, 20.0, 1e9]], [[1.0, 1.0, 1.0, 1.0]]]])
    assert sample(image, pixels, "border").flatten().tolist() == [2, 2, 2, 2]
    # Half a pixel past the last centre, half of the value is left.
    assert sample(image, pixels, "zeros").flatten().tolist() == [0, 1, 0, 0]


def test_border_gives_no_gradient_to_pixels_outside():
    pixels = torch.tensor([[[[-3.0, 2.5]], [[1.0, 1.0]]]], requires_grad=True)
    sample(pixel_grid(4, 6), pixels).sum().backward()
    assert pixels.grad is not None
    assert pixels.grad[0, 0, 0].tolist() == [0.0, 1.0]


def test_grid_is_2u_over_w_minus_1_minus_1():
    grid = grid_of(pixel_grid(5, 9), 5, 9)
    assert grid.shape == (1, 5, 9, 2)
    assert grid[0, 0, 0].tolist() == [-1, -1]
    assert grid[0, 4, 8].tolist() == [1, 1]
    assert grid[0, 1, 6].tolist() == [0.5, -0.5]


# Round trips and known scenes -------------------------------------------------------------------


def test_back_project_then_project_returns_the_pixels():
    depth = 1 + 50 * torch.rand(1, 1, 12, 20, dtype=torch.float64)
    K = intrinsics(12, 20, dtype=torch.float64)
    pixels, z, valid = project(back_project(depth, K), K, torch.eye(4).double()[None])
    assert torch.allclose(pixels, pixel_grid(12, 20, torch.float64), atol=1e-12)
    assert torch.allclose(z, depth)
    assert valid.all()


def test_warp_and_project_agree_and_project_inverts():
    H, W = 16, 24
    depth = 2 + 8 * torch.rand(1, 1, H, W, dtype=torch.float64)
    K, T = intrinsics(H, W, dtype=torch.float64), motion(0.1, (0.3, -0.1, 0.5), torch.float64)
    K_s = scale_intrinsics(K, 1.5, 0.75)
    points = back_project(depth, K)
    pixels, _, valid = project(points, K_s, T)
    warped = warp(torch.rand(1, 1, 12, 36, dtype=torch.float64), depth, K, T, K_s)
    assert valid.all()
    assert torch.allclose(warped.pixels, pixels, atol=1e-11)
    there = T[:, :3, :3] @ points.flatten(2) + T[:, :3, 3:]
    back, _, _ = project(there.view_as(points), K, torch.linalg.inv(T))
    assert torch.allclose(back, pixel_grid(H, W, torch.float64), atol=1e-10)


def test_a_plane_warps_by_its_homography():
    """n.X = h in the target: pixels move by K (R + t n^T / h) K^-1."""
    H, W, h = 48, 80, 1.65
    K, T = intrinsics(H, W, dtype=torch.float64), motion(0.05, (0.1, 0.02, -0.7), torch.float64)
    n = torch.tensor([0.05, 0.9, 0.3], dtype=torch.float64)
    n = n / n.norm()
    rays = torch.linalg.inv(K[0]) @ torch.cat(
        [pixel_grid(H, W, torch.float64)[0].flatten(1), torch.ones(1, H * W).double()]
    )
    depth = (h / (n @ rays)).view(1, 1, H, W)
    seen = (depth > 1) & (depth < 50)  # the rest is at or above the plane's horizon
    assert seen.float().mean() > 0.3
    G = K[0] @ (T[0, :3, :3] + T[0, :3, 3:] @ n[None] / h) @ torch.linalg.inv(K[0])
    there = G @ torch.cat([pixel_grid(H, W).double()[0].flatten(1), torch.ones(1, H * W).double()])
    expected = (there[:2] / there[2:]).view(1, 2, H, W)
    for dtype, tolerance in ((torch.float64, 1e-10), (torch.float32, 1e-4)):
        image = torch.rand(1, 1, H, W, dtype=dtype)
        warped = warp(image, torch.where(seen, depth, 1).to(dtype), K.to(dtype), T.to(dtype))
        off = (warped.pixels - expected).abs().amax(1, keepdim=True)
        assert off[seen & (expected.abs().amax(1, keepdim=True) < 1e3)].max() < tolerance


def test_scaled_intrinsics_see_the_same_ray_at_the_scaled_pixel():
    K = intrinsics(192, 640, dtype=torch.float64)[0]
    half = scale_intrinsics(K, 0.5, 0.5)
    assert half[0, 2].item() == pytest.approx((K[0, 2].item() + 0.5) / 2 - 0.5)
    # The block of pixels 10, 11 is pixel 5 of the half image; its middle is at 10.5.
    there = torch.linalg.inv(half) @ torch.tensor([5.0, 7.0, 1.0]).double()
    here = torch.linalg.inv(K) @ torch.tensor([10.5, 14.5, 1.0]).double()
    assert torch.allclose(there, here)
    assert torch.equal(scale_intrinsics(K, 1, 1), K)
    assert torch.allclose(scale_intrinsics(half, 2, 2), K)


def test_a_source_of_another_size_needs_and_uses_its_own_intrinsics():
    K = intrinsics(16, 32)
    wide = pixel_grid(32, 64)[:, :1]  # an image of its own u coordinates
    depth = torch.full((1, 1, 16, 32), 5.0)
    with pytest.raises(ValueError, match=r"K_s is needed.*\(1, 1, 32, 64\)"):
        warp(wide, depth, K, torch.eye(4)[None])
    got = warp(wide, depth, K, torch.eye(4)[None], scale_intrinsics(K, 2, 2))
    assert torch.allclose(got.image[0, 0, 3], 2 * torch.arange(32) + 0.5, atol=1e-4)


@pytest.mark.real_data
@pytest.mark.parametrize("index", [40, 100, 200])
def test_a_real_view_is_warped_onto_its_neighbour(index, real_data):
    """With the sensor's depth and the true motion, half of the difference goes away at the least;
    with the motion turned round it grows. Colour and depth are not registered exactly here."""
    sequence = open_sequence(real_data / "7scenes" / "redkitchen")
    target, source = sequence[index], sequence[index + 5]
    assert target.T_w_c is not None
    assert source.T_w_c is not None
    assert target.depth is not None
    image_t, image_s = (
        torch.from_numpy(f.image).permute(2, 0, 1)[None].float() / 255 for f in (target, source)
    )
    T_s_t = torch.from_numpy(np.linalg.inv(source.T_w_c) @ target.T_w_c)[None]
    K = torch.from_numpy(target.camera.K)[None]
    depth = torch.from_numpy(target.depth)[None, None]
    right, wrong = (warp(image_s, depth, K, T) for T in (T_s_t, torch.linalg.inv(T_s_t)))
    seen = (right.valid & wrong.valid).expand_as(image_t)
    still, there, back = (
        (x - image_t)[seen].abs().mean() for x in (image_s, right.image, wrong.image)
    )
    assert there < 0.55 * still
    assert back > 1.2 * still


# What cannot be seen ----------------------------------------------------------------------------


def test_points_behind_the_source_are_masked_and_not_mirrored():
    H, W = 8, 16
    depth = torch.full((1, 1, H, W), 3.0)
    depth[..., W // 2 :] = 30.0
    T = motion(t=(0.0, 0.0, -10.0))  # the source camera is 10 ahead: 3 away is now behind it
    K = intrinsics(H, W)
    warped = warp(torch.rand(1, 3, H, W), depth, K, T)
    assert not warped.valid[..., : W // 2].any()
    pixels, z, valid = project(back_project(depth, K), K, T)
    assert not valid[..., : W // 2].any()
    assert valid[..., W // 2 :].all()
    assert pixels[..., : W // 2].abs().max() == 0
    assert (z > 0).all()


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, 0.0, -5.0, Z_MIN / 2])
@pytest.mark.parametrize("way", ["warp", "project"])
def test_bad_depth_is_masked_and_gradients_stay_finite(bad, way):
    H, W = 6, 8
    depth = 2 + torch.rand(1, 1, H, W)
    depth[0, 0, 2, 3] = bad
    K, T = intrinsics(H, W), motion(0.02, (0.1, 0.0, 9.0))
    inputs = [x.clone().requires_grad_() for x in (depth, K, T)]
    if way == "warp":
        result = warp(torch.rand(1, 3, H, W), *inputs)
        outputs, valid = [result.image, result.pixels], result.valid
    else:
        pixels, z, valid = project(back_project(*inputs[:2]), *inputs[1:])
        outputs = [pixels, z]
    assert not valid[0, 0, 2, 3]
    assert valid.sum() == H * W - 1 or way == "warp"
    assert all(x.isfinite().all() for x in outputs)
    sum(x.sum() for x in outputs).backward()  # type: ignore[union-attr]
    for x in inputs:
        assert x.grad is not None
        assert x.grad.isfinite().all()
    assert inputs[0].grad[0, 0, 2, 3] == 0  # type: ignore[index]


@pytest.mark.parametrize("z", [0.0, 1e-9, -1e-9, Z_MIN, -3.0])
def test_gradients_stay_finite_where_points_reach_the_source_plane(z):
    depth = torch.full((1, 1, 5, 5), 4.0, requires_grad=True)
    T = motion(t=(0.2, 0.0, z - 4.0)).requires_grad_()
    warped = warp(torch.rand(1, 3, 5, 5), depth, intrinsics(5, 5), T)
    (warped.image.sum() + warped.pixels.sum()).backward()
    assert not warped.valid.any()
    for x in (depth, T):
        assert x.grad is not None
        assert x.grad.isfinite().all()


def test_a_bad_item_leaves_its_neighbours_bit_identical():
    image, depth = torch.rand(3, 3, 8, 8), 1 + torch.rand(3, 1, 8, 8)
    K, T = intrinsics(8, 8, 3), motion(0.03, (0.1, 0, 0)).repeat(3, 1, 1)
    good = warp(image, depth, K, T)
    T[1] = math.nan
    bad = warp(image, depth, K, T)
    assert not bad.valid[1].any()
    assert bad.image.isfinite().all()
    for i in (0, 2):
        assert torch.equal(bad.image[i], good.image[i])


def test_in_view_ends_at_the_outermost_centres():
    pixels = torch.tensor([[[[0.0, 9.0, 9.01, -0.01, 5.0]], [[0.0, 4.0, 0.0, 0.0, 4.5]]]])
    assert in_view(pixels, 5, 10).flatten().tolist() == [True, True, False, False, False]


# Derivatives and precision ----------------------------------------------------------------------


def test_gradients_equal_finite_differences():
    H, W = 4, 5
    depth = (3 + torch.rand(1, 1, H, W).double()).requires_grad_()
    K = intrinsics(H, W, dtype=torch.float64).requires_grad_()
    T = motion(0.03, (0.12, 0.07, 0.2), torch.float64).requires_grad_()
    # A smooth image: at the kinks of the interpolation there is no derivative to compare with.
    ramp = pixel_grid(H, W, torch.float64).sum(1, keepdim=True)

    def pieces(depth: Tensor, K: Tensor, T: Tensor) -> tuple[Tensor, ...]:
        points = back_project(depth, K)
        pixels, z, _ = project(points, K, T)
        warped = warp(ramp, depth, K, T, padding="zeros")
        inner = warped.valid.expand_as(warped.image)
        return points, pixels, z, warped.pixels, torch.where(inner, warped.image, 0)

    assert torch.autograd.gradcheck(pieces, (depth, K, T))


def test_sample_gradients_equal_finite_differences():
    image = torch.rand(1, 2, 5, 6, dtype=torch.float64, requires_grad=True)
    pixels = torch.rand(1, 2, 3, 3, dtype=torch.float64) * 3 + 0.3
    pixels = (pixels.floor() + 0.2 + 0.6 * pixels.frac()).requires_grad_()
    assert torch.autograd.gradcheck(sample, (image, pixels))


def test_autocast_does_not_round_coordinates():
    image, depth = torch.rand(1, 3, 64, 96), 1 + 9 * torch.rand(1, 1, 64, 96)
    K, T = intrinsics(64, 96), motion(0.02, (0.1, 0.0, 0.3))
    exact = warp(image, depth, K, T)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = warp(image, depth, K, T)
    assert torch.equal(exact.pixels, mixed.pixels)
    assert torch.equal(exact.image, mixed.image)
    assert warp(image, depth.bfloat16(), K, T).pixels.dtype == torch.float32


# Wrong shapes -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda i, d, K, T: warp(i, d[:, 0], K, T), r"depth_t must be .* \(2, 4, 6\)"),
        (lambda i, d, K, T: warp(i[:1], d, K, T), r"image_s must be \(2, C, H, W\)"),
        (lambda i, d, K, T: warp(i, d, K[:1], T), r"K must be \(2, 3, 3\), got \(1, 3, 3\)"),
        (lambda i, d, K, T: warp(i, d, K, T[:, :3]), r"T_s_t must be .* \(2, 3, 4\)"),
        (lambda i, d, K, T: warp(i, d, K, T, K[0]), r"K_s must be .* \(3, 3\)"),
        (
            lambda i, d, K, T: back_project(i, K),
            r"depth must be \(B, 1, H, W\), got \(2, 3, 4, 6\)",
        ),
        (lambda i, d, K, T: project(d, K, T), r"points must be \(B, 3, H, W\), got \(2, 1, 4, 6\)"),
        (lambda i, d, K, T: sample(i, i), r"pixels must be \(2, 2, H, W\), got \(2, 3, 4, 6\)"),
        (lambda i, d, K, T: sample(i, i[:, :2], "mirror"), "padding must be .* 'mirror'"),
        (lambda i, d, K, T: scale_intrinsics(T, 2, 2), r"K must be .* \(2, 4, 4\)"),
    ],
)
def test_wrong_shapes_are_named(call, named):
    with pytest.raises(ValueError, match=named):
        call(
            torch.rand(2, 3, 4, 6),
            torch.rand(2, 1, 4, 6),
            intrinsics(4, 6, 2),
            torch.eye(4).repeat(2, 1, 1),
        )


def test_warped_is_frozen():
    warped = Warped(torch.zeros(1), torch.zeros(1), torch.zeros(1))
    with pytest.raises(AttributeError):
        warped.image = torch.ones(1)  # type: ignore[misc]
