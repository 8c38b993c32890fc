from __future__ import annotations

import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest

from vo.datasets.errors import InputError
from vo.datasets.images import (
    DepthFormat,
    list_images,
    natural_key,
    read_depth,
    read_image,
    read_mask,
)


def picture() -> np.ndarray:
    noise = np.random.default_rng(0).integers(0, 256, (60, 80, 3), np.uint8)
    return cv2.GaussianBlur(noise, (5, 5), 0)


def test_png_is_read_as_rgb(tmp_path: Path) -> None:
    image = picture()
    cv2.imwrite(str(tmp_path / "a.png"), image[..., ::-1])
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), image)


def test_grey_stands_three_times(tmp_path: Path) -> None:
    grey = picture()[..., 0]
    cv2.imwrite(str(tmp_path / "a.png"), grey)
    image = read_image(tmp_path / "a.png")
    assert image.shape == (60, 80, 3)
    for c in range(3):
        np.testing.assert_array_equal(image[..., c], grey)


def test_sixteen_bits_are_scaled_to_eight(tmp_path: Path) -> None:
    grey = np.array([[0, 257, 128 * 257, 65535, 128]], np.uint16)
    cv2.imwrite(str(tmp_path / "a.png"), grey)
    # 128 lies just below half a level of 257 counts: 0; the half itself would round up.
    assert read_image(tmp_path / "a.png")[0, :, 0].tolist() == [0, 1, 128, 255, 0]


def test_transparency_is_dropped(tmp_path: Path) -> None:
    image = picture()
    alpha = np.full((60, 80, 1), 7, np.uint8)
    cv2.imwrite(str(tmp_path / "a.png"), np.concatenate([image[..., ::-1], alpha], axis=2))
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), image)


def test_read_depth_gives_metres_and_zero_for_none(tmp_path: Path) -> None:
    counts = np.array([[0, 1000, 65535, 2500]], np.uint16)
    cv2.imwrite(str(tmp_path / "d.png"), counts)
    depth = read_depth(tmp_path / "d.png", DepthFormat(1000, none=(0, 65535)))
    assert depth.dtype == np.float32
    np.testing.assert_allclose(depth, [[0, 1, 0, 2.5]])
    far = read_depth(tmp_path / "d.png", DepthFormat(256))
    assert far[0, 2] == pytest.approx(65535 / 256)  # a depth, where the format does not exclude it


@pytest.mark.parametrize("shape", [(4, 5), (4, 5, 3)])
def test_read_depth_refuses_eight_bits(tmp_path: Path, shape: tuple[int, ...]) -> None:
    cv2.imwrite(str(tmp_path / "d.png"), np.zeros(shape, np.uint8))
    with pytest.raises(InputError, match=r"d\.png: depth has . channel\(s\) of 8 bits; depth"):
        read_depth(tmp_path / "d.png", DepthFormat(256))


def test_read_mask(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "m.png"), np.array([[0, 255, 255]], np.uint8))
    assert read_mask(tmp_path / "m.png").tolist() == [[False, True, True]]
    cv2.imwrite(str(tmp_path / "m.png"), np.zeros((2, 2, 3), np.uint8))
    with pytest.raises(InputError, match="is no mask"):
        read_mask(tmp_path / "m.png")


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_every_truncation_is_found(tmp_path: Path, suffix: str, capfd) -> None:
    whole = cv2.imencode(suffix, picture())[1].tobytes()
    path = tmp_path / f"cut{suffix}"
    cuts = [*range(1, 60), *range(60, len(whole), 97), *range(len(whole) - 14, len(whole))]
    for cut in cuts:
        path.write_bytes(whole[:cut])
        with pytest.raises(InputError, match=path.name):
            read_image(path)
    assert capfd.readouterr() == ("", "")  # the decoders' own complaints would be no clear line


def test_truncated_names_file_and_place(tmp_path: Path) -> None:
    whole = cv2.imencode(".jpg", picture())[1].tobytes()
    (tmp_path / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match=r"cut\.jpg: is truncated \(JPEG ends after \d+ bytes\)"):
        read_image(tmp_path / "cut.jpg")


def test_jpeg_with_bytes_after_its_end_is_whole(tmp_path: Path) -> None:
    whole = cv2.imencode(".jpg", picture())[1].tobytes()
    (tmp_path / "a.jpg").write_bytes(whole + bytes(100))
    assert read_image(tmp_path / "a.jpg").shape == (60, 80, 3)


def test_end_marker_of_a_thumbnail_does_not_hide_a_truncation(tmp_path: Path) -> None:
    whole = cv2.imencode(".jpg", picture())[1].tobytes()
    thumbnail = cv2.imencode(".jpg", picture()[:8, :8])[1].tobytes()
    app = b"\xff\xe1" + struct.pack(">H", 2 + len(thumbnail)) + thumbnail
    path = tmp_path / "a.jpg"
    path.write_bytes(whole[:2] + app + whole[2:])
    assert read_image(path).shape == (60, 80, 3)
    path.write_bytes((whole[:2] + app + whole[2:])[:-40])
    with pytest.raises(InputError, match="is truncated"):
        read_image(path)


def test_damaged_png_is_found_by_its_checksum(tmp_path: Path) -> None:
    data = bytearray(cv2.imencode(".png", picture())[1].tobytes())
    data[len(data) // 2] ^= 1
    (tmp_path / "a.png").write_bytes(data)
    with pytest.raises(InputError, match=r"is damaged \(checksum"):
        read_image(tmp_path / "a.png")


def test_absurd_size_is_refused_before_it_is_allocated(tmp_path: Path) -> None:
    header = b"IHDR" + struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + header
    data += struct.pack(">I", zlib.crc32(header))
    (tmp_path / "huge.png").write_bytes(data)
    with pytest.raises(InputError, match="60000x60000 pixels, over 100 megapixels"):
        read_image(tmp_path / "huge.png")


@pytest.mark.parametrize(
    ("data", "problem"),
    [(b"", r"is empty \(0 bytes\)"), (b"hello, world", "is no PNG or JPEG"), (b"BM1", "is no PNG")],
)
def test_what_is_no_image(tmp_path: Path, data: bytes, problem: str) -> None:
    (tmp_path / "a.png").write_bytes(data)
    with pytest.raises(InputError, match=rf"a\.png: {problem}"):
        read_image(tmp_path / "a.png")


def test_missing_file_and_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        read_image(tmp_path / "a.png")
    with pytest.raises(InputError, match="is a folder"):
        read_image(tmp_path)


def test_list_images_is_in_natural_order(tmp_path: Path) -> None:
    for name in ("10.png", "2.png", "b1.JPG", "a.txt", "._2.png", "x.jpeg"):
        (tmp_path / name).touch()
    assert [p.name for p in list_images(tmp_path)] == ["2.png", "10.png", "b1.JPG", "x.jpeg"]


def test_natural_key_orders_numbers_by_value() -> None:
    names = ["g1.png", "f10.png", "f9.png", "f010.png"]
    assert sorted(names, key=natural_key) == ["f9.png", "f010.png", "f10.png", "g1.png"]
