"""Small drives in the layout of KITTI raw."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

CAM_TO_CAM = """calib_time: 09-Jan-2012 13:57:47
corner_dist: 9.950000e-02
S_00: 1.392000e+03 5.120000e+02
S_rect_00: 40 30
R_rect_00: 1 0 0 0 1 0 0 0 1
P_rect_00: 50 0 19.5 0 0 50 14.5 0 0 0 1 0
S_rect_01: 40 30
P_rect_01: 50 0 19.5 -27 0 50 14.5 0 0 0 1 0
S_rect_02: 40 30
P_rect_02: 50 0 19.5 3 0 50 14.5 0 0 0 1 0
S_rect_03: 40 30
P_rect_03: 50 0 19.5 -23.5 0 50 14.5 0.1 0 0 1 0.002
"""
# Camera: x right, y down, z forward. Laser scanner and GPS/IMU unit: x forward, y left, z up.
VELO_TO_CAM = "calib_time: 15-Mar-2012\nR: 0 -1 0 0 0 -1 1 0 0\nT: 0 -0.08 -0.27\ndelta_f: 0 0\n"
IMU_TO_VELO = "calib_time: 25-May-2012\nR: 1 0 0 0 1 0 0 0 1\nT: -0.8 0.3 -0.8\n"


def write_drive(
    root: Path,
    number: int = 52,
    frames: tuple[int, ...] = (0, 1, 2, 3),
    cameras: tuple[str, ...] = ("image_02",),
    date: str = "2011_09_26",
    suffix: str = ".png",
) -> Path:
    """Write images, all calibrations and times; returns the folder of the drive."""
    drive = root / date / f"{date}_drive_{number:04d}_sync"
    for c, camera in enumerate(cameras):
        (drive / camera / "data").mkdir(parents=True)
        for i in frames:
            noise = np.random.default_rng(100 * c + i).integers(0, 256, (30, 40, 3), np.uint8)
            path = drive / camera / "data" / f"{i:010d}{suffix}"
            assert cv2.imwrite(str(path), cv2.GaussianBlur(noise, (5, 5), 0))
        lines = [f"2011-09-26 13:02:{25 + 0.1 * i:012.9f}\n" for i in range(max(frames) + 1)]
        (drive / camera / "timestamps.txt").write_text("".join(lines))
    (drive.parent / "calib_cam_to_cam.txt").write_text(CAM_TO_CAM)
    (drive.parent / "calib_velo_to_cam.txt").write_text(VELO_TO_CAM)
    (drive.parent / "calib_imu_to_velo.txt").write_text(IMU_TO_VELO)
    return drive


def write_packets(drive: Path, packets: np.ndarray) -> None:
    """Write (N, 6) latitude, longitude (deg), altitude, roll, pitch, yaw with 24 more numbers."""
    folder = drive / "oxts" / "data"
    folder.mkdir(parents=True, exist_ok=True)
    for i, packet in enumerate(packets):
        words = [f"{value:.14f}" for value in packet] + ["0"] * 24
        (folder / f"{i:010d}.txt").write_text(" ".join(words) + "\n")
