"""What a training goes on from: weights, their average, the optimizer, and how far it got."""

from __future__ import annotations

import copy
import io
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from vo.atomic import write_atomically
from vo.datasets.errors import InputError
from vo.datasets.pickled import demand_no_growth
from vo.model import Model
from vo.training.config import OptimConfig
from vo.training.shards import local, shared_as, whole, whole_model


@dataclass(slots=True, eq=False)
class State:
    """A training between two steps; the only thing that changes while it runs.

    Everything that is drawn follows from seed and step, so no generator is part of it. All
    processes of a training hold the same state, or each its shards of one; the file is the same
    whatever their number.

    Attributes:
        model: the networks in training.
        average: the networks with averaged weights, which are validated and kept.
        optimizer: with its moments.
        factors: of the learning rate, one for each of the optimizer's groups.
        step: number of the next step.
        faults: steps in a row that were skipped.
        best: smallest score of a validation so far.
        sharded: whether weights, average and moments are shared out among processes.
    """

    model: Model
    average: Model
    optimizer: torch.optim.Optimizer
    factors: tuple[float, ...]
    step: int = 0
    faults: int = 0
    best: float = field(default=float("inf"))
    sharded: bool = False

    @classmethod
    def begin(
        cls,
        model: Model,
        config: OptimConfig,
        shard: Callable[[Model], None] | None = None,
    ) -> State:
        """A training that starts from a model.

        Args:
            model: the networks.
            config: of the optimizer.
            shard: what shares out the model and the average that it is given, in place.
        """
        model.train().to(memory_format=torch.channels_last)
        average = copy.deepcopy(model).eval().requires_grad_(False)
        if shard is not None:
            shard(average)
        slower = {id(p): config.encoder_lr for p in model.depth_net.encoder.parameters()}
        slower |= {id(p): config.pose_lr for p in model.pose_net.parameters()}
        groups: dict[tuple[float, bool], list[nn.Parameter]] = {}
        # Matrices, whose weights decay, before vectors.
        for p in sorted(model.parameters(), key=lambda p: p.ndim <= 1):
            groups.setdefault((slower.get(id(p), 1.0), p.ndim > 1), []).append(p)
        decays = [config.weight_decay if decays else 0.0 for _, decays in groups]
        optimizer = torch.optim.AdamW(
            [
                {"params": params, "weight_decay": decay}
                for params, decay in zip(groups.values(), decays, strict=True)
            ],
            config.lr,
            fused=shard is None,  # a quarter of the time on a processor
        )
        factors = tuple(factor for factor, _ in groups)
        return cls(model, average, optimizer, factors, sharded=shard is not None)

    @torch.no_grad()
    def update_average(self, decay: float) -> None:
        """Average of the weights over the steps; sooner in the beginning, which is soon wrong."""
        decay = min(decay, (1 + self.step) / (10 + self.step))
        own: list[Tensor] = list(self.model.parameters())
        target: list[Tensor] = list(self.average.parameters())
        if self.sharded:
            own, target = [local(p) for p in own], [local(p) for p in target]
        torch._foreach_lerp_(target, own, 1 - decay)  # pyright: ignore[reportPrivateImportUsage]
        for buffer, value in zip(self.average.buffers(), self.model.buffers(), strict=True):
            if buffer.is_floating_point():
                buffer.lerp_(value, 1 - decay)
            else:
                buffer.copy_(value)

    def whole_average(self) -> Model:
        """The average as a model of its own right, or itself; all processes must call it."""
        return whole_model(self.average) if self.sharded else self.average

    def save(self, path: Path, writes: bool = True) -> None:
        """Write all of it in one step; all processes must call it, and one of them writes."""
        if not (writes or self.sharded):
            return
        model, average = self.model.state_dict(), self.average.state_dict()
        optimizer = self.optimizer.state_dict()
        if self.sharded:
            model, average = whole(model, writes), whole(average, writes)
            optimizer["state"] = {i: whole(s, writes) for i, s in optimizer["state"].items()}
        if not writes:
            return
        content = io.BytesIO()
        torch.save(
            {
                "model": model,
                "average": average,
                "optimizer": optimizer,
                "step": self.step,
                "faults": self.faults,
                "best": self.best,
            },
            content,
        )
        write_atomically(path, content.getvalue())

    def load(self, path: Path) -> None:
        """Go on from a file that `save` wrote for the same configuration.

        Raises:
            InputError: when it cannot be read or does not fit.
        """
        device = "cpu" if self.sharded else next(self.model.parameters()).device
        demand_no_growth(path, "leave --resume out to start anew")
        try:
            content = torch.load(path, map_location=device, weights_only=True)
            if self.sharded:
                self._share_out(content)
            self.model.load_state_dict(content["model"])
            self.average.load_state_dict(content["average"])
            self.optimizer.load_state_dict(content["optimizer"])
            self.step, self.faults = int(content["step"]), int(content["faults"])
            self.best = float(content["best"])
        except Exception as error:  # a damaged pickle comes as any error
            reason = " ".join(str(error).split())[:120] or type(error).__name__
            problem = f"is no state of this training ({reason})"
            raise InputError(path, problem, "start anew in another folder") from error

    def _share_out(self, content: dict[str, Any]) -> None:
        """Leave of whole tensors what this process holds; KeyError for one that it knows not."""
        for name, own in (("model", self.model), ("average", self.average)):
            known = own.state_dict()
            content[name] = {k: shared_as(v, known[k]) for k, v in content[name].items()}
        params = [p for group in self.optimizer.param_groups for p in group["params"]]
        for number, moments in content["optimizer"]["state"].items():
            for name, value in moments.items():
                if value.ndim:  # but for the number of steps
                    moments[name] = shared_as(value, params[number])


def restore_buffers(model: nn.Module, average: nn.Module) -> None:
    """Take over running statistics, which a step that was not finite may have spoilt."""
    for buffer, value in zip(model.buffers(), average.buffers(), strict=True):
        buffer.copy_(value)
