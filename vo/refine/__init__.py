"""Feature-metric pose refinement: Levenberg-Marquardt on SE(3), batched and differentiable.

Given the depth of a target frame, features of target and source, and a first guess of the pose
T_s_t, find the pose at which the features agree. In the order of an iteration:

    residual, Jacobian, normal equations H, g            `energy`, eq. 1 and 2, `lookup`
    damping     (H + lambda diag H) xi = -g              `iteration.damped_step`, eq. 3
    update      T <- Exp(xi) T                           `iteration.next_state`, eq. 4, `motion`
    acceptance  E(Exp(xi) T) < E(T), and a new lambda    `iteration.accepts`, eq. 5

from the coarsest level of the feature pyramid to the finest (`refiner.PoseRefiner`), at points that
`points` takes from the target. Each item of a batch has its own damping, acceptance and end, so
that none is disturbed by another. Gradients pass through the iterations, or by `gradients`.
"""

from vo.refine.config import RefineConfig
from vo.refine.energy import FeaturePair, NormalEquations, normal_equations
from vo.refine.iteration import Prior
from vo.refine.optimizer import Adaptive, FeatureMetricLM, PoseModel
from vo.refine.points import feature_pair
from vo.refine.refiner import PoseRefiner, Reason, Refinement

__all__ = [
    "Adaptive",
    "FeatureMetricLM",
    "FeaturePair",
    "NormalEquations",
    "PoseModel",
    "PoseRefiner",
    "Prior",
    "Reason",
    "RefineConfig",
    "Refinement",
    "feature_pair",
    "normal_equations",
]
