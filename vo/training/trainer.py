"""The loop: steps in phases, weights averaged, states saved, faults survived."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from vo.datasets.annotated_batches import AnnotatedBatch
from vo.datasets.augmentation import augment
from vo.datasets.batches import Batches
from vo.datasets.errors import InputError
from vo.datasets.triplets import TripletBatch
from vo.model import Model
from vo.precision import use_bf16
from vo.refine import PoseRefiner
from vo.training.config import TrainConfig
from vo.training.metric import learn_depth
from vo.training.objective import Outcome, self_supervised
from vo.training.schedule import momentum, rate
from vo.training.state import State, restore_buffers
from vo.training.supervision import supervised
from vo.training.validation import Validation

Phase = Literal["bootstrap", "warmup", "refinement", "metric"]
Validate = Callable[[Model], tuple[float, dict[str, float]]]

SMALLEST_FLOW_PX = 0.1  # below it no image says anything about depth: the nets have collapsed
STATE_FILE = "state.pt"
_AUGMENT, _LOSS = 3, 4  # streams of random numbers, beside those of `vo.datasets.triplets`


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """What came of a step.

    Attributes:
        number: of the step, from 0.
        phase: what was minimised.
        lr: learning rate.
        loss: NaN where the step was skipped.
        terms: parts of the loss and other numbers.
        gradient: norm of the gradient before clipping.
        images_per_s: target frames a second, loading included.
        batch: the samples.
        seen: (B, 3, 3, H, W) images as the networks saw them; (B, 1, 3, H, W) without sources.
        outcome: depth, error, confidence; None where the step was skipped.
    """

    number: int
    phase: Phase
    lr: float
    loss: float
    terms: dict[str, float]
    gradient: float
    images_per_s: float
    batch: TripletBatch | AnnotatedBatch
    seen: torch.Tensor
    outcome: Outcome | None


class Trainer:
    """A training that can be killed at any time and goes on exactly.

    Args:
        config: all settings.
        samples: training samples; those with true depth alone where that is to be learned.
        folder: for the state; must exist.
        device: to compute on.
        model: to start from; a new one by default.
        validate: averaged weights to score and numbers (`vo.training.validation.validate`, or
            `vo.training.metric.validate_depth`); None goes without.
        warn: told of what a user should know.
    """

    def __init__(
        self,
        config: TrainConfig,
        samples: Batches[TripletBatch] | Batches[AnnotatedBatch],
        folder: Path,
        device: str = "cpu",
        model: Model | None = None,
        validate: Validate | None = None,
        warn: Callable[[str], None] = print,
    ) -> None:
        self.config, self.samples, self.folder, self.device = config, samples, folder, device
        self.validate, self.warn = validate, warn
        torch.manual_seed(config.optim.seed)
        model = (model or Model(config.model)).to(device)
        self.state = State.begin(model, config.optim)
        self.bf16 = use_bf16(config.optim.precision, device)
        self.refiner = PoseRefiner(config.refinement.settings)
        self._flow_px: list[float] = []

    def resume(self) -> None:
        """Go on from the saved state; InputError when there is none that fits."""
        self.state.load(self.folder / STATE_FILE)

    def save(self) -> None:
        """Save the state."""
        self.state.save(self.folder / STATE_FILE)

    def run(self) -> Iterator[Step | Validation]:
        """Train to the last step; the state is saved now and then, and at the end.

        A validation is told of before the state is saved: a run that is killed in between repeats
        it, and whoever writes the weights that it found best has written them.

        Raises:
            InputError: when too many steps in a row had a loss that is not finite; the state was
                saved.
        """
        config, state = self.config, self.state
        before = time.perf_counter()
        for batch in self.samples.stream(state.step, config.optim.steps):
            step = self._step(batch.to(self.device), before)
            before = time.perf_counter()
            state.step += 1
            if state.faults > config.optim.most_faults:
                self.save()
                problem = f"{state.faults} steps in a row gave no finite loss"
                raise InputError("--optim.lr", problem, "make it smaller; the state was saved")
            yield step
            last = state.step == config.optim.steps
            validates = self.validate and (last or state.step % config.validate_every == 0)
            if validates:
                yield self._validated()
                before = time.perf_counter()
            if validates or last or state.step % config.save_every == 0:
                self.save()

    def _step(self, batch: TripletBatch | AnnotatedBatch, before: float) -> Step:
        config, state = self.config.optim, self.state
        number = state.step
        phase, lr = phase_of(number, self.config), rate(number, self.config)
        # Everything that is drawn in this step, in backbones with dropout as well.
        torch.manual_seed((config.seed << 32) + number)
        seen = self._seen(batch)
        outcome = self._outcome(phase, batch, seen)
        for group, factor in zip(state.optimizer.param_groups, state.factors, strict=True):
            group["lr"] = lr * factor
            group["betas"] = (momentum(number, self.config), group["betas"][1])
        state.optimizer.zero_grad(set_to_none=True)
        outcome.loss.backward()
        gradient = torch.nn.utils.clip_grad_norm_(state.model.parameters(), config.clip).item()
        loss = outcome.loss.item()
        fine = math.isfinite(loss) and math.isfinite(gradient)
        if fine:
            state.optimizer.step()
            state.update_average(config.ema)
            state.faults = 0
            self._watch_flow(phase, outcome)
        else:
            restore_buffers(state.model, state.average)
            state.faults += 1
            self.warn(f"step {number}: the loss is not finite; skipped {', '.join(batch.names)}")
        speed = len(batch.names) / (time.perf_counter() - before)
        return Step(
            number, phase, lr, loss if fine else math.nan, outcome.terms, gradient, speed, batch,
            seen, outcome if fine else None,
        )  # fmt: skip

    def _validated(self) -> Validation:
        assert self.validate is not None
        state = self.state
        score, numbers = self.validate(state.average)
        is_best = score < state.best
        state.best = min(score, state.best)
        return Validation(state.step, score, numbers, is_best)

    def _seen(self, batch: TripletBatch | AnnotatedBatch) -> torch.Tensor:
        """(B, N, 3, H, W) images as the networks see them."""
        if isinstance(batch, AnnotatedBatch):  # already changed, together with the depth
            return batch.images[:, None]
        return augment(batch.images, self.config.data.augment, self._generator(_AUGMENT))

    def _outcome(
        self, phase: Phase, batch: TripletBatch | AnnotatedBatch, seen: torch.Tensor
    ) -> Outcome:
        config, model, number = self.config, self.state.model, self.state.step
        if isinstance(batch, AnnotatedBatch):
            return learn_depth(model, batch, config.metric, self.bf16)
        common = (config.refinement, self._generator(_LOSS), self.bf16)
        if phase == "bootstrap":
            refines = config.bootstrap.refined > 0 and number % config.bootstrap.refined_every == 0
            refiner = self.refiner if refines and config.refinement.enabled else None
            return supervised(model, refiner, batch, seen, config.bootstrap, *common)
        refiner = self.refiner if phase == "refinement" else None
        return self_supervised(model, refiner, batch, seen, config.loss, *common)

    def _generator(self, stream: int) -> torch.Generator:
        seed = (self.config.optim.seed << 40) + (stream << 36) + self.state.step
        return torch.Generator().manual_seed(seed)

    def _watch_flow(self, phase: Phase, outcome: Outcome) -> None:
        """Warn of the collapse in which nothing moves and the auto-mask takes every pixel."""
        if phase in ("bootstrap", "metric") or len(self._flow_px) >= 50:
            return
        self._flow_px.append(outcome.terms["flow_px"])
        if len(self._flow_px) == 50 and max(self._flow_px) < SMALLEST_FLOW_PX:
            self.warn(
                f"the warp moves pixels by {max(self._flow_px):.3f} px only, so that images say "
                "nothing about depth; raise --model.pose.translation-scale or bring depth near"
            )


def phase_of(step: int, config: TrainConfig) -> Phase:
    """What is minimised in a step: true depth and poses, video, video with refinement, or the
    error of metric depth."""
    if config.metric.enabled:
        return "metric"
    if step < config.bootstrap.steps:
        return "bootstrap"
    refines = step >= config.bootstrap.steps + config.refinement.warmup
    return "refinement" if config.refinement.enabled and refines else "warmup"
