"""The other camera as one more source, on a street that is drawn by both."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from vo.datasets import open_sequence
from vo.datasets.errors import InputError
from vo.datasets.street import render_street
from vo.datasets.street.dataset import BASELINE_M
from vo.datasets.street.recipe import street_camera, street_poses, street_world
from vo.datasets.street.render import Renderer
from vo.datasets.triplets import TripletBatch, Triplets
from vo.depth.warp import warp

FRAMES, SIZE = 4, (96, 64)


@pytest.fixture(scope="module")
def street(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Street 00 with the images of the right camera, which is not drawn otherwise."""
    root = tmp_path_factory.mktemp("stereo")
    render_street(root, ["00"], size=SIZE, frames=FRAMES)
    right = root / "sequences" / "00" / "image_3"
    right.mkdir()
    renderer = Renderer(street_world("00", FRAMES), street_camera(*SIZE))
    T_left_right = np.eye(4)
    T_left_right[0, 3] = BASELINE_M
    for index, T_z_left in enumerate(street_poses("00", FRAMES)):
        image = renderer.render(T_z_left @ T_left_right, index).image
        assert cv2.imwrite(str(right / f"{index:06d}.png"), image[..., ::-1])
    return root


def error(batch: TripletBatch, T: torch.Tensor) -> torch.Tensor:
    """Median difference (B,) of the target and the other camera's image, warped to it by T."""
    assert batch.depth is not None
    seen = warp(batch.images[:, 3], batch.depth, batch.K, T.float())
    difference = (seen.image - batch.images[:, 0]).abs().mean(1, keepdim=True)
    known = seen.valid & (batch.depth > 0)
    return torch.stack([d[k].median() for d, k in zip(difference, known, strict=True)])


def test_the_other_camera_sees_the_target_from_its_known_pose(street: Path) -> None:
    samples = Triplets([open_sequence(street, "00")], 2, stereo=True)
    batches = [samples.at(step) for step in range(6)]
    signs = set()
    for batch in batches:
        assert batch.images.shape == (2, 4, 3, 64, 96)
        assert batch.T_stereo is not None
        shift = batch.T_stereo[:, 0, 3]
        assert torch.allclose(shift.abs(), torch.tensor(BASELINE_M, dtype=torch.float64))
        signs |= set(shift.sign().tolist())
        swapped = torch.linalg.inv(batch.T_stereo)
        assert (error(batch, batch.T_stereo) < 0.3 * error(batch, swapped)).all()
    assert signs == {-1.0, 1.0}, "mirrored samples have the other camera on the other side"


def test_everything_else_is_as_without_stereo(street: Path) -> None:
    drive = open_sequence(street, "00")
    one, two = Triplets([drive], 2).at(1), Triplets([drive], 2, stereo=True).at(1)
    assert torch.equal(one.images, two.images[:, :3])
    assert one.names == two.names
    assert one.T_stereo is None
    assert replace(two, T_stereo=None).to("cpu").T_stereo is None


def test_a_missing_camera_is_named(tmp_path: Path) -> None:
    render_street(tmp_path, ["00"], size=SIZE, frames=FRAMES)
    with pytest.raises(InputError, match=r"image_3: no such folder; add the images"):
        Triplets([open_sequence(tmp_path, "00")], 2, stereo=True)
