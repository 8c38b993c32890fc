"""The losses, which networks they teach, and the switches of an ablation."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pypose as pp
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from vo.datasets.frame import Sequence
from vo.datasets.triplets import TripletBatch, Triplets
from vo.model import Model
from vo.refine import PoseRefiner
from vo.refine.config import Backward
from vo.training.config import LossConfig, TrainConfig
from vo.training.objective import (
    Outcome,
    Scene,
    distances_in_steps,
    mean_depth,
    poses_of,
    self_supervised,
)
from vo.training.supervision import FARTHEST, disturbed, log_error, pose_errors, supervised


@pytest.fixture
def batch(drive: Sequence) -> TripletBatch:
    return Triplets([drive], 4, mirror=False).at(0)


def outcome(config: TrainConfig, batch: TripletBatch, **changes: Any) -> tuple[Model, Outcome]:
    torch.manual_seed(0)
    model = Model(config.model)
    loss = changes.pop("loss", config.loss)
    refinement = replace(config.refinement, **changes)
    refiner = PoseRefiner(refinement.settings) if refinement.enabled else None
    generator = torch.Generator().manual_seed(0)
    found = self_supervised(model, refiner, batch, batch.images, loss, refinement, generator)
    found.loss.backward()
    return model, found


def gradient(net: nn.Module) -> float:
    return sum(
        float(p.grad.abs().sum()) for p in net.parameters() if p.grad is not None
    )  # a sum of exact zeros is zero


def test_gradients_reach_all_three_networks_through_the_refinement(
    config: TrainConfig, batch: TripletBatch
) -> None:
    # Neither smoothness nor the pose network's own terms: what is left goes through the refinement.
    alone = LossConfig(raw=0, distillation=0, smoothness=0)
    model, found = outcome(config, batch, loss=alone)
    assert torch.isfinite(found.loss)
    for net in (model.depth_net, model.pose_net, model.feature_net):
        assert gradient(net) > 0


def test_gradients_can_be_switched_off_one_by_one(config: TrainConfig, batch: TripletBatch) -> None:
    alone = LossConfig(raw=0, distillation=0, smoothness=0)
    full, _ = outcome(config, batch, loss=alone)
    no_features, _ = outcome(config, batch, loss=alone, gradient_to_features=False)
    assert gradient(no_features.feature_net) == 0
    assert gradient(no_features.pose_net) > 0
    no_pose, _ = outcome(config, batch, loss=alone, gradient_to_pose=False)
    assert gradient(no_pose.pose_net) == 0
    assert gradient(no_pose.feature_net) > 0
    no_depth, _ = outcome(config, batch, loss=alone, gradient_to_depth=False)
    # The photometric loss still reaches the depth by the warp, only no longer by the pose.
    assert gradient(no_depth.depth_net) > 0
    assert gradient(no_depth.depth_net) != gradient(full.depth_net)


def test_the_pose_network_learns_from_its_own_terms_where_the_refinement_passes_nothing(
    config: TrainConfig, batch: TripletBatch
) -> None:
    model, found = outcome(config, batch, gradient_to_pose=False)
    assert gradient(model.pose_net) > 0
    assert found.terms["raw"] > 0
    assert found.terms["distillation"] > 0


@pytest.mark.parametrize("backward", ["unroll", "one_step", "implicit"])
def test_the_features_of_every_level_learn_and_coarse_ones_leave_the_depth_alone(
    config: TrainConfig, batch: TripletBatch, backward: Backward
) -> None:
    settings = replace(config.refinement.settings, backward=backward)
    model, _ = outcome(config, batch, settings=settings)
    for parameter in model.feature_net.get_submodule("head.outputs").parameters():
        assert parameter.grad is not None
        assert parameter.grad.abs().sum() > 0
    alone = LossConfig(raw=0, distillation=0, smoothness=0)
    depths = [
        outcome(config, batch, loss=replace(alone, coarse=weight), settings=settings)[0].depth_net
        for weight in (0.0, 10.0)
    ]
    assert gradient(depths[0]) == pytest.approx(gradient(depths[1]), rel=1e-5)


def test_without_refinement_it_is_monodepth2(config: TrainConfig, batch: TripletBatch) -> None:
    model, found = outcome(config, batch, enabled=False)
    assert gradient(model.feature_net) == 0
    assert gradient(model.depth_net) > 0
    assert gradient(model.pose_net) > 0
    assert "raw" not in found.terms
    assert found.confidence is None


def test_the_loss_is_the_sum_of_its_terms(config: TrainConfig, batch: TripletBatch) -> None:
    loss = LossConfig(raw=0.3, distillation=0.7, coarse=0.4, smoothness=0.01)
    _, found = outcome(config, batch, loss=loss)
    t = found.terms
    expected = t["photo"] + 0.3 * t["raw"] + 0.7 * t["distillation"] + 0.01 * t["smooth"]
    expected += 0.4 * t["coarse"]
    assert found.loss.item() == pytest.approx(expected, rel=1e-6)


def test_losses_compare_clean_images_and_networks_see_changed_ones(
    config: TrainConfig, batch: TripletBatch
) -> None:
    torch.manual_seed(0)
    model = Model(config.model).eval()
    generator = torch.Generator().manual_seed(0)
    plain = replace(config.refinement, enabled=False)

    def found(seen: torch.Tensor, images: torch.Tensor) -> Outcome:
        generator.manual_seed(0)
        changed = replace(batch, images=images)
        return self_supervised(model, None, changed, seen, config.loss, plain, generator)

    clean = found(batch.images, batch.images)
    darker = found(batch.images * 0.5, batch.images)
    assert not torch.equal(clean.depth, darker.depth), "the networks must see the changed images"
    dark_losses = found(batch.images, batch.images * 0.5)
    assert torch.equal(clean.depth, dark_losses.depth)
    assert dark_losses.terms["photo"] != clean.terms["photo"]


def test_poses_are_those_of_the_frame_before_and_the_frame_after(
    config: TrainConfig, batch: TripletBatch
) -> None:
    torch.manual_seed(0)
    model = Model(config.model).eval()
    now, before, after = batch.images.unbind(1)
    T = poses_of(model, batch.images)
    to_before = model.pose_net(before, now).inverse().matrix().double()
    to_after = model.pose_net(now, after).matrix().double()
    assert torch.allclose(T.matrix(), torch.cat([to_before, to_after]), atol=1e-6)


@pytest.mark.parametrize("stride", [1, 2])
def test_with_true_depth_and_poses_the_photometric_loss_is_small(
    config: TrainConfig, batch: TripletBatch, stride: int
) -> None:
    """The scene's geometry, put together as the objective does it, explains the images."""
    assert batch.depth is not None
    assert batch.T_s_t is not None
    sources = batch.images[:, 1:].transpose(0, 1).flatten(0, 1)
    scene = Scene(
        batch.images[:, 0], sources, batch.K, LossConfig(auto_mask=False), torch.Generator()
    ).smaller(stride)
    T_true = pp.mat2SE3(batch.T_s_t.transpose(0, 1).flatten(0, 1), check=False)
    depth = mean_depth(torch.where(batch.depth > 0, batch.depth, 80.0), stride)
    assert depth.shape[-2:] == (64 // stride, 128 // stride)
    at_truth, _ = scene.photometric([depth], T_true)
    twice_as_deep, _ = scene.photometric([2 * depth], T_true)
    the_other_way, _ = scene.photometric([depth], T_true.Inv())
    assert at_truth < 0.6 * twice_as_deep
    assert at_truth < 0.5 * the_other_way


def test_smaller_images_see_the_same_points() -> None:
    """On a slanted plane the mean disparity is that of the middle, where the pixel's ray goes."""
    K = torch.tensor([[[100.0, 0, 63.5], [0, 110.0, 20.0], [0, 0, 1]]])
    images = torch.rand(1, 3, 64, 128, generator=torch.Generator().manual_seed(0))
    scene = Scene(images, images, K, LossConfig(), torch.Generator())

    def plane(K: torch.Tensor, height: int, width: int) -> torch.Tensor:
        v, u = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
        x, y = (u - K[0, 0, 2]) / K[0, 0, 0], (v - K[0, 1, 2]) / K[0, 1, 1]
        return (1 / (0.1 + 0.05 * x + 0.08 * y))[None, None]

    small = scene.smaller(4)
    assert torch.allclose(small.target, F.avg_pool2d(images, 4), atol=1e-6)
    assert torch.allclose(mean_depth(plane(K, 64, 128), 4), plane(small.K, 16, 32), rtol=1e-4)


def test_the_other_camera_of_a_stereo_pair_is_one_more_source(
    config: TrainConfig, batch: TripletBatch
) -> None:
    """A fourth image that is the target itself, at the identity, explains every pixel."""
    same = torch.cat([batch.images, batch.images[:, :1]], 1)
    still = torch.eye(4, dtype=torch.float64).repeat(len(same), 1, 1)
    _, found = outcome(
        config, replace(batch, images=same, T_stereo=still), loss=LossConfig(auto_mask=False)
    )
    assert found.terms["photo"] == pytest.approx(0, abs=1e-6)
    _, without = outcome(config, batch, loss=LossConfig(auto_mask=False))
    assert without.terms["photo"] > 0.01


def test_a_bootstrap_teaches_all_three_networks(config: TrainConfig, batch: TripletBatch) -> None:
    torch.manual_seed(0)
    model = Model(config.model)
    refiner = PoseRefiner(config.refinement.settings)
    generator = torch.Generator().manual_seed(0)
    found = supervised(
        model, refiner, batch, batch.images, config.bootstrap, config.refinement, generator
    )
    found.loss.backward()
    for net in (model.depth_net, model.pose_net, model.feature_net):
        assert gradient(net) > 0
    assert found.terms["refined"] < found.terms["start"], "features of random weights align, too"
    with pytest.raises(ValueError, match="true depth"):
        supervised(
            model, None, replace(batch, depth=None), batch.images, config.bootstrap,
            config.refinement, generator,
        )  # fmt: skip


def test_disturbed_starts_have_the_spread_that_was_asked_for(config: TrainConfig) -> None:
    T = pp.identity_SE3(4000, dtype=torch.float64)
    moved = disturbed(T, config.bootstrap, torch.Generator().manual_seed(0)).Log().tensor()
    assert moved[:, :3].std() == pytest.approx(0.3, rel=0.05)
    assert torch.rad2deg(moved[:, 3:].std()) == pytest.approx(0.5, rel=0.05)
    assert pose_errors(T, T).max() == 0


def test_the_depth_network_does_not_depend_on_the_refinement(config: TrainConfig) -> None:
    """Same weights, same depth, same work, whatever the features are made of."""
    image = torch.rand(1, 3, 64, 128, generator=torch.Generator().manual_seed(0))
    results = []
    for source in ("stem", "encoder", "grey"):
        torch.manual_seed(0)
        features = replace(config.model.features, source=source)
        model = Model(replace(config.model, features=features)).eval()
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            depth = model.depth_net(image).depth
        results.append((depth, counter.get_total_flops()))
    for depth, flops in results[1:]:
        assert torch.equal(depth, results[0][0])
        assert flops == results[0][1] > 0


@pytest.mark.parametrize("source", ["encoder", "grey"])
def test_features_may_come_from_the_depth_encoder_or_be_grey_values(
    config: TrainConfig, batch: TripletBatch, source: Any
) -> None:
    features = replace(config.model.features, source=source)
    changed = replace(config, model=replace(config.model, features=features))
    model, found = outcome(changed, batch)
    assert torch.isfinite(found.loss)
    assert found.terms["refined_share"] > 0
    assert (gradient(model.feature_net) > 0) == (source == "encoder")


def test_confidence_can_be_switched_off(config: TrainConfig, batch: TripletBatch) -> None:
    features = replace(config.model.features, confidence=False)
    changed = replace(config, model=replace(config.model, features=features))
    _, found = outcome(changed, batch)
    assert found.confidence is not None
    assert found.confidence.unique().numel() == 1


def test_a_rotation_counts_as_far_as_it_moves_what_lies_at_the_median_depth() -> None:
    T_ref = pp.se3(torch.tensor([[0, 0, 2.0, 0, 0, 0]] * 3).double()).Exp()
    depth = torch.full((1, 1, 4, 4), 12.0)
    turned = pp.se3(torch.tensor([[0, 0, 0, 0, 0.01, 0]] * 3).double()).Exp() @ T_ref
    shifted = pp.se3(torch.tensor([[0.12, 0, 0, 0, 0, 0]] * 3).double()).Exp() @ T_ref
    assert distances_in_steps(turned, T_ref, depth).tolist() == pytest.approx([0.06] * 3)
    assert distances_in_steps(shifted, T_ref, depth).tolist() == pytest.approx([0.06] * 3)
    assert distances_in_steps(turned[:0], T_ref[:0], depth).tolist() == [0]


def test_the_sky_may_be_anywhere_beyond_and_is_pushed_away_where_it_is_near() -> None:
    depth = torch.tensor([10.0, 20.0, 40.0, 100.0, 40.0])
    truth = torch.tensor([20.0, 20.0, 0.0, 0.0, 200.0])
    found = log_error(depth, truth, beyond=0.5)
    half = 0.5 * torch.tensor(FARTHEST / 40).log().item()
    expected = [torch.tensor(2.0).log().item(), 0, half, 0, half]
    assert found.tolist() == pytest.approx(expected, abs=1e-6)
    assert log_error(depth, truth, beyond=0.0)[2:].abs().sum() == 0
