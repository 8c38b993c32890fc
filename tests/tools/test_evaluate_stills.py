"""``vo-eval depth`` on NYU Depth v2, Make3D and Cityscapes, in small copies of them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from commands import Command
from still_collections import (
    write_cityscapes,
    write_depth_arrays,
    write_even_nyu,
    write_make3d,
    write_splits,
)

from vo.datasets.depth_stills import open_stills
from vo.datasets.errors import InputError
from vo.datasets.split_list import ListedFrame, split_hash
from vo.depth_evaluation import compare
from vo.depth_protocols import CITYSCAPES, MAKE3D, NYU, NYU_CROP_FIRST
from vo.tools.evaluate import main

FRAMES = {"berlin_000000_000019": 20, "mainz_000003_010924": 50}


@pytest.fixture
def vo_eval(call, tiny_checkpoint) -> Command:
    """Run ``vo-eval depth`` with the tiny checkpoint."""
    return lambda *words: call(main, "vo-eval", "depth", *words, "--ckpt", tiny_checkpoint)


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """The three collections; each image has one grey value, in proportion to its depth."""
    root = tmp_path_factory.mktemp("stills")
    write_even_nyu(root / "nyu_depth_v2_labeled.mat", [0.5, 1.0, 2.0])
    write_splits(root / "splits.mat", [1, 3])
    write_make3d(root / "make3d", (20.0, 40.0))
    write_cityscapes(root / "cityscapes", FRAMES)
    return root


@pytest.mark.parametrize(
    ("name", "protocol", "metres", "shape", "pixels"),
    [
        ("nyu_depth_v2_labeled.mat", NYU, 0.01, (480, 640), 426 * 560),
        ("nyu_depth_v2_labeled.mat", NYU_CROP_FIRST, 0.01, (427, 561), 427 * 561),
        ("make3d", MAKE3D, 1.0, (852, 1704), 21 * 305),
        ("cityscapes", CITYSCAPES, 1.0, (768, 2048), 512 * 1664),
    ],
)
def test_each_image_is_scored_with_its_own_depth_in_the_part_of_the_protocol(
    data: Path, name: str, protocol, metres: float, shape, pixels: int
) -> None:
    """A prediction that reads the depth off the image is right, without any scaling."""
    seen = []

    def predict(image: np.ndarray) -> np.ndarray:
        seen.append(image.shape[:2])
        return np.full((8, 12), image.mean() * metres, np.float32)

    parts = open_stills(data / name)
    assert parts is not None
    protocol = replace(protocol, scaling="none")
    found = [comparison.scores for part in parts for comparison in compare(predict, part, protocol)]
    assert len(found) == sum(len(part) for part in parts) >= 2
    for scores in found:
        assert scores.abs_rel < 0.03
        assert scores.pixels == pixels
    assert set(seen) == {shape}


def test_nyu_takes_the_test_images_of_the_published_split(
    vo_eval: Command, data: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    done = vo_eval(
        "--protocol", "nyu", "--data", data / "nyu_depth_v2_labeled.mat",
        "--frames", data / "splits.mat", "--out", out,
    )  # fmt: skip
    assert done.status == 0, done.err
    frames = [ListedFrame("nyu_depth_v2_labeled", number) for number in (1, 3)]
    assert "frames of splits.mat: 2 images | protocol nyu, truth own" in done.out
    assert f"frames {split_hash(frames)}" in done.out
    found = json.loads((out / "metrics.json").read_text())
    assert found["images"] == 2
    assert found["protocol"]["crop"] == "nyu"
    assert len(list(out.glob("worst_*_nyu_depth_v2_labeled_00000?.png"))) == 2


def test_nyu_without_a_list_says_that_every_image_was_taken(vo_eval: Command, data: Path) -> None:
    path = data / "nyu_depth_v2_labeled.mat"
    done = vo_eval("--protocol", "nyu-crop-first", "--data", path)
    assert done.status == 0, done.err
    assert "every frame with true depth (no list was given): 3 images" in done.out


def test_make3d_is_one_row_of_the_table(vo_eval: Command, data: Path) -> None:
    done = vo_eval("--protocol", "make3d", "--data", data / "make3d")
    assert done.status == 0, done.err
    rows = [line.split() for line in done.out.splitlines() if line.startswith("Test134")]
    assert [row[1] for row in rows] == ["2"]


def test_cityscapes_says_whose_depth_it_was_compared_with(
    vo_eval: Command, data: Path, tmp_path: Path
) -> None:
    path = tmp_path / "test_files.txt"
    path.write_text("mainz mainz_000003_010924\nberlin berlin_000000_000019\n")
    root = data / "cityscapes"
    done = vo_eval("--protocol", "cityscapes", "--data", root)
    assert done.status == 0, done.err
    assert "every frame with true depth (no list was given): 2 images" in done.out
    assert done.out.splitlines()[1].startswith("berlin")
    depths = write_depth_arrays(tmp_path / "gt_depths", [50, 20])
    done = vo_eval(
        "--protocol", "cityscapes", "--data", root, "--frames", path, "--annotations", depths
    )
    assert done.status == 0, done.err
    assert "frames of test_files.txt with the depth of gt_depths: 2 images" in done.out
    assert done.out.splitlines()[1].startswith("mainz")


@pytest.mark.parametrize(
    ("name", "flags", "problem"),
    [
        ("make3d", ("--protocol", "nyu"), "nyu does not fit frame 0 of Test134"),
        ("make3d", ("--protocol", "kitti-eigen"), "--protocol: asks for velodyne-x depth"),
        ("make3d", ("--protocol", "make3d", "--truth", "improved"), "--truth: asks for improved"),
        ("make3d", ("--protocol", "make3d", "--frames", "x.txt"), "--frames: is x.txt, but all"),
        ("make3d", ("--protocol", "make3d", "--annotations", "x"), "--annotations: is x, but"),
        ("make3d", ("--protocol", "make3d", "--seq", "1"), "--seq: "),
        ("cityscapes", ("--protocol", "cityscapes", "--camera", "image_02"), "--camera: "),
        ("cityscapes", ("--protocol", "cityscapes", "--frames", "x.txt"), "x.txt: no such file"),
        ("splits.mat", ("--protocol", "nyu"), "splits.mat: is no MATLAB file of version 7.3"),
        ("nyu_depth_v2_labeled.mat", ("--protocol", "make3d"), "make3d does not fit frame 1"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(
    vo_eval: Command, data: Path, name: str, flags: tuple[str, ...], problem: str
) -> None:
    done = vo_eval("--data", data / name, *flags)
    assert done.status == 2
    assert done.err.startswith("error: ")
    assert done.err.count("\n") == 1
    assert problem in done.err


def test_drives_are_no_collection(tmp_path: Path) -> None:
    assert open_stills(tmp_path) is None
    (tmp_path / "Test134").mkdir()
    with pytest.raises(InputError, match="Gridlaserdata: no such folder"):
        open_stills(tmp_path)
