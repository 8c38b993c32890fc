"""``vo-eval scale``."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from annotated_trees import DATE, drive_name, write_kitti
from kitti_raw_drive import CAM_TO_CAM

from vo.tools.evaluate import main


@pytest.fixture
def vo_scale(call, tiny_checkpoint):
    return lambda *words: call(main, "vo-eval", "scale", *words, "--ckpt", tiny_checkpoint)


def test_depth_and_poses_of_drives_with_both(vo_scale, tiny_street: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    flags = ("--data", tiny_street, "--seq", "09", "10", "--first", "6", "--out", out)
    status, said, _ = vo_scale(*flags)
    assert status == 0
    found = json.loads((out / "metrics.json").read_text())
    nine, ten = found["sequences"]["09"], found["sequences"]["10"]
    assert nine == ten  # they are the same
    assert nine["frames"] == 6
    rows = list(csv.DictReader((out / "frames.csv").open()))
    depth = np.array([float(row["depth"]) for row in rows if row["sequence"] == "09"])
    assert nine["depth"]["scale"] == pytest.approx(np.median(depth))
    assert nine["depth"]["spread"] == pytest.approx(np.std(depth / np.median(depth)))
    group = found["groups"]["all"]
    assert group["depth"]["within"] == pytest.approx(nine["depth"]["spread"])
    assert group["depth"]["across"] == 0
    assert [row["refined"] for row in rows if row["frame"] == "5"] == ["", ""]
    assert set(nine["pose_over_depth_off_by"]) == {"raw", "refined"}
    assert "all, 2 sequences: spread of depth within" in said
    assert "our definition" in said
    assert (out / "scale.png").read_bytes().startswith(b"\x89PNG")


def test_thirteen_drives_and_the_eight_unseen(vo_scale, tmp_path: Path) -> None:
    depths = tmp_path / "raw" / "data_depth_annotated" / "val"
    for number in (2, 5):
        write_kitti(tmp_path / "raw", number, depths)
    write_kitti(tmp_path / "raw", 1, tmp_path / "raw" / "data_depth_annotated" / "train")
    calibration = tmp_path / "raw" / DATE / "calib_cam_to_cam.txt"
    calibration.write_text(CAM_TO_CAM.replace(" 40 30", " 96 64"))
    status, said, _ = vo_scale("--data", tmp_path / "raw", "--first", "3")
    assert status == 0
    assert drive_name(1) not in said
    assert "all13, 2 of 13 drives: spread of depth within" in said
    assert "unseen8, 1 of 8 drives" in said
    assert f"missing of the 13 drives: {drive_name(13)}, {drive_name(20)}" in said
    assert "truth improved" in said
    status, _, errors = vo_scale("--data", tmp_path / "raw", "--seq", "0001", "0001")
    assert status == 2
    assert "0001" in errors


def test_no_drive_of_the_thirteen(vo_scale, tmp_path: Path) -> None:
    write_kitti(tmp_path, 1, None)
    status, _, errors = vo_scale("--data", tmp_path)
    assert status == 2
    assert "holds none of the 13 drives in val of KITTI's annotated depth" in errors


def test_number_of_frames_that_is_none(vo_scale, tmp_path: Path) -> None:
    assert vo_scale("--data", tmp_path, "--first", "0")[2].startswith("error: --first: is 0")
