"""Training samples: three frames that follow each other, in batches that depend on the step.

Which samples a batch holds and how they are mirrored follow from the seed and the step alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from vo.datasets.batches import ALL, Batches, Memory, check_at_least_one, to_unit_range
from vo.datasets.camera import Array
from vo.datasets.errors import InputError
from vo.datasets.frame import Frame
from vo.datasets.frame import Sequence as Drive
from vo.datasets.stereo import T_other_this, other_camera

MIRROR = 2  # stream of random numbers, beside that of the order in `vo.datasets.batches`


@dataclass(frozen=True, slots=True, eq=False)
class TripletBatch:
    """B samples: a target frame and the frames before and after it, its sources.

    Attributes:
        images: (B, 3, 3, H, W) float32 in [0, 1]: target, frame before, frame after; with stereo
            (B, 4, 3, H, W), the last being the target's moment in the other camera.
        K: (B, 3, 3) float32.
        names: B names such as ``03/000120``: sequence and number of the target on disk.
        depth: (B, 1, H, W) float32 true depth of the target in metres, 0 where unknown; None where
            some sequence has none.
        T_s_t: (B, 2, 4, 4) float64 true poses of the target in both sources (target camera to
            source camera); None where some sequence has none.
        T_stereo: (B, 4, 4) float64 known pose of the target in the other camera, in metres; None
            without stereo.
    """

    images: Tensor
    K: Tensor
    names: tuple[str, ...]
    depth: Tensor | None
    T_s_t: Tensor | None
    T_stereo: Tensor | None = None

    def to(self, device: str | torch.device) -> TripletBatch:
        """The same batch on another device."""
        known = (self.depth, self.T_s_t, self.T_stereo)
        known = (None if part is None else part.to(device) for part in known)
        return TripletBatch(self.images.to(device), self.K.to(device), self.names, *known)


@dataclass(frozen=True, slots=True, eq=False)
class _Known:
    """A frame as it is kept in memory: image (H, W, 3) uint8, depth (H, W) float16 or None."""

    image: Array
    depth: Array | None
    number: int

    def nbytes(self) -> int:
        return self.image.nbytes + (0 if self.depth is None else self.depth.nbytes)


@dataclass(frozen=True, slots=True, eq=False)
class _Sample:
    """One item of a `TripletBatch`, images (N, 3, H, W) in uint8 and depth (1, H, W) in float16."""

    images: Array
    K: Array
    name: str
    depth: Array | None
    T_s_t: Array | None
    T_stereo: Array | None


class Triplets(Batches[TripletBatch]):
    """Samples from drives, in batches numbered from 0, without end.

    Args:
        drives: sequences of one image size, each long enough for a sample.
        batch: samples in a batch.
        gaps: distances between frames of a sample, drawn evenly: (1, 2) also shows every other
            frame, as if the camera went twice as fast.
        seed: of the order and the mirroring.
        mirror: whether every other sample is mirrored left to right, with its camera.
        memory_gb: decoded frames are kept up to this size; the rest is decoded again each time.
        workers: threads that read frames.
        stereo: whether each sample has its target in the other camera of a stereo pair as well.
        targets: for each drive the positions that may be targets; None, for all or for one of
            them, is every one that has the sources it needs.

    Raises:
        InputError: when a drive is too short or has no other camera, none is given, or a number
            makes no sense.
        ValueError: when sizes differ.
    """

    def __init__(
        self,
        drives: Sequence[Drive],
        batch: int,
        gaps: Sequence[int] = (1,),
        seed: int = 0,
        mirror: bool = True,
        memory_gb: float = 4.0,
        workers: int = 2,
        stereo: bool = False,
        targets: Sequence[frozenset[int] | None] | None = None,
    ) -> None:
        _check(drives, gaps)
        chosen = [None] * len(drives) if targets is None else targets
        self.drives, self.gaps, self.mirror = tuple(drives), tuple(gaps), mirror
        # Further drives in the cache of frames, not in the list of samples.
        self.others = tuple(other_camera(drive) for drive in drives) if stereo else ()
        self.T_other_this = [T_other_this(drive) for drive in drives] if stereo else []
        self.samples = [
            (d, i)
            for d, (drive, some) in enumerate(zip(drives, chosen, strict=True))
            for i in range(max(gaps), len(drive) - max(gaps))
            if some is None or i in some
        ]
        super().__init__(len(self.samples), batch, seed, workers)
        self._memory = Memory[tuple[int, int], _Known](memory_gb, _Known.nbytes)

    def at(self, step: int, rows: slice = ALL) -> TripletBatch:
        """The batch of a step, or some rows of it; InputError names an image that is damaged."""
        rng = np.random.default_rng([self.seed, MIRROR, step])
        gaps = rng.choice(self.gaps, self.batch)
        mirrored = rng.random(self.batch) < (0.5 if self.mirror else 0.0)
        return _stacked(
            [
                self._sample(int(n), int(g), bool(m))
                for n, g, m in zip(self.chosen(step)[rows], gaps[rows], mirrored[rows], strict=True)
            ]
        )

    def _sample(self, number: int, gap: int, mirrored: bool) -> _Sample:
        d, i = self.samples[number]
        drive = self.drives[d]
        frames = [self._frame(d, j) for j in (i, i - gap, i + gap)]
        depth = frames[0].depth
        if self.others:
            frames.append(self._frame(len(self.drives) + d, i))
        images = np.stack([frame.image for frame in frames]).transpose(0, 3, 1, 2)
        return _Sample(
            images=_mirror(images, mirrored),
            K=_K(drive, mirrored),
            name=f"{drive.name}/{frames[0].number:06d}",
            depth=None if depth is None else _mirror(depth[None], mirrored),
            T_s_t=_motions(drive, i, gap, mirrored),
            T_stereo=_seen_in_a_mirror(self.T_other_this[d], mirrored) if self.others else None,
        )

    def _frame(self, drive: int, index: int) -> _Known:
        """A decoded frame, from memory or from disk. Called from several threads."""
        drives = self.drives + self.others
        return self._memory.get((drive, index), lambda: _known(drives[drive][index]))


def _known(frame: Frame) -> _Known:
    # Half precision: 3 cm at 60 m, finer than any depth that is learned from it.
    depth = None if frame.depth is None else frame.depth.astype(np.float16)
    return _Known(np.ascontiguousarray(frame.image), depth, frame.index)


def _K(drive: Drive, mirrored: bool) -> Array:
    camera = drive.camera.flipped() if mirrored else drive.camera
    return camera.K.astype(np.float32)


def _mirror(x: Array, mirrored: bool) -> Array:
    return x[..., ::-1] if mirrored else x


def _motions(drive: Drive, index: int, gap: int, mirrored: bool) -> Array | None:
    """(2, 4, 4) T_s_t of the frames before and after."""
    T_w_c = drive.T_w_c
    if T_w_c is None:
        return None
    T_s_t = np.linalg.inv(T_w_c[[index - gap, index + gap]]) @ T_w_c[index]
    return _seen_in_a_mirror(T_s_t, mirrored)


def _seen_in_a_mirror(T_s_t: Array, mirrored: bool) -> Array:
    """Poses (..., 4, 4) between mirrored cameras: x changes its sign in both."""
    x = np.diag([-1.0 if mirrored else 1.0, 1.0, 1.0, 1.0])
    return x @ T_s_t @ x


def _stacked(samples: list[_Sample]) -> TripletBatch:
    return TripletBatch(
        images=torch.from_numpy(to_unit_range(np.stack([s.images for s in samples]))),
        K=torch.from_numpy(np.stack([s.K for s in samples])),
        names=tuple(s.name for s in samples),
        depth=_of_all([s.depth for s in samples], np.float32),
        T_s_t=_of_all([s.T_s_t for s in samples], np.float64),
        T_stereo=_of_all([s.T_stereo for s in samples], np.float64),
    )


def _of_all(parts: list[Array | None], dtype: type[np.floating]) -> Tensor | None:
    """One tensor of what all samples have; None where one lacks it."""
    known = [part for part in parts if part is not None]
    return torch.from_numpy(np.stack(known, dtype=dtype)) if len(known) == len(parts) else None


def _check(drives: Sequence[Drive], gaps: Sequence[int]) -> None:
    if not drives:
        raise InputError("--seq", "names no sequence to train on", "name at least one")
    check_at_least_one("gaps", min(gaps, default=0))
    sizes = {drive.camera.size for drive in drives}
    if len(sizes) > 1:
        raise ValueError(f"drives must have one image size, got {sorted(sizes)}")
    for drive in drives:
        if len(drive) < 2 * max(gaps) + 1:
            problem = f"{drive.name} has {len(drive)} frames, a sample needs {2 * max(gaps) + 1}"
            raise InputError("--seq", problem, "leave it out")
