"""A run as Rerun shows it; the only module that calls Rerun, whose names change between versions.

    camera/image, depth, confidence     what the camera sees, each with its pinhole
    camera/error/raw, error/refined     photometric error at the motion before and after refinement
    raw, refined                        two worlds around the same camera, one for each kind of pose
    raw/trajectory, raw/truth           strips, one segment a frame; the truth as a whole
    raw/map                             back-projected keyframes
    raw/follow                          moves but does not turn with the camera: where the eye is
    plot/..., log                       numbers and words

The camera is the root, and each world hangs on it by its pose: so the image and its depth are sent
once and stand in both worlds. Timelines are ``frame`` (number on disk) and ``time`` (seconds).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence as Many
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest import mock

import cv2
import numpy as np

from vo.datasets.camera import Array, Camera
from vo.datasets.sequence import resize_image
from vo.drive import Row
from vo.tools.plots import COLOURS, PALETTE
from vo.tools.viewing.pictures import (
    cloud,
    coloured,
    grey,
    image_camera,
    jpeg,
    map_camera,
    photometric_error,
    resized_map,
    stretched,
)

APPLICATION = "scale-aligned-vo"
TRUTH_COLOUR = "#d0d0d0"  # that of the plots would not be seen on the dark ground of a world
DEPTH_UNITS = 256  # a metre, as in depth files
SPARSE = 4  # frames from one picture of confidence and of errors to the next
KEYFRAME = 5  # frames from one cloud to the next, at least
CLOUD_POINTS, MAP_POINTS = 2500, 600_000  # at most, of a cloud and of a whole run
STANDS = 0.02  # times the median depth: who moved less since the last keyframe sees nothing new
LARGE_ERROR = 0.25  # grey values from 0 to 1: the brightest colour of a photometric error
FLUSH_S = 10.0
LIVE_TICK_S = 0.2
FILE_TICK_S, FILE_TICK_BYTES = 5.0, 4 * 2**20  # what a run that is killed may lose of its file


@dataclass(frozen=True, slots=True, eq=False)
class Poses:
    """What is light, and shown of every frame.

    Attributes:
        row: numbers of the frame.
        T_w_c: poses by kind: raw, refined, or both, (4, 4).
        frames_per_s: speed of the run, or None.
    """

    row: Row
    T_w_c: dict[str, Array]
    frames_per_s: float | None


@dataclass(frozen=True, slots=True, eq=False)
class Pictures:
    """What is heavy, and left out when there is no time.

    Attributes:
        index: position in the run.
        image: (H, W, 3) uint8 RGB.
        image_camera: of ``image``.
        depth: (h, w) along z.
        confidence: (h', w') in (0, 1), or None.
        camera: of ``depth``.
        T_last_c: motions since the last frame by kind.
    """

    index: int
    image: Array
    image_camera: Camera
    depth: Array
    confidence: Array | None
    camera: Camera
    T_last_c: dict[str, Array]


class Recording:
    """One run in Rerun's viewers and files. All methods are called from one thread.

    Args:
        name: of the run.
        kinds: of poses: raw, refined, or both.
        frames: how many there will be, which bounds the points of each cloud.
        truth: (N, 4, 4) true poses, world at the first camera, or None.
        urls: viewers to send to.
        rrd: file to write, or None.
        live: whether somebody waits for every frame.

    Raises:
        RuntimeError: when the file cannot be made.
    """

    def __init__(
        self,
        name: str,
        kinds: Many[str],
        frames: int,
        truth: Array | None,
        urls: Many[str] = (),
        rrd: Path | None = None,
        live: bool = True,
    ) -> None:
        self._rr = rr = _rerun()
        self._kinds, self._curves = tuple(kinds), _curves(tuple(kinds))
        clouds = max(frames // KEYFRAME, 1)
        self._cloud_points = max(min(CLOUD_POINTS, MAP_POINTS // clouds), 1)
        self._last: tuple[int, Array] | None = None  # index and grey values
        self._last_position: dict[str, Array] = {}
        self._keyframe: tuple[int, Array] | None = None  # index and position
        self._begun = self._timed = False
        self._early: list[str] = []  # lines said before there was a time to say them at
        # Rows that leave together share their header, which is larger than most rows. A file can
        # wait for them, who watches a run cannot.
        batches = (
            rr.ChunkBatcherConfig(flush_tick=LIVE_TICK_S)
            if live and urls
            else rr.ChunkBatcherConfig(flush_tick=FILE_TICK_S, flush_num_bytes=FILE_TICK_BYTES)
        )
        self._to = rr.RecordingStream(APPLICATION, batcher_config=batches)
        sinks = [rr.GrpcSink(url) for url in urls]
        if rrd is not None:
            sinks.append(rr.FileSink(rrd))
        self._to.set_sinks(*sinks)
        self._to.send_recording_name(name)
        self._styles(truth)

    def add(self, poses: Poses, pictures: Pictures | None) -> None:
        """Show a frame."""
        self._set_time(poses.row)
        self._timed = True
        while self._early:
            self.say(self._early.pop(0))
        for kind, T_w_c in poses.T_w_c.items():
            self._pose(kind, T_w_c)
        self._numbers(poses)
        if not poses.row.tracked:
            self.say(f"frame {poses.row.frame} is not tracked: {poses.row.reason}", "WARN")
        if pictures is None:
            return
        if not self._begun:
            self._begin(pictures)
        self._pictures(pictures)
        if self._is_keyframe(poses, pictures):
            self._clouds(poses, pictures)

    def say(self, text: str, level: str = "INFO") -> None:
        """Add a line to the text log, at the time of the last frame, or else of the first."""
        if self._timed:
            self._log("log", self._rr.TextLog(text, level=level))
        else:
            self._early.append(text)

    def close(self) -> None:
        """Write what is still on its way, and end files.

        Raises:
            RuntimeError: when something did not arrive.
        """
        try:
            self._to.flush(timeout_sec=FLUSH_S)
        finally:
            self._to.disconnect()

    def _log(self, path: str, *what: Any, static: bool = False) -> None:
        first, *rest = what
        self._to.log(path, first, *rest, static=static, strict=True)

    def _set_time(self, row: Row) -> None:
        self._to.set_time("frame", sequence=row.frame)
        self._to.set_time("time", duration=row.time_s)

    def _styles(self, truth: Array | None) -> None:
        """What does not change with time."""
        rr = self._rr
        for kind in self._kinds:
            self._log(kind, rr.ViewCoordinates.RDF, static=True)
            style = {"colors": [_rgb(COLOURS[kind])], "radii": [_points(rr, 2.5)]}
            self._log(f"{kind}/trajectory", rr.LineStrips3D.from_fields(**style), static=True)
            size = rr.Points3D.from_fields(radii=[_points(rr, 1.5)])
            self._log(f"{kind}/map", size, static=True)
            if truth is not None and len(truth) > 1:
                strip = rr.LineStrips3D(
                    [truth[:, :3, 3]], colors=[_rgb(TRUTH_COLOUR)], radii=[_points(rr, 1.0)]
                )
                self._log(f"{kind}/truth", strip, static=True)
        for path, curves in self._curves.items():
            colours = [_rgb(colour) for colour in curves.values()]
            lines = rr.SeriesLines(names=list(curves), colors=colours, widths=[1.5] * len(curves))
            self._log(f"plot/{path}", lines, static=True)

    def _begin(self, pictures: Pictures) -> None:
        """Cameras, and a layout that suits the size of the scene."""
        rr = self._rr
        image = image_camera(pictures.image_camera)
        small = map_camera(pictures.camera)
        distance = 0.15 * float(np.median(pictures.depth))
        self._log("camera/image", _pinhole(rr, image, distance), static=True)
        paths = ["depth", *(["confidence"] if pictures.confidence is not None else [])]
        paths += [f"error/{kind}" for kind in self._kinds]
        for path in paths:
            self._log(f"camera/{path}", _pinhole(rr, small, distance), static=True)
        layout = _blueprint(self._kinds, paths, float(np.median(pictures.depth)))
        self._to.send_blueprint(layout)
        self._begun = True

    def _pose(self, kind: str, T_w_c: Array) -> None:
        rr, position = self._rr, T_w_c[:3, 3]
        world = rr.Transform3D(
            translation=position,
            mat3x3=T_w_c[:3, :3],
            relation=rr.TransformRelation.ChildFromParent,  # the camera is the parent
        )
        self._log(kind, world)
        self._log(f"{kind}/follow", rr.Transform3D(translation=position))
        last = self._last_position.get(kind)
        if last is not None:
            segment = rr.LineStrips3D.from_fields(strips=[np.stack([last, position])])
            self._log(f"{kind}/trajectory", segment)
        self._last_position[kind] = position

    def _numbers(self, poses: Poses) -> None:
        row = poses.row
        energies = {"raw": row.energy_before, "refined": row.energy}
        numbers = {
            "scale": (row.ratio,),
            "residual": tuple(energies[kind] for kind in self._kinds),
            "valid_share": (row.valid_share,),
            "iterations": (float(row.iterations),) if np.isfinite(row.energy) else (np.nan,),
            "frames_per_s": (np.nan if poses.frames_per_s is None else poses.frames_per_s,),
        }
        for path in self._curves:
            if np.isfinite(numbers[path]).all():
                self._log(f"plot/{path}", self._rr.Scalars(numbers[path]))

    def _pictures(self, pictures: Pictures) -> None:
        rr, small = self._rr, map_camera(pictures.camera)
        size = image_camera(pictures.image_camera).size
        self._image("image", resize_image(pictures.image, size))
        depth = resized_map(pictures.depth, small)
        units = np.clip(np.round(depth * DEPTH_UNITS), 0, 65535).astype(np.uint16)
        far = float(np.percentile(depth, 95))
        self._log(
            "camera/depth",
            rr.DepthImage(
                units, meter=DEPTH_UNITS, colormap="turbo", depth_range=[0, far * DEPTH_UNITS]
            ),
        )
        now = grey(pictures.image, small)
        last, self._last = self._last, (pictures.index, now)
        if pictures.index % SPARSE:
            return
        if pictures.confidence is not None:
            confidence = resized_map(pictures.confidence, small)
            self._image("confidence", coloured(stretched(confidence), cv2.COLORMAP_VIRIDIS))
        if last is not None and last[0] == pictures.index - 1:
            for kind, T_last_c in pictures.T_last_c.items():
                error = photometric_error(now, last[1], depth, small, T_last_c)
                self._image(f"error/{kind}", coloured(error / LARGE_ERROR, cv2.COLORMAP_INFERNO))

    def _image(self, path: str, image: Array) -> None:
        picture = self._rr.EncodedImage(contents=jpeg(image), media_type="image/jpeg")
        self._log(f"camera/{path}", picture)

    def _is_keyframe(self, poses: Poses, pictures: Pictures) -> bool:
        """Whether a cloud is due: some frames and some way after the last one, and not lost."""
        if not poses.row.tracked:
            return False
        position = poses.T_w_c[self._kinds[-1]][:3, 3]
        if self._keyframe is not None:
            index, last = self._keyframe
            moved = float(np.linalg.norm(position - last))
            if pictures.index - index < KEYFRAME or moved < STANDS * poses.row.depth_median:
                return False
        self._keyframe = pictures.index, position
        return True

    def _clouds(self, poses: Poses, pictures: Pictures) -> None:
        small = map_camera(pictures.camera)
        points, colours = cloud(
            resize_image(pictures.image, small.size),
            resized_map(pictures.depth, small),
            small,
            self._cloud_points,
        )
        for kind, T_w_c in poses.T_w_c.items():
            rr = self._rr
            in_world = (points @ T_w_c[:3, :3].T + T_w_c[:3, 3]).astype(np.float32)
            shown = rr.Points3D.from_fields(positions=in_world, colors=colours)
            self._log(f"{kind}/map", shown)


def _curves(kinds: tuple[str, ...]) -> dict[str, dict[str, str]]:
    """Entities under plot/, and their curves with their colours."""
    scale = {"scale": {"raw over refined": COLOURS["raw"]}}
    return (scale if len(kinds) > 1 else {}) | {
        "residual": {kind: COLOURS[kind] for kind in kinds},
        "valid_share": {"valid share": PALETTE[2]},
        "iterations": {"iterations": PALETTE[4]},
        "frames_per_s": {"frames per second": PALETTE[6]},
    }


def _rerun() -> ModuleType:
    """Rerun, without its own messages, which say less than its errors; and it raises those."""
    if "rerun" in sys.modules or "RUST_LOG" in os.environ:
        import rerun
    else:
        with mock.patch.dict(os.environ, RUST_LOG="off"):
            import rerun
    rerun.set_strict_mode(True)
    return rerun


def _rgb(colour: str) -> list[int]:
    """``#rrggbb`` as numbers."""
    return list(bytes.fromhex(colour[1:]))


def _points(rr: ModuleType, size: float) -> Any:
    """A radius in points of the screen, the same at any distance."""
    return rr.Radius.ui_points(size)


def _pinhole(rr: ModuleType, camera: Camera, distance: float) -> Any:
    return rr.Pinhole(
        image_from_camera=camera.K,
        resolution=camera.size,
        camera_xyz=rr.ViewCoordinates.RDF,
        image_plane_distance=distance,
    )


def _blueprint(kinds: tuple[str, ...], paths: list[str], depth: float) -> Any:
    """The worlds side by side; below them what the camera sees, the numbers, and the log."""
    _rerun()
    import rerun.blueprint as rrb

    worlds = rrb.Horizontal(*(_world(rrb, kind, depth) for kind in kinds))
    images = [("image", "image"), *((path, path.replace("/", ", ")) for path in paths)]
    seen = rrb.Horizontal(
        *(rrb.Spatial2DView(origin=f"camera/{path}", name=name) for path, name in images)
    )
    plots = [
        rrb.TimeSeriesView(origin=f"plot/{path}", name=path.replace("_", " "))
        for path in _curves(kinds)
    ]
    columns = rrb.TextLogColumns(
        timeline_columns=["frame"],
        text_log_columns=["loglevel", "body"],
    )
    below = rrb.Horizontal(
        *plots[:2], rrb.Tabs(*plots[2:]), rrb.TextLogView(origin="log", name="log", columns=columns)
    )
    return rrb.Blueprint(
        rrb.Vertical(worlds, seen, below, row_shares=[5, 2, 2]),
        rrb.TimePanel(state="collapsed", timeline="frame"),
        rrb.SelectionPanel(state="hidden"),
        rrb.BlueprintPanel(state="collapsed"),
    )


def _world(rrb: ModuleType, kind: str, depth: float) -> Any:
    """A world from behind and above the camera, ``depth`` being a typical distance."""
    rr = _rerun()
    begin, now = rr.TimeRangeBoundary.infinite(), rr.TimeRangeBoundary.cursor_relative()
    so_far = rrb.VisibleTimeRanges(
        [rrb.VisibleTimeRange(line, start=begin, end=now) for line in ("frame", "time")]
    )
    return rrb.Spatial3DView(
        origin=f"{kind}/follow",
        contents=[f"+ /{kind}/**", "+ /camera/image", "+ /camera/depth"],
        name={"raw": "raw: poses of the network", "refined": "refined"}[kind],
        background=[18, 18, 22],
        line_grid=False,
        eye_controls=rrb.EyeControls3D(
            kind=rrb.Eye3DKind.Orbital,
            position=(-0.5 * depth, -1.3 * depth, -1.9 * depth),
            look_target=(0, 0, 0.4 * depth),
            eye_up=(0, -1, 0),
        ),
        overrides={
            f"/{kind}/trajectory": so_far,
            f"/{kind}/map": so_far,
            "/camera/depth": rrb.EntityBehavior(visible=False),  # to be switched on by who likes
        },
    )
