"""Metric depth from sparse truth: the loss, the loop, the verdict."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from annotated_trees import drive_name, write_kitti
from torch import Tensor, nn

from vo.datasets.annotated import find_annotated, open_annotated
from vo.datasets.annotated_batches import AnnotatedAugment, AnnotatedBatch, AnnotatedSamples
from vo.datasets.errors import InputError
from vo.datasets.frame import Sequence
from vo.depth.encoder import EncoderConfig
from vo.depth.map_encoder import MapConfig
from vo.depth.self_query_decoder import SelfQueryConfig
from vo.depth.self_query_net import SelfQueryDepthConfig, SelfQueryDepthNet
from vo.model import Model, ModelConfig
from vo.settings import from_plain, to_plain
from vo.training.config import Bootstrap, MetricConfig, TrainConfig
from vo.training.metric import (
    counted,
    learn_depth,
    log_ratio,
    mean_with_mirrored,
    silog,
    validate_depth,
)
from vo.training.trainer import Step, Trainer, phase_of
from vo.training.validation import Validation

METRIC = MetricConfig(enabled=True, crop="none")
pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def drives(tmp_path_factory: pytest.TempPathFactory) -> list[Sequence]:
    """Two drives of eight frames, at 128 x 64."""
    root = tmp_path_factory.mktemp("annotated")
    for number in (1, 2):
        write_kitti(root, number, root / "2011_09_26", range(8), annotated=range(8), size=(128, 64))
    return [open_annotated(place) for place in find_annotated(root).places]


@pytest.fixture
def tuning(config: TrainConfig) -> TrainConfig:
    """The tiny networks, learning from true depth, two images a step."""
    optim = replace(config.optim, schedule="onecycle", lr=2e-3, encoder_lr=0.5, clip=1.0, ema=0)
    return replace(config, metric=METRIC, optim=optim, data=replace(config.data, batch=2))


def trainer(config: TrainConfig, drive: Sequence, folder: Path, **options: Any) -> Trainer:
    size = config.model.width, config.model.height
    samples = AnnotatedSamples([drive], config.data.batch, size, config.metric.augment, workers=1)
    return Trainer(config, samples, folder, **options)


def steps(trainer: Trainer, limit: int | None = None) -> list[Step]:
    found = []
    for event in trainer.run():
        if isinstance(event, Step):
            found.append(event)
            if limit is not None and event.number + 1 == limit:
                break
    return found


class Predicts(nn.Module):
    """A model whose depth network is a formula of its images."""

    def __init__(self, depth: Callable[[Tensor], Tensor], width: int = 128, height: int = 64):
        super().__init__()
        self.config = SimpleNamespace(width=width, height=height)
        self.depth = depth

    def depth_net(self, images: Tensor) -> SimpleNamespace:
        return SimpleNamespace(depth=self.depth(images))


def red_depth(images: Tensor) -> Tensor:
    """The true depth of `annotated_trees`."""
    return 4 + 40 * images[:, :1]


def batch_of(truth: Tensor) -> AnnotatedBatch:
    return AnnotatedBatch(torch.rand(len(truth), 3, 8, 12), truth, ("a",) * len(truth))


def test_silog_is_the_published_formula() -> None:
    rng = np.random.default_rng(0)
    truth = rng.uniform(-20, 100, (3, 1, 8, 12))
    truth[truth < 0] = 0
    depth = rng.uniform(1, 90, truth.shape)
    counts = (truth > 1e-3) & (truth < 80)
    assert 0 < counts.sum() < 0.9 * (truth > 0).sum(), "some are missing, some too far"
    g = np.log(depth[counts]) - np.log(truth[counts])
    expected = 10 * np.sqrt(np.var(g, ddof=1) + 0.15 * np.mean(g) ** 2)
    p, d = torch.from_numpy(depth), torch.from_numpy(truth)
    found = silog(log_ratio(p, d, counted(d, METRIC)), METRIC.scale_share)
    assert found.item() == pytest.approx(expected, rel=1e-12)
    outcome = learn_depth(
        Predicts(lambda _: p.float()),  # type: ignore[arg-type]
        batch_of(d.float()),
        METRIC,
    )
    assert outcome.loss.item() == pytest.approx(expected, rel=1e-5)
    assert outcome.terms["abs_rel"] == pytest.approx(np.mean(np.abs(np.exp(g) - 1)), rel=1e-5)
    assert outcome.terms["scale"] == pytest.approx(np.exp(np.mean(g)), rel=1e-5)
    assert torch.equal(outcome.error > 0, torch.from_numpy(counts))


def test_a_common_scale_costs_its_share() -> None:
    g = torch.randn(500, dtype=torch.float64)
    g -= g.mean()
    assert silog(g + math.log(2), 0.0) == pytest.approx(silog(g, 0.0).item())
    constant = torch.full((500,), math.log(2), dtype=torch.float64)
    assert silog(constant, 0.15).item() == pytest.approx(10 * math.sqrt(0.15) * math.log(2))


def test_the_error_is_measured_at_the_size_of_the_truth() -> None:
    """A linear ramp of 12 columns at 36: enlarged about the pixels' corners, not their centres."""
    ramp = (10 + torch.arange(12.0)).expand(1, 1, 8, 12)
    wide = 10 + (torch.arange(36.0) + 0.5) / 3 - 0.5
    truth = torch.zeros(1, 1, 24, 36)
    truth[..., 3:-3] = 2 * wide[3:-3]
    outcome = learn_depth(Predicts(lambda _: ramp), batch_of(truth), METRIC)  # type: ignore[arg-type]
    assert outcome.terms["scale"] == pytest.approx(0.5, rel=1e-5)
    assert outcome.loss.item() == pytest.approx(10 * math.sqrt(0.15) * math.log(2), rel=1e-4)
    assert outcome.depth.shape == (1, 1, 8, 12)
    assert outcome.error.shape == truth.shape


@pytest.mark.parametrize("bf16", [False, True])
def test_a_network_with_a_self_query_layer_learns_as_well(bf16: bool) -> None:
    encoder = EncoderConfig("resnet10t")
    layer = SelfQueryConfig(8, 8, patch=8, queries=8, bins=8, heads=2, layers=1)
    depth = SelfQueryDepthConfig(
        MapConfig(encoder, "resnet", (32, 16, 16, 8, 8), channels=8), layer
    )
    torch.manual_seed(0)
    model = Model(ModelConfig(128, 64, depth))
    assert isinstance(model.depth_net, SelfQueryDepthNet)
    truth = torch.full((2, 1, 70, 130), 9.0)
    batch = AnnotatedBatch(torch.rand(2, 3, 64, 128), truth, ("a", "b"))
    outcome = learn_depth(model, batch, METRIC, bf16)
    outcome.loss.backward()
    assert outcome.loss.dtype == torch.float32
    assert math.isfinite(outcome.loss.item())
    assert all(p.grad is not None for p in model.depth_net.layer.parameters())
    assert all(p.grad is None for p in model.pose_net.parameters())


def test_a_short_training_lowers_loss_and_error_without_any_scaling(
    tuning: TrainConfig, drives: list[Sequence], tmp_path: Path
) -> None:
    tuning = replace(tuning, optim=replace(tuning.optim, steps=30, lr=4e-3), save_every=1000)
    school = trainer(tuning, drives[0], tmp_path)
    before, _ = validate_depth(school.state.average, drives[1:], METRIC)
    found = steps(school)
    assert {step.phase for step in found} == {"metric"}
    assert sum(s.loss for s in found[-6:]) < 0.5 * sum(s.loss for s in found[:6])
    after, numbers = validate_depth(school.state.average, drives[1:], METRIC)
    assert after < 0.5 * before
    assert after < 0.2
    assert 0.8 < numbers["scale"] < 1.25, "metres"


def test_only_the_depth_network_learns(
    tuning: TrainConfig, drives: list[Sequence], tmp_path: Path
) -> None:
    school = trainer(tuning, drives[0], tmp_path)
    before = {name: value.clone() for name, value in school.state.model.state_dict().items()}
    steps(school, limit=2)
    changed = {
        name.partition(".")[0]
        for name, value in school.state.model.state_dict().items()
        if not torch.equal(value, before[name])
    }
    assert changed == {"depth_net"}


def test_the_backbone_learns_at_a_rate_of_its_own_with_a_cycle_of_momentum(
    tuning: TrainConfig, drives: list[Sequence], tmp_path: Path
) -> None:
    school = trainer(tuning, drives[0], tmp_path)
    steps(school, limit=1)
    groups = school.state.optimizer.param_groups
    assert {round(group["lr"], 9) for group in groups} == {2e-4, 1e-4}
    assert {group["betas"] for group in groups} == {(0.95, 0.999)}


def test_a_killed_training_goes_on_exactly(
    tuning: TrainConfig, drives: list[Sequence], tmp_path: Path
) -> None:
    (tmp_path / "whole").mkdir()
    (tmp_path / "killed").mkdir()
    whole = trainer(tuning, drives[0], tmp_path / "whole")
    expected = [step.loss for step in steps(whole)]
    begun = [step.loss for step in steps(trainer(tuning, drives[0], tmp_path / "killed"), limit=4)]
    second = trainer(tuning, drives[0], tmp_path / "killed")
    torch.manual_seed(12345)  # whatever was drawn before must not matter
    second.resume()
    assert second.state.step == 3
    rest = [step.loss for step in steps(second)]
    assert begun[:3] + rest == expected, "not a bit may differ"
    for name, value in whole.state.average.state_dict().items():
        assert torch.equal(value, second.state.average.state_dict()[name]), name


def test_a_batch_without_depth_that_counts_is_skipped_and_named(
    tuning: TrainConfig, drives: list[Sequence], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = AnnotatedSamples.at

    def far(self: AnnotatedSamples, step: int, rows: slice) -> AnnotatedBatch:
        batch = real(self, step, rows)
        return batch if step else replace(batch, depth=batch.depth + 80)

    monkeypatch.setattr(AnnotatedSamples, "at", far)
    warnings: list[str] = []
    first, second = steps(trainer(tuning, drives[0], tmp_path, warn=warnings.append), limit=2)
    assert math.isnan(first.loss)
    assert math.isfinite(second.loss)
    assert len(warnings) == 1
    assert warnings[0].startswith(f"step 0: the loss is not finite; skipped {drive_name(1)}/image")


def test_depth_is_the_mean_with_that_of_the_mirrored_image() -> None:
    columns = torch.arange(12.0)
    model = Predicts(lambda images: images[:, :1] + columns)
    images = torch.rand(2, 3, 8, 12)
    found = mean_with_mirrored(model, images)  # type: ignore[arg-type]
    assert torch.allclose(found, images[:, :1] + 5.5)


def test_scores_are_in_metres(drives: list[Sequence]) -> None:
    score, numbers = validate_depth(
        Predicts(lambda images: 1.1 * red_depth(images)),  # type: ignore[arg-type]
        drives,
        METRIC,
    )
    assert score == numbers["abs_rel"] == pytest.approx(0.1, abs=1e-3)
    assert numbers["scale"] == pytest.approx(1 / 1.1, rel=1e-3)
    assert numbers["a1"] == 1
    for drive in drives:
        assert numbers[f"{drive.name}/abs_rel"] == pytest.approx(0.1, abs=1e-3)
    half, _ = validate_depth(
        Predicts(lambda images: 2 * red_depth(images[:, :, ::2, ::2]), 64, 64),  # type: ignore[arg-type]
        drives[:1],
        METRIC,
    )
    assert half == pytest.approx(1, abs=0.05), "a prediction of another size is enlarged"


def test_only_the_crop_and_the_range_are_scored(drives: list[Sequence]) -> None:
    def wrong_above(images: Tensor) -> Tensor:
        depth = red_depth(images)
        depth[..., : int(0.40810811 * 64), :] *= 5
        return depth

    model = Predicts(wrong_above)
    garg, _ = validate_depth(model, drives, METRIC)  # type: ignore[arg-type]
    everything, _ = validate_depth(model, drives, replace(METRIC, score_crop="none"))  # type: ignore[arg-type]
    assert garg < 1e-3
    assert everything > 0.5
    nothing, numbers = validate_depth(model, drives, replace(METRIC, max_depth=1.0))  # type: ignore[arg-type]
    assert (nothing, numbers) == (math.inf, {})


def test_validations_choose_the_best(
    tuning: TrainConfig, drives: list[Sequence], tmp_path: Path
) -> None:
    tuning = replace(tuning, validate_every=3)

    def judge(model: Model) -> tuple[float, dict[str, float]]:
        return validate_depth(model, drives[1:], METRIC)

    events = list(trainer(tuning, drives[0], tmp_path, validate=judge).run())
    found = [event for event in events if isinstance(event, Validation)]
    assert [event.step for event in found] == [3, 6]
    assert found[0].is_best
    assert found[1].is_best == (found[1].score < found[0].score)


def test_settings_survive_the_way_to_a_file_and_nonsense_is_refused(tuning: TrainConfig) -> None:
    changed = replace(METRIC, augment=AnnotatedAugment(rotation_deg=2.5), max_depth=10.0)
    tuning = replace(tuning, metric=changed)
    assert from_plain(TrainConfig, to_plain(tuning), "here") == tuning
    assert phase_of(0, tuning) == "metric"
    with pytest.raises(InputError, match=r"--metric\.max-depth: is 0.0001 with"):
        MetricConfig(max_depth=1e-4)
    with pytest.raises(InputError, match=r"--metric\.scale-share: is 2;"):
        MetricConfig(scale_share=2)
    with pytest.raises(InputError, match=r"--bootstrap\.steps: is 5 in a training from true depth"):
        replace(tuning, bootstrap=Bootstrap(steps=5))
