from __future__ import annotations

import pickle
import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest

from vo.datasets import open_sequence
from vo.datasets.errors import InputError
from vo.datasets.sequence import prefetch
from vo.datasets.video import Decoder, Video, open_video, read_index

FLAG = "60,60,31.5,23.5"


def decoded(path: Path) -> list[np.ndarray]:
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def decoder(path: Path) -> Decoder:
    return Decoder(path, read_index(path))


def has_b_frames(path: Path) -> bool:
    with av.open(str(path)) as container:
        pts = [p.pts for p in container.demux(video=0) if p.pts is not None]
    return pts != sorted(pts)


@pytest.mark.parametrize("name", ["drive.mp4", "drive.mkv", "drive.mov"])
def test_random_access_gives_the_frames_of_sequential_decoding(movie, name: str) -> None:
    path = movie(name)
    assert has_b_frames(path)  # else the test shows nothing
    expected, video = decoded(path), decoder(path)
    assert len(video.index.pts) == len(expected) == 30
    order = [29, 0, 7, 8, 9, 3, 28, 1, *random.Random(0).sample(range(30), 30)]
    for i in order:
        np.testing.assert_array_equal(video.read(i), expected[i], err_msg=f"frame {i}")


def test_neighbouring_frames_differ(movie: Callable[..., Path]) -> None:
    frames = decoded(movie())
    differences = [np.abs(a.astype(int) - b).mean() for a, b in pairwise(frames)]
    assert min(differences) > 1  # an off-by-one in the tests above would show


def test_threads_in_any_order(movie: Callable[..., Path]) -> None:
    path = movie()
    expected, video = decoded(path), decoder(path)
    order = random.Random(1).sample(range(30), 30)
    with ThreadPoolExecutor(4) as pool:
        frames = list(pool.map(video.read, order))
    for i, frame in zip(order, frames, strict=True):
        np.testing.assert_array_equal(frame, expected[i])


@pytest.fixture
def decoded_pts(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Times of all frames that any decoder has decoded since the test began."""
    times: list[int] = []
    keep = Decoder._keep

    def watch(self: Decoder, frame: av.VideoFrame) -> None:
        assert frame.pts is not None
        times.append(frame.pts)
        keep(self, frame)

    monkeypatch.setattr(Decoder, "_keep", watch)
    return times


def test_reading_ahead_decodes_each_frame_once(movie, decoded_pts: list[int]) -> None:
    video = open_video(movie(frames=60), FLAG)
    indices = [frame.index for frame in prefetch(video, workers=2, ahead=4)]
    assert indices == list(range(60))
    assert len(decoded_pts) <= 60 + 2  # no thread has thrown another one back to a key frame


def test_frame_that_another_thread_has_passed_is_not_decoded_again(movie, decoded_pts) -> None:
    video = decoder(movie())
    for i in range(12):
        video.read(i)
    decoded_pts.clear()
    for i in (11, 9, 4):
        video.read(i)
    assert decoded_pts == []


def test_timestamps_are_exact(movie: Callable[..., Path], tmp_path: Path) -> None:
    np.testing.assert_array_equal(
        read_index(movie()).timestamps, [float(Fraction(i, 10)) for i in range(30)]
    )


def test_uneven_timestamps_are_kept(tmp_path: Path) -> None:
    path, times_ms = tmp_path / "uneven.mkv", [0, 40, 55, 200, 1000, 1033]
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=30)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.time_base = stream.codec_context.time_base = Fraction(1, 1000)
        for t in times_ms:
            frame = av.VideoFrame.from_ndarray(np.zeros((48, 64, 3), np.uint8), format="rgb24")
            frame.pts, frame.time_base = t, Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    np.testing.assert_allclose(read_index(path).timestamps, np.array(times_ms) / 1000, atol=1e-12)


def test_sequence(movie: Callable[..., Path]) -> None:
    video = open_video(movie(), FLAG)
    assert (video.name, len(video), video.camera.size, video.T_w_c) == ("drive", 30, (64, 48), None)
    frame = video[-1]
    assert (frame.index, frame.time_s, frame.image.dtype) == (29, 2.9, np.uint8)
    with pytest.raises(IndexError):
        video[30]


def test_stride_start_and_end(movie: Callable[..., Path]) -> None:
    path = movie()
    view = open_sequence(path, intrinsics=FLAG, start=4, end=20, stride=5)
    expected = decoded(path)
    assert [view[i].index for i in range(len(view))] == [4, 9, 14, 19]
    np.testing.assert_array_equal(view[2].image, expected[14])


def test_pickled_for_another_process(movie: Callable[..., Path]) -> None:
    video = open_video(movie(), FLAG)
    copy = pickle.loads(pickle.dumps(video))
    np.testing.assert_array_equal(copy[5].image, video[5].image)


def test_camera_beside_the_video(movie: Callable[..., Path]) -> None:
    path = movie()
    lines = "fx: {}\nfy: 60\ncx: 31.5\ncy: 23.5\nwidth: 64\nheight: 48\n"
    with pytest.raises(
        InputError, match=r"write .*drive\.yaml or .*camera\.yaml .*--intrinsics fx"
    ):
        open_video(path)
    (path.parent / "camera.yaml").write_text(lines.format(61))
    assert open_video(path).camera.fx == 61
    path.with_suffix(".yaml").write_text(lines.format(62))
    assert open_video(path).camera.fx == 62


def test_turned_phone(movie: Callable[..., Path]) -> None:
    """A display matrix of a quarter turn, patched into the track header of the file."""
    path = movie()
    upright = decoded(path)[3]
    data = bytearray(path.read_bytes())
    one = (1 << 16).to_bytes(4, "big")
    at = data.index(b"tkhd") + 4 + 40  # ISO 14496-12: the matrix of a version 0 header
    assert data[at : at + 4] == one
    minus = (-(1 << 16)).to_bytes(4, "big", signed=True)
    # (x, y) -> (-y, x): shown turned clockwise by 90 degrees
    data[at : at + 20] = bytes(4) + one + bytes(4) + minus + bytes(4)
    path.write_bytes(data)
    video = open_video(path, "60,60,23.5,31.5,48,64")
    assert video.camera.size == (48, 64)
    np.testing.assert_array_equal(video[3].image, np.rot90(upright, -1))


def test_cut_by_an_edit_list(movie: Callable[..., Path]) -> None:
    """Phones cut a video without rewriting it: frames are there that are not to be shown."""
    path = movie(frames=40)
    upright = decoded(path)
    data = bytearray(path.read_bytes())
    at = data.index(b"elst") + 12  # ISO 14496-12, version 0: duration, then start in the media
    shown_ms, start = (int.from_bytes(data[i : i + 4], "big") for i in (at, at + 4))
    assert shown_ms == 4000
    data[at : at + 8] = (2000).to_bytes(4, "big") + (start + 12 * 1024).to_bytes(4, "big")
    path.write_bytes(data)
    video = decoder(path)
    np.testing.assert_allclose(video.index.timestamps, np.arange(20) / 10, atol=1e-12)
    for i in (19, 0, 7):
        np.testing.assert_array_equal(video.read(i), upright[12 + i])


# --- damage


def test_video_that_ends_early(movie: Callable[..., Path]) -> None:
    path = movie(frames=60)
    data = path.read_bytes()
    path.write_bytes(data[: int(0.6 * len(data))])
    with pytest.raises(
        InputError, match=r"drive\.mp4: ends early: it promises 60 frames and has \d+"
    ):
        open_video(path, FLAG)


def test_matroska_that_ends_early(movie: Callable[..., Path]) -> None:
    path = movie("drive.mkv", frames=60)
    data = path.read_bytes()
    path.write_bytes(data[: int(0.6 * len(data))])
    with pytest.raises(InputError, match=r"ends early: it promises 6\.00 s and has \d\.\d\d s"):
        open_video(path, FLAG)


def test_damage_in_the_middle_names_the_frame_and_the_rest_is_read(movie) -> None:
    path = movie(frames=40)
    with av.open(str(path)) as container:
        packets = [p for p in container.demux(video=0) if p.size]
    packet = next(p for p in packets if p.pts is not None and p.is_keyframe and p.pts > 0)
    data = bytearray(path.read_bytes())
    # Leave the length of the unit and its header: the decoder must meet the damage.
    data[packet.pos + 40 : packet.pos + packet.size - 20] = bytes(packet.size - 60)
    path.write_bytes(data)
    video, bad, messages = decoder(path), [], []
    for i in range(40):
        try:
            video.read(i)
        except InputError as error:
            bad.append(i)
            messages.append(str(error))
    key = sorted(p.pts for p in packets if p.pts is not None).index(packet.pts)
    assert key in bad
    for i, message in zip(bad, messages, strict=True):
        assert f"drive.mp4: frame {i} of 40 cannot be decoded" in message
    assert set(bad) <= set(range(key - 3, key + 8))  # until the next key frame


@pytest.mark.parametrize(
    ("name", "data", "problem"),
    [
        ("a.mp4", b"", r"is empty \(0 bytes\)"),
        ("a.mp4", b"no video at all" * 99, "cannot be opened as a video"),
        ("a.txt", b"hello", r"is no video file by its name; give a folder, or .*\.mp4"),
    ],
)
def test_what_is_no_video(tmp_path: Path, name: str, data: bytes, problem: str) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(InputError, match=rf"a\.\w+: {problem}"):
        open_sequence(tmp_path / name)


def test_sound_alone(tmp_path: Path) -> None:
    path = tmp_path / "sound.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=44100)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        frame.sample_rate = 44100
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    with pytest.raises(InputError, match="holds no video stream"):
        open_video(path, FLAG)


def test_times_out_of_order_are_refused(movie: Callable[..., Path]) -> None:
    """AVI has no presentation times: with B-frames every frame would be taken for another."""
    with pytest.raises(
        InputError, match=r"not in the order of presentation; rewrite it with `ffmpeg"
    ):
        open_video(movie("drive.avi"), FLAG)


@pytest.mark.real_data
def test_real_drive(real_data: Path) -> None:
    video = open_sequence(real_data / "video", intrinsics="721.5,721.5,609.6,172.9")
    assert isinstance(video, Video)
    assert (video.name, len(video), video.camera.size) == ("street_drive", 268, (1242, 375))
    np.testing.assert_allclose(video.timestamps, np.arange(268) / 30, atol=1e-12)
    assert video[267].image.shape == (375, 1242, 3)
    assert video[0].image.std() > 10
