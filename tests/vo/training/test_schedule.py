"""Rates and momenta of every step."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from vo.training.config import Bootstrap, TrainConfig
from vo.training.schedule import momentum, rate


def onecycle(config: TrainConfig, steps: int, lr: float = 1e-3) -> TrainConfig:
    optim = replace(config.optim, steps=steps, lr=lr, schedule="onecycle", rise=50)
    return replace(config, optim=optim)


@pytest.mark.parametrize("steps", [1, 2, 3, 7, 10, 250])
def test_one_cycle_is_that_of_pytorch(config: TrainConfig, steps: int) -> None:
    weight = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.AdamW([weight], lr=1.0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, 1e-3, total_steps=steps, pct_start=0.3, div_factor=10, final_div_factor=100
    )
    config = onecycle(config, steps)
    for step in range(steps):
        group = optimizer.param_groups[0]
        assert rate(step, config) == pytest.approx(group["lr"], rel=1e-9), step
        assert momentum(step, config) == pytest.approx(group["betas"][0], rel=1e-9), step
        optimizer.step()
        if step < steps - 1:
            schedule.step()


def test_one_cycle_rises_and_falls(config: TrainConfig) -> None:
    config = onecycle(config, 101)
    rates = [rate(step, config) for step in range(101)]
    assert rates[0] == pytest.approx(1e-4)
    assert max(rates) == pytest.approx(1e-3, rel=1e-3)
    assert rates.index(max(rates)) in (29, 30)
    assert rates[-1] == pytest.approx(1e-6)
    assert momentum(0, config) == pytest.approx(0.95)
    assert momentum(100, config) == pytest.approx(0.95)


def test_a_bootstrap_has_a_cycle_of_its_own(config: TrainConfig) -> None:
    config = replace(onecycle(config, 30), bootstrap=Bootstrap(steps=10))
    assert rate(0, config) == pytest.approx(config.optim.bootstrap_lr / 10)
    assert rate(10, config) == pytest.approx(1e-4)


def test_other_schedules_leave_the_momentum(config: TrainConfig) -> None:
    assert {momentum(step, config) for step in range(6)} == {0.9}
    assert torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))]).defaults["betas"][0] == 0.9
