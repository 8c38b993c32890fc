"""What a training goes on from: weights, their average, the optimizer, and how far it got."""

from __future__ import annotations

import copy
import io
import pickle
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import nn

from vo.atomic import write_atomically
from vo.datasets.errors import InputError
from vo.model import Model
from vo.training.config import OptimConfig


@dataclass(slots=True, eq=False)
class State:
    """A training between two steps; the only thing that changes while it runs.

    Everything that is drawn follows from seed and step, so no generator is part of it.

    Attributes:
        model: the networks in training.
        average: the networks with averaged weights, which are validated and kept.
        optimizer: with its moments.
        factors: of the learning rate, one for each of the optimizer's groups.
        step: number of the next step.
        faults: steps in a row that were skipped.
        best: smallest score of a validation so far.
    """

    model: Model
    average: Model
    optimizer: torch.optim.Optimizer
    factors: tuple[float, ...]
    step: int = 0
    faults: int = 0
    best: float = field(default=float("inf"))

    @classmethod
    def begin(cls, model: Model, config: OptimConfig) -> State:
        """A training that starts from a model."""
        model.train().to(memory_format=torch.channels_last)
        average = copy.deepcopy(model).eval().requires_grad_(False)
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
        )
        return cls(model, average, optimizer, tuple(factor for factor, _ in groups))

    @torch.no_grad()
    def update_average(self, decay: float) -> None:
        """Average of the weights over the steps; sooner in the beginning, which is soon wrong."""
        decay = min(decay, (1 + self.step) / (10 + self.step))
        own, target = list(self.model.parameters()), list(self.average.parameters())
        torch._foreach_lerp_(target, own, 1 - decay)
        for buffer, value in zip(self.average.buffers(), self.model.buffers(), strict=True):
            if buffer.is_floating_point():
                buffer.lerp_(value, 1 - decay)
            else:
                buffer.copy_(value)

    def save(self, path: Path) -> None:
        """Write all of it in one step."""
        content = io.BytesIO()
        torch.save(
            {
                "model": self.model.state_dict(),
                "average": self.average.state_dict(),
                "optimizer": self.optimizer.state_dict(),
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
        device = next(self.model.parameters()).device
        try:
            content = torch.load(path, map_location=device, weights_only=True)
            self.model.load_state_dict(content["model"])
            self.average.load_state_dict(content["average"])
            self.optimizer.load_state_dict(content["optimizer"])
            self.step, self.faults = int(content["step"]), int(content["faults"])
            self.best = float(content["best"])
        except FileNotFoundError:
            raise InputError(path, "no such file", "leave --resume out to start anew") from None
        except (pickle.UnpicklingError, RuntimeError, KeyError, ValueError, EOFError) as error:
            problem = f"is no state of this training ({str(error).splitlines()[0][:120]})"
            raise InputError(path, problem, "start anew in another folder") from error


def restore_buffers(model: nn.Module, average: nn.Module) -> None:
    """Take over running statistics, which a step that was not finite may have spoilt."""
    for buffer, value in zip(model.buffers(), average.buffers(), strict=True):
        buffer.copy_(value)
