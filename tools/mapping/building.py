"""Maps of a run, built frame by frame with one kind of poses or with both, and judged meanwhile."""

from __future__ import annotations

import math
import time
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from vo.datasets.camera import Array, Camera
from vo.datasets.errors import InputError
from vo.datasets.frame import Frame
from vo.datasets.sequence import resize_image
from vo.odometry import Estimate
from vo.tools.mapping.accuracy import (
    Accuracy,
    Distances,
    TrueSurface,
    accuracy,
    by_poses,
    by_trajectory,
    chunk_ends,
    distances,
)
from vo.tools.mapping.mesh import Cloud, Fusion, Mesh, TooManyBlocks, blocks_in, without_edges

if TYPE_CHECKING:
    from vo.tools.running.finished import FinishedRun


@dataclass(frozen=True, slots=True)
class MapSettings:
    """What a map is made of; see `vo.tools.map.MapFlags`."""

    voxel: float
    max_depth: float
    edge: float
    views: int
    memory_gb: float


class OneMap:
    """The map of one kind of poses, and how near its chunks come to the truth.

    Args:
        T_w_c: (N, 4, 4) poses of all frames.
        settings: see `MapSettings`.
    """

    def __init__(self, T_w_c: Array, settings: MapSettings) -> None:
        self.T_w_c, self.settings = T_w_c, settings
        self.whole, self.chunk = self._fusion(), self._fusion()
        self.parts: list[Distances] = []
        self.accuracy: Accuracy | None = None
        self.fusion_s = 0.0

    def _fusion(self) -> Fusion:
        settings = self.settings
        return Fusion(settings.voxel, settings.max_depth, blocks_in(settings.memory_gb))

    @cached_property
    def cloud(self) -> Cloud:
        """Points of the finished map."""
        return self.whole.cloud(self.settings.views)

    @cached_property
    def mesh(self) -> Mesh:
        """Triangles of the finished map."""
        return self.whole.mesh(self.settings.views)

    def add(self, position: int, depth: Array, image: Array, camera: Camera, judged: bool) -> None:
        """Fuse frame ``position``, into its chunk as well where that will be judged."""
        view = (depth, image, camera, self.T_w_c[position])
        begun = time.perf_counter()
        self.whole.add(*view)
        self.fusion_s += time.perf_counter() - begun
        if judged:
            self.chunk.add(*view)

    def end_chunk(self, frames: slice, truth: TrueSurface, T_true: Array) -> None:
        """Judge the chunk of ``frames``, and begin another."""
        found = by_poses(T_true[frames], self.T_w_c[frames])
        if found is not None:
            points = found(self.chunk.cloud(self.settings.views).points)
            self.parts.append(distances(points, truth))
        self.chunk = self._fusion()


class Maps:
    """Maps of the same run, frame by frame.

    Args:
        run: it.
        kinds: of poses.
        settings: of all maps.
    """

    def __init__(self, run: FinishedRun, kinds: tuple[str, ...], settings: MapSettings) -> None:
        self.run, self.settings, self.frames = run, settings, 0
        self.maps = {kind: OneMap(run.trajectories[kind].T_w_c, settings) for kind in kinds}
        self.image_camera: Camera | None = None
        self.remarks: list[str] = []
        self.judged = False
        self._whole: TrueSurface | None = None
        self._chunk: TrueSurface | None = None
        self._ends = chunk_ends(len(run.rows))
        self._chunk_begins = 0
        self._first_blocks = 0

    def add(self, frame: Frame, estimate: Estimate) -> None:
        """Fuse a frame into every map.

        Raises:
            InputError: when a map needs more memory than it may take.
        """
        if self.frames == 0:
            self._begin(frame)
        depth = without_edges(estimate.depth, self.settings.edge)
        image = resize_image(frame.image, estimate.camera.size)
        for one in self.maps.values():
            try:
                one.add(estimate.index, depth, image, estimate.camera, self.judged)
            except TooManyBlocks:
                raise self._full() from None
        self.frames += 1
        if self.frames == 1:
            self._first_blocks = self._most_blocks()
        if self._chunk is not None and frame.depth is not None and frame.T_w_c is not None:
            self._chunk.add(frame)
        if self.judged and self.frames in self._ends:
            self._end_chunk()

    def finish(self) -> None:
        """Judge the whole maps."""
        if self._whole is None or self.run.truth is None:
            return
        for kind, one in self.maps.items():
            try:
                to_truth = by_trajectory(self.run.truth, self.run.trajectories[kind])
            except InputError as error:
                self.remarks.append(f"the whole map of {kind} poses is not judged: {error}")
                continue
            one.accuracy = accuracy([distances(to_truth(one.cloud.points), self._whole)])

    def numbers(self) -> dict[str, Any]:
        """What is measured, for ``map.json``: size, speed and accuracy of each map."""
        found = {}
        for kind, one in self.maps.items():
            found[kind] = {
                "blocks": one.whole.blocks,
                "points": len(one.cloud.points),
                "triangles": len(one.mesh.triangles),
                "fusion_frames_per_s": self.frames / max(one.fusion_s, 1e-9),
                "chunks": asdict(accuracy(one.parts)) if one.parts else None,
                "chunks_judged": len(one.parts),
                "whole": None if one.accuracy is None else asdict(one.accuracy),
            }
        return {
            "frames": self.frames,
            "chunks": len(self._ends),
            "maps": found,
            "remarks": self.remarks,
        }

    def _begin(self, frame: Frame) -> None:
        self.image_camera = frame.camera
        if frame.depth is None or frame.T_w_c is None or self.run.truth is None:
            return
        scales = np.array([row.depth_scale for row in self.run.rows])
        scale = float(np.nanmedian(scales)) if np.isfinite(scales).any() else 1.0
        self._reach_m = self.settings.max_depth / scale
        self._T_first_w = np.linalg.inv(frame.T_w_c)
        self.judged = True
        self._whole, self._chunk = self._truth(), self._truth()

    def _truth(self) -> TrueSurface:
        return TrueSurface(self._reach_m, self._T_first_w)

    def _end_chunk(self) -> None:
        assert self._chunk is not None
        assert self._whole is not None
        assert self.run.truth is not None
        frames = slice(self._chunk_begins, self.frames)
        for one in self.maps.values():
            one.end_chunk(frames, self._chunk, self.run.truth.T_w_c)
        self._whole.join(self._chunk)
        self._chunk, self._chunk_begins = self._truth(), self.frames

    def _most_blocks(self) -> int:
        return max(one.whole.blocks for one in self.maps.values())

    def _full(self) -> InputError:
        """What would do, as far as these frames tell."""
        blocks, later = self._most_blocks(), max(self.frames - 1, 1)
        growth = (blocks - self._first_blocks) / later  # the first frame brings all that it sees
        expected = blocks + growth * (len(self.run.rows) - self.frames)
        more = max(1.2 * expected / max(blocks, 1), 1.2)
        memory, voxel = self.settings.memory_gb, self.settings.voxel
        problem = (
            f"{memory:g} GB ({blocks_in(memory)} blocks of voxels) are full at frame "
            f"{self.frames} of {len(self.run.rows)}"
        )
        remedy = f"give --voxel {voxel * math.sqrt(more):.2g}, or --memory {memory * more:.2g}"
        return InputError("--memory", problem, f"{remedy}, or a smaller --max-depth")
