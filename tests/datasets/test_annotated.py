"""Frames with sparse true depth: found by walking, or named by a list."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from annotated_trees import drive_name, view, write_depth, write_kitti, write_nyu

from vo.datasets.annotated import (
    AnnotatedData,
    find_annotated,
    open_annotated,
    open_listed,
    read_frame_list,
)
from vo.datasets.errors import InputError


@pytest.fixture
def kitti(tmp_path: Path) -> tuple[Path, Path]:
    """Drives 1 (both cameras) and 2 in train, 3 in val, and the depth of 4 without images."""
    raw, depths = tmp_path / "raw", tmp_path / "annotated"
    write_kitti(raw, 1, depths / "train")
    write_kitti(raw, 1, depths / "train", camera="image_03", annotated=range(2, 4))
    write_kitti(raw, 2, depths / "train", suffix=".jpg")
    write_kitti(raw, 3, depths / "val")
    write_kitti(tmp_path / "elsewhere", 4, depths / "train", range(2))
    write_kitti(raw, 5, None)
    return raw, depths


def names(found: AnnotatedData) -> list[tuple[str, str]]:
    return [(place.name, place.split) for place in found.places]


def test_drives_with_images_and_depth_are_found(kitti: tuple[Path, Path]) -> None:
    found = find_annotated(*kitti)
    assert names(found) == [
        (f"{drive_name(1)}/image_02", "train"),
        (f"{drive_name(1)}/image_03", "train"),
        (f"{drive_name(2)}/image_02", "train"),
        (f"{drive_name(3)}/image_02", "val"),
    ]
    assert found.lacking == (drive_name(4),)
    assert [place.drive for place in found.to_train_on()] == [drive_name(n) for n in (1, 1, 2)]
    assert len(find_annotated(kitti[0], kitti[1] / "train").places) == 3, "train itself"


def test_depth_in_the_folders_of_the_drives_is_found(tmp_path: Path) -> None:
    write_kitti(tmp_path, 1, tmp_path / "2011_09_26")
    write_kitti(tmp_path, 2, None)
    found = find_annotated(tmp_path)
    assert names(found) == [(f"{drive_name(1)}/image_02", "")]
    assert open_annotated(found.places[0]).numbers.tolist() == [1, 2, 3, 4]


def test_a_frame_is_what_was_written(kitti: tuple[Path, Path]) -> None:
    recording = open_annotated(find_annotated(*kitti).places[0])
    assert recording.numbers.tolist() == [1, 2, 3, 4], "those with depth alone"
    frame = recording[2]
    image, depth = view(13, 96, 64)
    np.testing.assert_array_equal(frame.image, image)
    assert frame.depth is not None
    np.testing.assert_allclose(frame.depth, depth, atol=0.5 / 256)
    assert np.array_equal(frame.depth > 0, depth > 0)
    assert (frame.index, frame.time_s, recording.T_w_c) == (3, 0.3, None)
    assert (frame.camera.fx, frame.camera.cx, frame.camera.size) == (60, 47, (96, 64))


def test_a_drive_is_chosen_by_name_or_number(kitti: tuple[Path, Path]) -> None:
    found = find_annotated(*kitti)
    for text in (drive_name(1), "0001", "1"):
        assert [place.camera for place in found.of_drive(text)] == ["image_02", "image_03"]
    with pytest.raises(InputError, match=r"--seq: there is no sequence '4'"):
        found.of_drive("4")


def test_nyu_scenes_are_found(tmp_path: Path) -> None:
    write_nyu(tmp_path, "kitchen_0028b")
    write_nyu(tmp_path, "bathroom_0001", (7,))
    (tmp_path / "notes").mkdir()
    found = find_annotated(tmp_path)
    assert names(found) == [("bathroom_0001", ""), ("kitchen_0028b", "")]
    recording = open_annotated(found.places[1])
    assert recording.numbers.tolist() == [45, 46, 47], "99 has no depth"
    frame, (image, depth) = recording[1], view(46, 96, 72)
    assert frame.depth is not None
    np.testing.assert_allclose(frame.depth, depth / 5, atol=0.5e-3)
    assert np.abs(frame.image.astype(int) - image).mean() < 3, "JPEG"
    assert frame.camera.fx == pytest.approx(518.8579 * 96 / 640)
    assert names(find_annotated(tmp_path / "bathroom_0001")) == [("bathroom_0001", "")]


def test_a_list_names_frames(kitti: tuple[Path, Path], tmp_path: Path) -> None:
    """In the published format; 2 is a jpg here, which lists call png."""
    lines = [
        f"2011_09_26/{drive_name(1)}/image_02/data/{{}} {drive_name(1)}/{{}} 721.5377",
        f"2011_09_26/{drive_name(2)}/image_02/data/{{}} train/{drive_name(2)}/{{}}",
    ]
    depth = "proj_depth/groundtruth/image_02"
    text = [
        lines[0].format("0000000003.png", f"{depth}/0000000003.png"),
        f"2011_09_26/{drive_name(1)}/image_02/data/0000000000.png None 721.5377",
        lines[0].format("0000000001.png", f"{depth}/0000000001.png"),
        lines[1].format("0000000002.png", f"{depth}/0000000002.png"),
    ]
    path = tmp_path / "eigen_train.txt"
    path.write_text("\n".join(text) + "\n")
    frames = read_frame_list(path)
    assert frames.without_depth == 1
    recordings = open_listed(find_annotated(*kitti), frames)
    found = {r.name: r.numbers.tolist() for r in recordings}
    assert found == {f"{drive_name(1)}/image_02": [1, 3], f"{drive_name(2)}/image_02": [2]}


def test_a_list_names_frames_of_nyu(tmp_path: Path) -> None:
    write_nyu(tmp_path, "kitchen_0028b")
    path = tmp_path / "nyu.txt"
    path.write_text("/kitchen_0028b/rgb_00046.jpg /kitchen_0028b/sync_depth_00046.png 518.8579\n")
    (recording,) = open_listed(find_annotated(tmp_path), read_frame_list(path))
    assert recording.numbers.tolist() == [46]


IMAGE = "D/image_02/data/0000000003.png"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f"{IMAGE} D/proj_depth/groundtruth/image_02/0000000004.png 7", "line 1 pairs an image"),
        (f"{IMAGE} D/proj_depth/groundtruth/image_03/0000000003.png 7", "line 1 pairs an image"),
        (f"{IMAGE}", "line 1 has 1 words"),
        (f"# a comment\n{IMAGE} depth.png 7", "line 2 names no frame of KITTI or NYU"),
        ("kitchen/image.png None 7", "line 1 names no frame"),
        (f"{IMAGE} None 7", "names no frame with depth"),
        ("", "is empty"),
    ],
)
def test_a_damaged_list_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "list.txt"
    path.write_text(text)
    with pytest.raises(InputError) as error:
        read_frame_list(path)
    assert str(error.value).startswith(f"{path}: {message}")


def test_a_list_with_what_is_not_there_is_refused(kitti: tuple[Path, Path], tmp_path: Path) -> None:
    path, found = tmp_path / "list.txt", find_annotated(*kitti)

    def refusal(number: int, frame: int) -> str:
        image = f"{drive_name(number)}/image_02/data/{frame}.png"
        depth = f"{drive_name(number)}/proj_depth/groundtruth/image_02/{frame}.png"
        path.write_text(f"{image} {depth} 7\n")
        with pytest.raises(InputError) as error:
            open_listed(found, read_frame_list(path))
        return str(error.value)

    assert f"list.txt: names drives without images or depth in {kitti[0]}: {drive_name(9)}" in (
        refusal(9, 1)
    )
    assert "image_02: depth of frames 5 missing" in refusal(1, 5)


def test_what_is_missing_is_named(kitti: tuple[Path, Path], tmp_path: Path) -> None:
    raw, depths = kitti
    (raw / "2011_09_26" / drive_name(2) / "image_02/data/0000000003.jpg").unlink()
    with pytest.raises(InputError, match=r"image_02/data: images of frames 3 missing; restore"):
        open_annotated(find_annotated(raw, depths).places[2])
    (raw / "2011_09_26" / "calib_cam_to_cam.txt").unlink()
    with pytest.raises(InputError, match=r"calib_cam_to_cam\.txt: no such file"):
        open_annotated(find_annotated(raw, depths).places[0])
    with pytest.raises(InputError, match=r"nowhere: no such folder; .* --annotations"):
        find_annotated(raw, tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"raw: holds no true depth .* --annotations"):
        find_annotated(raw)
    (depths / "empty").mkdir()
    with pytest.raises(InputError, match="holds no true depth of a drive with images"):
        find_annotated(raw, depths / "empty")
    other = tmp_path / "elsewhere" / "2011_09_26"
    (other / drive_name(4)).rename(other / drive_name(8))
    with pytest.raises(InputError, match=r"train: .*drive_0001_sync.* have none in .*elsewhere"):
        find_annotated(tmp_path / "elsewhere", depths / "train")
    with pytest.raises(InputError, match=r"--annotations: is for KITTI raw, but"):
        find_annotated(depths / "empty", depths)
    with pytest.raises(InputError, match="empty: holds no images with true depth; looked for"):
        find_annotated(depths / "empty")


def test_damaged_frames_are_named(kitti: tuple[Path, Path], tmp_path: Path) -> None:
    place = find_annotated(*kitti).places[0]
    file = place.depths / "0000000002.png"
    write_depth(file, view(0, 40, 30)[1], 256)
    with pytest.raises(InputError, match=r"0000000002\.png: has 40x30 pixels"):
        open_annotated(place)[1]
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(InputError, match=r"0000000002\.png: is truncated"):
        open_annotated(place)[1]
    for depth in place.depths.iterdir():
        depth.unlink()
    with pytest.raises(InputError, match="image_02: holds no depth image"):
        open_annotated(place)
    scene = write_nyu(tmp_path, "office_0001", (1,))
    write_depth(scene / "sync_depth_1.png", view(0, 96, 72)[1], 1000)
    with pytest.raises(InputError, match=r"sync_depth_1\.png are the same frame"):
        open_annotated(find_annotated(scene).places[0])
