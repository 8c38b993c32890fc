"""The protocols say what published code does; systems' papers and code are their source."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytest

from vo.depth_protocols import (
    CITYSCAPES,
    KITTI_EIGEN,
    KITTI_EIGEN_BENCHMARK,
    MAKE3D,
    NYU,
    NYU_CROP_FIRST,
    PROTOCOLS,
)
from vo.depth_scores import Box, DepthProtocol, pixels_that_count
from vo.protocol import DepthProtocolName


def test_every_name_has_its_protocol() -> None:
    assert set(PROTOCOLS) == set(get_args(DepthProtocolName))
    assert all(protocol.name == name for name, protocol in PROTOCOLS.items())
    assert all(protocol.scaling == "median" for protocol in PROTOCOLS.values())


@pytest.mark.parametrize(
    ("protocol", "max_depth"),
    [(KITTI_EIGEN, 80), (KITTI_EIGEN_BENCHMARK, 80), (CITYSCAPES, 80), (NYU, 10), (MAKE3D, 70)],
)
def test_predictions_end_where_the_paper_caps_them(protocol: DepthProtocol, max_depth) -> None:
    assert protocol.max_depth == max_depth


def test_the_benchmark_takes_every_annotated_pixel() -> None:
    truth = np.full((375, 1242), 85.0, np.float32)
    assert pixels_that_count(truth, KITTI_EIGEN_BENCHMARK).all()
    assert not pixels_that_count(truth, KITTI_EIGEN).any()
    assert (KITTI_EIGEN.truth, KITTI_EIGEN_BENCHMARK.truth) == ("velodyne-x", "improved")


@pytest.mark.parametrize(
    ("box", "whole", "part"),
    [
        (CITYSCAPES.image_box, (1024, 2048), (768, 2048)),
        (CITYSCAPES.truth_box, (1024, 2048), (768, 2048)),
        (NYU_CROP_FIRST.image_box, (480, 640), (427, 561)),
        (NYU_CROP_FIRST.truth_box, (480, 640), (427, 561)),
        (MAKE3D.image_box, (2272, 1704), (852, 1704)),
        (MAKE3D.truth_box, (55, 305), (21, 305)),
    ],
)
def test_boxes_cut_what_the_paper_cuts(box: Box, whole: tuple, part: tuple) -> None:
    assert box.cut(np.zeros(whole)).shape == part


def test_the_crop_of_cityscapes_fits_what_its_box_leaves() -> None:
    assert CITYSCAPES.truth_box is not None
    truth = CITYSCAPES.truth_box.cut(np.ones((1024, 2048), np.float32))
    assert pixels_that_count(truth, CITYSCAPES).sum() == 512 * 1664


def test_the_two_protocols_of_nyu_count_other_pixels() -> None:
    truth = np.full((480, 640), 5.0, np.float32)
    assert NYU_CROP_FIRST.truth_box is not None
    assert pixels_that_count(truth, NYU).sum() == 426 * 560
    cut = NYU_CROP_FIRST.truth_box.cut(truth)
    assert pixels_that_count(cut, NYU_CROP_FIRST).sum() == 427 * 561
