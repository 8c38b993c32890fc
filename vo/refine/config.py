"""All settings of the refinement."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from vo.refine.energy import Backend
from vo.refine.lookup import Derivative

Backward = Literal["unroll", "one_step", "implicit"]
Kernel = Literal["cauchy", "huber", "pseudo_huber", "none"]


@dataclass(frozen=True, slots=True)
class RefineConfig:
    """Everything that the refinement can be told.

    Attributes:
        iterations: at most so many on each level, coarse to fine.
        kernel: robust kernel of PyPose over the squared feature distance.
        kernel_scale: feature distance at which it begins to doubt a point.
        num_points: points drawn uniformly on each level; None takes all pixels.
        seed: of the drawing, which is the same for every item and every call.
        tolerance_px: an item is done when its next step moves pixels by less (root mean square).
        damping: initial lambda.
        derivative: of the source features; ``central`` has twice the basin of ``exact``.
        backend: ``compiled`` needs a C++ compiler and up to a minute at first; where no gradient
            is asked for, whole iterations are compiled.
        backward: how gradients pass: through the iterations, or, at the pose after each level, by
            one Gauss-Newton step or the implicit function theorem (exact where g = 0).
        detach_levels: gradients stay within a level, and depth has one from the finest alone.
        source_confidence: weigh points with the confidence of the source, too.
        min_depth: depths below it are no depths.
        min_valid: an item with a smaller share of valid points keeps its initial pose.
        gate_translation: farthest move from the initial pose, in median depths.
        gate_rotation_deg: largest turn from the initial pose.
        prior: whether a weak pull to the initial pose is added, for scenes with a motion left open.
        prior_translation: its standard deviation in median depths.
        prior_rotation_deg: and in degrees.
        newton_steps: after the last level, to bring g to 0 for ``implicit``.
    """

    iterations: tuple[int, ...] = (5, 5, 5)
    kernel: Kernel = "cauchy"
    kernel_scale: float = 1.0
    num_points: int | None = 2000
    seed: int = 0
    tolerance_px: float = 0.05
    damping: float = 1e-3
    derivative: Derivative = "central"
    backend: Backend = "eager"
    backward: Backward = "unroll"
    detach_levels: bool = True
    source_confidence: bool = True
    min_depth: float = 0.0
    min_valid: float = 0.05
    gate_translation: float = 0.5
    gate_rotation_deg: float = 15.0
    prior: bool = True
    prior_translation: float = 0.05
    prior_rotation_deg: float = 2.0
    newton_steps: int = 4
