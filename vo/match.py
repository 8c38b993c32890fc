"""Whether two frames match where the refinement has put them, and why not.

The refinement finds the best pose for whatever it is given. Frames of different places have one,
too, at which they are no more alike than chance has it.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vo.refine import Reason, Refinement

UNRELATED = 0.8  # of the cost of unrelated features: an alignment that is no better is none


def matches(result: Refinement, target: Tensor, source: Tensor, kernel: nn.Module | None) -> Tensor:
    """(B,) bool: which poses were refined, and leave less cost than unrelated features have.

    Args:
        result: of B pairs, of the same two frames.
        target: (1, C, H, W) features of one of them, on the finest level.
        source: the same of the other one.
        kernel: of the refinement.
    """
    return result.success & (result.energy < UNRELATED * _unrelated(target, source, kernel))


def why_not(result: Refinement) -> str:
    """One phrase for a pair that does not match."""
    reason = Reason(int(result.reason.max()))
    return {
        Reason.REFINED: "frames do not match",
        Reason.TOO_FEW_POINTS: "too little overlap",
        Reason.NO_TEXTURE: "no texture",
        Reason.NOT_FINITE: "not finite",
        Reason.MOVED_TOO_FAR: "moved too far",
    }[reason]


def _unrelated(target: Tensor, source: Tensor, kernel: nn.Module | None) -> Tensor:
    """() robust cost of features that have nothing to do with each other.

    Shifted along the horizon only: sky above and road below is what all drives have in common,
    and what makes another drive fit better than chance.
    """
    W = target.shape[-1]
    costs = []
    for shift in (W // 4, W // 2, W - W // 4):
        apart = (target - source.roll(shift, 3)).square().sum(1)
        costs.append((apart if kernel is None else kernel(apart)).mean())
    return torch.stack(costs).min().double()
