"""Arrays of MATLAB files of version 5 to 7, which are no HDF5."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from vo.datasets.camera import Array
from vo.datasets.errors import InputError
from vo.datasets.plain_file import demand_file

MOST_BYTES = 16 * 1024 * 1024  # of a file, and of an array: those of the data sets have half of one
_HEADER_BYTES = 128
_NAME_BYTES = 4096  # within which the name of a variable stands
_MATRIX, _COMPRESSED = 14, 15  # types of elements, and below classes of arrays
_NUMBERS = range(6, 16)
_AGAIN = "copy or download it again"


class _Variable(NamedTuple):
    """An array of a file: its name, its class, and its bytes as they lie there."""

    name: bytes
    kind: int
    packed: bool
    data: bytes


def read_matlab(path: Path, name: str) -> Array:
    """The numeric array ``name`` of a file, with at least two dimensions as MATLAB has them.

    A few kilobytes can stand for gigabytes, and a cell may hold a cell a million times: name and
    class are read first, and of the rest what 16 MB hold.

    Raises:
        InputError: when the file is missing, larger than 16 MB, or cannot be read, and when it has
            no such array.
    """
    size = demand_file(path, "check the path")
    with path.open("rb") as file:
        header = file.read(_HEADER_BYTES)
        if header[124:128] in (b"\x00\x02IM", b"\x02\x00MI"):
            problem = "is a MATLAB file of version 7.3"
            raise InputError(path, problem, "save it with MATLAB's `-v7`")
        if size > MOST_BYTES:
            raise InputError(path, f"is too large for a MATLAB file of its kind: {size:,} bytes")
        data = file.read(MOST_BYTES)
    if header[124:128] not in (b"\x00\x01IM", b"\x01\x00MI"):
        raise InputError(path, "cannot be read as a MATLAB file", _AGAIN)
    order = "<" if header.endswith(b"IM") else ">"
    try:
        found = next((v for v in _variables(data, order) if v.name == name.encode()), None)
    except (struct.error, zlib.error, IndexError) as error:
        raise InputError(path, "cannot be read as a MATLAB file", _AGAIN) from error
    if found is None:
        raise InputError(path, f"has no variable {name}", "give the file as it was published")
    if found.kind not in _NUMBERS:
        raise InputError(path, f"{name} is no array of numbers", "download the file again")
    return _array(path, name, header, found)


def _array(path: Path, name: str, header: bytes, found: _Variable) -> Array:
    from scipy.io import loadmat

    try:
        data = _inflated(found.data, MOST_BYTES + 1) if found.packed else found.data
        if len(data) > MOST_BYTES:
            raise InputError(path, f"{name} has over {MOST_BYTES:,} bytes", _AGAIN)
        array = loadmat(io.BytesIO(header + data))[name]
    except InputError:
        raise
    except Exception as error:  # damage comes as any error: of zlib, of sizes, of unknown types
        raise InputError(path, "cannot be read as a MATLAB file", _AGAIN) from error
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "iuf":
        raise InputError(path, f"{name} is no array of numbers", "download the file again")
    return array


def _variables(data: bytes, order: str) -> Iterator[_Variable]:
    """The variables of a file after its header (MAT-File Format, MathWorks, section 1)."""
    at = 0
    while at + 8 <= len(data):
        kind, size = struct.unpack_from(f"{order}II", data, at)
        whole = data[at : at + 8 + size]
        if len(whole) < 8 + size:
            raise IndexError("the file ends within a variable")
        packed = kind == _COMPRESSED
        whole = whole[8:] if packed else whole
        begin = _inflated(whole, _NAME_BYTES) if packed else whole[:_NAME_BYTES]
        if struct.unpack_from(f"{order}I", begin)[0] == _MATRIX:
            flags, after = _part(begin, 8, order)
            _, after = _part(begin, after, order)
            name, _ = _part(begin, after, order)
            yield _Variable(name, struct.unpack(f"{order}I", flags[:4])[0] & 0xFF, packed, whole)
        at += 8 + size


def _part(data: bytes, at: int, order: str) -> tuple[bytes, int]:
    """Content of the element at a place, and the place of the next one."""
    (word,) = struct.unpack_from(f"{order}I", data, at)
    if word >> 16:  # at most four bytes, in the place of their number
        return data[at + 4 : at + 4 + (word >> 16)], at + 8
    (size,) = struct.unpack_from(f"{order}I", data, at + 4)
    return data[at + 8 : at + 8 + size], at + 8 + (size + 7) // 8 * 8


def _inflated(data: bytes, most: int) -> bytes:
    return zlib.decompressobj().decompress(data, most)
