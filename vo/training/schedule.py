"""What is minimised in every step, learning rate and momentum, as functions of its number."""

from __future__ import annotations

import math
from typing import Literal

from vo.training.config import OptimConfig, TrainConfig

Phase = Literal["bootstrap", "warmup", "refinement", "metric"]

MOMENTUM = 0.9  # AdamW's first decay, where the schedule says nothing

# One cycle (Smith and Topin, 2018), as SQLdepth and SPIdepth fine-tune: from the rate over DIVIDE
# up to the rate in the first RISE of the steps, then down to the rate over DIVIDE x FINAL, and the
# momentum the other way round. PyTorch's OneCycleLR takes the same steps.
_DIVIDE, _FINAL, _RISE = 10.0, 100.0, 0.3
_CYCLE_MOMENTUM = (0.95, 0.85)  # at the smallest and at the largest rate


def phase_of(step: int, config: TrainConfig) -> Phase:
    """What is minimised in a step: true depth and poses, video, video with refinement, or the
    error of metric depth."""
    if config.metric.enabled:
        return "metric"
    if step < config.bootstrap.steps:
        return "bootstrap"
    refines = step >= config.bootstrap.steps + config.refinement.warmup
    return "refinement" if config.refinement.enabled and refines else "warmup"


def rate(step: int, config: TrainConfig) -> float:
    """Learning rate of a step: in the bootstrap and after it, up and down again."""
    optim = config.optim
    factor = _factor(*_place(step, config), optim)
    return factor * (optim.bootstrap_lr if step < config.bootstrap.steps else optim.lr)


def momentum(step: int, config: TrainConfig) -> float:
    """AdamW's first decay in a step."""
    if config.optim.schedule != "onecycle":
        return MOMENTUM
    slow, fast = _CYCLE_MOMENTUM
    rises, part = _cycle(*_place(step, config))
    return _eased(slow, fast, part) if rises else _eased(fast, slow, part)


def _place(step: int, config: TrainConfig) -> tuple[int, int]:
    """Number of a step in its phase, and the steps of the phase."""
    first = config.bootstrap.steps
    if step < first:
        return step, first
    return step - first, max(config.optim.steps - first, 1)


def _factor(step: int, steps: int, optim: OptimConfig) -> float:
    if optim.schedule == "onecycle":
        rises, part = _cycle(step, steps)
        low, end = 1 / _DIVIDE, 1 / (_DIVIDE * _FINAL)
        return _eased(low, 1.0, part) if rises else _eased(1.0, end, part)
    up = min(1.0, (step + 1) / (optim.rise + 1))
    if optim.schedule == "step":
        return up * (1.0 if step < optim.drop * steps else 0.1)
    return up * (0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * step / steps)))


def _cycle(step: int, steps: int) -> tuple[bool, float]:
    """Whether the rate rises in a step, and the part of the rise or fall that is done."""
    peak = _RISE * steps - 1
    if step <= peak:
        return True, step / peak
    return False, (step - peak) / (steps - 1 - peak)


def _eased(start: float, end: float, part: float) -> float:
    """From start to end by half a cosine."""
    return end + (start - end) * 0.5 * (1 + math.cos(math.pi * part))
