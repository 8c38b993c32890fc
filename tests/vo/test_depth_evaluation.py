"""A network beside the truth: what it is shown, and what is compared."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from kitti_raw_drive import write_drive
from torch import Tensor, nn

from vo.datasets.camera import Array
from vo.datasets.depth_truth import TruthFrames, open_truth
from vo.datasets.errors import InputError
from vo.depth.net import Depth
from vo.depth_evaluation import DepthPredictor, compare
from vo.depth_protocols import MAKE3D
from vo.depth_scores import Box, DepthProtocol, blend_flipped, score_depth
from vo.model import Model, ModelConfig

PLAIN = DepthProtocol("plain", truth="improved")


@pytest.fixture
def frames(tmp_path: Path) -> TruthFrames:
    """Three frames of 40x30 pixels; frame i is i + 2 metres away on the left, unknown else."""
    drive = write_drive(tmp_path, frames=(0, 1, 2))
    folder = drive / "proj_depth" / "groundtruth" / "image_02"
    folder.mkdir(parents=True)
    for i in range(3):
        counts = np.zeros((30, 40), np.uint16)
        counts[:, :20] = 256 * (i + 2)
        assert cv2.imwrite(str(folder / f"{i:010d}.png"), counts)
    return open_truth(tmp_path, None, "improved")


class BrightnessNet(nn.Module):
    """Depth is 1 + red, and a column is darker by its number: no two columns are alike."""

    def forward(self, image: Tensor) -> Depth:
        columns = torch.arange(image.shape[-1]) / 1000
        return Depth(1 + image[:, :1] + columns, (), ())


def model(width: int = 64, height: int = 32) -> Model:
    found = Model.__new__(Model)
    nn.Module.__init__(found)
    found.config = ModelConfig(width, height)
    found.depth_net = BrightnessNet()  # pyright: ignore[reportAttributeAccessIssue]
    return found


def test_the_network_sees_the_image_at_its_size_from_0_to_1() -> None:
    image = np.zeros((30, 40, 3), np.uint8)
    image[..., 0] = 51
    depth = DepthPredictor(model())(image)
    assert depth.shape == (32, 64)
    np.testing.assert_allclose(depth, np.tile(1.2 + np.arange(64) / 1000, (32, 1)), rtol=1e-6)


@pytest.mark.parametrize("domain", ["disparity", "depth"])
def test_flipping_blends_with_the_prediction_of_the_mirrored_image(domain) -> None:
    image = np.random.default_rng(0).integers(0, 256, (32, 64, 3), np.uint8)
    plain = DepthPredictor(model())
    expected = blend_flipped(plain(image), plain(image[:, ::-1]), domain)
    found = DepthPredictor(model(), flip=domain)(image)
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert np.abs(found - plain(image)).max() > 1e-3


def test_every_frame_is_compared_with_its_own_truth(frames: TruthFrames) -> None:
    seen: list[Array] = []

    def predict(image: Array) -> Array:
        seen.append(image)
        return np.full((15, 20), 2.0, np.float32)

    found = list(compare(predict, frames, PLAIN))
    assert [c.frame.number for c in found] == [0, 1, 2]
    assert [c.scores.ratio for c in found] == [1.0, 1.5, 2.0]
    assert [c.scores.pixels for c in found] == [600] * 3
    for i, comparison in enumerate(found):
        np.testing.assert_array_equal(seen[i], frames[i].image)
        np.testing.assert_array_equal(comparison.image, frames[i].image)
        assert comparison.truth[0, 0] == i + 2
        assert comparison.scores == score_depth(comparison.depth, comparison.truth, PLAIN)


def test_boxes_cut_the_image_before_the_network_and_the_truth_after_it(frames: TruthFrames) -> None:
    box = Box(40, 30, top=10, bottom=30, left=0, right=40)
    other = Box(40, 30, top=0, bottom=5, left=15, right=40)
    protocol = replace(PLAIN, image_box=box, truth_box=other)
    comparison = next(compare(lambda image: np.ones((5, 25), np.float32), frames, protocol))
    np.testing.assert_array_equal(comparison.image, frames[0].image[10:])
    assert comparison.truth.shape == (5, 25)
    assert comparison.scores.pixels == 5 * 5


@pytest.mark.parametrize("protocol", [MAKE3D, replace(PLAIN, crop="nyu")])
def test_a_protocol_of_other_data_is_refused(frames: TruthFrames, protocol: DepthProtocol) -> None:
    with pytest.raises(InputError, match=r"--protocol: \w+ does not fit frame 0 of 2011_09_26"):
        next(compare(lambda image: np.ones((5, 5), np.float32), frames, protocol))


@pytest.mark.parametrize("value", [np.nan, np.inf, 0.0, -1.0])
def test_a_depth_that_is_none_is_refused(frames: TruthFrames, value: float) -> None:
    depth = np.ones((5, 5), np.float32)
    depth[4, 4] = value
    with pytest.raises(InputError, match=r"frame 0 of .* depth is not positive and finite"):
        next(compare(lambda image: depth, frames, PLAIN))
