"""Miniature copies of data that are video in short pieces: Cityscapes, its triplets, NYU raw."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np

FX, U0, V0 = 2262.5, 1096.98, 513.137
NYU_START = 1316653580.471513


def scene(shift: float, width: int, height: int) -> np.ndarray:
    """A smooth image (H, W, 3) uint8 that moves to the left with ``shift``."""
    y, x = np.meshgrid(np.arange(height) / height, np.arange(width) / width, indexing="ij")
    parts = [np.sin(9 * (x + shift)), np.cos(7 * (x + shift) + 4 * y), np.sin(11 * y + 2 * x)]
    return np.round(127 + 120 * np.stack(parts, axis=2)).astype(np.uint8)


def write(path: Path, image: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), image[..., ::-1])
    return path


def write_cityscapes_video(
    root: Path, sequence: str, numbers: range, size: tuple[int, int] = (128, 64),
    split: str = "train", labelled: int | None = None,
) -> Path:  # fmt: skip
    """Frames of ``aachen_000000``; their camera at the labelled number. Returns their folder."""
    city = sequence.split("_")[0]
    folder = root / "leftImg8bit_sequence" / split / city
    for number in numbers:
        write(folder / f"{sequence}_{number:06d}_leftImg8bit.png", scene(0.01 * number, *size))
    if labelled is not None:
        write_camera(root, f"{sequence}_{labelled:06d}", split)
    return folder


def write_camera(root: Path, stem: str, split: str = "train", fx: float = FX) -> Path:
    """Camera of an image of Cityscapes, for its full size."""
    path = root / "camera" / split / stem.split("_")[0] / f"{stem}_camera.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    intrinsic = {"fx": fx, "fy": fx, "u0": U0, "v0": V0}
    path.write_text(json.dumps({"intrinsic": intrinsic, "extrinsic": {"baseline": 0.21}}))
    return path


def write_triplet(root: Path, stem: str, size: tuple[int, int] = (128, 48)) -> Path:
    """A wide image of three frames, and its camera as the preparation writes it."""
    width, height = size
    frames = [scene(0.02 * i, width, height) for i in range(3)]
    path = write(root / stem.split("_")[0] / f"{stem}.png", np.concatenate(frames, axis=1))
    s = width / 2048
    numbers = [FX * s, 0, U0 * s, 0, FX * s, V0 * s, 0, 0, 1]
    path.with_name(f"{stem}_cam.txt").write_text(",".join(map(str, numbers)))
    return path


def write_nyu_scene(root: Path, name: str, frames: int = 5, step_s: float = 0.04) -> Path:
    """Colour images with times in their names, and the other files of a scene."""
    folder = root / name
    for i in range(frames):
        clock, time_s = 1316138413 + 2000000 * i, NYU_START + step_s * i
        write(folder / f"r-{time_s:.6f}-{clock}.ppm", scene(0.01 * i, 640, 480))
        (folder / f"a-{time_s:.6f}-{clock}.dump").write_bytes(b"0")
    (folder / "INDEX.txt").write_text("".join(f"{p.name}\n" for p in sorted(folder.iterdir())))
    return folder
