"""Small drives that tests make for themselves."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

P0 = "P0: 50 0 19.5 0 0 50 14.5 0 0 0 1 0\n"
P1 = "P1: 50 0 19.5 -27 0 50 14.5 0 0 0 1 0\n"


def picture(number: int, width: int = 40, height: int = 30) -> np.ndarray:
    """A smooth colour picture, (height, width, 3) uint8 RGB, another for each number."""
    noise = np.random.default_rng(number).integers(0, 256, (height, width, 3), np.uint8)
    return cv2.GaussianBlur(noise, (5, 5), 0)


def write_picture(path: Path, number: int, width: int = 40, height: int = 30) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), picture(number, width, height)[..., ::-1])


@pytest.fixture
def kitti(tmp_path: Path) -> Callable[..., Path]:
    """Make ``root/sequences/NN`` with 40x30 images, times, P0 and poses; returns the root."""

    def make(
        seq: str = "00",
        frames: int = 5,
        cameras: tuple[str, ...] = ("image_0",),
        calib: str = P0,
        poses: int | None = None,
        suffix: str = ".png",
    ) -> Path:
        root, folder = tmp_path / "kitti", tmp_path / "kitti" / "sequences" / seq
        folder.mkdir(parents=True)
        for c, camera in enumerate(cameras):
            for i in range(frames):
                write_picture(folder / camera / f"{i:06d}{suffix}", 100 * c + i)
        (folder / "calib.txt").write_text(calib)
        (folder / "times.txt").write_text("".join(f"{0.1 * i:.6e}\n" for i in range(frames)))
        (root / "poses").mkdir(exist_ok=True)
        rows = [f"1 0 0 0 0 1 0 0 0 0 1 {i}\n" for i in range(frames if poses is None else poses)]
        (root / "poses" / f"{seq}.txt").write_text("".join(rows))
        return root

    return make


@pytest.fixture
def images(tmp_path: Path) -> Callable[..., Path]:
    """Make a folder with images 0.png, 1.png, ... and a camera file; returns the folder."""

    def make(frames: int = 3, camera: bool = True, name: str = "walk") -> Path:
        folder = tmp_path / name
        for i in range(frames):
            write_picture(folder / f"{i}.png", i)
        if camera:
            lines = "fx: 50\nfy: 50.0\ncx: 19.5\ncy: 14.5\nwidth: 40\nheight: 30\n"
            (folder / "camera.yaml").write_text(lines)
        return folder

    return make


@pytest.fixture
def movie(tmp_path: Path) -> Callable[..., Path]:
    """Make a video of 64x48 pixels in which B-frames stand out of order; returns the file."""

    def make(
        name: str = "drive.mp4", frames: int = 30, codec: str = "libx264", gop: int = 8
    ) -> Path:
        path = tmp_path / name
        options = {"movflags": "faststart"} if path.suffix == ".mp4" else {}
        with av.open(str(path), "w", options=options) as container:
            stream = container.add_stream(codec, rate=10)
            stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
            stream.codec_context.gop_size = gop
            stream.codec_context.max_b_frames = 2
            for i in range(frames):
                image = np.roll(picture(1, 64, 48), 2 * i, axis=1)
                container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
            container.mux(stream.encode())
        return path

    return make
