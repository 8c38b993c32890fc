"""Small files that stand for large ones: each is refused before memory is taken for it."""

from __future__ import annotations

import io
import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import cv2
import h5py
import numpy as np
import pytest
from limited import refusal

from vo.datasets import open_sequence
from vo.datasets.cityscapes import read_depth_array
from vo.datasets.images import DepthFormat, read_depth, read_image
from vo.datasets.matlab import read_matlab
from vo.datasets.nyu import open_nyu
from vo.datasets.poses import read_kitti_poses
from vo.datasets.text import read_times
from vo.datasets.video import MOST_PIXELS, open_video

MB = 1 << 20
BOMB = 640 * MB  # more than `refusal` lets a reader take


def zeros(count: int) -> bytes:
    """As many zeros, deflated to a thousandth."""
    pack, block = zlib.compressobj(1), bytes(MB)
    return b"".join(pack.compress(block) for _ in range(count // MB)) + pack.flush()


# Images -----------------------------------------------------------------------------------------


def png(path: Path, side: int, bits: int = 8, colour: int = 2, packed: bytes = b"x") -> Path:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", side, side, bits, colour, 0, 0, 0)
    chunks = chunk(b"IHDR", header) + chunk(b"IDAT", packed) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunks)
    return path


def jpeg(path: Path, side: int, *flags: int) -> bytes:
    done, data = cv2.imencode(".jpg", np.zeros((64, 64, 3), np.uint8), list(flags))
    assert done
    content = bytearray(data.tobytes())
    at = max(content.find(b"\xff\xc0"), content.find(b"\xff\xc2"))
    struct.pack_into(">HH", content, at + 5, side, side)
    path.write_bytes(content)
    return bytes(content)


@pytest.mark.parametrize(("side", "why"), [(60_000, "over 100 megapixels"), (9_900, "cannot hold")])
def test_a_header_promises_more_than_there_is(tmp_path: Path, side: int, why: str) -> None:
    assert why in refusal(lambda: read_image(png(tmp_path / "a.png", side)))
    grey16 = png(tmp_path / "b.png", side, 16, 0)
    assert why in refusal(lambda: read_depth(grey16, DepthFormat(256)))
    jpeg(tmp_path / "a.jpg", side)
    assert why in refusal(lambda: read_image(tmp_path / "a.jpg"))


def test_a_large_image_among_small_ones_is_not_decoded(images: Callable[..., Path]) -> None:
    """9900x9900 pixels that are all there, in 300 KB: a drive may have them, this one has not."""
    folder = images(3)
    png(folder / "1.png", 9900, packed=zeros(9900 * (3 * 9900 + 1) + MB))
    sequence = open_sequence(folder)
    said = refusal(lambda: sequence[1])
    assert "1.png: has 9900x9900 pixels, the first image has 40x30" in said


def test_sixteen_bits_take_no_more_than_they_need(tmp_path: Path) -> None:
    path = png(tmp_path / "a.png", 5000, 16, 2, zeros(5000 * (6 * 5000 + 1) + MB))
    assert refusal(lambda: read_image(path)) == "READ"


def test_a_jpeg_of_a_thousand_scans_is_refused(tmp_path: Path) -> None:
    content = jpeg(tmp_path / "a.jpg", 4000, cv2.IMWRITE_JPEG_PROGRESSIVE, 1)
    at = content.rfind(b"\xff\xda")
    (tmp_path / "a.jpg").write_bytes(content[:at] + 1000 * content[at:-2] + content[-2:])
    assert "is a JPEG of 1009 scans" in refusal(lambda: read_image(tmp_path / "a.jpg"))


def test_progressive_jpegs_are_read(tmp_path: Path) -> None:
    image = np.full((64, 80, 3), 90, np.uint8)
    cv2.imwrite(str(tmp_path / "a.jpg"), image, [cv2.IMWRITE_JPEG_PROGRESSIVE, 1])
    assert read_image(tmp_path / "a.jpg").shape == (64, 80, 3)


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_an_image_of_one_colour_is_no_bomb(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    smallest = [cv2.IMWRITE_JPEG_OPTIMIZE, 1, cv2.IMWRITE_JPEG_QUALITY, 1] * (suffix == ".jpg")
    cv2.imwrite(str(path), np.zeros((2000, 3000), np.uint8), smallest)
    assert read_image(path).shape == (2000, 3000, 3)


# Text -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"1 " * 20 * MB, "has a line of over 10,000 characters"),
        (b"1\n" * 20 * MB, "has over 4,000,000 lines"),
        (b"\n" * 40 * MB + b"1", "has over 4,000,000 lines"),
        (b"1\n" + bytes(40 * MB), "is no text file"),
    ],
)
@pytest.mark.parametrize("read", [read_times, read_kitti_poses])
def test_lines_without_end(tmp_path: Path, read: Callable, content: bytes, why: str) -> None:
    path = tmp_path / "times.txt"
    path.write_bytes(content)
    assert why in refusal(lambda: read(path))


# Arrays -----------------------------------------------------------------------------------------


def element(kind: int, data: bytes) -> bytes:
    return struct.pack("<II", kind, len(data)) + data + bytes(-len(data) % 8)


def matrix(name: bytes, shape: tuple[int, ...], size: int, cls: int = 6) -> bytes:
    """The beginning of a variable whose numbers have ``size`` bytes."""
    flags, sides = struct.pack("<II", cls, 0), struct.pack(f"<{len(shape)}i", *shape)
    begin = element(6, flags) + element(5, sides) + element(1, name) + struct.pack("<II", 9, size)
    return struct.pack("<II", 14, (len(begin) + size) % (1 << 32)) + begin


def matlab(path: Path, *elements: bytes) -> Path:
    header = b"MATLAB 5.0 MAT-file".ljust(124) + b"\x00\x01IM"
    path.write_bytes(header + b"".join(elements))
    return path


def packed_matrix(shape: tuple[int, ...]) -> bytes:
    pack = zlib.compressobj(1)
    data = pack.compress(matrix(b"grid", shape, BOMB)) + pack.flush(zlib.Z_SYNC_FLUSH)
    block = bytes(MB)
    data += b"".join(pack.compress(block) for _ in range(BOMB // MB)) + pack.flush()
    return struct.pack("<II", 15, len(data)) + data


@pytest.mark.parametrize("shape", [(1, BOMB // 8), (55, 305, 4)])
def test_a_deflated_matlab_array(tmp_path: Path, shape: tuple[int, ...]) -> None:
    path = matlab(tmp_path / "a.mat", packed_matrix(shape))
    assert "grid has over 16,777,216 bytes" in refusal(lambda: read_matlab(path, "grid"))
    assert "has no variable other" in refusal(lambda: read_matlab(path, "other"))


def test_a_matlab_array_of_many_numbers_that_are_not_there(tmp_path: Path) -> None:
    path = matlab(tmp_path / "a.mat", matrix(b"grid", (100_000, 100_000), 8) + bytes(8))
    assert "cannot be read as a MATLAB file" in refusal(lambda: read_matlab(path, "grid"))


def test_cells_in_cells(tmp_path: Path) -> None:
    """scipy's reader calls itself for each, until the stack ends."""
    inner = matrix(b"", (1, 1), 8) + bytes(8)
    for depth in range(20_000):
        name = b"grid" if depth == 19_999 else b""
        begin = element(6, struct.pack("<II", 1, 0)) + element(5, struct.pack("<2i", 1, 1))
        inner = element(14, begin + element(1, name) + inner)
    path = matlab(tmp_path / "a.mat", inner)
    assert "grid is no array of numbers" in refusal(lambda: read_matlab(path, "grid"))


@pytest.mark.parametrize("shape", [(1_000_000, 1_000_000), (100_000, 10_000)])
@pytest.mark.parametrize("size", [0, 4_000_000_000])
def test_a_numpy_header_promises_more(tmp_path: Path, shape: tuple[int, int], size: int) -> None:
    head = io.BytesIO()
    form = {"descr": "<f4", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(head, form)
    path = tmp_path / "a.npy"
    path.write_bytes(head.getvalue())
    os.truncate(path, len(head.getvalue()) + size)
    assert str(path) in refusal(lambda: read_depth_array(path))


# HDF5 -------------------------------------------------------------------------------------------


def labeled(path: Path, **options: object) -> Path:
    """The layout of NYU Depth v2 with one image, the options of which are others."""
    with h5py.File(path, "w") as file:
        wanted: dict[str, Any] = {"shape": (1, 3, 640, 480), "dtype": np.uint8} | options
        shape = (wanted["shape"][0], 640, 480)
        file.create_dataset("images", **wanted)
        file.create_dataset("depths", shape, np.float32, chunks=(1, 640, 480))
    return path


def test_images_without_number(tmp_path: Path) -> None:
    path = labeled(tmp_path / "a.mat", shape=(10**9, 3, 640, 480), chunks=(1, 3, 640, 480))
    assert "images says that it has 1000000000 images" in refusal(lambda: open_nyu(path))


def test_a_chunk_of_all_images(tmp_path: Path) -> None:
    shape = (1400, 3, 640, 480)
    path = labeled(tmp_path / "a.mat", shape=shape, chunks=shape, compression=9)
    assert "images lies in chunks of (1400, 3, 640, 480)" in refusal(lambda: open_nyu(path))


def test_a_chunk_that_inflates_to_more_than_itself(tmp_path: Path) -> None:
    path = labeled(tmp_path / "a.mat", chunks=(1, 3, 320, 480), compression=9)
    with h5py.File(path, "r+") as file:
        images: Any = file["images"]
        images[0] = 7
        images.id.write_direct_chunk((0, 0, 320, 0), zeros(BOMB))
    said = refusal(lambda: open_nyu(path)[0])
    assert "a chunk at (0, 0, 320, 0) holds more than belongs to it" in said


def test_chunks_of_every_kind_are_read(tmp_path: Path) -> None:
    image = np.random.default_rng(0).integers(0, 256, (3, 640, 480), np.uint8)
    for chunks in ((1, 3, 640, 480), (2, 1, 100, 480), (2, 3, 64, 70)):
        path = labeled(
            tmp_path / "a.mat", shape=(3, 3, 640, 480), chunks=chunks, compression=4,
            shuffle=True, fletcher32=True,
        )  # fmt: skip
        with h5py.File(path, "r+") as file:
            images: Any = file["images"]
            images[2] = image
        np.testing.assert_array_equal(open_nyu(path)[2].image, image.transpose(2, 1, 0))


@pytest.mark.parametrize("way", ["external", "link", "virtual"])
def test_no_other_file_is_read(tmp_path: Path, way: str) -> None:
    other, path = labeled(tmp_path / "other.mat"), tmp_path / "a.mat"
    if way == "external":
        labeled(path, external=[(str(other), 0, 3 * 640 * 480)])
    else:
        labeled(path)
        with h5py.File(path, "r+") as file:
            del file["images"]
            if way == "link":
                file["images"] = h5py.ExternalLink(str(other), "images")
            else:
                layout = h5py.VirtualLayout((1, 3, 640, 480), np.uint8)
                layout[:] = h5py.VirtualSource(str(other), "images", shape=(1, 3, 640, 480))
                file.create_virtual_dataset("images", layout)
    why = "has no array images" if way == "link" else "images lies in other files"
    assert why in refusal(lambda: open_nyu(path))


# Videos -----------------------------------------------------------------------------------------


def test_a_video_larger_than_any_camera_has(tmp_path: Path) -> None:
    path, side = tmp_path / "a.mp4", 8256
    assert side * side > MOST_PIXELS
    with av.open(str(path), "w") as file:
        stream = file.add_stream("libx264", rate=10, options={"preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = side, side, "yuv420p"
        frame = av.VideoFrame(side, side, "yuv420p")
        frame.pts = 0
        file.mux(stream.encode(frame))
        file.mux(stream.encode())
    said = refusal(lambda: open_video(path, "50,50,19.5,14.5"))
    assert f"a.mp4: has frames of {side}x{side} pixels" in said


@pytest.mark.parametrize(
    "text",
    [
        "ffconcat version 1.0\nfile drive.mp4\n",
        "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:1,\ndrive.mp4\n#EXT-X-ENDLIST\n",
        "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\n"
        "m=video 5004 RTP/AVP 96\na=rtpmap:96 H264/90000\n",
    ],
    ids=["concat", "hls", "sdp"],
)
def test_a_list_under_a_videos_name_leads_nowhere(movie: Callable[..., Path], text: str) -> None:
    path = movie("drive.mp4", frames=4).with_name("list.mp4")
    path.write_text(text)
    said = refusal(lambda: open_video(path, "50,50,19.5,14.5"))
    assert "list.mp4: cannot be opened as a video" in said
