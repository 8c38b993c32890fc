"""A video file, frame by frame with exact time stamps (PyAV)."""

from __future__ import annotations

import os
import threading
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from fractions import Fraction
from itertools import islice, pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from vo.datasets.camera import Array, Camera, find_camera
from vo.datasets.errors import InputError
from vo.datasets.frame import Frame
from vo.datasets.plain_file import demand_file
from vo.datasets.recording import check_size
from vo.datasets.sequence import position
from vo.datasets.text import few

if TYPE_CHECKING:
    from av import Packet, VideoFrame
    from av.container import InputContainer
    from av.video.stream import VideoStream

VIDEO_SUFFIXES = (".mp4", ".mov", ".m4v", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts", ".wmv")
MOST_PIXELS = 8192 * 8192  # two eyes of a camera that sees all around; RECENT of them are kept
_FORMATS = "mov,mp4,matroska,webm,avi,mpeg,mpegvideo,mpegts,asf"  # no list of other files
RECENT = 16  # decoded frames that are kept: more than what threads reading ahead overtake
_NEAR = 32  # frames that are rather decoded than jumped over
_ENDS_EARLY_S = 0.5  # the length in a header is rounded, and the last frame's duration a guess


@dataclass(frozen=True, slots=True, eq=False)
class Index:
    """What a video file says about its frames, read without decoding one.

    Attributes:
        pts: N presentation times in units of ``time_base``, increasing.
        keys: those of them at which decoding can start.
        time_base: seconds in one unit.
    """

    pts: tuple[int, ...]
    keys: tuple[int, ...]
    time_base: Fraction

    @property
    def timestamps(self) -> Array:
        """(N,) float64 seconds."""
        return np.array([float(pts * self.time_base) for pts in self.pts])


@dataclass(frozen=True, slots=True, eq=False)
class Video:
    """A video with its camera; satisfies the `Sequence` protocol.

    Attributes:
        name: file name without its ending.
        path: the file.
        camera: the camera of every frame.
        timestamps: (N,) float64 seconds, as the file has them.
        decoder: where the pixels come from.
        T_w_c: None, videos have no truth.
    """

    name: str
    path: Path
    camera: Camera
    timestamps: Array
    decoder: Decoder
    T_w_c: Array | None = field(default=None, init=False)

    def __len__(self) -> int:
        """Number of frames."""
        return len(self.timestamps)

    def __getitem__(self, index: int) -> Frame:
        """Decode frame ``index``; InputError when the file is damaged there."""
        i = position(index, len(self))
        image = self.decoder.read(i)
        check_size(image, self.camera.size, self.path)
        return Frame(i, float(self.timestamps[i]), image, self.camera)


def open_video(path: Path, intrinsics: str | None = None) -> Video:
    """Open a video file.

    Args:
        path: the file.
        intrinsics: ``fx,fy,cx,cy[,width,height]`` or a camera file, for the images as they are
            shown, that is after the rotation that phones note; None looks for ``NAME.yaml`` and
            ``camera.yaml`` beside the video.

    Raises:
        InputError: when it is no video, ends early, its first frame cannot be decoded, or its
            camera is not known.
    """
    decoder = Decoder(path, read_index(path))
    decoder.check_order()
    height, width = decoder.read(0).shape[:2]
    camera = find_camera(intrinsics, camera_files(path), (width, height), path)
    return Video(path.stem, path, camera, decoder.index.timestamps, decoder)


def find_sequences(data: Path) -> dict[str, Path]:
    """The file itself, or the videos in a folder, by name without ending."""
    if data.is_file():
        return {data.stem: data}
    return {p.stem: p for p in sorted(data.iterdir()) if p.suffix.lower() in VIDEO_SUFFIXES}


def camera_files(path: Path) -> list[Path]:
    """Where the camera file of a video may lie, best first."""
    return [path.with_suffix(".yaml"), path.parent / "camera.yaml"]


def read_index(path: Path) -> Index:
    """List the frames of a video by walking through its packets.

    Raises:
        InputError: when it is no video, has frames without or with equal times, or ends before
            the number of frames or the length that its header promises.
    """
    import av.error

    with _open(path) as container:
        stream = container.streams.video[0]
        if stream.time_base is None:
            raise InputError(path, "has no time base", _remux(path))
        try:
            # Not the packets themselves: they hold the pictures, and a video may be long.
            packets = [_Packet.of(p) for p in container.demux(stream) if p.size > 0]
            _check_complete(path, stream.frames, len(packets))
        except av.error.FFmpegError as error:
            raise InputError(path, f"cannot be read to its end ({error})", _remux(path)) from error
        pts = _presentation_times(path, packets, stream.time_base)
        keys = sorted(p.pts for p in packets if p.is_key and p.pts is not None)
        _check_length(path, stream, (pts[-1] - pts[0] + packets[-1].duration) * stream.time_base)
        return Index(tuple(pts), tuple(keys), stream.time_base)


@dataclass(frozen=True, slots=True)
class _Packet:
    """What a packet says about its frame."""

    pts: int | None
    duration: int
    is_key: bool
    is_cut: bool  # by the file's edit list: decoded, but not shown

    @staticmethod
    def of(packet: Packet) -> _Packet:
        return _Packet(
            packet.pts, packet.duration or 0, bool(packet.is_keyframe), bool(packet.is_discard)
        )


def _presentation_times(path: Path, packets: list[_Packet], time_base: Fraction) -> list[int]:
    shown = [p.pts for p in packets if not p.is_cut]
    if not shown:
        raise InputError(path, "holds no frames", "record it again")
    pts = sorted(t for t in shown if t is not None)
    if len(pts) < len(shown):
        raise InputError(path, "some frames have no time stamp", _remux(path))
    if len(set(pts)) < len(pts):
        same = few(f"{float(a * time_base):.3f} s" for a, b in pairwise(pts) if a == b)
        raise InputError(path, f"two frames have the same time: {same}", _remux(path))
    return pts


class Decoder:
    """Random access to the frames of a video, for several threads.

    Decoding runs in order and is continued where it stopped; only a jump back, or far forward,
    seeks to the key frame before. The frames decoded last are kept, because threads that read
    ahead ask for neighbours in an order of their own.
    """

    def __init__(self, path: Path, index: Index) -> None:
        """Nothing is opened before the first frame is asked for."""
        self.path = path
        self.index = index
        self._start_afresh()

    def read(self, i: int) -> Array:
        """Frame ``i`` in order of presentation, (H, W, 3) uint8 RGB.

        Raises:
            InputError: naming the frame, when it cannot be decoded or is damaged.
        """
        with self._lock:
            frame = self._decode(i)
        # Conversion runs outside the lock, so that threads do it side by side.
        return _to_rgb(frame)

    def check_order(self) -> None:
        """Decode the first frames to see whether they come in the order of their times.

        H.264 with B-frames in an AVI file does not: there the times are those of decoding, and
        every frame would be taken for another one.

        Raises:
            InputError: when they do not.
        """
        import av.error

        with _open(self.path) as container:
            try:
                frames = islice(container.decode(container.streams.video[0]), RECENT)
                times = [frame.pts for frame in frames if frame.pts is not None]
            except av.error.FFmpegError as error:
                raise self._damaged(0, str(error)) from error
        if any(b <= a for a, b in pairwise(times)):
            problem = "the times of its frames are not in the order of presentation"
            raise InputError(self.path, problem, _remux(self.path))

    def __getstate__(self) -> tuple[Path, Index]:
        """Another process opens the file for itself."""
        return self.path, self.index

    def __setstate__(self, state: tuple[Path, Index]) -> None:
        self.path, self.index = state
        self._start_afresh()

    def _start_afresh(self) -> None:
        self._lock = threading.Lock()
        self._container: InputContainer | None = None
        self._process = os.getpid()
        self._frames: Iterator[VideoFrame] = iter(())
        self._last: int | None = None  # time of the frame decoded last
        self._recent: OrderedDict[int, VideoFrame] = OrderedDict()

    def _decode(self, i: int) -> VideoFrame:
        import av.error

        if self._process != os.getpid():  # a fork shares the file position with its parent
            self._start_afresh()
        pts = self.index.pts[i]
        if pts in self._recent:
            return self._recent[pts]
        try:
            if not self._is_ahead(i):
                self._seek(i)
            frame = self._advance(i)
        except av.error.FFmpegError as error:
            self._last = None
            raise self._damaged(i, str(error)) from error
        except InputError:
            self._last = None  # the next frame seeks
            raise
        if frame.is_corrupt:
            raise self._damaged(i, "parts of the picture are missing")
        return frame

    def _is_ahead(self, i: int) -> bool:
        """Whether going on decoding reaches frame i sooner than a jump."""
        pts = self.index.pts[i]
        if self._last is None or pts <= self._last:
            return False
        key = self.index.keys[max(bisect_right(self.index.keys, pts) - 1, 0)]
        return key <= self._last or i - bisect_right(self.index.pts, self._last) < _NEAR

    def _seek(self, i: int) -> None:
        """Make the next decoded frame one that is not after frame i."""
        pts = self.index.pts[i]
        container = self._container or self._open_afresh()
        # Files without a good index lead behind the key frame asked for: then try earlier ones.
        for key in reversed([key for key in self.index.keys if key <= pts][-3:]):
            container.seek(key, stream=container.streams.video[0], backward=True)
            if self._starts_before(container, pts):
                return
        # A file that has just been opened stands at its beginning, whatever its index says.
        if not self._starts_before(self._open_afresh(), pts):
            raise self._damaged(i, "there is no key frame before it")

    def _open_afresh(self) -> InputContainer:
        container = _open(self.path)
        container.streams.video[0].thread_type = "AUTO"
        self._container = container
        return container

    def _starts_before(self, container: InputContainer, pts: int) -> bool:
        self._frames = container.decode(container.streams.video[0])
        first = next(self._frames, None)
        if first is None or first.pts is None or first.pts > pts:
            return False
        self._keep(first)
        return True

    def _advance(self, i: int) -> VideoFrame:
        pts = self.index.pts[i]
        while pts not in self._recent:
            frame = next(self._frames, None)
            if frame is None:
                raise self._damaged(i, "the video ends before it")
            if frame.pts is None or (self._last is not None and frame.pts <= self._last):
                raise self._damaged(i, "its time stamps are not in the order of presentation")
            self._keep(frame)
            if frame.pts > pts:
                raise self._damaged(i, "the decoder leaves it out")
        return self._recent[pts]

    def _keep(self, frame: VideoFrame) -> None:
        self._last = frame.pts
        if frame.pts is not None:
            self._recent[frame.pts] = frame
        while len(self._recent) > RECENT:
            self._recent.popitem(last=False)

    def _damaged(self, i: int, why: str) -> InputError:
        n = len(self.index.pts)
        remedy = f"{_remux(self.path)}, or leave it out with --start and --end"
        return InputError(self.path, f"frame {i} of {n} cannot be decoded: {why}", remedy)


def _open(path: Path, options: dict[str, str] | None = None) -> InputContainer:
    import av.error

    if path.suffix.lower() not in VIDEO_SUFFIXES:
        remedy = f"give a folder, or a video that ends in {', '.join(VIDEO_SUFFIXES)}"
        raise InputError(path, "is no video file by its name", remedy)
    if demand_file(path, "check the path given with --data") == 0:
        raise InputError(path, "is empty (0 bytes)", "copy it again")
    try:
        own = {"format_whitelist": _FORMATS, "protocol_whitelist": "file"}
        container = av.open(str(path), options=own | (options or {}))
    except av.error.FFmpegError as error:
        problem = f"cannot be opened as a video ({error.strerror})"
        raise InputError(
            path, problem, "copy it again: it is damaged, cut off, or no video"
        ) from error
    if not container.streams.video:
        container.close()
        raise InputError(path, "holds no video stream", "give a file with pictures")
    width, height = container.streams.video[0].width, container.streams.video[0].height
    if not 0 < width * height <= MOST_PIXELS:
        container.close()
        raise InputError(path, f"has frames of {width}x{height} pixels", "give a smaller video")
    return container


def _check_complete(path: Path, promised: int, count: int) -> None:
    """InputError when fewer frames are in the file than its header counts."""
    if count < promised:
        # A phone that cuts a video only notes the cut (an edit list); the header still counts all.
        with _open(path, {"ignore_editlist": "1"}) as container:
            count = sum(packet.size > 0 for packet in container.demux(video=0))
    if count < promised:
        problem = f"ends early: it promises {promised} frames and has {count}"
        raise InputError(path, problem, f"copy it again, or {_remux(path)} to use what is there")


def _check_length(path: Path, stream: VideoStream, length_s: Fraction) -> None:
    """Matroska counts no frames, but notes the length of each stream as 00:00:08.933000000."""
    note = stream.metadata.get("DURATION", "")
    words = note.split(":")
    if len(words) != 3:
        return
    try:
        hours, minutes, seconds = int(words[0]), int(words[1]), float(words[2])
    except ValueError:
        return
    promised_s = timedelta(hours=hours, minutes=minutes, seconds=seconds).total_seconds()
    if length_s < promised_s - _ENDS_EARLY_S:
        problem = f"ends early: it promises {promised_s:.2f} s and has {float(length_s):.2f} s"
        raise InputError(path, problem, f"copy it again, or {_remux(path)} to use what is there")


def _remux(path: Path) -> str:
    return f"rewrite it with `ffmpeg -i {path.name} new.mp4`"


def _to_rgb(frame: VideoFrame) -> Array:
    """(H, W, 3) uint8, turned as the file says that it is to be shown."""
    from av.video.reformatter import VideoReformatter

    # A frame keeps a converter of its own, which two threads must not use at once.
    image = VideoReformatter().reformat(frame, format="rgb24").to_ndarray()
    # FFmpeg counts the angle counterclockwise, and so does rot90.
    return np.ascontiguousarray(np.rot90(image, round(frame.rotation / 90)))
