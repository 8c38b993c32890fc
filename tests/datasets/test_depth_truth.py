"""Frames with their true depth, from small drives whose truth is known."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from kitti_raw_drive import write_drive, write_packets

from vo.datasets.depth_truth import open_every, open_listed, open_truth
from vo.datasets.errors import InputError

NAME = "2011_09_26_drive_0052_sync"


def write_scan(drive: Path, number: int, distance: float = 10.0) -> Path:
    """One point straight ahead of the scanner."""
    path = drive / "velodyne_points" / "data" / f"{number:010d}.bin"
    path.parent.mkdir(parents=True, exist_ok=True)
    np.array([distance, 0, 0, 0.5], np.float32).tofile(path)
    return path


def write_annotation(folder: Path, camera: str, number: int, metres: float, size=(40, 30)) -> Path:
    path = folder / "proj_depth" / "groundtruth" / camera / f"{number:010d}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    counts = np.zeros(size[::-1], np.uint16)
    counts[20] = round(metres * 256)
    assert cv2.imwrite(str(path), counts)
    return path


def write_list(tmp_path: Path, *lines: str) -> Path:
    path = tmp_path / "list.txt"
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    """KITTI raw with frames 0 to 3 from two cameras; frames 1 and 3 have a scan."""
    drive = write_drive(tmp_path / "raw", cameras=("image_02", "image_03"))
    write_scan(drive, 1, 10.0)
    write_scan(drive, 3, 20.0)
    return tmp_path / "raw"


def drive_in(raw: Path, number: int = 52) -> Path:
    return raw / "2011_09_26" / f"2011_09_26_drive_{number:04d}_sync"


def test_frames_with_a_scan_come_with_its_depth(raw: Path) -> None:
    found = open_truth(raw, None, "velodyne-x")
    assert (found.name, found.side, len(found)) == (NAME, "l", 2)
    assert [(f.index, float(f.depth.max())) for f in found if f.depth is not None] == [
        (1, 10.0),
        (3, 20.0),
    ]
    z = open_truth(raw, "52", "velodyne-z")[1]
    assert z.depth is not None
    assert z.depth.max() == pytest.approx(19.73)
    assert z.depth.shape == z.image.shape[:2] == (30, 40)
    assert found.T_w_c is None
    np.testing.assert_allclose(found.timestamps, [0.1, 0.3])
    assert [(f.drive, f.number, f.side) for f in found.frames] == [(NAME, 1, "l"), (NAME, 3, "l")]


def test_poses_of_the_frames_where_they_are_asked_for(raw: Path) -> None:
    packets = np.zeros((4, 6))
    packets[:, 0] = 49 + 1e-5 * np.arange(4) ** 2  # 1.11 m to the north, then more
    write_packets(drive_in(raw), packets)
    assert open_truth(raw, None, "velodyne-x").T_w_c is None
    T_w_c = open_truth(raw, None, "velodyne-x", poses=True).T_w_c
    assert T_w_c is not None
    steps = np.linalg.norm(np.diff(T_w_c[:, :3, 3], axis=0), axis=1)
    np.testing.assert_allclose(steps, [8 * 1.1132], rtol=0.01)  # frames 1 to 3


def test_the_other_camera_is_the_other_side(raw: Path) -> None:
    found = open_truth(raw, None, "velodyne-x", "image_03")
    assert found.side == "r"
    left = open_truth(raw, None, "velodyne-x")[0]
    assert (found[0].image != left.image).any()
    assert np.argmax(found[0].depth) != np.argmax(left.depth)


def test_truth_keeps_its_size_where_images_were_made_smaller(raw: Path) -> None:
    for path in (drive_in(raw) / "image_02" / "data").iterdir():
        assert cv2.imwrite(str(path), cv2.resize(cv2.imread(str(path)), (20, 15)))
    frame = open_truth(raw, None, "velodyne-x")[0]
    assert frame.image.shape == (15, 20, 3)
    assert frame.depth is not None
    assert frame.depth.shape == (30, 40)


def test_packets_are_not_needed(raw: Path) -> None:
    packets = drive_in(raw) / "oxts" / "data"
    packets.mkdir(parents=True)
    (packets / "0000000000.txt").write_text("damaged")
    assert len(open_truth(raw, None, "velodyne-x")) == 2


def test_a_drive_without_scans_is_refused_by_name_and_left_out_of_all(raw: Path) -> None:
    write_drive(raw, number=53)
    with pytest.raises(InputError, match=r"0053_sync.*0000000000.bin: is missing, and no other"):
        open_truth(raw, "53", "velodyne-x")
    opened, without = open_every(raw, "velodyne-x")
    assert [frames.name for frames in opened] == [NAME]
    assert without == ["2011_09_26_drive_0053_sync"]
    shutil.rmtree(drive_in(raw) / "velodyne_points")
    with pytest.raises(InputError, match=r"0052_sync.*is missing, and no other frame"):
        open_every(raw, "velodyne-x")


def test_damage_is_no_reason_to_leave_a_drive_out(raw: Path) -> None:
    write_drive(raw, number=53)
    (drive_in(raw).parent / "calib_velo_to_cam.txt").write_text("R: 1\n")
    with pytest.raises(InputError, match=r"calib_velo_to_cam.txt"):
        open_every(raw, "velodyne-x")


@pytest.mark.parametrize("where", ["drive", "data_depth_annotated/val", "elsewhere/train"])
def test_annotated_depth_is_found_where_it_is_usually_put(raw: Path, where: str) -> None:
    folder = drive_in(raw) if where == "drive" else raw / where / NAME
    write_annotation(folder, "image_02", 2, 12.5)
    write_annotation(folder, "image_03", 0, 30.0)
    annotations = raw / "elsewhere" if where.startswith("elsewhere") else None
    left = open_truth(raw, NAME, "improved", annotations=annotations)
    assert [f.number for f in left.frames] == [2]
    depth = left[0].depth
    assert depth is not None
    assert np.unique(depth).tolist() == [0, 12.5]
    right = open_truth(raw, NAME, "improved", "image_03", annotations)
    assert [f.number for f in right.frames] == [0]


@pytest.mark.parametrize("bits", [8, 24])
def test_a_depth_image_of_another_type_is_named(raw: Path, bits: int) -> None:
    path = write_annotation(drive_in(raw), "image_02", 2, 12.5)
    shape = (30, 40) if bits == 8 else (30, 40, 3)
    assert cv2.imwrite(str(path), np.full(shape, 9, np.uint8))
    with pytest.raises(InputError, match=r"0000000002.png: depth has \d channel\(s\) of 8 bits"):
        _ = open_truth(raw, NAME, "improved")[0]


def test_a_depth_image_that_cannot_be_read_is_named(raw: Path) -> None:
    path = write_annotation(drive_in(raw), "image_02", 2, 12.5)
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(InputError, match=r"0000000002.png: is truncated"):
        _ = open_truth(raw, NAME, "improved")[0]


def test_the_depth_of_another_camera_is_refused(raw: Path) -> None:
    write_annotation(drive_in(raw), "image_02", 2, 12.5, size=(42, 30))
    with pytest.raises(InputError, match=r"0000000002.png: has 42x30 pixels, its camera 40x30"):
        _ = open_truth(raw, NAME, "improved")[0]


def test_a_list_chooses_frames_sides_and_drives(raw: Path, tmp_path: Path) -> None:
    write_scan(write_drive(raw, number=53), 2)
    lines = (
        f"2011_09_26/{NAME} 0000000003 l",
        "2011_09_26_drive_0053_sync 2 l",
        f"2011_09_26/{NAME} 1 r",
        f"2011_09_26/{NAME} 1 l",
    )
    opened = open_listed(raw, write_list(tmp_path, *lines), "velodyne-x")
    found = [[(f.drive[-9:-5], f.number, f.side) for f in frames.frames] for frames in opened]
    assert found == [[("0052", 1, "l"), ("0052", 3, "l")], [("0053", 2, "l")], [("0052", 1, "r")]]
    np.testing.assert_array_equal(
        opened[2][0].image, open_truth(raw, "52", "velodyne-x", "image_03")[0].image
    )


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (f"2011_09_26/{NAME} 2 l", r"0000000002.bin: is missing, the velodyne-x depth of LIST"),
        (f"2011_09_26/{NAME} 8 l", "LIST: frame 8 of .* has no image"),
        (f"2011_09_26/{NAME} 1 l", "LIST: frame 1 of .* is listed twice"),
        (f"2011_09_26/{NAME} 1", "LIST: names side '', but .* has 2 sides"),
        ("2011_09_26/2011_09_26_drive_0001_sync 1 l", "LIST: there is no .*0001_sync in "),
    ],
)
def test_a_listed_frame_that_is_not_there_is_named(
    raw: Path, tmp_path: Path, line: str, problem: str
) -> None:
    path = write_list(tmp_path, f"{NAME} 1 l", line)
    where = re.escape(f"{path} line 2")
    with pytest.raises(InputError, match=problem.replace("LIST", where)):
        open_listed(raw, path, "velodyne-x")


def test_a_listed_camera_that_is_not_there_is_named(raw: Path, tmp_path: Path) -> None:
    shutil.rmtree(drive_in(raw) / "image_03")
    path = write_list(tmp_path, f"{NAME} 1 r")
    with pytest.raises(InputError, match=r"list.txt line 1: there is no image_03 of 2011_09_26_dr"):
        open_listed(raw, path, "velodyne-x")


@pytest.fixture
def street(kitti: Callable[..., Path]) -> Path:
    """KITTI Odometry with depth for frames 0, 2, 4 of five."""
    columns = ((0, 0), (2, 0), (3, -27))
    calib = "".join(f"P{n}: 50 0 19.5 {a} 0 50 14.5 0 0 0 1 0\n" for n, a in columns)
    root = kitti("09", cameras=("image_2", "image_3"), calib=calib)
    folder = root / "sequences" / "09" / "depth"
    folder.mkdir()
    for i in (0, 2, 4):
        assert cv2.imwrite(str(folder / f"{i:06d}.png"), np.full((30, 40), 256 * i, np.uint16))
    return root


def test_dense_depth_of_the_data_is_a_truth_too(street: Path, tmp_path: Path) -> None:
    found = open_truth(street, "9", "own")
    assert (found.name, found.side, len(found)) == ("09", "l", 3)
    assert [float(f.depth.max()) for f in found if f.depth is not None] == [0, 2, 4]
    assert found.T_w_c is not None
    assert found.T_w_c[:, 2, 3].tolist() == [0, 2, 4]
    (listed,) = open_listed(street, write_list(tmp_path, "09 2 l"), "own")
    assert listed[0].index == 2
    with pytest.raises(InputError, match=r"depth of frame 1 of 09: is missing"):
        open_listed(street, write_list(tmp_path, "09 1 l"), "own")


def test_depth_of_the_left_camera_is_not_taken_for_that_of_the_right(street: Path) -> None:
    with pytest.raises(InputError, match=r"image_3: is asked for, but the depth of 09 is that of"):
        open_truth(street, "09", "own", "image_3")


def test_a_truth_that_the_data_cannot_have_is_refused(
    street: Path, raw: Path, images: Callable[..., Path], movie: Callable[..., Path], tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=r"is no KITTI raw, .*--truth own"):
        open_truth(street, "09", "velodyne-x")
    with pytest.raises(InputError, match=r"sync: has no true depth of its own; .*--truth"):
        open_truth(raw, None, "own")
    with pytest.raises(InputError, match="walk: has no true depth of its own"):
        open_truth(images(), None, "own")
    with pytest.raises(InputError, match="is a video, which has no true depth"):
        open_truth(movie(), None, "own")
    with pytest.raises(InputError, match=r"names side 'l', but .*walk has 0 sides"):
        open_listed(tmp_path / "walk", write_list(tmp_path, "walk 1 l"), "own")


@pytest.mark.real_data
def test_depth_of_real_indoor_recordings(real_data: Path) -> None:
    scene = open_truth(real_data / "7scenes", "redkitchen", "own")
    depth = scene[0].depth
    assert depth is not None
    assert 1 < np.median(depth[depth > 0]) < 5
    assert scene.frames[0].side == ""
