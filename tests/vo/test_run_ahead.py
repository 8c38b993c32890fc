"""A drive run with frames looked at ahead: the same estimates, errors in their place."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from true_networks import tiny_model

from vo.datasets import open_sequence
from vo.datasets.errors import InputError
from vo.datasets.frame import Frame, Sequence
from vo.datasets.street import render_street
from vo.drive import run, run_ahead
from vo.odometry import Odometry

FRAMES = 12


@pytest.fixture(scope="module")
def street(tmp_path_factory: pytest.TempPathFactory) -> Sequence:
    root: Path = tmp_path_factory.mktemp("ahead-street")
    render_street(root, ["00"], size=(96, 64), frames=FRAMES)
    return open_sequence(root, "00")


@pytest.fixture(autouse=True)
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    assert torch.get_num_threads() == 2, "the caller's threads came back"
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def odometry() -> Odometry:
    model = tiny_model()
    return Odometry(model, model.config.refine)


class Watched:
    """A drive that counts what was read, and has a damaged frame."""

    def __init__(self, frames: Sequence, damaged: int = FRAMES) -> None:
        self.frames, self.damaged = frames, damaged
        self.read: list[int] = []
        self.far = threading.Event()  # a frame was read that nobody needs yet

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, index: int) -> Frame:
        self.read.append(index)
        if index > 4:
            self.far.set()
        if index == self.damaged:
            raise InputError(f"frame {index}", "is damaged")
        return self.frames[index]


def test_estimates_are_those_of_one_frame_at_a_time(odometry: Odometry, street: Sequence) -> None:
    ahead = list(run_ahead(odometry, street))
    torch.set_num_threads(1)  # as many as look at a frame when two look ahead
    alone = list(run(odometry, (street[i] for i in range(FRAMES))))
    torch.set_num_threads(2)
    assert len(ahead) == len(alone) == FRAMES
    for (frame, a), (expected, b) in zip(ahead, alone, strict=True):
        assert frame.index == expected.index
        assert a.index == b.index
        assert a.iterations == b.iterations
        assert np.array_equal(a.T_w_c, b.T_w_c)
        assert np.array_equal(a.T_w_c_raw, b.T_w_c_raw)
        assert np.array_equal(a.depth, b.depth)
    assert any(not np.array_equal(e.T_w_c, e.T_w_c_raw) for _, e in ahead)


def test_a_damaged_frame_comes_after_those_before_it(odometry: Odometry, street: Sequence) -> None:
    done: list[int] = []
    results = run_ahead(odometry, Watched(street, damaged=7))  # type: ignore[arg-type]
    with pytest.raises(InputError, match="frame 7: is damaged"):
        done.extend(frame.index for frame, _ in results)
    assert done == list(range(7))


def test_few_frames_are_held_and_leaving_early_ends_the_threads(
    odometry: Odometry, street: Sequence
) -> None:
    drive = Watched(street)
    results = run_ahead(odometry, drive)  # type: ignore[arg-type]
    next(results)
    assert torch.get_num_threads() == 1
    assert not drive.far.wait(2), "the frame, and two ahead for each of two threads"
    results.close()
    read = len(drive.read)
    assert next(run(odometry, [street[0]]))[1].index == 0
    assert len(drive.read) == read
