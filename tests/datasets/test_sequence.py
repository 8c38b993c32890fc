from __future__ import annotations

import gc
import threading
import weakref
from dataclasses import dataclass, field

import numpy as np
import pytest

from vo.datasets.camera import Array, Camera
from vo.datasets.errors import InputError
from vo.datasets.frame import Frame
from vo.datasets.sequence import View, position, prefetch, resize, select

CAMERA = Camera(50, 50, 19.5, 14.5, 40, 30)


@dataclass
class Drive:
    """Frames that are made when they are asked for, and watched."""

    length: int = 20
    damaged: int = -1
    camera: Camera = CAMERA
    name: str = "made"
    asked: list[int] = field(default_factory=list)
    alive: int = 0
    most_alive: int = 0
    lock: threading.RLock = field(default_factory=threading.RLock)

    def _gone(self) -> None:
        with self.lock:
            self.alive -= 1

    @property
    def timestamps(self) -> Array:
        return np.arange(self.length) / 10

    @property
    def T_w_c(self) -> Array:
        T_w_c = np.tile(np.eye(4), (self.length, 1, 1))
        T_w_c[:, 2, 3] = np.arange(self.length)
        return T_w_c

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Frame:
        i = position(index, self.length)
        if i == self.damaged:
            raise InputError(f"{i}.png", "is truncated")
        image = np.full((30, 40, 3), i % 256, np.uint8)
        depth = np.arange(1200, dtype=np.float32).reshape(30, 40)
        moving = np.zeros((30, 40), bool)
        moving[:10, :20] = True
        with self.lock:
            self.asked.append(i)
            self.alive += 1
            self.most_alive = max(self.most_alive, self.alive)
            weakref.finalize(image, self._gone)
        return Frame(i, i / 10, image, self.camera, self.T_w_c[i], depth, moving)


def test_select_takes_a_half_open_range_with_a_stride() -> None:
    view = select(Drive(), 3, 12, 4)
    assert len(view) == 3
    assert [frame.index for frame in (view[i] for i in range(3))] == [3, 7, 11]
    np.testing.assert_allclose(view.timestamps, [0.3, 0.7, 1.1])
    assert view.T_w_c is not None
    assert view.T_w_c[:, 2, 3].tolist() == [3, 7, 11]
    assert view[-1].index == 11
    with pytest.raises(IndexError, match="frame 3 of a sequence with 3 frames"):
        view[3]


def test_select_everything_is_the_sequence_itself() -> None:
    drive = Drive()
    assert select(drive) is drive
    assert select(drive, 0, 20, 1) is drive


def test_select_of_a_selection_counts_in_the_selection() -> None:
    view = select(select(Drive(), 2, None, 3), 1, 4, 2)
    assert [view[i].index for i in range(len(view))] == [5, 11]


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ((0, None, 0), "--stride: is 0"),
        ((-1, None, 1), "--start: is -1, but made has 20 frames"),
        ((20, None, 1), "--start: is 20, but made has 20 frames; give a number from 0 to 19"),
        ((5, 5, 1), "--end: is 5, .*--start is 5; give a number from 6 to 20"),
        ((0, 21, 1), "--end: is 21, but made has 20 frames"),
    ],
)
def test_bad_ranges_name_the_flag(arguments: tuple, problem: str) -> None:
    with pytest.raises(InputError, match=problem):
        select(Drive(), *arguments)


def test_resize_changes_everything_together() -> None:
    view = resize(Drive(), 20, 15)
    frame = view[4]
    assert view.camera == frame.camera == Drive().camera.resized(20, 15)
    assert frame.image.shape == (15, 20, 3)
    assert (frame.image == 4).all()
    assert frame.depth is not None
    assert frame.moving is not None
    assert frame.depth.shape == frame.moving.shape == (15, 20)
    assert frame.depth.dtype == np.float32
    assert frame.moving.dtype == bool
    assert frame.moving[:5, :10].all()
    assert frame.moving.sum() == 50
    assert frame.index == 4


def test_resized_depth_has_no_values_between_the_pixels() -> None:
    depth = resize(Drive(), 17, 23)[0].depth
    assert depth is not None
    assert (depth == np.round(depth)).all()  # the source has whole numbers, different everywhere


def test_shrinking_averages_and_camera_and_image_agree() -> None:
    """A ramp along x, sampled where the camera says, stays the same function of the ray."""
    drive = Drive(camera=Camera(50, 50, 19.5, 14.5, 40, 30))
    ramp = np.broadcast_to((np.arange(40) * 4)[None, :, None], (30, 40, 3)).astype(np.uint8)

    class Ramp(Drive):
        def __getitem__(self, index: int) -> Frame:
            return Frame(index, 0.0, np.ascontiguousarray(ramp), self.camera)

    frame = resize(Ramp(camera=drive.camera), 20, 15)[0]
    x = frame.camera.rays()[7, :, 0]
    expected = (x * drive.camera.fx + drive.camera.cx) * 4
    np.testing.assert_allclose(frame.image[7, :, 0], expected, atol=0.51)  # rounded to a grey level


def test_resize_to_the_same_size_is_the_sequence_itself_and_bad_sizes_are_refused() -> None:
    drive = Drive()
    assert resize(drive, 40, 30) is drive
    with pytest.raises(InputError, match="--size: is 0 x 30 pixels"):
        resize(drive, 0, 30)
    with pytest.raises(InputError, match="--size"):
        resize(drive, 40, 1_000_000)


def test_views_read_nothing_before_they_are_asked() -> None:
    drive = Drive()
    view = resize(select(drive, 2, 10, 2), 20, 15)
    assert isinstance(view, View)
    assert (len(view), drive.asked) == (4, [])


def test_prefetch_keeps_the_order() -> None:
    assert [frame.index for frame in prefetch(Drive(50), workers=4)] == list(range(50))


def test_prefetch_holds_few_frames_however_long_the_drive() -> None:
    drive = Drive(300)
    for frame in prefetch(drive, workers=2, ahead=4):
        assert frame.image[0, 0, 0] == frame.index % 256
    # four ahead, the one in hand, and the next one that is handed over
    assert drive.most_alive <= 4 + 2
    del frame
    gc.collect()
    assert drive.alive == 0


def test_prefetch_raises_at_the_place_of_the_damaged_frame() -> None:
    frames = prefetch(Drive(20, damaged=7), workers=3, ahead=10)
    assert [next(frames).index for _ in range(7)] == list(range(7))
    with pytest.raises(InputError, match=r"7\.png: is truncated"):
        next(frames)
    assert not _workers()


def test_closing_prefetch_stops_its_threads() -> None:
    drive = Drive(1000)
    frames = prefetch(drive, workers=2, ahead=3)
    next(frames)
    assert _workers()
    frames.close()  # type: ignore[attr-defined]
    assert not _workers()
    assert len(drive.asked) <= 1 + 3 + 2


def test_prefetch_refuses_no_workers() -> None:
    with pytest.raises(ValueError, match="at least 1, got 0 and 8"):
        prefetch(Drive(), workers=0)


def _workers() -> list[threading.Thread]:
    return [t for t in threading.enumerate() if t.name.startswith("prefetch")]
