"""What a training step takes of the processor, and where its time goes."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

from torch import nn

from vo.refine import PoseRefiner
from vo.tools.benchmarks.measure import Call, Timing
from vo.training.trainer import Trainer

DATA, LOSSES, BACKWARD, REST = "data", "losses", "backward", "optimizer and average"


class ProcessorClock:
    """A function that counts what all threads of this process spend in each call of it.

    Other processes do not count, but for the cache and memory that they take away.

    Args:
        call: the function, without arguments.
    """

    def __init__(self, call: Call) -> None:
        self.call, self.spent_ms = call, list[float]()

    def __call__(self) -> None:
        """Call it."""
        begin = time.process_time()
        self.call()
        self.spent_ms.append(1e3 * (time.process_time() - begin))

    def timing(self, rounds: int) -> Timing:
        """Of the last so many calls."""
        return Timing(tuple(self.spent_ms[-rounds:]))


class StageClock:
    """Times the stages of a trainer's steps by hooks; what it calls, it leaves as it is.

    ``data`` is waiting for the batch and its augmentation, ``losses`` all of the objective beside
    networks and refinement, ``backward`` the gradient with its clipping.

    Args:
        trainer: which is not running yet.
    """

    def __init__(self, trainer: Trainer) -> None:
        self.trainer = trainer
        self._spent: dict[str, float] = {}
        self._last = 0.0
        model, optimizer = trainer.state.model, trainer.state.optimizer
        self._watch(model.depth_net, "depth network")
        self._watch(model.pose_net, "pose network")
        self._watch(model.feature_net, "feature network")
        for module in trainer.loss.modules():
            if isinstance(module, PoseRefiner):
                self._watch(module, "refinement")
        trainer.loss.register_forward_pre_hook(lambda *_: self._lap(DATA))
        trainer.loss.register_forward_hook(lambda *_: self._lap(LOSSES))
        optimizer.register_step_pre_hook(lambda *_: self._lap(BACKWARD))

    def medians_ms(self, steps: int) -> dict[str, float]:
        """Median ms of each stage over so many steps, after one that does not count."""
        found: list[dict[str, float]] = []
        run: Any = self.trainer.run()  # a generator, whose end puts things in order
        for _ in range(steps + 1):
            self._spent, self._last = {}, time.perf_counter()
            next(run)
            self._lap(REST)
            found.append(self._spent)
        run.close()
        names = found[0]
        return {name: 1e3 * statistics.median(spent[name] for spent in found[1:]) for name in names}

    def _lap(self, stage: str) -> None:
        """What went by since the last lap belongs to a stage."""
        now = time.perf_counter()
        self._spent[stage] = self._spent.get(stage, 0.0) + now - self._last
        self._last = now

    def _watch(self, module: nn.Module, stage: str) -> None:
        """Time of a module inside the objective; what goes by between two of them are losses."""
        before: Callable[..., None] = lambda *_: self._lap(LOSSES)  # noqa: E731
        module.register_forward_pre_hook(before)
        module.register_forward_hook(lambda *_: self._lap(stage))
