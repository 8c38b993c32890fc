"""Miniature copies of NYU Depth v2, Make3D and Cityscapes: few images, of the published sizes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import cv2
import h5py
import numpy as np
from scipy.io import savemat

TAILS = ("10.21op2-p-015t000", "op9-p-169t000", "math1-p-313t000")
FX, BASELINE = 2000.0, 0.25


def write_nyu(path: Path, images: np.ndarray, depths: np.ndarray) -> Path:
    """Images (N, 480, 640, 3) and depths (N, 480, 640), as MATLAB writes them with -v7.3."""
    with h5py.File(path, "w", userblock_size=512) as file:
        for name, array in (("images", images.transpose(0, 3, 2, 1)),
                            ("depths", depths.transpose(0, 2, 1).astype(np.float32))):  # fmt: skip
            chunk = (1, *array.shape[1:])
            file.create_dataset(name, data=array, chunks=chunk, compression="gzip",
                                compression_opts=1)  # fmt: skip
    with path.open("r+b") as file:
        file.write(b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(124) + b"\x00\x02IM")
    return path


def write_even_nyu(path: Path, values: Sequence[float]) -> Path:
    """Image i has one grey value, which is the depth in centimetres."""
    images = np.stack([np.full((480, 640, 3), round(100 * v), np.uint8) for v in values])
    return write_nyu(path, images, np.stack([np.full((480, 640), v) for v in values]))


def write_splits(path: Path, numbers: Sequence[float]) -> Path:
    """Numbers of test images, a column as in splits.mat."""
    savemat(path, {"testNdxs": np.array(numbers, np.float64)[:, None], "trainNdxs": [[1.0]]})
    return path


def write_make3d(root: Path, values: Sequence[float] = (20.0, 40.0, 60.0)) -> Path:
    """Image i has one grey value, which is the depth in metres; the other channels are not."""
    (root / "Test134").mkdir(parents=True)
    (root / "Gridlaserdata").mkdir()
    for tail, value in zip(TAILS, values, strict=False):
        image = np.full((2272, 1704, 3), round(value), np.uint8)
        assert cv2.imwrite(str(root / "Test134" / f"img-{tail}.jpg"), image)
        write_grid(root, tail, value)
    return root


def write_grid(root: Path, tail: str, value: float) -> Path:
    """Depth of one image of Make3D."""
    path = root / "Gridlaserdata" / f"depth_sph_corr-{tail}.mat"
    grid = np.full((55, 305, 4), 5.0)
    grid[..., 3] = value
    savemat(path, {"Position3DGrid": grid})
    return path


def write_cityscapes(root: Path, frames: dict[str, int]) -> Path:
    """Image of each frame with one grey value, which is the depth in metres; and its disparity."""
    for stem, value in frames.items():
        city = stem.split("_")[0]
        shape = (1024, 2048)
        images = root / "leftImg8bit" / "test" / city
        disparities = root / "disparity" / "test" / city
        cameras = root / "camera" / "test" / city
        for folder in (images, disparities, cameras):
            folder.mkdir(parents=True, exist_ok=True)
        image = np.full((*shape, 3), value, np.uint8)
        assert cv2.imwrite(str(images / f"{stem}_leftImg8bit.png"), image)
        counts = np.full(shape, round(256 * BASELINE * FX / value) + 1, np.uint16)
        assert cv2.imwrite(str(disparities / f"{stem}_disparity.png"), counts)
        camera = {
            "intrinsic": {"fx": FX, "fy": FX, "u0": 1000.0, "v0": 500.0},
            "extrinsic": {"baseline": BASELINE, "pitch": 0.03},
        }
        (cameras / f"{stem}_camera.json").write_text(json.dumps(camera))
    return root


def write_depth_arrays(folder: Path, values: Sequence[float]) -> Path:
    """``000_depth.npy`` and so on, each of one depth."""
    folder.mkdir(parents=True)
    for i, value in enumerate(values):
        np.save(folder / f"{i:03d}_depth.npy", np.full((1024, 2048), value, np.float32))
    return folder
