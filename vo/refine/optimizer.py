"""`FeatureMetricLM`: the iteration as an optimizer of PyPose, with its solvers and strategies."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

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
    gradient,
    normal_equations,
    robust_law,
)
from vo.refine.iteration import (
    Energy,
    Prior,
    State,
    damped,
    first_state,
    next_state,
    predicted_gain,
)
from vo.refine.motion import as_SE3


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
        self.pose: pp.LieTensor = pp.Parameter(pose.detach().clone())  # pyright: ignore[reportAttributeAccessIssue]
        self.backend: Backend = backend
        self.kernel, self.law = kernel, robust_law(kernel)

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

    def gradient(self, pair: FeaturePair, pose: pp.LieTensor, prior: Prior | None = None) -> Tensor:
        """g (B, 6) float64 of the normal equations at ``pose``."""
        T = pose.matrix()
        g = gradient(pair, T, self.kernel, self.backend).double()
        return g if prior is None else g + prior.pull(T)[0]


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
    def step(self, input: FeaturePair, target: None = None, weight: None = None) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
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
            pair, state, self.pose_model.at, self.solver, self._damp, self.tolerance_px
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


@cache
def _fused() -> tuple[Callable[..., State], Callable[..., State]]:
    """`first_state` and `next_state` as one graph each."""

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

        return next_state(pair, state, energy(law), cholesky_solution, damp, tolerance_px)

    return compiled(first), compiled(next_)


def cholesky_solution(A: Tensor, b: Tensor) -> Tensor:
    """What PyPose's Cholesky returns, without a look at the values."""
    return torch.cholesky_solve(b, torch.linalg.cholesky_ex(A).L)
