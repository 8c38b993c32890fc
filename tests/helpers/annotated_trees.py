"""Small data with sparse true depth, as KITTI and NYU lie on disk: red tells the depth."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

DATE = "2011_09_26"
NEAR_M, RANGE_M = 4.0, 40.0


def depth_of_red(red: np.ndarray) -> np.ndarray:
    """True depth in metres of a red channel, 0 to 255."""
    return NEAR_M + RANGE_M * red / 255


def view(number: int, width: int, height: int) -> tuple[np.ndarray, np.ndarray]:
    """A smooth image (H, W, 3) uint8 RGB and its depth (H, W), known in some rows and columns."""
    y, x = np.meshgrid(np.arange(height) / height, np.arange(width) / width, indexing="ij")
    t = 0.5 + 0.3 * np.sin(4 * x + 0.7 * number) + 0.15 * np.cos(5 * y - 2 * x)
    image = np.stack([t, 0.3 + 0.4 * x, 0.2 + 0.6 * y], axis=2)
    image = np.round(255 * image).astype(np.uint8)
    known = np.zeros((height, width), bool)
    known[1::4, ::3] = True
    return image, np.where(known, depth_of_red(image[..., 0].astype(float)), 0)


def write_image(path: Path, image: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 100])


def write_depth(path: Path, depth: np.ndarray, per_metre: float) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), np.round(depth * per_metre).astype(np.uint16))


def drive_name(number: int) -> str:
    return f"{DATE}_drive_{number:04d}_sync"


def write_kitti(
    root: Path,
    number: int,
    depths: Path | None,
    frames: range = range(6),
    annotated: range = range(1, 5),
    camera: str = "image_02",
    size: tuple[int, int] = (96, 64),
    suffix: str = ".png",
) -> Path:
    """Write a drive; its depth under ``depths``, or none. Returns the folder of the drive."""
    width, height = size
    drive = root / DATE / drive_name(number)
    for i in frames:
        image, depth = view(10 * number + i, width, height)
        write_image(drive / camera / "data" / f"{i:010d}{suffix}", image)
        if depths is not None and i in annotated:
            place = depths / drive_name(number) / "proj_depth" / "groundtruth" / camera
            write_depth(place / f"{i:010d}.png", depth, 256)
    lines = [f"S_rect_0{n}: {width} {height}" for n in range(4)]
    lines += [f"P_rect_0{n}: 60 0 47 0 0 60 30 0 0 0 1 0" for n in range(4)]
    (drive.parent / "calib_cam_to_cam.txt").write_text("\n".join(lines) + "\n")
    return drive


def write_nyu(
    root: Path,
    scene: str,
    numbers: tuple[int, ...] = (45, 46, 47),
    size: tuple[int, int] = (96, 72),
) -> Path:
    """Write a scene; an image without depth beside it. Returns its folder."""
    folder = root / scene
    for number in numbers:
        image, depth = view(number, *size)
        write_image(folder / f"rgb_{number:05d}.jpg", image)
        write_depth(folder / f"sync_depth_{number:05d}.png", depth / 5, 1000)
    write_image(folder / "rgb_00099.jpg", view(99, *size)[0])
    return folder
