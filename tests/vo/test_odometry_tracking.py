"""With good depth the odometry finds the motion, and says where it cannot."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pypose as pp
import pytest
import torch
from torch import Tensor, nn
from true_networks import DisturbedPose, Known, TrueDepth, motion, off_by, tiny_model

from vo.datasets import open_sequence
from vo.datasets.camera import Array
from vo.datasets.frame import Frame, Sequence
from vo.datasets.sequence import resize, select
from vo.datasets.street import render_street
from vo.depth.net import Depth
from vo.odometry import Estimate, Odometry
from vo.pose_net import PoseOutput

pytestmark = pytest.mark.usefixtures("one_thread")

FRAMES = 10


@pytest.fixture(scope="module")
def street(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two sequences at 320 x 96."""
    root = tmp_path_factory.mktemp("odometry-street")
    render_street(root, ["00", "03"], size=(320, 96), frames=FRAMES)
    return root


@pytest.fixture(scope="module")
def frames(street: Path) -> list[Frame]:
    drive = open_sequence(street, "00")
    return [drive[i] for i in range(FRAMES)]


def good_odometry(frames: list[Frame]) -> Odometry:
    """True depth, disturbed poses, grey values as features."""
    model = tiny_model("grey", (320, 96))
    known = Known(frames)
    model.depth_net, model.pose_net = TrueDepth(known), DisturbedPose(known)  # type: ignore[assignment]
    return Odometry(model, model.config.refine)


def run(frames: list[Frame]) -> list[Estimate]:
    odometry = good_odometry(frames)
    return [odometry.step(frame) for frame in frames]


def test_refined_poses_are_five_times_nearer_to_the_truth(frames: list[Frame]) -> None:
    estimates = run(frames)
    assert all(e.tracked for e in estimates)
    pairs = range(1, FRAMES)
    raw = np.array([off_by(estimates[i].T_last_c_raw, motion(frames, i - 1, i)) for i in pairs])
    refined = np.array([off_by(estimates[i].T_last_c, motion(frames, i - 1, i)) for i in pairs])
    np.testing.assert_allclose(raw[:, 0], 0.3, atol=0.02)
    np.testing.assert_allclose(raw[:, 1], 0.5, atol=0.01)
    assert (refined[:, 0] < 0.06).all(), refined
    assert (refined[:, 1] < 0.1).all(), refined
    end = motion(frames, 0, FRAMES - 1)
    assert off_by(estimates[-1].T_w_c, end)[0] < 0.2 * off_by(estimates[-1].T_w_c_raw, end)[0]
    for e in estimates[1:]:
        assert e.energy < 0.8 * e.energy_before


def test_steps_of_three_metres(frames: list[Frame]) -> None:
    """Each depth belongs to its own frame: mixed up, it would cost 0.09 m here."""
    apart = frames[::3]
    estimates = run(apart)
    assert all(e.tracked for e in estimates)
    for i in range(1, len(apart)):
        assert np.linalg.norm(motion(apart, i - 1, i)[:3, 3]) > 3
        assert off_by(estimates[i].T_last_c, motion(apart, i - 1, i))[0] < 0.05


def test_a_black_frame_is_not_tracked_and_the_odometry_recovers(frames: list[Frame]) -> None:
    black = list(frames)
    black[5] = replace(frames[5], image=np.zeros_like(frames[5].image))
    odometry = good_odometry(frames)
    estimates = [odometry.step(frame) for frame in black]
    assert [i for i, e in enumerate(estimates) if not e.tracked] == [5, 6]
    for e in estimates[5:7]:
        assert e.reason == "no texture"
        np.testing.assert_allclose(e.T_last_c, estimates[4].T_last_c, atol=1e-9)
    assert off_by(estimates[5].T_last_c_raw, estimates[4].T_last_c)[0] > 0.5, "it was no use"
    for i in (7, 8, 9):
        assert off_by(estimates[i].T_last_c, motion(frames, i - 1, i))[0] < 0.06
    end = motion(frames, 0, FRAMES - 1)
    assert off_by(estimates[-1].T_w_c, end)[0] < 0.2, "and the pose goes on from where it was"


def blocked(image: Array) -> Array:
    """A hand on the lens: dark, lighter towards the rim, noisy."""
    rim = np.linspace(-1, 1, image.shape[1])[None, :, None] ** 2
    noise = np.random.default_rng(0).normal(0, 2, image.shape)
    return np.clip(15 + 20 * rim + noise, 0, 255).astype(np.uint8)


def half_missing(image: Array, side: str, value: int) -> Array:
    h, w = image.shape[:2]
    parts = {"upper": np.s_[: h // 2], "lower": np.s_[h // 2 :], "left": np.s_[:, : w // 2]}
    image = image.copy()
    image[parts[side]] = value
    return image


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (np.zeros_like, "no texture"),
        (lambda image: np.full_like(image, 255), "no texture"),
        (blocked, "no texture"),
        (lambda image: half_missing(image, "lower", 128), "half of the image is missing"),
        (lambda image: half_missing(image, "left", 0), "half of the image is missing"),
    ],
    ids=["black", "white", "blocked", "lower", "left"],
)
def test_frames_without_a_view_are_bridged(
    frames: list[Frame], change: Callable[[Array], Array], reason: str
) -> None:
    """Three on end, so that two pairs of them match each other perfectly."""
    blind = list(frames)
    blind[4:7] = [replace(frame, image=change(frame.image)) for frame in frames[4:7]]
    odometry = good_odometry(frames)
    estimates = [odometry.step(frame) for frame in blind]
    assert [e.index for e in estimates if not e.tracked] == [4, 5, 6, 7]
    assert {e.reason for e in estimates[4:8]} == {reason}
    for e in estimates[4:8]:
        np.testing.assert_allclose(e.T_last_c, estimates[3].T_last_c, atol=1e-9)
    end = motion(frames, 3, 8)
    assert off_by(np.linalg.inv(estimates[3].T_w_c) @ estimates[8].T_w_c, end)[0] < 1.0


def test_a_white_sky_is_tracked(frames: list[Frame]) -> None:
    glare = [replace(f, image=half_missing(f.image, "upper", 255)) for f in frames[:4]]
    assert all(e.tracked for e in run(glare))


def test_the_motion_before_goes_on_with_its_velocity(frames: list[Frame]) -> None:
    """What cannot be tracked takes the motion of as much time as went by."""
    odometry = good_odometry(frames)
    for frame in frames[:4]:
        before = odometry.step(frame)
    late = replace(frames[4], image=np.zeros_like(frames[4].image), time_s=frames[3].time_s + 0.25)
    e = odometry.step(late)
    assert not e.tracked
    xi, expected = (pp.mat2SE3(torch.from_numpy(T)).Log() for T in (e.T_last_c, before.T_last_c))
    torch.testing.assert_close(xi.tensor(), 2.5 * expected.tensor(), atol=1e-6, rtol=0)


def test_a_lost_first_pair_has_only_the_pose_network(frames: list[Frame]) -> None:
    odometry = good_odometry(frames)
    odometry.step(replace(frames[0], image=np.zeros_like(frames[0].image)))
    e = odometry.step(frames[1])
    assert not e.tracked
    assert e.reason == "no texture"
    assert np.array_equal(e.T_last_c, e.T_last_c_raw)


def test_the_motion_before_helps_where_the_pose_network_fails(frames: list[Frame]) -> None:
    """The refinement begins again from the velocity, and is tracked all the same."""
    odometry = good_odometry(frames)
    pose_net = odometry.model.pose_net
    for frame in frames[:4]:
        odometry.step(frame)

    class Lost(nn.Module):
        def forward(self, first: Tensor, second: Tensor) -> PoseOutput:
            return PoseOutput(torch.tensor([[0.0, 1.0, 0.0]]), torch.zeros(1, 3))  # 57 degrees

    odometry.model.pose_net = Lost()  # type: ignore[assignment]
    e = odometry.step(frames[4])
    assert e.tracked
    assert off_by(e.T_last_c, motion(frames, 3, 4))[0] < 0.06
    assert off_by(e.T_last_c_raw, motion(frames, 3, 4))[1] > 50
    odometry.model.pose_net = pose_net
    assert odometry.step(frames[5]).tracked


def test_the_motion_before_serves_as_well_as_the_pose_network(frames: list[Frame]) -> None:
    """It is asked for the first pair alone, and where the motion before leads nowhere."""
    network = good_odometry(frames)
    odometry = Odometry(network.model, network.model.config.refine, first_guess="motion")
    asked = []
    network.model.pose_net.register_forward_hook(lambda *_: asked.append(len(asked)))
    for i, frame in enumerate(frames):
        e = odometry.step(frame)
        assert e.tracked
        assert np.isnan(e.T_last_c_raw).all() == (i > 1), "no raw motion where none was asked for"
        assert np.isnan(e.T_w_c_raw).all() == (i > 1)
        if i:
            assert off_by(e.T_last_c, motion(frames, i - 1, i))[0] < 0.06
    assert len(asked) == 1
    odometry._motion = replace(odometry._motion, T=pp.se3(torch.tensor([0, 9.0, 0, 0, 1, 0])).Exp())  # type: ignore[type-var]
    again = odometry.step(replace(frames[-2], time_s=0.1 * FRAMES))
    assert len(asked) == 2
    assert again.tracked
    assert off_by(again.T_last_c, motion(frames, -1, -2))[0] < 0.06


def test_the_motion_before_is_no_answer_by_itself() -> None:
    with pytest.raises(ValueError, match="unless it is refined"):
        Odometry(tiny_model("grey"), None, first_guess="motion")


def test_standing_still_is_tracked(frames: list[Frame]) -> None:
    stop = [*frames[:4], *[frames[3]] * 3, *frames[4:6]]
    estimates = run([replace(frame, time_s=0.1 * i) for i, frame in enumerate(stop)])
    assert all(e.tracked for e in estimates)
    for e in estimates[4:7]:
        assert off_by(e.T_last_c_raw, np.eye(4))[0] > 0.25, "the pose network does not see it"
        distance, angle_deg = off_by(e.T_last_c, np.eye(4))
        assert distance < 1e-3
        assert angle_deg < 1e-2
        assert e.energy < 1e-3
    assert off_by(estimates[7].T_last_c, motion(frames, 3, 4))[0] < 0.06, "and drives off again"


@pytest.mark.parametrize("other", [0, 4, 8])
def test_a_scene_cut_is_not_tracked(street: Path, frames: list[Frame], other: int) -> None:
    elsewhere = open_sequence(street, "03")
    there = [replace(elsewhere[other + i], time_s=0.4 + 0.1 * i) for i in range(2)]
    known = Known([*frames, *(elsewhere[i] for i in range(FRAMES))])
    odometry = good_odometry(known.frames)
    for frame in frames[:4]:
        before = odometry.step(frame)
    cut, after = odometry.step(there[0]), odometry.step(there[1])
    assert not cut.tracked
    assert cut.reason == "frames do not match"
    np.testing.assert_allclose(cut.T_last_c, before.T_last_c, atol=1e-9)
    assert after.tracked, "in the new place it goes on"
    assert after.energy < 0.3 * cut.energy


def wall_odometry(drive: Sequence) -> Odometry:
    """A camera carried about indoors: depth as measured, a pose network that sees no motion."""
    model = tiny_model("grey", drive.camera.size)
    known = Known([drive[i] for i in range(len(drive))])
    model.depth_net = TrueDepth(known)  # type: ignore[assignment]

    class Still(nn.Module):
        def forward(self, first: Tensor, second: Tensor) -> PoseOutput:
            return PoseOutput(torch.zeros(1, 3), torch.zeros(1, 3))

    model.pose_net = Still()  # type: ignore[assignment]
    return Odometry(model, model.config.refine)


@pytest.mark.real_data
def test_a_real_kitchen(real_data: Path) -> None:
    """RedKitchen of 7-Scenes. The depth camera sees from a little beside: poses stay rough."""
    whole = resize(open_sequence(real_data / "7scenes", "redkitchen"), 320, 256)
    drive = select(whole, start=60, end=120, stride=4)
    odometry = wall_odometry(drive)
    estimates = [odometry.step(drive[i]) for i in range(len(drive))]
    assert all(e.tracked for e in estimates)
    poses = drive.T_w_c
    assert poses is not None
    end = np.linalg.inv(poses[0]) @ poses[-1]
    raw, refined = off_by(estimates[-1].T_w_c_raw, end), off_by(estimates[-1].T_w_c, end)
    assert raw[0] > 0.3
    assert raw[1] > 15
    assert refined[0] < 0.4 * raw[0]
    assert refined[1] < 0.2 * raw[1]


@pytest.mark.real_data
def test_a_real_camera_that_stands_still(real_data: Path) -> None:
    """Frames 227/228 and 233/234 of RedKitchen are exact repeats."""
    whole = resize(open_sequence(real_data / "7scenes", "redkitchen"), 320, 256)
    drive = select(whole, start=226, end=235)
    odometry = wall_odometry(drive)
    estimates = [odometry.step(drive[i]) for i in range(len(drive))]
    assert all(e.tracked for e in estimates)
    moved = [off_by(e.T_last_c, np.eye(4))[0] for e in estimates]
    assert [i for i in range(1, 9) if moved[i] < 1e-4] == [2, 8]


@pytest.mark.real_data
def test_a_real_cut_is_not_tracked(real_data: Path) -> None:
    """Pairs of KITTI 03 match, those of 03 with 06 do not, with a plane for depth."""
    first = resize(open_sequence(real_data / "kitti_odometry", "03", end=8), 416, 128)
    second = resize(open_sequence(real_data / "kitti_odometry", "06", end=2), 416, 128)
    model = tiny_model("grey", (416, 128))

    class Road(nn.Module):
        def forward(self, image: Tensor) -> Depth:
            camera, v = first.camera, torch.arange(128.0).view(1, 1, 128, 1)
            depth = 1.65 * camera.fy / (v - camera.cy).clamp(min=1e-3)
            return Depth(depth.clamp(max=30.0).expand(1, 1, 128, 416), (), ())

    class Ahead(nn.Module):
        def forward(self, first: Tensor, second: Tensor) -> PoseOutput:
            return PoseOutput(torch.zeros(1, 3), torch.tensor([[0.0, 0.0, -0.8]]))

    model.depth_net, model.pose_net = Road(), Ahead()  # type: ignore[assignment]
    odometry = Odometry(model, model.config.refine)
    estimates = [odometry.step(first[i]) for i in range(8)]
    assert all(e.tracked for e in estimates)
    cut = odometry.step(replace(second[0], time_s=0.8))
    assert not cut.tracked
    assert cut.reason == "frames do not match"
