"""The odometry's promises, which hold for any networks."""

from __future__ import annotations

import gc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from true_networks import off_by, tiny_model

from vo.checkpoint import Card, save_checkpoint
from vo.datasets import open_sequence
from vo.datasets.errors import InputError
from vo.datasets.frame import Frame
from vo.datasets.sequence import resize
from vo.datasets.street import render_street
from vo.model import Model
from vo.odometry import Odometry

pytestmark = pytest.mark.usefixtures("one_thread")

FRAMES = 6


@pytest.fixture(scope="module")
def street(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sequence at 320 x 96."""
    root = tmp_path_factory.mktemp("odometry-street")
    render_street(root, ["00"], size=(320, 96), frames=FRAMES)
    return root


@pytest.fixture(scope="module")
def frames(street: Path) -> list[Frame]:
    drive = open_sequence(street, "00")
    return [drive[i] for i in range(FRAMES)]


@pytest.fixture(scope="module")
def model() -> Model:
    return tiny_model()


def test_a_frame_in_a_pose_out(model: Model, frames: list[Frame]) -> None:
    odometry = Odometry(model, model.config.refine)
    estimates = [odometry.step(frame) for frame in frames[:5]]
    assert [e.index for e in estimates] == [0, 1, 2, 3, 4]
    assert [e.time_s for e in estimates] == [frame.time_s for frame in frames[:5]]
    for e in estimates:
        for T in (e.T_w_c, e.T_w_c_raw, e.T_last_c, e.T_last_c_raw):
            assert (T.shape, T.dtype) == ((4, 4), np.float64)
            np.testing.assert_allclose(T[:3, :3] @ T[:3, :3].T, np.eye(3), atol=1e-12)
        assert (e.depth.shape, e.depth.dtype) == ((64, 96), np.float32)
        assert ((e.depth > 1.0) & (e.depth < 100.0)).all()
        assert e.camera == frames[0].camera.resized(96, 64)
        assert e.tracked == (e.reason == "")
    first = estimates[0]
    for T in (first.T_w_c, first.T_w_c_raw, first.T_last_c, first.T_last_c_raw):
        assert np.array_equal(T, np.eye(4)), "the first camera is the world"
    assert first.tracked
    assert first.iterations == 0
    assert np.isnan([first.energy_before, first.energy, first.valid_share]).all()
    for e in estimates[1:]:
        assert 2 <= e.iterations <= 30, "two directions, three levels, at most five each"
        assert 0 < e.valid_share <= 1
        assert e.energy <= e.energy_before + 1e-9


def test_poses_are_the_products_of_motions(model: Model, frames: list[Frame]) -> None:
    odometry = Odometry(model, model.config.refine)
    T_w_c, T_w_c_raw = np.eye(4), np.eye(4)
    for frame in frames[:5]:
        e = odometry.step(frame)
        T_w_c, T_w_c_raw = T_w_c @ e.T_last_c, T_w_c_raw @ e.T_last_c_raw
        np.testing.assert_allclose(e.T_w_c, T_w_c, atol=1e-9)
        np.testing.assert_allclose(e.T_w_c_raw, T_w_c_raw, atol=1e-9)
    assert not np.allclose(T_w_c, T_w_c_raw, atol=1e-6), "the refinement does something"


def test_the_raw_motion_is_that_of_the_pose_network(model: Model, frames: list[Frame]) -> None:
    """T_last_c maps points of the new camera into the last one: it inverts T_second_first."""
    odometry = Odometry(model, None, size=(320, 96))
    odometry.step(frames[0])
    found = odometry.step(frames[1]).T_last_c_raw
    x, y = (torch.from_numpy(f.image.copy()).permute(2, 0, 1)[None] / 255 for f in frames[:2])
    with torch.no_grad():
        expected = model.pose_net(x, y).se3().matrix()[0].double().inverse()
    np.testing.assert_allclose(found, expected.numpy(), atol=1e-7)


def test_without_refinement_both_are_the_same(model: Model, frames: list[Frame]) -> None:
    odometry = Odometry(model, None)
    for frame in frames[:4]:
        e = odometry.step(frame)
        assert np.array_equal(e.T_w_c, e.T_w_c_raw)
        assert np.array_equal(e.T_last_c, e.T_last_c_raw)
        assert e.tracked
        assert e.iterations == 0
        assert np.isnan([e.energy_before, e.energy, e.valid_share]).all()
    assert off_by(e.T_w_c, np.eye(4))[0] > 0


def test_reset_begins_anew_and_runs_repeat(model: Model, frames: list[Frame]) -> None:
    odometry = Odometry(model, model.config.refine)
    once = [odometry.step(frame) for frame in frames[:4]]
    odometry.reset()
    again = [odometry.step(frame) for frame in frames[:4]]
    for a, b in zip(once, again, strict=True):
        assert a.index == b.index
        assert np.array_equal(a.T_w_c, b.T_w_c)
        assert np.array_equal(a.depth, b.depth)


def test_an_image_with_camera_and_time_does_as_well(model: Model, frames: list[Frame]) -> None:
    whole, parts = (Odometry(model, model.config.refine) for _ in range(2))
    for frame in frames[:3]:
        a, b = whole.step(frame), parts.step(frame.image, frame.camera, frame.time_s)
        assert np.array_equal(a.T_w_c, b.T_w_c)


def test_what_a_caller_does_with_an_estimate_changes_nothing(
    model: Model, frames: list[Frame]
) -> None:
    left, right = (Odometry(model, model.config.refine) for _ in range(2))
    for frame in frames[:4]:
        a, b = left.step(frame), right.step(frame)
        assert np.array_equal(a.T_w_c, b.T_w_c)
        assert np.array_equal(a.T_w_c_raw, b.T_w_c_raw)
        for array in (b.T_w_c, b.T_w_c_raw, b.T_last_c, b.T_last_c_raw, b.depth):
            array[:] = 7


@pytest.mark.parametrize("width", [640, 200], ids=["shrinks", "grows"])
def test_images_are_resized_as_sequences_are(model: Model, street: Path, width: int) -> None:
    native = resize(open_sequence(street, "00"), width, width // 4)
    size = (288, 96)
    small = resize(native, *size)
    odometry, expected = (Odometry(model, model.config.refine, size=size) for _ in range(2))
    for i in range(2):
        a, b = odometry.step(native[i]), expected.step(small[i])
        assert a.depth.shape == (96, 288)
        assert a.camera == b.camera
        assert np.array_equal(a.depth, b.depth)
        assert np.array_equal(a.T_w_c, b.T_w_c)


def test_a_checkpoint_gives_the_same_odometry(
    model: Model, frames: list[Frame], tmp_path: Path
) -> None:
    card = Card("tiny", "street", "none", ("00",), "", 0, "", "Apache-2.0", True)
    path = tmp_path / "tiny.safetensors"
    save_checkpoint(path, model, card)
    loaded = Odometry.from_checkpoint(path)
    plain = Odometry.from_checkpoint(path, refine=False, size=(128, 64))
    assert loaded.card == plain.card == card
    assert (loaded.size, plain.size) == ((96, 64), (128, 64))
    assert plain.refiner is None
    own = Odometry(model, model.config.refine)
    assert own.card is None
    for frame in frames[:3]:
        assert np.array_equal(loaded.step(frame).T_w_c, own.step(frame).T_w_c)
        assert plain.step(frame).depth.shape == (64, 128)
    with pytest.raises(InputError, match=r"nowhere\.safetensors: no such checkpoint"):
        Odometry.from_checkpoint(tmp_path / "nowhere.safetensors")


@pytest.mark.parametrize("size", [(100, 64), (96, 32), (0, 0), (8224, 64)])
def test_sizes_that_networks_cannot_take_are_refused(model: Model, size: tuple[int, int]) -> None:
    remedy = "give (multiples of 32|at most 8192)"
    with pytest.raises(InputError, match=f"--size: is {size[0]} {size[1]}; {remedy}"):
        Odometry(model, None, size=size)


def test_what_is_refused_leaves_no_trace(model: Model, frames: list[Frame]) -> None:
    odometry, expected = (Odometry(model, model.config.refine) for _ in range(2))
    for o in (odometry, expected):
        o.step(frames[0])
        o.step(frames[1])
    for time_s in (frames[1].time_s, frames[0].time_s):
        with pytest.raises(ValueError, match=r"time goes back from 0\.1"):
            odometry.step(replace(frames[2], time_s=time_s))
    image, camera = frames[2].image, frames[2].camera
    for bad, problem in (
        (image[:-1], r"\(96, 320, 3\) uint8 as its camera, got \(95, 320, 3\) uint8"),
        (image[..., 0], r"got \(96, 320\) uint8"),
        (image / 255, r"got \(96, 320, 3\) float64"),
    ):
        with pytest.raises(ValueError, match=problem):
            odometry.step(bad, camera, 0.2)
    with pytest.raises(ValueError, match="needs its camera and its time"):
        odometry.step(image, camera)
    with pytest.raises(ValueError, match="needs its camera and its time"):
        odometry.step(image, None, 0.2)
    with pytest.raises(ValueError, match="needs its camera and its time"):
        odometry.step(image, camera, float("nan"))
    a, b = odometry.step(frames[2]), expected.step(frames[2])
    assert a.index == b.index == 2
    assert np.array_equal(a.T_w_c, b.T_w_c)


def test_memory_does_not_grow(model: Model, frames: list[Frame]) -> None:
    odometry = Odometry(model, model.config.refine)

    def tensors_after(steps: int, start: int) -> int:
        for i in range(start, start + steps):
            odometry.step(replace(frames[i % FRAMES], time_s=0.1 * i))
        gc.collect()
        return sum(o.numel() for o in gc.get_objects() if type(o) is Tensor)

    tensors_after(3, 0)
    before = tensors_after(3, 3)
    assert tensors_after(12, 6) <= before, "only the last frame is kept"


def test_networks_in_bfloat16_give_about_the_same_poses(model: Model, frames: list[Frame]) -> None:
    exact, coarse = (Odometry(model, model.config.refine, precision=p) for p in ("fp32", "bf16"))
    for frame in frames[:3]:
        a, b = exact.step(frame), coarse.step(frame)
        assert b.depth.dtype == np.float32
    assert not np.array_equal(a.T_w_c, b.T_w_c)
    np.testing.assert_allclose(b.T_w_c, a.T_w_c, atol=0.05)
