"""The networks as graphs: what they compute is what the model computes, without this package."""

from __future__ import annotations

import dataclasses

import pypose as pp
import pytest
import torch
from true_networks import tiny_model

from vo.export import (
    difference,
    graphs_of,
    inverse_motion,
    natural_images,
    rotation_matrix,
)
from vo.pose_net import PoseOutput

SIZE = (96, 64)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("angle", [0.0, 1e-12, 1e-7, 1e-4, 0.1, 2.0, 3.14159])
def test_rotations_are_those_of_pypose(angle, dtype):
    axis = torch.nn.functional.normalize(torch.randn(20, 3, dtype=dtype), dim=1)
    wanted = pp.so3((angle * axis).double()).Exp().matrix()
    atol = 1e-6 if dtype == torch.float32 else 1e-12
    found = rotation_matrix(angle * axis)
    assert found.dtype == dtype
    torch.testing.assert_close(found.double(), wanted, rtol=0, atol=atol)


def test_a_motion_is_turned_round_as_the_odometry_does():
    motion = PoseOutput(0.3 * torch.randn(5, 3), torch.randn(5, 3))
    found = inverse_motion(motion.axis_angle, motion.translation)
    torch.testing.assert_close(found.double(), motion.se3().Inv().matrix(), rtol=0, atol=1e-6)


@pytest.mark.parametrize("source", ["stem", "encoder", "grey"])
def test_graphs_compute_what_the_model_computes(source):
    model = tiny_model(source).eval()
    last, now = natural_images(2, (64, 96), 0), natural_images(2, (64, 96), 1)
    depth, pose, features = graphs_of(model, SIZE, "metres", ("depth", "pose", "features"))
    with torch.no_grad():
        seen = model.depth_net(last)
        motion, levels = model.pose_net(last, now), model.features(last, seen)
    assert torch.equal(depth(last)[0], seen.depth)
    T = motion.se3().Inv().matrix().float()
    torch.testing.assert_close(pose(last, now)[0], T, rtol=0, atol=1e-6)
    found = dict(zip(features.outputs, features(last), strict=True))
    assert list(found) == [f"{k}_{s}" for s in (8, 4, 2) for k in ("features", "confidence")]
    for level in levels:
        assert torch.equal(found[f"features_{level.stride}"], level.features)
        assert torch.equal(found[f"confidence_{level.stride}"], level.confidence)


def test_normal_equations_have_the_points_of_the_refinement():
    model = tiny_model()
    config = dataclasses.replace(model.config.refine, num_points=300)
    model.config = dataclasses.replace(model.config, refine=config)
    coarse, *_, fine = graphs_of(model, SIZE, "metres", ("energy",))
    assert (coarse.name, fine.name) == ("energy_8", "energy_2")
    sizes = [graph(*graph.examples[0])[2].shape for graph in (coarse, fine)]
    assert sizes == [(2, 64 * 96 // 64), (2, 300)]  # all pixels, and those that were drawn
    assert [len(inputs[0]) for inputs in fine.examples] == [2, 1, 3]


def test_difference_is_relative_and_never_hides_a_nan():
    wanted = torch.tensor([[100.0, 0.5, 1.0], [2.0, 0.0, 1.0]])
    off = torch.tensor([[0.0, 0.0, 0.01], [0.0, 0.02, 0.0]])
    assert difference(wanted + off, wanted) == pytest.approx(0.02)
    assert difference(wanted + torch.tensor([[1.0], [0.0]]), wanted) == pytest.approx(1.0)
    nan = torch.full_like(wanted, torch.nan)
    assert not difference(nan, wanted) <= 1
    assert not difference(wanted, nan) <= 1


def test_natural_images_have_less_contrast_at_higher_frequencies():
    image = natural_images(2, (64, 96), 0)
    assert (image.amin((1, 2, 3)).tolist(), image.amax((1, 2, 3)).tolist()) == ([0, 0], [1, 1])
    power = torch.fft.rfft2(image - image.mean((2, 3), keepdim=True)).abs().square().mean((0, 1))
    assert power[2:5, 2:5].mean() > 10 * power[16:32, 16:32].mean()
