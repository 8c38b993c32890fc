"""Which world, drive and camera belong to a sequence, and how one of its frames is written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from vo.datasets.camera import Array, Camera
from vo.datasets.street.drive import camera_poses
from vo.datasets.street.render import Rendered, Renderer
from vo.datasets.street.world import World, make_route, make_world

STREET_SEQUENCES = tuple(f"{number:02d}" for number in range(11))
DEFAULT_SIZE = (640, 192)
_FRAMES = {"09": 500}
_WITH_TRAFFIC = {"01", "03", "05", "07", "10"}
_FIRST_SEED = 20
# Noise compresses as well and twice as fast without a search for repeats.
_PNG = (
    cv2.IMWRITE_PNG_COMPRESSION, 1,
    cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_HUFFMAN_ONLY,
    cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_SUB,
)  # fmt: skip


def default_frames(seq: str) -> int:
    """Length of a sequence when nothing else is asked for."""
    return _FRAMES.get(seq, 400)


def street_camera(width: int, height: int) -> Camera:
    """A camera with about KITTI's field of view and, as KITTI's, a centre that is a little off."""
    focal = 0.58 * width
    return Camera(focal, focal, 0.492 * width, 0.475 * height, width, height)


def street_world(seq: str, frames: int) -> World:
    """World of a sequence; a shorter sequence is the beginning of a longer one."""
    return make_world(_seed(seq), _built_for(seq, frames), seq in _WITH_TRAFFIC)


def street_poses(seq: str, frames: int) -> Array:
    """(F, 4, 4) poses T_z_c of a sequence: camera to the world whose z axis points up."""
    road, drive = make_route(_seed(seq), _built_for(seq, frames))
    return camera_poses(np.random.default_rng([_seed(seq), 11]), road, drive)[:frames]


def _seed(seq: str) -> int:
    return _FIRST_SEED + STREET_SEQUENCES.index(seq)


def _built_for(seq: str, frames: int) -> int:
    return max(frames, default_frames(seq))


def write_frames(
    folder: Path, seq: str, size: tuple[int, int], indices: range, done: Callable[[], None]
) -> None:
    """Draw the frames ``indices`` of a sequence into ``folder`` and call ``done`` after each."""
    cv2.setNumThreads(1)  # the work is shared among processes
    frames = indices.stop
    renderer = Renderer(street_world(seq, frames), street_camera(*size))
    poses = street_poses(seq, frames)
    for index in indices:
        write_frame(folder, index, renderer.render(poses[index], index))
        done()


def write_frame(folder: Path, index: int, rendered: Rendered) -> None:
    """Image, depth (16 bit, metres x 256) and mask of moving things as PNG files."""
    depth = np.round(rendered.depth * 256).astype(np.uint16)
    pictures = {
        "image_2": rendered.image[..., ::-1],
        "depth": depth,
        "moving": rendered.moving.astype(np.uint8) * 255,
    }
    for name, picture in pictures.items():
        # Encoded first and written by Python, because cv2.imwrite keeps quiet about a full disk.
        options = _PNG if name == "image_2" else (cv2.IMWRITE_PNG_COMPRESSION, 1)
        ok, data = cv2.imencode(".png", picture, options)
        if not ok:
            raise RuntimeError(f"OpenCV could not encode {name} of frame {index}")
        (folder / name / f"{index:06d}.png").write_bytes(data.tobytes())
