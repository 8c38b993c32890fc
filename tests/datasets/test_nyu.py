"""NYU Depth v2 from a small file in the published layout."""

from __future__ import annotations

import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest
from scipy.io import savemat
from still_collections import write_even_nyu, write_nyu, write_splits

from vo.datasets.errors import InputError
from vo.datasets.nyu import is_nyu, open_nyu


@pytest.fixture(scope="module")
def five(tmp_path_factory) -> Path:
    """Five images of one depth each: 0.5, 1.0 ... 2.5 m."""
    path = tmp_path_factory.mktemp("nyu") / "nyu_depth_v2_labeled.mat"
    return write_even_nyu(path, [0.5, 1.0, 1.5, 2.0, 2.5])


@pytest.fixture
def labeled(five: Path, tmp_path: Path) -> Path:
    """The same in a file that may be changed."""
    return Path(shutil.copy(five, tmp_path))


def depths(stills) -> list[float]:
    return [float(still.depth[7, 9]) for still in stills]


def test_image_and_depth_stand_upright(tmp_path: Path) -> None:
    y, x = np.mgrid[:480, :640]
    image = np.stack([x % 256, y % 256, (x + 2 * y) % 256], -1).astype(np.uint8)
    depth = 1 + x / 640 + y / 100
    path = write_nyu(tmp_path / "n.mat", image[None], depth[None])
    still = open_nyu(path)[0]
    np.testing.assert_array_equal(still.image, image)
    np.testing.assert_allclose(still.depth, depth, rtol=1e-6)
    assert (still.image.dtype, still.depth.dtype) == (np.uint8, np.float32)


def test_depth_that_is_none_is_zero(tmp_path: Path) -> None:
    depth = np.ones((1, 480, 640))
    depth[0, 0, :3] = (np.nan, np.inf, -1)
    path = write_nyu(tmp_path / "n.mat", np.zeros((1, 480, 640, 3), np.uint8), depth)
    assert open_nyu(path)[0].depth[0, :4].tolist() == [0, 0, 0, 1]


def test_without_a_list_every_image_comes_numbered_from_1(labeled: Path) -> None:
    found = open_nyu(labeled)
    assert depths(found) == [0.5, 1.0, 1.5, 2.0, 2.5]
    assert [frame.number for frame in found.frames] == [1, 2, 3, 4, 5]
    assert {frame.drive for frame in found.frames} == {"nyu_depth_v2_labeled"}
    assert depths([found[-1]]) == [2.5]


def test_the_published_split_counts_from_1(labeled: Path, tmp_path: Path) -> None:
    found = open_nyu(labeled, write_splits(tmp_path / "splits.mat", [1, 2, 5]))
    assert depths(found) == [0.5, 1.0, 2.5]
    assert [frame.number for frame in found.frames] == [1, 2, 5]


def test_a_text_list_counts_from_1_and_keeps_its_order(labeled: Path, tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    path.write_text("# mine\n5\n1\n")
    assert depths(open_nyu(labeled, path)) == [2.5, 0.5]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("0\n", "line 1: 0 is the number of no image, they are from 1 to 5"),
        ("6\n", "line 1: 6 is the number of no image"),
        ("1\n2\n1\n", "line 3: 1 is listed twice"),
        ("1 2\n", "line 1: '1 2' is no number"),
        ("-1\n", "line 1: '-1' is no number"),
        ("", "is empty"),
    ],
)
def test_a_wrong_list_is_refused(labeled: Path, tmp_path: Path, text: str, problem: str) -> None:
    path = tmp_path / "list.txt"
    path.write_text(text)
    with pytest.raises(InputError, match=problem) as error:
        open_nyu(labeled, path)
    assert str(path) in str(error.value)


@pytest.mark.parametrize("numbers", [[6], [1.5], [np.nan], [2, 2], []])
def test_a_wrong_split_is_refused(labeled: Path, tmp_path: Path, numbers: list[float]) -> None:
    with pytest.raises(InputError, match=r"splits\.mat"):
        open_nyu(labeled, write_splits(tmp_path / "splits.mat", numbers))


def test_the_labelled_file_is_no_split(labeled: Path) -> None:
    with pytest.raises(InputError, match=r"version 7\.3"):
        open_nyu(labeled, labeled)


def test_a_file_of_version_5_is_not_the_labelled_one(tmp_path: Path) -> None:
    savemat(tmp_path / "a.mat", {"images": np.zeros((2, 3))})
    with pytest.raises(InputError, match=r"a\.mat: is no MATLAB file of version 7.3"):
        open_nyu(tmp_path / "a.mat")


def test_arrays_that_are_missing_or_of_another_layout_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.mat"
    with h5py.File(path, "w") as file:
        file["images"] = np.zeros((2, 3, 640, 480), np.uint8)
    with pytest.raises(InputError, match="has no array depths"):
        open_nyu(path)
    with h5py.File(path, "a") as file:
        file["depths"] = np.zeros((2, 480, 640), np.float32)
    with pytest.raises(InputError, match=r"depths is \(2, 480, 640\) float32, not \(N, 640, 480\)"):
        open_nyu(path)
    with h5py.File(path, "a") as file:
        del file["depths"]
        file["depths"] = np.zeros((1, 640, 480), np.float32)
    with pytest.raises(InputError, match="has 2 images and 1 depths"):
        open_nyu(path)


def test_damage_is_said_with_the_name_of_the_file(labeled: Path) -> None:
    data = labeled.read_bytes()
    labeled.write_bytes(data[: len(data) // 2])
    with pytest.raises(InputError, match=r"labeled\.mat: .*damaged"):
        open_nyu(labeled)
    # Inside a compressed image: what describes the file is sound, and opening it works.
    at = data.rfind(b"\x78\x01")
    assert at > 0
    labeled.write_bytes(data[: at + 2] + bytes(40) + data[at + 42 :])
    found = open_nyu(labeled)
    with pytest.raises(InputError, match=r"labeled\.mat: .*damaged"):
        list(found)


def test_a_matlab_file_is_recognised_by_its_name(labeled: Path, tmp_path: Path) -> None:
    assert is_nyu(labeled)
    assert not is_nyu(tmp_path)
    assert not is_nyu(tmp_path / "missing.mat")
