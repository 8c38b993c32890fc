"""The odometry: a frame in, a pose out, always.

For each new frame, with depth and features of the last one kept:

    1. depth and features of the frame                     networks, once a frame
    2. first guess of the motion                           pose network on the pair, or the
                                                           motion before
    3. refinement, target last frame and target this one   `vo.refine`, the scale of the depth
    4. the mean of both motions, and composition           T_w_now = T_w_last T_last_now

Where a pair cannot be tracked the motion before it goes on, and the estimate says so.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import pypose as pp
import torch
from torch import Tensor

from vo.checkpoint import Card, load_checkpoint
from vo.datasets.camera import Array, Camera
from vo.datasets.errors import InputError
from vo.datasets.frame import Frame
from vo.datasets.sequence import resize_image
from vo.depth.feature_net import FeatureLevel, stack_levels
from vo.exposure import brightened
from vo.inference import prepared
from vo.model import Model
from vo.precision import Precision, use_bf16
from vo.refine import PoseRefiner, Reason, RefineConfig, Refinement
from vo.visibility import why_blind

FirstGuess = Literal["network", "motion"]
"""Where the refinement starts: at what the pose network says of the pair, or at the motion before,
which saves the network, and with it all raw poses."""

UNRELATED = 0.8  # of the cost of unrelated features: an alignment that is no better is none


@dataclass(frozen=True, slots=True, eq=False)
class Estimate:
    """What the odometry says of one frame. World is the first camera.

    Lengths are in the unit of the depth: metres where the checkpoint is metric.

    Attributes:
        index: number of the frame, from 0.
        time_s: time stamp in seconds.
        T_w_c: (4, 4) float64 pose after refinement.
        T_w_c_raw: (4, 4) float64 pose by the pose network alone; NaN, as is the raw motion, where
            the network is not the first guess, and on from there.
        T_last_c: (4, 4) float64 motion since the last frame, after refinement; the first frame has
            the identity.
        T_last_c_raw: (4, 4) float64 by the pose network alone.
        depth: (H, W) float32 along z, at the size of the network.
        camera: of ``depth``.
        tracked: False where the motion could not be refined: it is the one before it, or, with none
            before it, that of the pose network.
        reason: why it is not tracked, or an empty string.
        energy_before: mean robust feature cost at the first guess; NaN for the first frame, where
            there is nothing to see, and without refinement, as the following two.
        energy: the same after refinement.
        valid_share: share of points that were compared.
        iterations: of the refinement, both directions together.
        confidence: (h, w) float32 in (0, 1), how far the finest features are trusted, at their
            size; None without refinement.
    """

    index: int
    time_s: float
    T_w_c: Array
    T_w_c_raw: Array
    T_last_c: Array
    T_last_c_raw: Array
    depth: Array
    camera: Camera
    tracked: bool
    reason: str
    energy_before: float
    energy: float
    valid_share: float
    iterations: int
    confidence: Array | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Look:
    """What is seen in a single frame; fields as those of `Estimate`."""

    depth: Array
    confidence: Array | None
    camera: Camera


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """All that is computed of a frame by itself, in batches of one: what `Odometry.follow` takes,
    and keeps for the next pair.

    Attributes:
        image: (1, 3, H, W) float32 in [0, 1], as the networks are given it.
        depth: (1, 1, H, W) along z.
        features: coarse to fine; none without refinement.
        K: (1, 3, 3) float32 intrinsics of the image.
        camera: the same.
        time_s: time stamp.
        blind: why nothing can be tracked in it, or an empty string.
    """

    image: Tensor
    depth: Tensor
    features: tuple[FeatureLevel, ...]
    K: Tensor
    camera: Camera
    time_s: float
    blind: str


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
        if min(self.size) < 64 or self.size[0] % 32 or self.size[1] % 32:
            problem = f"is {self.size[0]} {self.size[1]}"
            raise InputError("--size", problem, "give multiples of 32 from 64 on, such as 640 192")
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
        image, camera, time_s = _parts(image, camera, time_s)
        self._demand_later(time_s)
        return self.follow(self.see(image, camera, time_s))

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

    def look(
        self, image: Array | Frame, camera: Camera | None = None, time_s: float | None = None
    ) -> Look:
        """What `step` sees in a frame, without any motion: nothing is remembered.

        Raises:
            ValueError: see `step`.
        """
        seen = self.see(image, camera, time_s)
        return Look(_depth_map(seen), _confidence_map(seen), seen.camera)

    @torch.inference_mode()
    def see(
        self, image: Array | Frame, camera: Camera | None = None, time_s: float | None = None
    ) -> Seen:
        """The half of a step that needs no other frame: depth and features.

        Nothing is remembered, and several threads may look at a time.

        Raises:
            ValueError: see `step`.
        """
        image, camera, time_s = _parts(image, camera, time_s)
        camera = camera.resized(*self.size)
        image = np.ascontiguousarray(resize_image(image, self.size))
        x = torch.from_numpy(image).to(self.device).permute(2, 0, 1)[None].contiguous()
        x = x.float() / 255
        blind = "" if self.refiner is None else why_blind(x)
        x = brightened(x)
        with self._networks():
            depth = self.model.depth_net(x)
            features = () if self.refiner is None else self.model.features(x, depth)
        K = torch.from_numpy(camera.K).float()[None].to(self.device)
        return Seen(x, depth.depth, features, K, camera, time_s, blind)

    def _pose_net(self, last: Seen, now: Seen) -> pp.LieTensor:
        """T_last_now by the pose network, (7,)."""
        with self._networks():
            motion = self.model.pose_net(last.image, now.image)
        return motion.se3().Inv()[0]

    def _networks(self) -> torch.autocast:
        return torch.autocast(torch.device(self.device).type, torch.bfloat16, enabled=self.bf16)

    def _track(self, last: Seen, now: Seen) -> tuple[pp.LieTensor | None, _Motion]:
        """The pose network's motion, where it is the first guess, and the refined one: from the
        other guess where the first leads nowhere, and the motion before where nothing helps."""
        T_before = self._motion and _scaled(self._motion.T, self._time_ratio(last, now))
        if T_before is None or self.first_guess == "network":
            T_first = T_raw = self._pose_net(last, now)
        else:
            T_first, T_raw = T_before, None
        if self.refiner is None:
            return T_raw, _Motion(T_first, tracked=True)
        blind = now.blind or last.blind
        motion = _Motion(T_first, False, blind) if blind else self._refine(last, now, T_first)
        if motion.tracked or T_before is None:
            return T_raw, motion
        if not blind:
            again = self._refine(
                last, now, T_before if T_raw is not None else self._pose_net(last, now)
            )
            if again.tracked:
                return T_raw, again
        return T_raw, replace(motion, T=T_before)

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
        good = result.success & (result.energy < UNRELATED * self._unrelated(last, now))
        T = (result.pose[0].Inv(), result.pose[1])  # T_last_now of both
        numbers = (
            result.energy_before.mean().item(),
            result.energy.mean().item(),
            result.valid_share.mean().item(),
            int(result.iterations.sum()),
        )
        if not good.any():
            return _Motion(T_start, False, _why(result), *numbers)
        mean = _middle(*T) if good.all() else T[0] if good[0] else T[1]
        return _Motion(mean, True, "", *numbers)

    def _unrelated(self, last: Seen, now: Seen) -> Tensor:
        """(2,) robust cost of features that have nothing to do with each other.

        Shifted along the horizon only: sky above and road below is what all drives have in common,
        and what makes another drive fit better than chance.
        """
        assert self.refiner is not None
        target, source = last.features[-1].features, now.features[-1].features
        W, kernel = target.shape[-1], self.refiner.kernel
        costs = []
        for shift in (W // 4, W // 2, W - W // 4):
            apart = (target - source.roll(shift, 3)).square().sum(1)
            costs.append((apart if kernel is None else kernel(apart)).mean())
        return torch.stack(costs).min().double().expand(2)

    def _time_ratio(self, last: Seen, now: Seen) -> float:
        """Time since the last frame over the time before."""
        return (now.time_s - last.time_s) / self._period_s if self._period_s else 1.0

    def _demand_later(self, time_s: float) -> None:
        if self._last is not None and not time_s > self._last.time_s:
            raise ValueError(f"time goes back from {self._last.time_s} to {time_s} s")

    def _compose(self, seen: Seen, T_raw: pp.LieTensor | None, motion: _Motion | None) -> Estimate:
        self._period_s = seen.time_s - self._last.time_s if self._last else None
        shown = motion or _Motion(pp.identity_SE3(dtype=torch.float64), tracked=True)
        T_last_c = _matrix(shown.T)
        T_last_c_raw = np.full((4, 4), np.nan) if T_raw is None else _matrix(T_raw)
        self._T_w_c = composed(self._T_w_c, T_last_c)
        self._T_w_c_raw = composed(self._T_w_c_raw, T_last_c_raw)
        return Estimate(
            self._index, seen.time_s, self._T_w_c.copy(), self._T_w_c_raw.copy(), T_last_c,
            T_last_c_raw, _depth_map(seen), seen.camera, shown.tracked, shown.reason,
            shown.energy_before, shown.energy, shown.valid_share, shown.iterations,
            _confidence_map(seen),
        )  # fmt: skip


def _depth_map(seen: Seen) -> Array:
    """A copy: whatever a caller does with it, the next estimate does not change."""
    return seen.depth[0, 0].to("cpu", torch.float32, copy=True).numpy()


def _confidence_map(seen: Seen) -> Array | None:
    if not seen.features:
        return None
    return seen.features[-1].confidence[0, 0].to("cpu", torch.float32, copy=True).numpy()


def _parts(
    image: Array | Frame, camera: Camera | None, time_s: float | None
) -> tuple[Array, Camera, float]:
    if isinstance(image, Frame):
        image, camera, time_s = image.image, image.camera, image.time_s
    if camera is None or time_s is None or not np.isfinite(time_s):
        raise ValueError(f"an image needs its camera and its time, got {camera} and {time_s}")
    if image.shape != (camera.height, camera.width, 3) or image.dtype != np.uint8:
        wanted = f"({camera.height}, {camera.width}, 3) uint8"
        raise ValueError(f"image must be {wanted} as its camera, got {image.shape} {image.dtype}")
    return image, camera, float(time_s)


def _middle(a: pp.LieTensor, b: pp.LieTensor) -> pp.LieTensor:
    """Half way from pose a to pose b on the straightest path of SE(3)."""
    return a @ pp.se3(0.5 * (a.Inv() @ b).Log().tensor()).Exp()


def _scaled(T: pp.LieTensor, ratio: float) -> pp.LieTensor:
    """The same velocity for another time."""
    return pp.se3(ratio * T.Log().tensor()).Exp()


def _matrix(T: pp.LieTensor) -> Array:
    return T.matrix().cpu().numpy()


def composed(T_w_last: Array, T_last_c: Array) -> Array:
    """The product, with a rotation that stays one over any number of frames."""
    T_w_c = T_w_last @ T_last_c
    if np.isnan(T_w_c).any():
        return np.full((4, 4), np.nan)
    U, _, Vt = np.linalg.svd(T_w_c[:3, :3])
    T_w_c[:3, :3] = U @ Vt
    return T_w_c


def _why(result: Refinement) -> str:
    """One phrase for a pair that was not tracked."""
    reason = Reason(int(result.reason.max()))
    return {
        Reason.REFINED: "frames do not match",
        Reason.TOO_FEW_POINTS: "too little overlap",
        Reason.NO_TEXTURE: "no texture",
        Reason.NOT_FINITE: "not finite",
        Reason.MOVED_TOO_FAR: "moved too far",
    }[reason]
