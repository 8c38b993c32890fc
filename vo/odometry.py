"""The odometry: a frame in, a pose out, always.

For each new frame, with depth and features of the last one kept:

    see       depth and features of the frame                     networks, once a frame
    _track    first guess of the motion                           pose network on the pair, or the
                                                                  motion before
    _refine   refinement, target last frame and target this one,  `vo.refine`, the scale of the
              and the mean of both                                depth
    _compose  composition                                         T_w_now = T_w_last T_last_now

Where a pair cannot be tracked the motion before it goes on, and the estimate says so.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pypose as pp
import torch

from vo.checkpoint import Card, load_checkpoint
from vo.datasets.camera import Array, Camera
from vo.datasets.frame import Frame
from vo.depth.feature_net import stack_levels
from vo.estimate import Estimate, Look
from vo.exposure import brightened
from vo.first_guess import FirstGuess
from vo.inference import prepared
from vo.match import matches, why_not
from vo.model import Model, demand_size
from vo.poses import composed, middle, scaled
from vo.precision import Precision, use_bf16
from vo.refine import PoseRefiner, RefineConfig
from vo.seen import Seen, as_frame, as_tensor
from vo.visibility import why_blind

__all__ = ["Estimate", "FirstGuess", "Look", "Odometry", "Seen"]


@dataclass(frozen=True, slots=True, eq=False)
class _Motion:
    """T_last_now and what became of it."""

    T: pp.LieTensor
    tracked: bool
    reason: str = ""
    energy_before: float = np.nan
    energy: float = np.nan
    valid_share: float = np.nan
    iterations: int = 0


class Odometry:
    """Monocular odometry, one frame at a time; what it keeps does not grow with the drive.

    Args:
        model: the networks.
        refine: settings of the refinement, those of the model by default; None for poses of the
            pose network alone.
        size: (width, height) that images are resized to; the model's by default.
        device: to compute on.
        precision: of the networks; the refinement is always as precise as it is.
        first_guess: where the refinement starts; with ``motion`` the pose network is asked only
            where there is no motion before, or where that leads nowhere.

    Raises:
        InputError: when the networks cannot take images of that size.
        ValueError: when the motion before shall be the first guess of no refinement.
    """

    def __init__(
        self,
        model: Model,
        refine: RefineConfig | None,
        size: tuple[int, int] | None = None,
        device: str = "cpu",
        precision: Precision = "fp32",
        first_guess: FirstGuess = "network",
    ) -> None:
        self.refiner = None if refine is None else PoseRefiner(refine)
        self.size = size or (model.config.width, model.config.height)
        self.device = device
        self.card: Card | None = None
        demand_size(self.size)
        if first_guess == "motion" and refine is None:
            raise ValueError("the motion before is no answer, unless it is refined")
        self.first_guess: FirstGuess = first_guess
        self.bf16 = use_bf16(precision, device)
        self.model = prepared(model.to(device).eval(), self.size, self.bf16)
        self.reset()

    @classmethod
    def from_checkpoint(
        cls,
        where: str | Path,
        refine: bool = True,
        size: tuple[int, int] | None = None,
        device: str = "cpu",
        precision: Precision = "fp32",
        first_guess: FirstGuess = "network",
    ) -> Odometry:
        """An odometry with the networks of a checkpoint: a file, or the name of a shipped one.

        Raises:
            InputError: when the checkpoint is missing or damaged, or the size does not suit it.
        """
        checkpoint = load_checkpoint(where, device)
        settings = checkpoint.model.config.refine if refine else None
        odometry = cls(checkpoint.model, settings, size, device, precision, first_guess)
        odometry.card = checkpoint.card
        return odometry

    def reset(self) -> None:
        """Forget everything: the next frame is the first of a drive."""
        self._last: Seen | None = None
        self._motion: _Motion | None = None
        self._period_s: float | None = None  # time from the frame before the last to the last
        self._index = 0
        self._T_w_c = self._T_w_c_raw = np.eye(4)

    def step(
        self, image: Array | Frame, camera: Camera | None = None, time_s: float | None = None
    ) -> Estimate:
        """Take the next frame and say where its camera is.

        Args:
            image: (H, W, 3) uint8 RGB, of any size; or a whole `Frame`, which brings the rest.
            camera: of this image.
            time_s: time stamp in seconds, later than the last one.

        Raises:
            ValueError: when the image has another shape or type, or time does not go on; the
                odometry stands where it stood.
        """
        frame = as_frame(image, camera, time_s)
        self._demand_later(frame.time_s)
        return self.follow(self.see(frame))

    @torch.inference_mode()
    def see(
        self, image: Array | Frame, camera: Camera | None = None, time_s: float | None = None
    ) -> Seen:
        """The half of a step that needs no other frame: depth and features.

        Nothing is remembered, and several threads may look at a time.

        Raises:
            ValueError: see `step`.
        """
        frame = as_frame(image, camera, time_s)
        camera = frame.camera.resized(*self.size)
        K = torch.from_numpy(camera.K).float()[None].to(self.device)
        x = as_tensor(frame.image, self.size, self.device)
        blind = "" if self.refiner is None else why_blind(x)
        x = brightened(x)
        with self._networks():
            depth = self.model.depth_net(x)
            features = () if self.refiner is None else self.model.features(x, depth)
        return Seen(x, depth.depth, features, K, camera, frame.time_s, blind)

    def look(
        self, image: Array | Frame, camera: Camera | None = None, time_s: float | None = None
    ) -> Look:
        """What `step` sees in a frame, without any motion: nothing is remembered.

        Raises:
            ValueError: see `step`.
        """
        seen = self.see(image, camera, time_s)
        return Look(seen.depth_map(), seen.confidence_map(), seen.camera)

    @torch.inference_mode()
    def follow(self, seen: Seen) -> Estimate:
        """The half of a step that needs the frames before: the motion to a frame that was seen.

        Raises:
            ValueError: when time does not go on.
        """
        self._demand_later(seen.time_s)
        T_raw, motion = pp.identity_SE3(dtype=torch.float64), None
        if self._last is not None:
            T_raw, motion = self._track(self._last, seen)
        estimate = self._compose(seen, T_raw, motion)
        self._last, self._motion = seen, motion
        self._index += 1
        return estimate

    def _track(self, last: Seen, now: Seen) -> tuple[pp.LieTensor | None, _Motion]:
        """The pose network's motion, where it is the first guess, and the refined one: from the
        other guess where the first leads nowhere, and the motion before where nothing helps."""
        T_before = self._motion and scaled(self._motion.T, self._time_ratio(last, now))
        if T_before is None or self.first_guess == "network":
            T_first = T_raw = self._pose_net(last, now)
        else:
            T_first, T_raw = T_before, None
        if self.refiner is None:
            return T_raw, _Motion(T_first, tracked=True)
        if blind := now.blind or last.blind:
            return T_raw, _Motion(T_first if T_before is None else T_before, False, blind)
        motion = self._refine(last, now, T_first)
        if motion.tracked or T_before is None:
            return T_raw, motion
        T_other = self._pose_net(last, now) if T_raw is None else T_before
        again = self._refine(last, now, T_other)
        return T_raw, again if again.tracked else replace(motion, T=T_before)

    def _pose_net(self, last: Seen, now: Seen) -> pp.LieTensor:
        """T_last_now by the pose network, (7,)."""
        with self._networks():
            motion = self.model.pose_net(last.image, now.image)
        return motion.se3().Inv()[0]

    def _refine(self, last: Seen, now: Seen, T_start: pp.LieTensor) -> _Motion:
        """The mean of two refinements of T_last_now: with the depth of the last frame, and of this
        one. Each has the scale of its depth, whose errors thus average."""
        assert self.refiner is not None
        starts = pp.SE3(torch.stack([T_start.Inv().tensor(), T_start.tensor()]))
        result = self.refiner(
            stack_levels(now.features, last.features),  # sources
            stack_levels(last.features, now.features),  # targets
            torch.cat([last.depth, now.depth]),
            torch.cat([last.K, now.K]),
            starts,
        )
        finest = last.features[-1].features, now.features[-1].features
        good = matches(result, *finest, self.refiner.kernel)
        T = (result.pose[0].Inv(), result.pose[1])  # T_last_now of both
        numbers = (
            result.energy_before.mean().item(),
            result.energy.mean().item(),
            result.valid_share.mean().item(),
            int(result.iterations.sum()),
        )
        if not good.any():
            return _Motion(T_start, False, why_not(result), *numbers)
        mean = middle(*T) if good.all() else T[0] if good[0] else T[1]
        return _Motion(mean, True, "", *numbers)

    def _compose(self, seen: Seen, T_raw: pp.LieTensor | None, motion: _Motion | None) -> Estimate:
        """Put the motion behind those before it: T_w_now = T_w_last T_last_now."""
        self._period_s = seen.time_s - self._last.time_s if self._last else None
        shown = motion or _Motion(pp.identity_SE3(dtype=torch.float64), tracked=True)
        T_last_c = _matrix(shown.T)
        T_last_c_raw = np.full((4, 4), np.nan) if T_raw is None else _matrix(T_raw)
        self._T_w_c = composed(self._T_w_c, T_last_c)
        self._T_w_c_raw = composed(self._T_w_c_raw, T_last_c_raw)
        return Estimate(
            self._index, seen.time_s, self._T_w_c.copy(), self._T_w_c_raw.copy(), T_last_c,
            T_last_c_raw, seen.depth_map(), seen.camera, shown.tracked, shown.reason,
            shown.energy_before, shown.energy, shown.valid_share, shown.iterations,
            seen.confidence_map(),
        )  # fmt: skip

    def _networks(self) -> torch.autocast:
        return torch.autocast(torch.device(self.device).type, torch.bfloat16, enabled=self.bf16)

    def _time_ratio(self, last: Seen, now: Seen) -> float:
        """Time since the last frame over the time before."""
        return (now.time_s - last.time_s) / self._period_s if self._period_s else 1.0

    def _demand_later(self, time_s: float) -> None:
        if self._last is not None and not time_s > self._last.time_s:
            raise ValueError(f"time goes back from {self._last.time_s} to {time_s} s")


def _matrix(T: pp.LieTensor) -> Array:
    return T.matrix().cpu().numpy()
