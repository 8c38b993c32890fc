"""A few frames of a drive with their depth, kept while it runs, as small pictures for a report."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from vo.datasets.camera import Array
from vo.tools.depth_colours import depth_colours

if TYPE_CHECKING:
    from vo.datasets.frame import Frame
    from vo.odometry import Estimate
    from vo.tools.running.finished import FinishedRun

COUNT = 8
LARGEST = (416, 320)  # width and height of a picture in pixels
NEAREST_SHARE = 2  # percent of all pixels that are nearer than the brightest colour
QUALITY = 82


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """One frame, made small.

    Attributes:
        position: in the run, from 0.
        image: (h, w, 3) uint8 RGB.
        depth: (h, w) float32 estimate along z.
        truth: (h, w) float32 in metres, 0 where unknown; or None.
    """

    position: int
    image: Array
    depth: Array
    truth: Array | None


@dataclass(frozen=True, slots=True)
class Pictures:
    """A sample as data URIs; ``truth`` is empty where none is known."""

    position: int
    width: int
    height: int
    image: str
    depth: str
    truth: str


@dataclass(slots=True, eq=False)
class DepthSamples:
    """Collects frames all along a drive whose length is known.

    Args:
        frames: length of the drive.
        count: how many to keep; as many as there are where these are fewer.
    """

    frames: int
    count: int = COUNT
    samples: list[Sample] = field(default_factory=list)

    @property
    def positions(self) -> list[int]:
        """Positions of the frames that are kept, increasing; the ends of the drive are left out
        where it is long enough."""
        edges = np.linspace(0, self.frames, min(self.count, self.frames) + 1)
        return ((edges[:-1] + edges[1:]) / 2).astype(int).tolist()

    def see(self, frame: Frame, estimate: Estimate) -> None:
        """Take a frame of the run; only those all along the drive are kept."""
        if estimate.index in self.positions:
            self.samples.append(_small(frame, estimate))


def replayed_samples(run: FinishedRun) -> list[Sample]:
    """The samples that the run itself would have kept, computed again.

    Raises:
        InputError: when drive or checkpoint are gone, or are others now.
    """
    samples = DepthSamples(len(run.rows))
    for frame, estimate in run.replay(positions=samples.positions):
        samples.see(frame, estimate)
    return samples.samples


def nearest(samples: Iterable[Sample]) -> float:
    """Depth of the brightest colour: one range for all pictures makes them comparable."""
    return float(np.percentile(np.concatenate([s.depth.ravel() for s in samples]), NEAREST_SHARE))


def pictures(sample: Sample, near: float) -> Pictures:
    """A sample as JPEG pictures, depths in one range of colours.

    The truth is shown in the scale of the estimate, by the ratio of their medians, as abs_rel
    compares them: how far the scale is off is a number, and shapes are what a picture shows.

    Args:
        sample: the frame.
        near: depth of the brightest colour.
    """
    h, w = sample.depth.shape
    truth, known = "", np.zeros((h, w), bool)
    if sample.truth is not None:
        known = sample.truth > 0
    if sample.truth is not None and known.any():
        ratio = float(np.median(sample.depth[known]) / np.median(sample.truth[known]))
        truth = _data_uri(depth_colours(ratio * sample.truth, near))
    image, depth = _data_uri(sample.image), _data_uri(depth_colours(sample.depth, near))
    return Pictures(sample.position, w, h, image, depth, truth)


def legend(near: float) -> tuple[str, list[float]]:
    """The colours of depths from ``near`` on as a data URI, and depths at equal steps along it."""
    marks = [near * 2**step for step in range(5)]
    depths = np.geomspace(marks[0], marks[-1], 256)
    return _data_uri(depth_colours(np.tile(depths, (8, 1)), near)), marks


def _small(frame: Frame, estimate: Estimate) -> Sample:
    import cv2

    h, w = estimate.depth.shape
    factor = min(1.0, LARGEST[0] / w, LARGEST[1] / h)
    size = (max(1, round(factor * w)), max(1, round(factor * h)))
    truth = frame.depth
    if truth is not None:
        truth = cv2.resize(truth, size, interpolation=cv2.INTER_NEAREST_EXACT)
    return Sample(
        estimate.index,
        cv2.resize(frame.image, size, interpolation=cv2.INTER_AREA),
        cv2.resize(estimate.depth, size, interpolation=cv2.INTER_AREA),
        truth,
    )


def _data_uri(picture: Array) -> str:
    import cv2

    options = [cv2.IMWRITE_JPEG_QUALITY, QUALITY]
    done, data = cv2.imencode(".jpg", np.ascontiguousarray(picture[..., ::-1]), options)
    if not done:
        raise ValueError(f"no JPEG of a picture {picture.shape} {picture.dtype}")
    return "data:image/jpeg;base64," + base64.b64encode(data.tobytes()).decode()
