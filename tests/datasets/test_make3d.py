"""Make3D from a small copy in the published layout."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from scipy.io import savemat
from still_collections import TAILS, write_grid, write_make3d

from vo.datasets.errors import InputError
from vo.datasets.make3d import is_make3d, open_make3d, read_grid


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Three images of one depth each: 20, 40 and 60 m."""
    return write_make3d(tmp_path / "make3d")


def grid_file(root: Path, tail: str) -> Path:
    return root / "Gridlaserdata" / f"depth_sph_corr-{tail}.mat"


def test_an_image_and_its_depth_have_the_same_tail(root: Path) -> None:
    write_grid(root, "a-training-image", 70.0)
    found = open_make3d(root)
    assert len(found) == 3
    for still in found:
        assert still.image.shape == (2272, 1704, 3)
        assert still.depth.shape == (55, 305)
        assert still.depth.max() == pytest.approx(float(still.image.mean()), abs=1)
    assert [still.depth.max() for still in found] == [20.0, 60.0, 40.0], "natural order of names"
    assert [(f.drive, f.number) for f in found.frames] == [("Test134", n) for n in range(3)]


def test_depth_is_the_last_channel_of_the_grid(tmp_path: Path) -> None:
    grid = np.arange(55 * 305 * 4, dtype=np.float64).reshape(55, 305, 4)
    savemat(tmp_path / "g.mat", {"Position3DGrid": grid})
    found = read_grid(tmp_path / "g.mat")
    assert found.dtype == np.float32
    assert found[2, 5] == 4 * (2 * 305 + 5) + 3
    np.testing.assert_array_equal(found, grid[:, :, 3])


def test_a_missing_depth_is_named_with_its_image(root: Path) -> None:
    grid_file(root, TAILS[1]).unlink()
    with pytest.raises(
        InputError, match=f"{TAILS[1]}.mat: is missing, the depth of img-{TAILS[1]}"
    ):
        open_make3d(root)


@pytest.mark.parametrize("folder", ["Test134", "Gridlaserdata"])
def test_a_missing_folder_is_named(root: Path, folder: str) -> None:
    (root / folder).rename(root / "elsewhere")
    assert is_make3d(root)
    with pytest.raises(InputError, match=f"{folder}: no such folder"):
        open_make3d(root)


def test_a_folder_without_images_is_refused(root: Path) -> None:
    for path in (root / "Test134").iterdir():
        path.rename(path.with_name(path.name.removeprefix("img-")))
    with pytest.raises(InputError, match=r"Test134: holds no img-"):
        open_make3d(root)


def test_an_image_of_another_size_is_refused(root: Path) -> None:
    path = root / "Test134" / f"img-{TAILS[0]}.jpg"
    assert cv2.imwrite(str(path), np.zeros((460, 345, 3), np.uint8))
    with pytest.raises(InputError, match=r"jpg: has 345x460 pixels, the published data 1704x2272"):
        open_make3d(root)[0]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ({"Position3DGrid": np.zeros((305, 55, 4))}, r"Position3DGrid is \(305, 55, 4\), not"),
        ({"depthMap": np.zeros((55, 305, 4))}, "has no variable Position3DGrid"),
        ({"Position3DGrid": np.array([["a"]], object)}, "is no array of numbers"),
        ({"Position3DGrid": {"a": 1}}, "is no array of numbers"),
        ({"Position3DGrid": "text"}, "is no array of numbers"),
    ],
)
def test_another_variable_is_refused(tmp_path: Path, content: dict, problem: str) -> None:
    savemat(tmp_path / "g.mat", content)
    with pytest.raises(InputError, match=problem):
        read_grid(tmp_path / "g.mat")


def test_wherever_a_file_is_cut_or_damaged_the_error_names_it(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    path, bad = tmp_path / "g.mat", tmp_path / "bad.mat"
    savemat(path, {"Position3DGrid": rng.uniform(1, 80, (55, 305, 4))}, do_compression=True)
    data = path.read_bytes()
    for length in (0, 100, 128, 140, len(data) // 2, len(data) - 9):
        bad.write_bytes(data[:length])
        with pytest.raises(InputError, match=r"bad\.mat: "):
            read_grid(bad)
    refused = 0
    for at in rng.integers(128, len(data), 12).tolist():
        bad.write_bytes(data[:at] + bytes([data[at] ^ 0xFF]) + data[at + 1 :])
        try:
            read_grid(bad)
        except InputError:
            refused += 1
    assert refused >= 10, "zlib has a checksum"
    with pytest.raises(InputError, match="no such file"):
        read_grid(tmp_path / "none.mat")
