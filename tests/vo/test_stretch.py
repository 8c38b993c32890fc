"""A stretch of a drive, run by itself, finds to the bit what a run of the whole drive finds."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from true_networks import DisturbedPose, Known, TrueDepth, tiny_model

from vo.datasets import open_sequence
from vo.datasets.camera import Array, Camera
from vo.datasets.errors import InputError
from vo.datasets.frame import Frame
from vo.datasets.street import render_street
from vo.drive import Drive, run
from vo.odometry import Estimate, Odometry, Seen
from vo.pose_net import PoseOutput
from vo.stretch import joined, run_stretch

pytestmark = pytest.mark.usefixtures("one_thread")

SIZE = (320, 96)
BLACK = (4, 5)  # so that the pairs that end at 4, 5 and 6 show nothing
ASTRAY = 7  # here the pose network fails, and the motion before, which is that of 3, helps
FRAMES = 11


class AstrayPose(DisturbedPose):
    """Fails at one pair."""

    def forward(self, first: Tensor, second: Tensor) -> PoseOutput:
        if self.known.find(second) == ASTRAY:
            return PoseOutput(torch.tensor([[0.0, 1.0, 0.0]]), torch.zeros(1, 3))  # 57 degrees
        return super().forward(first, second)


@dataclass(frozen=True, eq=False)
class Listed:
    """A drive whose frames are at hand; one of them may be damaged."""

    frames: list[Frame]
    damaged: int | None = None
    name: str = "listed"
    T_w_c: Array | None = None

    @property
    def camera(self) -> Camera:
        return self.frames[0].camera

    @property
    def timestamps(self) -> Array:
        return np.array([frame.time_s for frame in self.frames])

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, index: int) -> Frame:
        if index == self.damaged:
            raise InputError(f"{index}.png", "is damaged")
        return self.frames[index]


@pytest.fixture(scope="module")
def drive(tmp_path_factory: pytest.TempPathFactory) -> Listed:
    """With two black frames, and times that do not come evenly."""
    root = tmp_path_factory.mktemp("stretch-street")
    render_street(root, ["00"], size=SIZE, frames=FRAMES)
    street = open_sequence(root, "00")
    frames = [street[i] for i in range(FRAMES)]
    for i in BLACK:
        frames[i] = replace(frames[i], image=np.full_like(frames[i].image, i - BLACK[0]))
    return Listed([replace(f, time_s=f.time_s + 0.03 * (i % 3)) for i, f in enumerate(frames)])


@pytest.fixture(scope="module")
def odometry(drive: Listed) -> Odometry:
    model = tiny_model("grey", SIZE)
    known = Known(drive.frames)
    networks: tuple[nn.Module, nn.Module] = TrueDepth(known), AstrayPose(known)
    model.depth_net, model.pose_net = networks  # type: ignore[assignment]
    return Odometry(model, model.config.refine)


@pytest.fixture(scope="module")
def whole(drive: Listed, odometry: Odometry) -> list[Estimate]:
    return [estimate for _, estimate in run(odometry, drive.frames)]


def same(a: Estimate, b: Estimate, but: tuple[str, ...] = ()) -> bool:
    """Whether all fields are equal, NaN to NaN."""
    names = [field.name for field in dataclasses.fields(Estimate) if field.name not in but]
    pairs = [(getattr(a, name), getattr(b, name)) for name in names]
    return all(
        np.array_equal(x, y, equal_nan=True) if isinstance(x, np.ndarray | float) else x == y
        for x, y in pairs
    )


POSES = ("T_w_c", "T_w_c_raw")


def test_the_drive_has_what_makes_it_hard(whole: list[Estimate]) -> None:
    assert [e.index for e in whole if not e.tracked] == [4, 5, 6]
    assert whole[ASTRAY].tracked
    turn_deg = np.degrees(np.arccos((np.trace(whole[ASTRAY].T_last_c_raw[:3, :3]) - 1) / 2))
    assert turn_deg > 50, "tracked only because the motion before was tried, too"


@pytest.mark.parametrize("first", range(FRAMES))
def test_every_stretch_is_that_of_the_whole(
    drive: Listed, odometry: Odometry, whole: list[Estimate], first: int
) -> None:
    end = min(first + 2, FRAMES)
    found = list(run_stretch(odometry, drive, first, end))
    assert [frame.index for frame, _ in found] == list(range(first, end))
    for _, estimate in found:
        assert same(estimate, whole[estimate.index], POSES), estimate.index


def test_no_more_frames_are_looked_at_than_are_needed(
    drive: Listed, odometry: Odometry, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps, follow, times = [], odometry.follow, drive.timestamps.tolist()

    def counted(seen: Seen) -> Estimate:
        steps.append(times.index(seen.time_s))
        return follow(seen)

    monkeypatch.setattr(odometry, "follow", counted)
    list(run_stretch(odometry, drive, 9, 11))
    assert steps == [8, 9, 10], "one before"
    steps.clear()
    list(run_stretch(odometry, drive, 5, 7))
    assert steps == [4, 5, 3, 4, 1, 2, 3, 4, 5, 6], "back to a pair that is tracked: 1 and 2"


@pytest.mark.parametrize("cuts", [(0, 5, 11), (0, 7, 11), (0, 1, 4, 8, 11)])
def test_stretches_joined_are_the_whole(
    drive: Listed, odometry: Odometry, whole: list[Estimate], cuts: tuple[int, ...]
) -> None:
    found = Drive()
    parts = [run_stretch(odometry, drive, a, b) for a, b in pairwise(cuts)]
    for part in reversed([list(part) for part in reversed(parts)]):  # in whatever order they end
        for frame, estimate in part:
            found.add(frame, joined(found, estimate))
    expected = Drive()
    for frame, estimate in zip(drive.frames, whole, strict=True):
        expected.add(frame, estimate)
    assert repr(found.rows) == repr(expected.rows)
    for name in (*POSES, "T_last_c", "T_last_c_raw"):
        assert np.array_equal(getattr(found, name), getattr(expected, name)), name


def test_without_refinement_one_frame_before_is_enough(drive: Listed, odometry: Odometry) -> None:
    raw = Odometry(odometry.model, None)
    whole = [estimate for _, estimate in run(raw, drive.frames)]
    for _, estimate in run_stretch(raw, drive, 5, 8):
        assert same(estimate, whole[estimate.index], POSES)


def test_damaged_frame_is_an_error_in_its_place(drive: Listed, odometry: Odometry) -> None:
    found = run_stretch(odometry, Listed(drive.frames, damaged=9), 8, 11)
    assert next(found)[1].index == 8
    with pytest.raises(InputError, match=r"9\.png: is damaged"):
        next(found)


def test_stretches_that_are_not_there_are_refused(drive: Listed, odometry: Odometry) -> None:
    for first, end in ((-1, 2), (3, 3), (4, 12)):
        with pytest.raises(ValueError, match="of a drive with 11"):
            run_stretch(odometry, drive, first, end)


def test_a_first_guess_of_the_motion_before_needs_all_before(
    drive: Listed, odometry: Odometry
) -> None:
    fast = Odometry(odometry.model, odometry.model.config.refine, first_guess="motion")
    whole = [estimate for _, estimate in run(fast, drive.frames)]
    (found,) = [estimate for _, estimate in run_stretch(fast, drive, 9, 10)]
    assert same(found, whole[9], POSES)
