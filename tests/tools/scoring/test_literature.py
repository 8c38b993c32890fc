"""``vo-eval depth --compare``: a result beside published numbers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import get_args

import cv2
import numpy as np
import pytest
from kitti_raw_drive import write_drive

from vo.datasets.split_list import ListedFrame
from vo.depth_protocols import PROTOCOLS
from vo.depth_scores import METRICS, DepthScores
from vo.protocol import DepthScaling
from vo.tools.evaluate import main
from vo.tools.scoring.depth_result import DepthResult, ScoredFrame
from vo.tools.scoring.literature import IMAGES, Status, published
from vo.tools.scoring.literature_table import caution

ROWS = [
    (name, scaling, row)
    for name in PROTOCOLS
    for scaling in get_args(DepthScaling)
    for row in published(name, scaling)
]


@pytest.fixture
def vo_eval(call, tiny_checkpoint):
    return lambda *words: call(main, "vo-eval", "depth", *words, "--ckpt", tiny_checkpoint)


def test_every_row_says_where_it_is_from_and_holds_sensible_numbers() -> None:
    assert len(ROWS) > 30
    for name, _, row in ROWS:
        assert row.method
        assert row.source
        assert row.status in get_args(Status)
        assert row.numbers
        assert set(row.numbers) <= set(METRICS)
        assert 0 < row.numbers["abs_rel"] < 0.4
        assert row.numbers.get("a1", 0.9) < row.numbers.get("a2", 0.95) < 1
        assert name in IMAGES


def test_methods_that_saw_test_drives_say_so() -> None:
    rows = [row for name, _, row in ROWS if name == "kitti-eigen" and "SPIdepth" in row.method]
    assert [row.note for row in rows] == ["its published training list holds test drives"]


def test_result_is_printed_beside_and_what_differs_is_said(vo_eval, tmp_path: Path) -> None:
    drive = write_drive(tmp_path / "raw", frames=(0,))
    depths = drive / "proj_depth" / "groundtruth" / "image_02"
    depths.mkdir(parents=True)
    assert cv2.imwrite(str(depths / "0000000000.png"), np.full((30, 40), 2560, np.uint16))
    flags = ("--protocol", "kitti-eigen-benchmark", "--data", tmp_path / "raw", "--compare")
    status, out, _ = vo_eval(*flags)
    assert status == 0
    assert "SA4Depth" in out
    assert "tiny.safetensors" in out
    assert "SPIdepth" not in out
    last = out.splitlines()[-1]
    assert last == (
        "not comparable as it stands: 1 images were scored, the published numbers are of 652"
    )
    _, out, _ = vo_eval(*flags, "--scaling", "none", "--resize", "depth")
    assert "SPIdepth" in out
    assert "SA4Depth" not in out
    assert out.endswith("resizing is depth, that of the protocol disparity\n")


def test_protocol_without_published_numbers(vo_eval, tmp_path: Path) -> None:
    status, _, errors = vo_eval("--protocol", "street", "--data", tmp_path, "--compare")
    assert status == 2
    assert errors.startswith("error: --compare: no published numbers are known of street")


def test_whole_published_set_is_comparable() -> None:
    scores = DepthScores(*[0.5] * 9, pixels=9)
    frames = tuple(ScoredFrame(ListedFrame("d", i, "l"), scores) for i in range(697))
    result = DepthResult(frames, PROTOCOLS["kitti-eigen"], (64, 32), "a", "b", "M", (), "all")
    assert caution("kitti-eigen", result) == ""
    other = replace(result, protocol=replace(result.protocol, truth="velodyne-z"))
    assert "truth is velodyne-z" in caution("kitti-eigen", other)
