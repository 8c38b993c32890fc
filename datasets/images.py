"""Image files to arrays, refusing those that a decoder would silently fill up with grey."""

from __future__ import annotations

import re
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vo.datasets.camera import Array
from vo.datasets.errors import InputError
from vo.datasets.plain_file import demand_file, read_file

Size = tuple[int, int]  # (width, height) in pixels
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg")
MOST_PIXELS = 100_000_000
MOST_BYTES = 6 * MOST_PIXELS + 64 * 1024 * 1024  # three times 16 bits, and what is no pixel

_PNG_START = b"\x89PNG\r\n\x1a\n"
_JPEG_START = b"\xff\xd8\xff"
_PPM_HEADER = re.compile(rb"P6\s+(?:#[^\n]*\n\s*)*([0-9]{1,6})\s+([0-9]{1,6})\s+([0-9]{1,5})\s")
_HEADER_BYTES = 65536  # in which the size of an image stands
_MOST_SCANS = 100  # of a JPEG: encoders write ten, and each takes the time of a whole image
_DEFLATE_RATIO = 1032  # most bytes that one compressed byte can stand for
_COPY_AGAIN = "copy it again, or remove it and see what `vo-data check` says about the rest"


@dataclass(frozen=True, slots=True)
class DepthFormat:
    """How a 16-bit depth image counts.

    Attributes:
        per_metre: counts in one metre: 256 for KITTI, 5000 for TUM RGB-D, 1000 for 7-Scenes.
        none: counts that mean "no depth here".
    """

    per_metre: float
    none: tuple[int, ...] = (0,)


def read_image(path: Path, size: Size | None = None) -> Array:
    """Read a PNG, JPEG or binary PPM file, (H, W, 3) uint8 RGB.

    Grey images stand three times, 16-bit images are scaled to 8 bits (65535 becomes 255),
    transparency is dropped, and the orientation that a phone writes (EXIF) is applied.

    Args:
        path: of the file.
        size: (width, height) of the drive's first image: one with another number of pixels is
            refused before memory is taken for them. None allows 100 megapixels.

    Raises:
        InputError: when the file is missing, empty, truncated, damaged, no PNG, JPEG or PPM, or
            has other pixels than it may have.
    """
    import cv2

    image = _decode(path, cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH, size)
    if image.dtype == np.uint16:
        image = cv2.convertScaleAbs(image, alpha=1 / 257)  # to the nearest
    if image.dtype != np.uint8:
        raise InputError(path, f"has pixels of type {image.dtype}", "convert it to 8 or 16 bits")
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def read_image_size(path: Path) -> Size:
    """(width, height) that the beginning of a file tells; the rest is neither read nor checked.

    Raises:
        InputError: when the file is missing, no PNG, JPEG or PPM, or ends before it tells its size.
    """
    demand_file(path, _COPY_AGAIN)
    with path.open("rb") as file:
        data = file.read(_HEADER_BYTES)
    if data.startswith(_PNG_START) and data[12:16] == b"IHDR" and len(data) >= 24:
        return _check_pixels(path, *struct.unpack_from(">II", data, 16))
    if data.startswith(_JPEG_START):
        size, _ = _walk_jpeg(path, data)
        if size is not None:
            return size
    if header := _PPM_HEADER.match(data):
        return _check_pixels(path, int(header[1]), int(header[2]))
    raise InputError(path, "is no PNG or JPEG image, or is damaged", _COPY_AGAIN)


def read_depth(path: Path, depth_format: DepthFormat, size: Size | None = None) -> Array:
    """Read a 16-bit depth image, (H, W) float32 metres along z, 0 where there is none.

    Raises:
        InputError: as `read_image`, and when the image has not one channel of 16 bits.
    """
    import cv2

    counts = _decode(path, cv2.IMREAD_UNCHANGED, size)
    if counts.dtype != np.uint16 or counts.ndim != 2:
        channels = 1 if counts.ndim == 2 else counts.shape[2]
        problem = f"depth has {channels} channel(s) of {8 * counts.itemsize} bits"
        raise InputError(path, problem, "depth images are PNG files with one channel of 16 bits")
    depth = counts.astype(np.float32) / np.float32(depth_format.per_metre)
    for value in depth_format.none:
        depth[counts == value] = 0
    return depth


def read_mask(path: Path, size: Size | None = None) -> Array:
    """Read a mask, (H, W) bool, True where the grey image is white.

    Raises:
        InputError: as `read_image`, and when the image has not one channel of 8 bits.
    """
    import cv2

    mask = _decode(path, cv2.IMREAD_UNCHANGED, size)
    if mask.dtype != np.uint8 or mask.ndim != 2:
        raise InputError(path, "is no mask", "masks are grey 8-bit images with 0 and 255")
    return mask > 127


def list_images(folder: Path) -> list[Path]:
    """PNG and JPEG files of a folder in natural order: ``2.png`` before ``10.png``."""
    found = (p for p in folder.iterdir() if is_image(p))
    return sorted(found, key=lambda p: natural_key(p.name))


def is_image(path: Path) -> bool:
    """Whether the name is that of an image; ``._x.png`` is one of macOS's side files."""
    return path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".")


def natural_key(name: str) -> list[tuple[int, int, str]]:
    """Sorting key that compares runs of digits as numbers."""
    parts = re.findall(r"[0-9]+|[^0-9]+", name)
    return [(0, int(p), p) if p[0] in "0123456789" else (1, 0, p) for p in parts]


def demand_size(found: Size, size: Size, path: Path) -> None:
    """InputError when an image has another (width, height) than the first one."""
    if found != size:
        problem = f"has {found[0]}x{found[1]} pixels, the first image has {size[0]}x{size[1]}"
        raise InputError(path, problem, "give images of one size")


def _decode(path: Path, flags: int, size: Size | None) -> Array:
    import cv2

    data = read_file(path, MOST_BYTES, "an image", _COPY_AGAIN)
    width, height = _check_whole(path, data)
    if size is not None and width * height != size[0] * size[1]:  # EXIF may turn it
        demand_size((width, height), size, path)
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error as error:
        raise InputError(path, "cannot be decoded", _COPY_AGAIN) from error
    if image is None:
        raise InputError(path, "cannot be decoded", _COPY_AGAIN)
    return image


def _check_whole(path: Path, data: bytes) -> Size:
    """The size of what is a whole PNG, JPEG or PPM, without decoding it.

    OpenCV's answer to a truncated file depends on its version and on the place of the cut: an
    error, or a picture whose rest is grey. The file itself says where it ends.
    """
    if not data:
        raise InputError(path, "is empty (0 bytes)", _COPY_AGAIN)
    if data.startswith(_PNG_START):
        size = _check_png(path, data)
    elif data.startswith(_JPEG_START):
        size = _check_jpeg(path, data)
    elif header := _PPM_HEADER.match(data):
        size = _check_ppm(path, data, header)
    else:
        raise InputError(path, "is no PNG or JPEG image", "convert it, or remove it")
    if 0 in size:
        raise InputError(path, "says that it has no pixels", _COPY_AGAIN)
    return size


def _check_pixels(path: Path, width: int, height: int) -> Size:
    if width * height > MOST_PIXELS:
        problem = f"says that it has {width}x{height} pixels, over 100 megapixels"
        raise InputError(path, problem, "make it smaller, or remove it")
    return width, height


def _check_png(path: Path, data: bytes) -> Size:
    """Size of a PNG of which every chunk is there with the right checksum (PNG 1.2, section 3)."""
    view, at, size, packed = memoryview(data), len(_PNG_START), None, 0
    while at + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        end = at + 12 + length
        if end > len(data):
            break
        if zlib.crc32(view[at + 4 : end - 4]) != struct.unpack_from(">I", data, end - 4)[0]:
            raise InputError(path, f"is damaged (checksum of a PNG chunk at {at})", _COPY_AGAIN)
        if kind == b"IHDR" and length == 13:
            size = _check_pixels(path, *struct.unpack_from(">II", data, at + 8))
        packed += length if kind == b"IDAT" else 0
        if kind == b"IEND":
            if size is None:
                raise InputError(path, "is a PNG without a header", _COPY_AGAIN)
            _check_held(path, size, 8 * _DEFLATE_RATIO * packed)  # one bit is the least of a pixel
            return size
        at = end
    raise InputError(path, f"is truncated (PNG ends after {len(data)} bytes)", _COPY_AGAIN)


def _check_ppm(path: Path, data: bytes, header: re.Match[bytes]) -> Size:
    """Size of a binary PPM (netpbm) that has all its pixels."""
    size = _check_pixels(path, int(header[1]), int(header[2]))
    sample_bytes = 1 if int(header[3]) < 256 else 2
    if len(data) < header.end() + 3 * size[0] * size[1] * sample_bytes:
        raise InputError(path, f"is truncated (PPM ends after {len(data)} bytes)", _COPY_AGAIN)
    return size


def _check_held(path: Path, size: Size, most_pixels: int) -> None:
    """Refuse an image that has fewer bytes than its pixels take at the least."""
    if size[0] * size[1] > most_pixels:
        problem = f"says that it has {size[0]}x{size[1]} pixels, which its bytes cannot hold"
        raise InputError(path, problem, _COPY_AGAIN)


def _check_jpeg(path: Path, data: bytes) -> Size:
    """Size of a JPEG that has its end marker (ITU T.81, annex B).

    Inside the compressed scan a byte FF is always followed by 00 or a restart marker, so FF D9
    after the start of the scan is the end of the image. Thumbnails stand before the scan.
    """
    size, at = _walk_jpeg(path, data)
    if data[at : at + 2] == b"\xff\xda":
        if size is None:
            raise InputError(path, "is a JPEG without a frame header", _COPY_AGAIN)
        scans = data.count(b"\xff\xda", at)
        if scans > _MOST_SCANS:
            raise InputError(path, f"is a JPEG of {scans} scans", "convert it, or remove it")
        if scans == 1:  # then a block of 8x8 pixels takes a bit
            _check_held(path, size, 64 * 8 * (len(data) - at))
        if data.rfind(b"\xff\xd9") >= at:
            return size
    elif at + 4 <= len(data):
        raise InputError(path, f"is damaged (no JPEG marker at byte {at})", _COPY_AGAIN)
    raise InputError(path, f"is truncated (JPEG ends after {len(data)} bytes)", _COPY_AGAIN)


def _walk_jpeg(path: Path, data: bytes) -> tuple[Size | None, int]:
    """Size that the frame header tells, and where the scan starts or the markers end."""
    at, size = 2, None
    while at + 4 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xFF or 0xD0 <= marker <= 0xD7 or marker == 0x01:
            at += 1 if marker == 0xFF else 2
            continue
        if marker == 0xDA:
            return size, at
        # C0 to CF start a frame, but for the tables C4 (Huffman), C8 (reserved), CC (arithmetic).
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC) and at + 9 <= len(data):
            height, width = struct.unpack_from(">HH", data, at + 5)
            size = _check_pixels(path, width, height)
        at += 2 + struct.unpack_from(">H", data, at + 2)[0]
    return size, at
