"""Levenberg-Marquardt on SE(3) for a batch of poses: damping, update, acceptance."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, Protocol

import pypose as pp
import torch
from torch import Tensor, nn

from vo.refine.energy import (
    Backend,
    FeaturePair,
    Law,
    NormalEquations,
    compiled,
    evaluate,
    normal_equations,
    robust_law,
)
from vo.refine.motion import as_SE3, exponential, exponential_in_closed_form, vee


class Energy(Protocol):
    """Normal equations at T (B, 4, 4), with a prior where there is one."""

    def __call__(  # noqa: D102
        self, T: Tensor, pair: FeaturePair, prior: Prior | None = None, /
    ) -> NormalEquations: ...


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


class Adaptive(pp.optim.strategy.Adaptive):
    """PyPose's adaptive damping with a lambda for each item of the batch.

    lambda shrinks after a very successful step and grows after an unsuccessful one, judged by the
    ratio of actual to predicted gain.
    """

    def __init__(self, damping: float = 1e-3, up: float = 10.0, down: float = 0.1) -> None:
        super().__init__(damping=damping, up=up, down=down, min=1e-9, max=1e9)

    def update(
        self, pg: dict[str, Any], last: Tensor, loss: Tensor, J: Tensor, D: Tensor, R: Tensor,
        *args: Any, **kwargs: Any,
    ) -> None:  # fmt: skip
        """Set ``pg['damping']`` (B,) from the energies (B,) and the step D (B, 6, 1)."""
        with torch.no_grad():
            JD = J @ D
            predicted = -(JD.mT @ (2 * R + JD)).flatten()
        pg["damping"] = self.damped(pg, last - loss, predicted)

    def damped(self, pg: dict[str, Any], gain: Tensor, predicted: Tensor) -> Tensor:
        """The next lambda (B,), see `damped`."""
        return damped(pg["damping"], gain, predicted, pg, (self.min, self.max))


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

    def added_to(self, equations: NormalEquations, T: Tensor) -> NormalEquations:
        """The equations at T (B, 4, 4) with the pull, whose Jacobian is taken as the identity."""
        R = T[:, :3, :3] @ self.T_0[:, :3, :3].mT
        shift = T[:, :3, 3] - (R @ self.T_0[:, :3, 3:])[..., 0]
        error = torch.cat([shift, vee(R)], -1)
        pull = self.precision * error
        return replace(
            equations,
            hessian=equations.hessian.double() + torch.diag_embed(self.precision),
            gradient=equations.gradient.double() + pull,
            prior=(pull * error).sum(-1),
        )


class PoseModel(nn.Module):
    """A pose to be optimized and the energy around it, as PyPose's optimizers want their model.

    Args:
        pose: (B,) SE3, copied: PyPose would step on the caller's tensor.
        kernel: robust kernel of PyPose, see `vo.refine.energy.robust`.
        backend: of the normal equations.
    """

    def __init__(
        self, pose: pp.LieTensor, kernel: nn.Module | None = None, backend: Backend = "eager"
    ) -> None:
        super().__init__()
        self.pose = pp.Parameter(pose.detach().clone())
        self.kernel, self.backend, self.law = kernel, backend, robust_law(kernel)

    def forward(
        self, pair: FeaturePair, pose: pp.LieTensor | None = None, prior: Prior | None = None
    ) -> NormalEquations:
        """Normal equations at ``pose``, or at the parameter."""
        pose = self.pose if pose is None else pose
        return self.at(pose.matrix(), pair, prior)

    def at(self, T: Tensor, pair: FeaturePair, prior: Prior | None = None) -> NormalEquations:
        """Normal equations at a pose given as a matrix (B, 4, 4)."""
        equations = normal_equations(pair, T, self.kernel, self.backend)
        return equations if prior is None else prior.added_to(equations, T)


class FeatureMetricLM(pp.optim.LevenbergMarquardt):
    """PyPose's Levenberg-Marquardt with an analytic 6x6 system for each item of the batch.

    PyPose's own `step` takes the Jacobian of all residuals by all parameters with autograd, which
    is quadratic in their number, and has one damping and one decision for the whole batch. Solvers,
    kernels, strategies and schedulers of PyPose work as they do there; its strategies, which
    compare scalars, only for a batch of one.

    Args:
        model: holds the pose, the kernel and the prior.
        solver: of PyPose; Cholesky when None.
        strategy: of damping; `Adaptive` when None.
        tolerance_px: items whose step moves pixels by less are done.
        min_valid: items with a smaller share of valid points are not touched.
    """

    def __init__(
        self,
        model: PoseModel,
        solver: nn.Module | None = None,
        strategy: Any = None,
        tolerance_px: float = 0.0,
        min_valid: float = 0.0,
    ) -> None:
        super().__init__(model, solver=solver, strategy=strategy or Adaptive())
        self.pose_model, self.tolerance_px, self.min_valid = model, tolerance_px, min_valid
        self._pair: FeaturePair | None = None
        self._state: State | None = None

    @torch.no_grad()
    def step(self, input: FeaturePair, target: None = None, weight: None = None) -> Tensor:
        """One iteration in place on the model's pose; returns the energy of the batch."""
        if target is not None or weight is not None:
            raise ValueError("targets and weights belong into the FeaturePair")
        if self._state is None or self._pair is not input:  # other data: other energies
            self._pair, self._state = input, self.begin(input)
            self.loss = self._state.equations.energy.sum()
        self._state = self.iterate(input, self._state)
        self.pose_model.pose.copy_(as_SE3(self._state.T))
        self.last, self.loss = self.loss, self._state.equations.energy.sum()
        return self.loss

    def begin(
        self,
        pair: FeaturePair,
        T: Tensor | None = None,
        damping: Tensor | None = None,
        prior: Prior | None = None,
    ) -> State:
        """State before the first iteration, from T (B, 4, 4) or the model's pose."""
        T = self.pose_model.pose.matrix() if T is None else T
        if damping is None:
            damping = T.new_full((len(T),), self.param_groups[0]["damping"], dtype=torch.float64)
        if self._fuses():
            return _fused()[0](pair, T, damping, prior, self.pose_model.law, self.min_valid)
        return first_state(pair, T, damping, prior, self.pose_model.at, self.min_valid)

    def iterate(self, pair: FeaturePair, state: State) -> State:
        """One iteration as a function: gradients pass through it where they are enabled."""
        if self._fuses():
            rates = {key: self.param_groups[0][key] for key in ("high", "low", "up", "down")}
            limits = self.strategy.min, self.strategy.max
            return _fused()[1](pair, state, self.pose_model.law, rates, limits, self.tolerance_px)
        return next_state(
            pair, state, self.pose_model.at, exponential, self.solver, self._damp, self.tolerance_px
        )

    def _fuses(self) -> bool:
        """Whether whole iterations are compiled: PyPose's own parts and long graphs are not."""
        return (
            self.pose_model.backend == "compiled"
            and not torch.is_grad_enabled()
            and type(self.solver) is pp.optim.solver.Cholesky
            and type(self.strategy) is Adaptive
        )

    def _damp(self, state: State, xi: Tensor, last: Tensor, loss: Tensor) -> Tensor:
        """The strategy's next lambda.

        Ours needs the predicted gain -xi^T (2 g + H xi) only. PyPose's get, with H = L L^T,
        J = L^T and R = L^-1 g, which stand for all residuals: J^T J = H and J^T R = g.
        """
        group = {**self.param_groups[0], "damping": state.damping}
        if isinstance(self.strategy, Adaptive):
            return self.strategy.damped(group, last - loss, predicted_gain(state, xi))
        with torch.no_grad():
            H, g = state.equations.hessian.double(), state.equations.gradient.double()
            L, info = torch.linalg.cholesky_ex(torch.nan_to_num(H))
            L = torch.where(
                (info == 0)[:, None, None], L, torch.eye(6, dtype=L.dtype, device=L.device)
            )
            R = torch.linalg.solve_triangular(L, g[..., None], upper=False)
        self.strategy.update(group, last, loss, L.mT, xi.detach()[..., None], R)
        damping = group["damping"]
        return damping if isinstance(damping, Tensor) else torch.full_like(state.damping, damping)


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
    exponential: Callable[[Tensor], Tensor],
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


def predicted_gain(state: State, xi: Tensor) -> Tensor:
    """By how much the quadratic model falls with a step, -xi^T (2 g + H xi), (B,)."""
    with torch.no_grad():
        H, g = state.equations.hessian.double(), state.equations.gradient.double()
        return -(xi * (2 * g + (H @ xi[..., None])[..., 0])).sum(-1)


@cache
def _fused() -> tuple[Callable[..., State], Callable[..., State]]:
    """`first_state` and `next_state` as one graph each, with a closed form of the exponential, as
    PyPose's Lie tensors cannot be compiled."""

    def energy(law: Law) -> Energy:
        def at(T: Tensor, pair: FeaturePair, prior: Prior | None = None) -> NormalEquations:
            equations = evaluate(pair, T.to(pair.points), law)
            return equations if prior is None else prior.added_to(equations, T)

        return at

    def first(
        pair: FeaturePair, T: Tensor, damping: Tensor, prior: Prior | None, law: Law, valid: float
    ) -> State:
        return first_state(pair, T, damping, prior, energy(law), valid)

    def next_(
        pair: FeaturePair, state: State, law: Law, rates: dict[str, float],
        limits: tuple[float, float], tolerance_px: float,
    ) -> State:  # fmt: skip
        def damp(state: State, xi: Tensor, last: Tensor, loss: Tensor) -> Tensor:
            gain = predicted_gain(state, xi)
            return damped(state.damping, last - loss, gain, rates, limits)

        exp = exponential_in_closed_form
        return next_state(pair, state, energy(law), exp, cholesky_solution, damp, tolerance_px)

    return compiled(first), compiled(next_)


def cholesky_solution(A: Tensor, b: Tensor) -> Tensor:
    """What PyPose's Cholesky returns, without a look at the values."""
    return torch.cholesky_solve(b, torch.linalg.cholesky_ex(A).L)


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
