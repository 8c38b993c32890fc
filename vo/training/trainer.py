"""The loop: steps in phases, weights averaged, states saved, faults survived."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch

from vo.datasets.annotated_batches import AnnotatedBatch
from vo.datasets.augmentation import augment
from vo.datasets.batches import Batches
from vo.datasets.draws import Part, Source
from vo.datasets.errors import InputError
from vo.datasets.triplets import TripletBatch
from vo.model import Model
from vo.precision import use_bf16
from vo.ranks import ALONE, Ranks
from vo.training.config import TrainConfig
from vo.training.distributed import (
    average_statistics,
    freeze_statistics,
    known_pixels,
    mean_over,
    parallel,
    part_of,
    parts_of,
    seed_of,
    unsynchronised,
    with_batch_norm,
)
from vo.training.objective import Outcome
from vo.training.schedule import Phase, momentum, phase_of, rate
from vo.training.shards import shard, whole
from vo.training.state import State, restore_buffers
from vo.training.step_loss import StepLoss
from vo.training.supervision import FARTHEST
from vo.training.validation import Validation

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
        loss: mean over the batch; NaN where the step was skipped.
        terms: parts of the loss and other numbers, means over the parts of the batch.
        gradient: norm of the gradient before clipping.
        images_per_s: target frames a second, loading included.
        batch: the samples that this process took.
        seen: (B, 3, 3, H, W) images as the networks saw them; (B, 1, 3, H, W) without sources.
        outcome: depth, error, confidence of its first part; None where the step was skipped.
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

    On several processes each one has a trainer, and all take the same steps: where one calls, all
    must call. A training goes on with any number of them.

    Args:
        config: all settings.
        samples: training samples; those with true depth alone where that is to be learned.
        folder: for the state; must exist.
        device: to compute on.
        model: to start from; a new one by default.
        validate: averaged weights to score and numbers (`vo.training.validation.validate`, or
            `vo.training.metric.validate_depth`); None goes without. The same on all processes.
        warn: told of what a user should know.
        ranks: which process this is.

    Raises:
        InputError: when the batch cannot be shared out evenly, or the device lacks something.
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
        ranks: Ranks = ALONE,
    ) -> None:
        optim = config.optim
        self.config, self.samples, self.folder, self.device = config, samples, folder, device
        self.validate, self.warn, self.ranks = validate, warn, ranks
        self.parts = parts_of(config.data.batch, optim.accumulate, ranks)
        torch.manual_seed(optim.seed)
        model = ranks.writer_first(lambda: model or Model(config.model)).to(device)
        model = with_batch_norm(model, optim.batch_norm, ranks, device)
        loss = StepLoss(model, config, use_bf16(optim.precision, device))
        shards = optim.shard and ranks.size > 1
        self.state = State.begin(
            model, optim, partial(shard, loss, ranks=ranks) if shards else None
        )
        self.loss = loss if shards else parallel(loss, ranks)
        if optim.batch_norm == "frozen":
            freeze_statistics(model)
        self._flow_px: list[float] = []

    def resume(self) -> None:
        """Go on from the saved state; InputError when there is none that fits."""
        self.state.load(self.folder / STATE_FILE)

    def save(self) -> None:
        """Save the state."""
        self.state.save(self.folder / STATE_FILE, self.ranks.is_writer)

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
        rows = slice(self.parts[0].start, self.parts[-1].stop)
        for batch in self.samples.stream(state.step, config.optim.steps, rows=rows):
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
        torch.manual_seed(seed_of(config.seed, number, self.ranks))
        seen = self._seen(batch)
        state.optimizer.zero_grad(set_to_none=True)
        numbers, outcome = self._backward(phase, batch, seen)
        for group, factor in zip(state.optimizer.param_groups, state.factors, strict=True):
            group["lr"] = lr * factor
            group["betas"] = (momentum(number, self.config), group["betas"][1])
        gradient = self._clipped()
        loss = numbers.pop("loss")
        fine = math.isfinite(loss) and math.isfinite(gradient)
        if fine:
            state.optimizer.step()
            average_statistics(state.model, self.ranks)
            state.update_average(config.ema)
            state.faults = 0
            self._watch_flow(phase, numbers)
        else:
            restore_buffers(state.model, state.average)
            state.faults += 1
            names = ", ".join(sum(self.ranks.gather(batch.names), ()))
            self.warn(f"step {number}: the loss is not finite; skipped {names}")
        speed = self.config.data.batch / (time.perf_counter() - before)
        return Step(
            number, phase, lr, loss if fine else math.nan, numbers, gradient, speed, batch,
            seen, outcome if fine else None,
        )  # fmt: skip

    def _backward(
        self, phase: Phase, batch: TripletBatch | AnnotatedBatch, seen: torch.Tensor
    ) -> tuple[dict[str, float], Outcome]:
        """Gradients of the whole batch, its loss and terms, and what came of the first part here.

        The batch of this process is taken in parts; all parts of all processes weigh the same.
        """
        count, pixels = len(self.parts), None
        if phase == "bootstrap" and isinstance(batch, TripletBatch):
            pixels = known_pixels(batch, FARTHEST, count, self.ranks)
        size = len(batch.names) // count
        found: list[dict[str, float]] = []
        first: Outcome | None = None
        for i, rows in enumerate(self.parts):
            here = slice(i * size, (i + 1) * size)
            with nullcontext() if i == count - 1 else unsynchronised(self.loss):
                loss, outcome = self.loss(
                    self.state.step, part_of(batch, here), seen[here],
                    self._source(_LOSS, rows), pixels,
                )  # fmt: skip
                (loss / count).backward()
            found.append({"loss": outcome.loss.item()} | outcome.terms)
            first = first or outcome
        assert first is not None
        return mean_over(found, self.ranks, self.device), first

    def _clipped(self) -> float:
        """Norm of the gradient, which is then no longer than the settings say."""
        parameters = self.state.model.parameters()
        norm = torch.nn.utils.clip_grad_norm_(parameters, self.config.optim.clip)
        return whole({"norm": norm}, True)["norm"].item() if self.state.sharded else norm.item()

    def _validated(self) -> Validation:
        assert self.validate is not None
        state = self.state
        score, numbers = self.validate(state.whole_average())
        is_best = score < state.best
        state.best = min(score, state.best)
        return Validation(state.step, score, numbers, is_best)

    def _seen(self, batch: TripletBatch | AnnotatedBatch) -> torch.Tensor:
        """(B, N, 3, H, W) images as the networks see them."""
        if isinstance(batch, AnnotatedBatch):  # already changed, together with the depth
            return batch.images[:, None]
        rows = slice(self.parts[0].start, self.parts[-1].stop)
        return augment(batch.images, self.config.data.augment, self._source(_AUGMENT, rows))

    def _source(self, stream: int, rows: slice) -> Source:
        """Where the random numbers of some rows of this step's batch come from."""
        seed = (self.config.optim.seed << 40) + (stream << 36) + self.state.step
        generator = torch.Generator().manual_seed(seed)
        batch = self.config.data.batch
        return generator if rows == slice(0, batch) else Part(generator, rows, batch)

    def _watch_flow(self, phase: Phase, terms: dict[str, float]) -> None:
        """Warn of the collapse in which nothing moves and the auto-mask takes every pixel."""
        if phase in ("bootstrap", "metric") or len(self._flow_px) >= 50:
            return
        self._flow_px.append(terms["flow_px"])
        if len(self._flow_px) == 50 and max(self._flow_px) < SMALLEST_FLOW_PX:
            self.warn(
                f"the warp moves pixels by {max(self._flow_px):.3f} px only, so that images say "
                "nothing about depth; raise --model.pose.translation-scale or bring depth near"
            )
