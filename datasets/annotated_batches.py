"""Batches of images with sparse true depth, turned, mirrored and lit anew.

What is done to a sample follows from the seed and the step, as in `vo.datasets.triplets`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from vo.datasets.augmentation import refuse_out_of_range
from vo.datasets.batches import ALL, Batches, Memory, to_unit_range
from vo.datasets.camera import Array
from vo.datasets.errors import InputError
from vo.datasets.frame import Frame
from vo.datasets.frame import Sequence as Drive
from vo.datasets.sequence import resize_image

CHANGES = 2  # stream of random numbers, beside that of the order in `vo.datasets.batches`

_MOST = {"rotation_deg": 45, "share": 1, "gamma": 0.9, "brightness": 0.9, "colour": 0.9}


@dataclass(frozen=True, slots=True)
class AnnotatedAugment:
    """How far an image may be turned and lit anew. Zero switches a change off.

    The defaults are what SQLdepth and SPIdepth do on KITTI; on NYU they turn by 2.5 degrees and
    change brightness by 0.25.

    Attributes:
        rotation_deg: largest turn about the centre of the image in degrees, either way; depth is
            turned alike.
        share: share of the samples that are lit anew.
        gamma: exponent from 1 - g to 1 + g.
        brightness: images are multiplied by 1 - b to 1 + b.
        colour: channels are, each by its own number, likewise.

    Raises:
        InputError: naming the flag, when a number is out of its range.
    """

    rotation_deg: float = 1.0
    share: float = 0.5
    gamma: float = 0.1
    brightness: float = 0.1
    colour: float = 0.1

    def __post_init__(self) -> None:
        """Refuse what would turn images upside down, or black."""
        refuse_out_of_range(self, _MOST, "--metric.augment")


@dataclass(frozen=True, slots=True, eq=False)
class AnnotatedBatch:
    """B images with true depth.

    Attributes:
        images: (B, 3, H, W) float32 in [0, 1], of the networks' size.
        depth: (B, 1, h, w) float32 true depth in metres of the same views at its own size, 0 where
            unknown.
        names: B names such as ``2011_09_26_drive_0001_sync/image_02/000005``.
    """

    images: Tensor
    depth: Tensor
    names: tuple[str, ...]

    def to(self, device: str | torch.device) -> AnnotatedBatch:
        """The same batch on another device."""
        return AnnotatedBatch(self.images.to(device), self.depth.to(device), self.names)


@dataclass(frozen=True, slots=True, eq=False)
class _Known:
    """A frame as it is kept in memory: image (H, W, 3) uint8, depth (h, w) float16."""

    image: Array
    depth: Array
    number: int

    def nbytes(self) -> int:
        return self.image.nbytes + self.depth.nbytes


@dataclass(frozen=True, slots=True, eq=False)
class _Changes:
    """What is done to the samples of a batch: (B,) each, colours (B, 3)."""

    angle_deg: Array
    mirrored: Array
    gamma: Array
    gain: Array

    def of(self, rows: slice) -> _Changes:
        """Those of some samples."""
        parts = (self.angle_deg, self.mirrored, self.gamma, self.gain)
        return _Changes(*(part[rows] for part in parts))


class AnnotatedSamples(Batches[AnnotatedBatch]):
    """Samples from drives whose every frame has depth, in batches numbered from 0, without end.

    Args:
        drives: sequences with depth of one size.
        batch: samples in a batch.
        size: (width, height) that images are resized to.
        augment: how far samples are changed.
        seed: of the order and the changes.
        mirror: whether every other sample is mirrored left to right.
        memory_gb: decoded frames are kept up to this size; the rest is decoded again each time.
        workers: threads that read frames.

    Raises:
        InputError: when no drive is given, sizes differ, or a number makes no sense.
    """

    def __init__(
        self,
        drives: Sequence[Drive],
        batch: int,
        size: tuple[int, int],
        augment: AnnotatedAugment,
        seed: int = 0,
        mirror: bool = True,
        memory_gb: float = 4.0,
        workers: int = 2,
    ) -> None:
        _check(drives)
        self.drives, self.size, self.augment, self.mirror = tuple(drives), size, augment, mirror
        self.samples = [(d, i) for d, drive in enumerate(drives) for i in range(len(drive))]
        super().__init__(len(self.samples), batch, seed, workers)
        self._memory = Memory[int, _Known](memory_gb, _Known.nbytes)

    def at(self, step: int, rows: slice = ALL) -> AnnotatedBatch:
        """The batch of a step, or some rows of it; InputError names an image or a depth that is
        damaged."""
        changes = self._changes(step).of(rows)
        images, depths, names = [], [], []
        for b, number in enumerate(self.chosen(step)[rows].tolist()):
            known = self._memory.get(number, lambda number=number: self._known(number))
            image, depth = turned(known.image, known.depth, float(changes.angle_deg[b]))
            flip = slice(None, None, -1 if changes.mirrored[b] else 1)
            images.append(np.ascontiguousarray(image[:, flip].transpose(2, 0, 1)))
            depths.append(np.ascontiguousarray(depth[None, :, flip]))
            names.append(f"{self.drives[self.samples[number][0]].name}/{known.number:06d}")
        seen = torch.from_numpy(_lit(to_unit_range(np.stack(images)), changes))
        depth = torch.from_numpy(np.stack(depths).astype(np.float32))
        return AnnotatedBatch(seen, depth, tuple(names))

    def _changes(self, step: int) -> _Changes:
        """All numbers are drawn in every case, so that no setting shifts what another draws."""
        rng, most, B = np.random.default_rng([self.seed, CHANGES, step]), self.augment, self.batch
        angle = rng.uniform(-1, 1, B)
        mirrored = rng.random(B) < 0.5
        lit = (rng.random(B) < most.share)[:, None]
        gamma, brightness = rng.uniform(-1, 1, (B, 1)), rng.uniform(-1, 1, (B, 1))
        colour = rng.uniform(-1, 1, (B, 3))
        gain = (1 + most.brightness * brightness) * (1 + most.colour * colour)
        return _Changes(
            angle_deg=angle * most.rotation_deg,
            mirrored=mirrored & self.mirror,
            gamma=np.where(lit, 1 + most.gamma * gamma, 1),
            gain=np.where(lit, gain, 1),
        )

    def _known(self, number: int) -> _Known:
        d, i = self.samples[number]
        frame = self.drives[d][i]
        return _Known(
            np.ascontiguousarray(resize_image(frame.image, self.size)),
            # Half precision: 3 cm at 60 m, finer than any depth that is learned from it.
            depth_of(frame, self.drives[d]).astype(np.float16),
            frame.index,
        )


def depth_of(frame: Frame, drive: Drive) -> Array:
    """(H, W) true depth of a frame that must have one.

    Raises:
        InputError: when it has none.
    """
    if frame.depth is None:
        remedy = "leave it out, or train from video"
        raise InputError(f"{drive.name}/{frame.index:06d}", "has no true depth", remedy)
    return frame.depth


def turned(image: Array, depth: Array, angle_deg: float) -> tuple[Array, Array]:
    """Turn a view about its centre, anticlockwise; the turn is one in the pixels of the depth.

    The image is interpolated and continued by its reflection; depth takes the nearest pixel, since
    the mean of two depths is a depth of nothing, and is unknown outside of what was measured.

    Args:
        image: (H, W, 3) uint8, of any size.
        depth: (h, w) float16 of the same view.
        angle_deg: in degrees.

    Returns:
        image and depth of the same sizes and types.
    """
    import cv2

    if angle_deg == 0:
        return image, depth
    h, w = depth.shape
    turn = np.eye(3)
    turn[:2] = cv2.getRotationMatrix2D(((w - 1) / 2, (h - 1) / 2), angle_deg, 1.0)
    H, W = image.shape[:2]
    sx, sy = W / w, H / h  # pixel (x, y) of the depth is ((x + 1/2) s - 1/2) of the image
    to_image = np.array([[sx, 0, (sx - 1) / 2], [0, sy, (sy - 1) / 2], [0, 0, 1]])
    of_image = to_image @ turn @ np.linalg.inv(to_image)
    return (
        cv2.warpAffine(
            image, of_image[:2], (W, H), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101
        ),
        cv2.warpAffine(depth.astype(np.float32), turn[:2], (w, h), flags=cv2.INTER_NEAREST).astype(
            depth.dtype
        ),
    )


def _lit(images: Array, changes: _Changes) -> Array:
    """Images (B, 3, H, W) to the power gamma, times the gains of their channels."""
    gamma, gain = (x.astype(np.float32)[:, :, None, None] for x in (changes.gamma, changes.gain))
    return (images**gamma * gain).clip(0, 1)


def _check(drives: Sequence[Drive]) -> None:
    if not drives:
        raise InputError("--seq", "names no sequence to train on", "name at least one")
    sizes = sorted({drive.camera.size for drive in drives})
    if len(sizes) > 1:
        shown = ", ".join(f"{width}x{height}" for width, height in sizes)
        problem = f"leaves images of different sizes: {shown}"
        raise InputError("--metric.crop", problem, "choose kitti, or train on drives of one size")
