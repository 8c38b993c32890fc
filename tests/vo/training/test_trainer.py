"""The loop: it learns, it can be killed, it survives what is not finite."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from vo.datasets.errors import InputError
from vo.datasets.frame import Sequence
from vo.datasets.triplets import TripletBatch, Triplets
from vo.model import Model
from vo.precision import Precision
from vo.training.config import Bootstrap, TrainConfig
from vo.training.state import State
from vo.training.trainer import STATE_FILE, Step, Trainer, phase_of, rate
from vo.training.validation import Validation, score_of, validate


def trainer(config: TrainConfig, drive: Sequence, folder: Path, **options: Any) -> Trainer:
    samples = Triplets([drive], config.data.batch, seed=config.optim.seed)
    return Trainer(config, samples, folder, **options)


def steps(trainer: Trainer, limit: int | None = None) -> Iterator[Step]:
    for event in trainer.run():
        if isinstance(event, Step):
            yield event
            if limit is not None and event.number + 1 == limit:
                return


def test_loss_falls_and_the_refined_pose_is_nearer_to_the_truth(
    config: TrainConfig, drive: Sequence, tmp_path: Path
) -> None:
    """Taught with truth for a moment, then from video; judged as an odometry.

    The pose network is not taught by truth: on so few frames it would know their motion by heart.
    """
    config = replace(
        config,
        bootstrap=Bootstrap(steps=60, pose=0, refined_every=1),
        optim=replace(config.optim, steps=70, bootstrap_lr=2e-3, ema=0.9, rise=5),
        save_every=1000,
    )
    school = trainer(config, drive, tmp_path)
    depth = [step.terms["depth"] for step in steps(school) if step.phase == "bootstrap"]
    assert sum(depth[-10:]) < 0.5 * sum(depth[:10])
    score, numbers = validate(school.state.average, [drive], config.model.refine)
    assert numbers["00/refined_rpe_trans_m"] < 0.7 * numbers["00/raw_rpe_trans_m"]
    assert numbers["00/refined_rpe_rot_deg"] < numbers["00/raw_rpe_rot_deg"]
    assert score == numbers["00/refined_rpe_percent"], "14 frames are too short for t_rel"


def test_video_alone_lowers_the_photometric_loss(
    config: TrainConfig, drive: Sequence, tmp_path: Path
) -> None:
    config = replace(config, optim=replace(config.optim, steps=40, lr=2e-3), save_every=1000)
    photo = [step.terms["photo"] for step in steps(trainer(config, drive, tmp_path))]
    assert sum(photo[-8:]) < 0.97 * sum(photo[:8])


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_killed_training_goes_on_exactly(
    config: TrainConfig, drive: Sequence, tmp_path: Path, precision: Precision
) -> None:
    config = replace(
        config,
        optim=replace(config.optim, precision=precision),
        bootstrap=Bootstrap(steps=2, refined_every=2),
    )
    (tmp_path / "whole").mkdir()
    (tmp_path / "killed").mkdir()
    whole = trainer(config, drive, tmp_path / "whole")
    expected = [step.loss for step in steps(whole)]
    first = trainer(config, drive, tmp_path / "killed")
    begun = [step.loss for step in steps(first, limit=4)]  # the state of step 3 was saved
    second = trainer(config, drive, tmp_path / "killed")
    torch.manual_seed(12345)  # whatever was drawn before must not matter
    second.resume()
    assert second.state.step == 3
    rest = [step.loss for step in steps(second)]
    assert begun[:3] + rest == expected, "not a bit may differ"
    for name, value in whole.state.average.state_dict().items():
        assert torch.equal(value, second.state.average.state_dict()[name]), name


def test_a_loss_that_is_not_finite_is_skipped_named_and_finally_stops(
    config: TrainConfig, drive: Sequence, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    warnings: list[str] = []
    school = trainer(config, drive, tmp_path, warn=warnings.append)
    weights = {k: v.clone() for k, v in school.state.model.named_parameters()}
    real = Triplets.at

    def spoilt(self: Triplets, step: int, rows: slice) -> TripletBatch:
        batch = real(self, step, rows)
        if step == 0:
            batch.images[:] = torch.nan
        return batch

    monkeypatch.setattr(Triplets, "at", spoilt)
    first, second = list(steps(school, limit=2))
    assert first.loss != first.loss
    assert first.outcome is None
    assert warnings[0].startswith("step 0: the loss is not finite; skipped 00/0000")
    assert first.batch.names[0] in warnings[0]
    assert torch.isfinite(torch.tensor(second.loss)), "running statistics must not stay spoilt"
    assert any(not torch.equal(v, weights[k]) for k, v in school.state.model.named_parameters())

    def all_spoilt(self: Triplets, step: int, rows: slice) -> TripletBatch:
        batch = real(self, step, rows)
        batch.images[:] = torch.nan
        return batch

    monkeypatch.setattr(Triplets, "at", all_spoilt)
    again = trainer(
        replace(config, optim=replace(config.optim, most_faults=2, steps=50)), drive, tmp_path,
        warn=warnings.append,
    )  # fmt: skip
    with pytest.raises(InputError, match="3 steps in a row gave no finite loss"):
        list(steps(again))
    assert (tmp_path / STATE_FILE).exists()


def test_a_collapse_is_warned_of(config: TrainConfig, drive: Sequence, tmp_path: Path) -> None:
    """Far depth and a pose that hardly moves: the warp stands still (SQLdepth, mono-only)."""
    still = replace(config.model.pose, translation_scale=1e-6)
    config = replace(
        config,
        model=replace(config.model, pose=still),
        refinement=replace(config.refinement, enabled=False),
        optim=replace(config.optim, steps=50),
        save_every=1000,
    )
    warnings: list[str] = []
    for _ in steps(trainer(config, drive, tmp_path, warn=warnings.append)):
        pass
    assert len(warnings) == 1
    assert "the warp moves pixels by 0.0" in warnings[0]


def test_validations_choose_the_best_and_are_repeated_after_a_kill(
    config: TrainConfig, drive: Sequence, tmp_path: Path
) -> None:
    scores = iter([3.0, 2.0, 5.0])
    config = replace(config, validate_every=2, save_every=100)
    school = trainer(config, drive, tmp_path, validate=lambda model: (next(scores), {"a": 1.0}))
    found = [event for event in school.run() if isinstance(event, Validation)]
    assert [(v.step, v.score, v.is_best) for v in found] == [
        (2, 3.0, True), (4, 2.0, True), (6, 5.0, False),
    ]  # fmt: skip
    assert school.state.best == 2.0
    resumed = trainer(config, drive, tmp_path)
    resumed.resume()
    assert resumed.state.best == 2.0


def test_a_state_of_other_networks_is_refused(
    config: TrainConfig, drive: Sequence, tmp_path: Path
) -> None:
    trainer(config, drive, tmp_path).save()
    other = replace(config, model=replace(config.model, pose=replace(config.model.pose, hidden=8)))
    with pytest.raises(InputError, match=r"state\.pt: is no state of this training"):
        trainer(other, drive, tmp_path).resume()
    (tmp_path / STATE_FILE).write_bytes(b"\x80nonsense")
    with pytest.raises(InputError, match="is no state of this training"):
        trainer(config, drive, tmp_path).resume()
    (tmp_path / STATE_FILE).unlink()
    with pytest.raises(InputError, match="no such file"):
        trainer(config, drive, tmp_path).resume()


def test_the_average_starts_soon_and_ends_slow(config: TrainConfig) -> None:
    state = State.begin(Model(config.model), replace(config.optim, weight_decay=0))
    weight = next(iter(state.model.parameters()))
    average = next(iter(state.average.parameters()))
    before = average.clone()
    with torch.no_grad():
        weight += 1
    state.step = 0
    state.update_average(0.999)
    assert torch.allclose(average, before + 0.9, atol=1e-6)
    state.step = 10**6
    state.update_average(0.999)
    assert torch.allclose(average, before + 0.9 + 0.1 * 0.001, atol=1e-6)


def test_phases_and_rates(config: TrainConfig) -> None:
    config = replace(
        config,
        bootstrap=Bootstrap(steps=10),
        refinement=replace(config.refinement, warmup=5),
        optim=replace(config.optim, steps=110, lr=1e-4, bootstrap_lr=1e-3, rise=0),
    )
    assert [phase_of(s, config) for s in (0, 9, 10, 14, 15)] == [
        "bootstrap", "bootstrap", "warmup", "warmup", "refinement",
    ]  # fmt: skip
    off = replace(config, refinement=replace(config.refinement, enabled=False))
    assert phase_of(100, off) == "warmup"
    assert rate(0, config) == pytest.approx(1e-3)
    assert rate(10, config) == pytest.approx(1e-4)
    assert rate(109, config) == pytest.approx(5e-6, rel=0.05)
    stepped = replace(config, optim=replace(config.optim, schedule="step"))
    assert rate(10 + 74, stepped) == pytest.approx(1e-4)
    assert rate(10 + 75, stepped) == pytest.approx(1e-5)


def test_scores_prefer_t_rel_and_fall_back() -> None:
    assert score_of({"refined_t_rel_percent": 2.0, "refined_rpe_percent": 1.0}) == 2.0
    assert score_of({"refined_rpe_percent": 1.0, "residual": 0.3}) == 1.0
    assert score_of({"residual": 0.3}) == 0.3
    assert score_of({}) == float("inf")
    assert json.dumps(score_of({"residual": 0.3})) == "0.3"
