"""One iteration of Levenberg and Marquardt for a batch of poses: step, acceptance, damping.

(H + lambda diag H) xi = -g                                                              (3)
T <- Exp(xi) T                                                                           (4)
accepted where E, over the points that both poses see, falls                             (5)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor

from vo.refine.energy import FeaturePair, NormalEquations
from vo.refine.motion import exponential, vee


@dataclass(frozen=True, slots=True, eq=False)
class State:
    """Where B items stand between two iterations.

    Attributes:
        T: (B, 4, 4) float64, the pose.
        equations: the energy around it.
        damping: (B,) float64 lambda.
        active: (B,) bool, False where an item is done or cannot be solved.
        iterations: (B,) int64 so far.
        prior: pull to the initial pose, scaled to this level.
    """

    T: Tensor
    equations: NormalEquations
    damping: Tensor
    active: Tensor
    iterations: Tensor
    prior: Prior | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Prior:
    """A weak pull to a pose, E_0 = s^2 e^T L e with e = (t - R R_0^T t_0, vee(R R_0^T)).

    e is Log(T T_0^-1) but for terms of second order, by far less work; vee(R) is the vector of
    (R - R^T) / 2.

    s^2 is the mean cost of the points where the level begins, so that features may have any unit.

    Attributes:
        T_0: (B, 4, 4) float64.
        precision: (B, 6) diagonal of L, 1 / sigma^2 in scene units and radians.
    """

    T_0: Tensor
    precision: Tensor

    def scaled_to(self, equations: NormalEquations) -> Prior:
        """The prior with s^2 of these points in its precision."""
        mean = equations.energy / equations.weight.sum(1).clamp(min=1e-12)
        return Prior(self.T_0, self.precision * mean[:, None].double())

    def pull(self, T: Tensor) -> tuple[Tensor, Tensor]:
        """s^2 L e, which is added to the gradient at T (B, 4, 4), and e, (B, 6) each."""
        R = T[:, :3, :3] @ self.T_0[:, :3, :3].mT
        shift = T[:, :3, 3] - (R @ self.T_0[:, :3, 3:])[..., 0]
        error = torch.cat([shift, vee(R)], -1)
        return self.precision * error, error

    def added_to(self, equations: NormalEquations, T: Tensor) -> NormalEquations:
        """The equations at T (B, 4, 4) with the pull, whose Jacobian is taken as the identity."""
        pull, error = self.pull(T)
        return replace(
            equations,
            hessian=equations.hessian.double() + torch.diag_embed(self.precision),
            gradient=equations.gradient.double() + pull,
            prior=(pull * error).sum(-1),
        )


class Energy(Protocol):
    """Normal equations at T (B, 4, 4), with a prior where there is one."""

    def __call__(  # noqa: D102
        self, T: Tensor, pair: FeaturePair, prior: Prior | None = None, /
    ) -> NormalEquations: ...


def first_state(
    pair: FeaturePair,
    T: Tensor,
    damping: Tensor,
    prior: Prior | None,
    energy: Energy,
    min_valid: float,
) -> State:
    """The energy around the pose that a level begins with, and which items can be refined."""
    equations = energy(T, pair)
    enough = (equations.weight > 0).double().mean(1) >= min_valid
    active = enough & torch.isfinite(equations.energy) & has_texture(equations, pair)
    if prior is not None:
        prior = prior.scaled_to(equations)
        equations = prior.added_to(equations, T)
    return State(T, equations, damping, active, torch.zeros_like(active, dtype=torch.int64), prior)


def next_state(
    pair: FeaturePair,
    state: State,
    energy: Energy,
    solver: Callable[[Tensor, Tensor], Tensor],
    damp: Callable[[State, Tensor, Tensor, Tensor], Tensor],
    tolerance_px: float,
) -> State:
    """One iteration of Levenberg and Marquardt, for each item by itself."""
    xi, solvable = damped_step(state.equations, state.damping, solver)
    active = state.active & solvable
    xi = torch.where(active[:, None], xi, 0)
    proposed = exponential(xi) @ state.T  # eq. 4
    after = energy(proposed, pair, state.prior)
    accepted, last, loss = accepts(state.equations, after)
    accepted = accepted & active
    with torch.no_grad():
        squared_px = xi[:, None] @ state.equations.motion.double() @ xi[..., None]
        moves = squared_px.flatten() > tolerance_px**2
    return State(
        T=torch.where(accepted[:, None, None], proposed, state.T),
        equations=_choose_equations(accepted, after, state.equations),
        damping=torch.where(active, damp(state, xi, last, loss), state.damping),
        active=active & moves,
        iterations=state.iterations + active,
        prior=state.prior,
    )


def damped_step(
    equations: NormalEquations,
    damping: Tensor,
    solver: Callable[[Tensor, Tensor], Tensor],
    smallest: float = 1e-9,
) -> tuple[Tensor, Tensor]:
    """Solve (H + lambda diag H) xi = -g, eq. 3, for each item (Marquardt 1963).

    Returns:
        xi: (B, 6) float64, 0 where it cannot be solved.
        solvable: (B,) bool.
    """
    H, g = equations.hessian.double(), equations.gradient.double()
    identity = torch.eye(6, dtype=H.dtype, device=H.device)
    diagonal = H.diagonal(dim1=-2, dim2=-1)
    # No motion's entry may vanish beside the others of its kind; relative, because features and
    # lengths have any unit.
    largest = diagonal.detach().unflatten(-1, (2, 3)).amax(-1, keepdim=True)
    floor = smallest * largest.expand(-1, 2, 3).flatten(1)
    A = H + torch.diag_embed((damping[:, None] + 1) * diagonal.maximum(floor) - diagonal)
    solvable = torch.isfinite(A).all(-1).all(-1) & torch.isfinite(g).all(-1) & (floor > 0).all(-1)
    A = torch.where(solvable[:, None, None], A, identity)
    with torch.no_grad():  # PyPose's Cholesky does not say that a matrix is not positive definite
        solvable = solvable & (torch.linalg.cholesky_ex(A).info == 0)
    A = torch.where(solvable[:, None, None], A, identity)
    b = torch.where(solvable[:, None], -g, 0)
    return solver(A, b[..., None]).squeeze(-1), solvable


def accepts(before: NormalEquations, after: NormalEquations) -> tuple[Tensor, Tensor, Tensor]:
    """Whether a step lowers the energy, eq. 5, over the points that are seen before and after it.

    Were all points counted, leaving the picture would be the best step of all.

    Returns:
        accepted: (B,) bool.
        last: (B,) float64 energy of the common points before the step.
        loss: (B,) the same after it.
    """
    common = (before.weight > 0) & (after.weight > 0)
    weight = torch.where(common, before.weight, 0).detach()
    last, loss = (
        (weight * e.cost.detach()).sum(1, dtype=torch.float64) + e.prior.detach()
        for e in (before, after)
    )
    enough = common.sum(1) >= 0.5 * (before.weight > 0).sum(1)
    return enough & (loss < last), last, loss


def predicted_gain(state: State, xi: Tensor) -> Tensor:
    """By how much the quadratic model falls with a step, -xi^T (2 g + H xi), (B,)."""
    with torch.no_grad():
        H, g = state.equations.hessian.double(), state.equations.gradient.double()
        return -(xi * (2 * g + (H @ xi[..., None])[..., 0])).sum(-1)


def damped(
    damping: Tensor,
    gain: Tensor,
    predicted: Tensor,
    rates: dict[str, float],
    limits: tuple[float, float],
) -> Tensor:
    """The next lambda (B,) from the gain of a step and the gain that was predicted.

    Gradients pass from lambda to lambda; the factor between them is a constant.
    """
    with torch.no_grad():
        quality = gain / predicted
        factor = torch.where(quality > rates["high"], rates["down"], 1.0)
        factor = torch.where(quality > rates["low"], factor, rates["up"])
    return (damping * factor).clamp(*limits)


def has_texture(equations: NormalEquations, pair: FeaturePair) -> Tensor:
    """Whether the features change with the pose by more than rounding errors, (B,) bool."""
    with torch.no_grad():
        change = equations.hessian.diagonal(dim1=1, dim2=2).sum(1)
        motion = equations.motion.diagonal(dim1=1, dim2=2).sum(1)
        size = (equations.weight * pair.target.square().sum(-1)).sum(1)
        return change > 1e-11 * size * motion


def _choose_equations(mask: Tensor, a: NormalEquations, b: NormalEquations) -> NormalEquations:
    def pick(name: str) -> Tensor:
        x, y = getattr(a, name), getattr(b, name)
        return torch.where(mask.view(-1, *[1] * (x.ndim - 1)), x, y)

    if not torch.compiler.is_compiling() and mask.all():
        return a
    return NormalEquations(*map(pick, NormalEquations.__dataclass_fields__))
