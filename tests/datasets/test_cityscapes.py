"""Test images of Cityscapes from a small copy in the published layout."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from still_collections import write_cityscapes, write_depth_arrays

from vo.datasets.cityscapes import (
    is_cityscapes,
    open_cityscapes,
    read_depth_array,
    read_disparity_depth,
)
from vo.datasets.cityscapes_camera import read_camera
from vo.datasets.errors import InputError

FRAMES = {"berlin_000000_000019": 20, "mainz_000003_010924": 50, "berlin_000010_000019": 40}
LISTED = ("mainz_000003_010924", "berlin_000010_000019", "berlin_000000_000019")


@pytest.fixture(scope="module")
def shared(tmp_path_factory) -> Path:
    """Three images of one depth each; tests that change something copy what they need."""
    return write_cityscapes(tmp_path_factory.mktemp("cityscapes"), FRAMES)


@pytest.fixture
def root(shared: Path, tmp_path: Path) -> Path:
    """A copy whose files are links, so that any may be replaced."""
    copy = tmp_path / "copy"
    for path in shared.rglob("*.*"):
        link = copy / path.relative_to(shared)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(path)
    return copy


def file_in(root: Path, kind: str, stem: str) -> Path:
    end = {"leftImg8bit": "leftImg8bit.png", "disparity": "disparity.png", "camera": "camera.json"}
    return root / kind / "test" / stem.split("_")[0] / f"{stem}_{end[kind]}"


def write_list(tmp_path: Path, *lines: str) -> Path:
    path = tmp_path / "test_files.txt"
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


def listed(tmp_path: Path) -> Path:
    return write_list(tmp_path, *(f"{stem.split('_')[0]} {stem}" for stem in LISTED))


def test_every_image_with_a_disparity_comes_by_city(root: Path) -> None:
    file_in(root, "disparity", "berlin_000010_000019").unlink()
    parts = open_cityscapes(root)
    assert [part.name for part in parts] == ["berlin", "mainz"]
    assert [(f.drive, f.number) for part in parts for f in part.frames] == [
        ("berlin", 19),
        ("mainz", 3010924),
    ]
    still = parts[1][0]
    assert still.image.shape == (1024, 2048, 3)
    assert still.depth.shape == (1024, 2048)
    assert (still.image == 50).all()
    np.testing.assert_allclose(still.depth, 50, rtol=1e-6)


def test_depth_is_baseline_times_focal_length_over_disparity(root: Path) -> None:
    path = file_in(root, "disparity", LISTED[0])
    counts = np.full((1024, 2048), 257, np.uint16)  # one pixel
    counts[3, :4] = (0, 1, 2561, 129)  # unknown, infinitely far, 10 and 0.5 pixels
    path.unlink()
    assert cv2.imwrite(str(path), counts)
    depth = read_disparity_depth(path, file_in(root, "camera", LISTED[0]))
    np.testing.assert_allclose(depth[3, :5], [0, 0, 50, 1000, 500], rtol=1e-6)


def test_arrays_are_numbered_by_the_lines_of_the_list(root: Path, tmp_path: Path) -> None:
    depths = write_depth_arrays(tmp_path / "gt_depths", [50, 40, 20])
    parts = open_cityscapes(root, listed(tmp_path), depths)
    assert [part.name for part in parts] == ["mainz", "berlin"]
    for part in parts:
        for still in part:
            assert float(still.depth[0, 0]) == still.image[0, 0, 0]
    assert [f.number for f in parts[1].frames] == [10000019, 19]


def test_a_list_chooses_among_disparities(root: Path, tmp_path: Path) -> None:
    (part,) = open_cityscapes(root, write_list(tmp_path, "berlin_000010_000019"))
    np.testing.assert_allclose([still.depth[5, 5] for still in part], [40], rtol=1e-6)


def test_folders_may_lie_where_their_archive_was_unpacked(root: Path) -> None:
    for name in ("leftImg8bit", "disparity", "camera"):
        (root / f"{name}_trainvaltest").mkdir()
        (root / name).rename(root / f"{name}_trainvaltest" / name)
    assert is_cityscapes(root)
    assert sum(len(part) for part in open_cityscapes(root)) == 3


@pytest.mark.parametrize("kind", ["leftImg8bit", "disparity", "camera"])
def test_a_missing_part_of_a_listed_image_is_named(root: Path, tmp_path: Path, kind: str) -> None:
    path = file_in(root, kind, LISTED[1])
    path.unlink()
    with pytest.raises(InputError, match="is missing") as error:
        open_cityscapes(root, listed(tmp_path))
    assert error.value.where == str(path)


def test_images_without_any_truth_are_refused(root: Path) -> None:
    (root / "disparity").rename(root / "other")
    with pytest.raises(InputError, match=r"disparity/test: holds no disparity"):
        open_cityscapes(root)


def test_arrays_without_the_list_that_numbers_them_are_refused(root: Path, tmp_path: Path) -> None:
    depths = write_depth_arrays(tmp_path / "gt_depths", [50, 40])
    with pytest.raises(InputError, match="--frames: is missing"):
        open_cityscapes(root, None, depths)
    with pytest.raises(InputError, match=r"has 2 depths, .* has 3 lines; .*missing 002_depth.npy"):
        open_cityscapes(root, listed(tmp_path), depths)
    with pytest.raises(InputError, match=r"has 2 depths, .* has 1 lines"):
        open_cityscapes(root, write_list(tmp_path, "berlin berlin_000000_000019"), depths)
    with pytest.raises(InputError, match="nowhere: no such folder"):
        open_cityscapes(root, listed(tmp_path), tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("mainz berlin_000000_000019", "line 1: 'mainz berlin_000000_000019' names no image"),
        ("berlin 19", "line 1: 'berlin 19' names no image"),
        ("berlin ../berlin_000000_000019", "names no image"),
        ("berlin_000000_000019 l", "names no image"),
        ("bonn bonn_000000_000019", "is missing, the image of .* line 1"),
        ("berlin berlin_000000_000019\nberlin_000000_000019", "line 2: .* is listed twice"),
    ],
)
def test_a_wrong_list_is_refused(root: Path, tmp_path: Path, line: str, problem: str) -> None:
    with pytest.raises(InputError, match=problem):
        open_cityscapes(root, write_list(tmp_path, line))


def test_images_and_disparities_of_another_size_are_refused(root: Path) -> None:
    for kind in ("leftImg8bit", "disparity"):
        path = file_in(root, kind, "mainz_000003_010924")
        target = path.resolve()
        path.unlink()
        assert cv2.imwrite(str(path), np.ones((30, 40), np.uint16))
        with pytest.raises(InputError, match="has 40x30 pixels, the published data 2048x1024"):
            open_cityscapes(root)[1][0]
        path.unlink()
        path.symlink_to(target)
    assert open_cityscapes(root)[1][0].depth.any()


@pytest.mark.parametrize(
    ("array", "problem"),
    [
        (np.array([{"a": 1}], object), "cannot be read as an array"),
        (np.ones((4, 5), np.float32), "has 5x4 pixels, the published data 2048x1024"),
        (np.ones((2, 2, 2)), "is no .* array of numbers"),
        (np.ones((2, 2), bool), "is no .* array of numbers"),
    ],
)
def test_an_array_that_is_no_depth_is_refused(tmp_path: Path, array, problem: str) -> None:
    np.save(tmp_path / "a.npy", array)
    with pytest.raises(InputError, match=problem):
        read_depth_array(tmp_path / "a.npy")


def test_a_damaged_array_is_refused_and_unknown_depth_is_zero(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    depth = np.full((1024, 2048), 3.0)
    depth[0, :3] = (np.nan, -1, np.inf)
    np.save(path, depth)
    assert read_depth_array(path)[0, :4].tolist() == [0, 0, 0, 3]
    data = path.read_bytes()
    header = data[:10] + b"{'descr': (((" + data[23:]
    for damaged in (b"", data[:5], data[:100], data[:-1], b"no array at all", header):
        path.write_bytes(damaged)
        with pytest.raises(InputError, match=r"a\.npy: cannot be read"):
            read_depth_array(path)


def test_a_camera_is_read_with_its_baseline(shared: Path) -> None:
    found = read_camera(file_in(shared, "camera", LISTED[0]))
    assert found.baseline_m == 0.25
    camera = found.camera
    assert (camera.fx, camera.cx, camera.cy, camera.size) == (2000, 1000, 500, (2048, 1024))


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda c: c["intrinsic"].pop("fx"), "has no number intrinsic.fx"),
        (lambda c: c["intrinsic"].update(v0="500"), "has no number intrinsic.v0"),
        (lambda c: c["intrinsic"].update(fy=True), "has no number intrinsic.fy"),
        (lambda c: c["intrinsic"].update(u0=float("nan")), "intrinsic.u0 is nan"),
        (lambda c: c["extrinsic"].update(baseline=0), "baseline 0; they are positive"),
        (lambda c: c.pop("extrinsic"), "has no number extrinsic.baseline"),
    ],
)
def test_a_camera_that_lacks_a_number_is_refused(
    shared: Path, tmp_path: Path, change, problem: str
) -> None:
    content = json.loads(file_in(shared, "camera", LISTED[0]).read_text())
    change(content)
    path = tmp_path / "camera.json"
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match=problem):
        read_camera(path)


@pytest.mark.parametrize("text", ["", "{", "[1]", '"fx"', "\xff", "[" * 100_000])
def test_a_camera_file_of_another_kind_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "camera.json"
    path.write_text(text, "latin-1")
    with pytest.raises(InputError, match=r"camera\.json"):
        read_camera(path)
    with pytest.raises(InputError, match="no such file"):
        read_camera(tmp_path / "none.json")
