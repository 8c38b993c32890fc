"""`check_data` on KITTI raw with its depth, on single images, and on short videos."""

from __future__ import annotations

import shutil
from pathlib import Path

import annotated_trees
import cv2
import numpy as np
import pytest
from kitti_raw_drive import CAM_TO_CAM, write_drive
from short_videos import write_cityscapes_video, write_nyu_scene, write_triplet
from still_collections import (
    write_cityscapes,
    write_even_nyu,
    write_grid,
    write_make3d,
)

from vo.datasets.check import check_data
from vo.datasets.errors import InputError


def problems(data: Path, **flags) -> set[tuple[str, str, str]]:
    return {(Path(p.where).name, p.what, p.severity) for p in check_data(data, **flags)}


def write_scans(drive: Path, numbers: list[int]) -> Path:
    folder = drive / "velodyne_points" / "data"
    folder.mkdir(parents=True)
    for number in numbers:
        np.ones((5, 4), "<f4").tofile(folder / f"{number:010d}.bin")
    return folder


def test_missing_and_damaged_scans(tmp_path: Path) -> None:
    folder = write_scans(write_drive(tmp_path), [0, 2])
    (folder / "0000000002.bin").write_bytes(b"123")
    damage = "has 3 bytes, no whole number of points of 16 bytes"
    assert problems(tmp_path) == {
        ("velodyne_points", "2 of 4 frames have no laser scan: 1, 3", "warning"),
        ("0000000002.bin", damage, "error"),
    }


def test_drive_in_the_folder_of_another_day(tmp_path: Path) -> None:
    drive = write_drive(tmp_path)
    shutil.move(tmp_path / "2011_09_26", tmp_path / "2011_09_28")
    what = "lies in the folder of 2011_09_28, whose calibration is another"
    assert (drive.name, what, "error") in problems(tmp_path)


def test_images_of_another_drive(tmp_path: Path) -> None:
    drive = write_drive(tmp_path)
    path = drive / "image_02" / "timestamps.txt"
    path.write_text(path.read_text().replace("2011-09-26", "2011-10-03"))
    what = "has times of 2011_10_03: these are the images of another drive"
    assert problems(tmp_path) == {("timestamps.txt", what, "error")}


def test_images_that_are_nearly_of_the_calibrated_size(tmp_path: Path) -> None:
    """All of KITTI's days have nearly one shape, so that the camera of another would be taken."""
    drive = write_drive(tmp_path)
    for number in range(4):
        path = drive / "image_02" / "data" / f"{number:010d}.png"
        assert cv2.imwrite(str(path), np.full((100, 133, 3), 9 * number, np.uint8))
    calibration = tmp_path / "2011_09_26" / "calib_cam_to_cam.txt"
    calibration.write_text(CAM_TO_CAM.replace("S_rect_02: 40 30", "S_rect_02: 135 101"))
    what = "has 133x100 pixels, calib_cam_to_cam.txt says 135x101: images or calibration are of "
    assert problems(tmp_path) == {("image_02", what + "another day", "error")}
    text = CAM_TO_CAM.replace("S_rect_02: 40 30", "S_rect_02: 1330 1000")
    calibration.write_text(text)  # images that were made smaller on purpose
    assert problems(tmp_path) == set()


@pytest.mark.parametrize(("exchanged", "count"), [(False, 0), (True, 1)])
def test_exchanged_cameras(tmp_path: Path, exchanged: bool, count: int) -> None:
    cameras = ("image_02", "image_03")
    drive = write_drive(tmp_path, cameras=cameras, frames=(0, 1))
    text = CAM_TO_CAM.replace(" 40 30", " 414 126")
    (tmp_path / "2011_09_26" / "calib_cam_to_cam.txt").write_text(text)
    for number in range(2):
        noise = np.random.default_rng(number).integers(0, 256, (42, 150, 3), np.uint8)
        wide = cv2.resize(noise, (450, 126), interpolation=cv2.INTER_CUBIC)
        for camera, left in zip(cameras, (8, 0) if exchanged else (0, 8), strict=True):
            path = drive / camera / "data" / f"{number:010d}.png"
            assert cv2.imwrite(str(path), wide[:, left : left + 414])
    what = "sees things further right than image_02: the two cameras are exchanged"
    found = problems(tmp_path)
    assert found == ({("image_03", what, "error")} if exchanged else set())
    assert len(found) == count


def test_cameras_whose_calibration_stands_the_wrong_way_round(tmp_path: Path) -> None:
    write_drive(tmp_path, cameras=("image_02", "image_03"))
    text = CAM_TO_CAM.replace("19.5 3 0", "19.5 -50 0")
    (tmp_path / "2011_09_26" / "calib_cam_to_cam.txt").write_text(text)
    what = "P3 stands 0.529 m left of P2"
    assert problems(tmp_path) == {("calib_cam_to_cam.txt", what, "error")}


def test_annotated_depth(tmp_path: Path) -> None:
    root, depths = tmp_path / "raw", tmp_path / "depths" / "val"
    annotated_trees.write_kitti(root, 2, depths)
    annotated_trees.write_kitti(tmp_path / "elsewhere", 9, depths)
    folder = depths / annotated_trees.drive_name(2) / "proj_depth/groundtruth/image_02"
    annotated_trees.write_depth(folder / "0000000002.png", np.ones((64, 95)), 256)
    (folder / "0000000003.png").write_bytes(b"")
    annotated_trees.write_depth(folder / "0000000008.png", np.ones((64, 96)), 256)
    found = problems(root, annotations=depths.parent)
    beside = {"timestamps.txt", "calib_cam_to_cam.txt"}  # the drive has little of either
    assert {item for item in found if item[0] not in beside} == {
        ("0000000002.png", "has 95x64 pixels, the others have 96x64", "error"),
        ("0000000003.png", "is empty (0 bytes)", "error"),
        ("image_02", "depth of frames 8 has no image", "warning"),
        (
            "depths",
            f"1 drives with depth have no images: {annotated_trees.drive_name(9)}",
            "warning",
        ),
    }
    assert {item[0] for item in problems(root)} == beside  # it is not looked for elsewhere


def test_annotations_are_for_kitti_raw(tmp_path: Path) -> None:
    write_triplet(tmp_path, "ulm_000002_000025")
    with pytest.raises(InputError, match="--annotations: is for KITTI raw"):
        check_data(tmp_path, annotations=tmp_path)


def test_nyu_that_cannot_be_read(tmp_path: Path) -> None:
    path = write_even_nyu(tmp_path / "nyu_depth_v2_labeled.mat", [1.0, 2.0])
    assert check_data(path) == []
    path.write_bytes(path.read_bytes()[:3000])
    what = "is no MATLAB file of version 7.3 (HDF5), or is damaged"
    assert problems(path) == {(path.name, what, "error")}


def test_nyu_with_one_damaged_image(tmp_path: Path) -> None:
    path = write_even_nyu(tmp_path / "nyu_depth_v2_labeled.mat", [1.0, 0.0, 2.0])
    assert problems(path) == {(path.name, "image 2 has no depth at all", "warning")}


def test_make3d(tmp_path: Path) -> None:
    write_make3d(tmp_path)
    grid = sorted((tmp_path / "Gridlaserdata").iterdir())
    grid[0].unlink()
    grid[1].write_bytes(b"x")
    image = sorted((tmp_path / "Test134").iterdir())[2]
    image.write_bytes(image.read_bytes()[:-9])
    write_grid(tmp_path, "of-an-image-for-training", 3.0)
    found = {(where, severity) for where, _, severity in problems(tmp_path)}
    assert found == {
        ("Test134", "warning"),
        (grid[0].name, "error"),
        (grid[1].name, "error"),
        (image.name, "error"),
    }


def test_cityscapes_with_its_disparities(tmp_path: Path) -> None:
    stems = ("berlin_000000_000019", "berlin_000001_000019", "mainz_000003_010924")
    write_cityscapes(tmp_path, dict.fromkeys(stems, 20))
    assert check_data(tmp_path) == []
    (tmp_path / f"disparity/test/berlin/{stems[0]}_disparity.png").unlink()
    (tmp_path / f"camera/test/berlin/{stems[1]}_camera.json").write_text("{}")
    small = np.zeros((512, 1024, 3), np.uint8)
    cv2.imwrite(str(tmp_path / f"leftImg8bit/test/mainz/{stems[2]}_leftImg8bit.png"), small)
    assert problems(tmp_path) == {
        (
            f"{stems[0]}_disparity.png",
            f"is missing, which {stems[0]}_leftImg8bit.png needs",
            "error",
        ),
        (f"{stems[1]}_camera.json", "has no number intrinsic.fx", "error"),
        (f"{stems[2]}_leftImg8bit.png", "has 1024x512 pixels, the others have 2048x1024", "error"),
    }


def test_runs_of_cityscapes(tmp_path: Path) -> None:
    whole = write_cityscapes_video(tmp_path, "ulm_000000", range(30), labelled=19)
    write_cityscapes_video(tmp_path, "ulm_000001", range(30))
    assert problems(tmp_path) == {("ulm", "holds no camera of ulm_000001", "error")}
    assert problems(tmp_path, seq="ulm_000000") == set()
    (whole / "ulm_000000_000003_leftImg8bit.png").unlink()
    (whole / "ulm_000000_000028_leftImg8bit.png").write_bytes(b"")
    found = problems(tmp_path, seq="ulm_000000")
    starts = {where: what for where, what, severity in found if severity == "warning"}
    assert starts["ulm_000000_000004_leftImg8bit.png"].startswith("begins a run of 26 frames")
    assert ("ulm_000000_000028_leftImg8bit.png", "is empty (0 bytes)", "error") in found


def test_triplets(tmp_path: Path) -> None:
    paths = [write_triplet(tmp_path, f"ulm_000002_0000{n}") for n in (21, 22, 23, 24)]
    paths[0].write_bytes(paths[0].read_bytes()[:-20])
    paths[1].unlink()
    paths[2].with_name("ulm_000002_000023_cam.txt").unlink()
    found = {(where, severity) for where, _, severity in problems(tmp_path)}
    assert found == {
        (paths[0].name, "error"),
        (paths[1].with_suffix(".jpg").name, "error"),
        (paths[2].name, "warning"),
    }


def test_scenes_of_nyu(tmp_path: Path) -> None:
    folder = write_nyu_scene(tmp_path, "bath_0001", frames=3, step_s=1.5)
    first, second = sorted(folder.glob("r-*.ppm"))[:2]
    (folder / first.name.replace("-1316138413", "-1")).write_bytes(second.read_bytes())
    second.write_bytes(b"P6 640 480 255\n123")
    found = {(where, severity) for where, _, severity in problems(tmp_path)}
    assert found == {(second.name, "error"), ("bath_0001", "error"), ("bath_0001", "warning")}
