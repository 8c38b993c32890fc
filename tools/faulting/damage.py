"""Ways in which a file can be wrong."""

from __future__ import annotations

import os
import re
import struct
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

Rng = np.random.Generator
TEXT = {".txt", ".yaml"}
IMAGES = {".png", ".jpg"}
ENDLESS_BYTES = 1 << 36  # more than a machine has memory; on disk a file without content is small
NUMBER = re.compile(rb"(?<![\w.+-])[+-]?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?(?![\w.])")


@dataclass(frozen=True, slots=True)
class Damage:
    """A way to damage a file.

    Attributes:
        name: of it.
        do: changes the file in place; gets the other files of the same kind of input, too.
        may_pass: what comes out may be a sound file with other content, which nobody can tell from
            a right one: such a result need not be complained of.
        only: suffixes of files that it suits; None is all.
        names: of files that it suits; None is all.
        shortens: whether a list that it is done to may be a shorter one.
    """

    name: str
    do: Callable[[Path, list[Path], Rng], None]
    may_pass: bool = False
    only: frozenset[str] | None = None
    names: frozenset[str] | None = None
    shortens: bool = False

    def suits(self, path: str) -> bool:
        """Whether it can be done to a file of that name."""
        suffix, name = Path(path).suffix, Path(path).name
        return (self.only is None or suffix in self.only) and (
            self.names is None or name in self.names
        )


def damages() -> list[Damage]:
    """All of them."""
    text, images, weights = frozenset(TEXT), frozenset(IMAGES), frozenset({".pth"})
    # Those of .safetensors are read as a whole.
    grown = frozenset({*text, *images, *weights, ".mp4"})
    return [
        Damage("one bit flipped", lambda p, o, rng: _flip(p, rng, 1), may_pass=True),
        Damage("many bits flipped", lambda p, o, rng: _flip(p, rng, 64), may_pass=True),
        Damage("truncated", _truncate, shortens=True),
        Damage("empty", lambda p, o, rng: _write(p, b"")),
        Damage("random bytes", lambda p, o, rng: _write(p, rng.bytes(400))),
        Damage("another type", _another_type),
        # A drive without truth, or without its own times, is a sound drive.
        Damage("missing", lambda p, o, rng: p.unlink(), may_pass=True),
        Damage("a folder instead", _folder),
        Damage("a link to itself", _loop),
        Damage("a pipe instead", _pipe),
        Damage("a link to a device", _device),
        Damage("endless", _endless, only=grown),
        Damage("a line without end", lambda p, o, rng: _write(p, b"1 " * 4_000_000), only=text),
        Damage("says that it is huge", _huge_header, only=frozenset({".png"})),
        Damage("compressed anew", _compressed, only=weights),
        Damage("swapped", _swap, may_pass=True),
        Damage("NaN", lambda p, o, rng: _number(p, rng, b"nan"), only=text),
        Damage("huge number", lambda p, o, rng: _number(p, rng, b"1e300"), only=text),
        Damage("a word for a number", lambda p, o, rng: _number(p, rng, b"seven"), only=text),
        Damage("line missing", _drop_line, only=text, shortens=True),
        Damage("clock goes back", _exchange_lines, names=frozenset({"times.txt"})),
        Damage("another size", _resize, only=images),
        Damage("16 bits grey", _grey16, may_pass=True, only=images),
        Damage("black", _black, may_pass=True, only=images),
    ]


def _write(path: Path, data: bytes) -> None:
    """Anew, so that a file that is linked to from elsewhere keeps its content."""
    path.unlink()
    path.write_bytes(data)


def _flip(path: Path, rng: Rng, count: int) -> None:
    data = np.frombuffer(path.read_bytes(), np.uint8).copy()
    places = rng.integers(0, len(data), count)
    data[places] ^= (1 << rng.integers(0, 8, count)).astype(np.uint8)
    _write(path, data.tobytes())


def _truncate(path: Path, others: list[Path], rng: Rng) -> None:
    data = path.read_bytes()
    _write(path, data[: rng.integers(1, max(2, int(0.95 * len(data))))])


def _another_type(path: Path, others: list[Path], rng: Rng) -> None:
    text = path.suffix in TEXT
    _write(path, b"\x89PNG\r\n\x1a\n" + rng.bytes(200) if text else b"Not what you think.\n")


def _folder(path: Path, others: list[Path], rng: Rng) -> None:
    path.unlink()
    path.mkdir()


def _loop(path: Path, others: list[Path], rng: Rng) -> None:
    path.unlink()
    path.symlink_to(path.name)


def _pipe(path: Path, others: list[Path], rng: Rng) -> None:
    path.unlink()
    os.mkfifo(path)


def _device(path: Path, others: list[Path], rng: Rng) -> None:
    path.unlink()
    path.symlink_to("/dev/zero")


def _endless(path: Path, others: list[Path], rng: Rng) -> None:
    _write(path, path.read_bytes())
    os.truncate(path, ENDLESS_BYTES)


def _huge_header(path: Path, others: list[Path], rng: Rng) -> None:
    """A PNG that is right but for its size, which is more than is decoded, or a little less."""
    side = int(rng.choice([9_000, 60_000]))
    data = bytearray(path.read_bytes())
    struct.pack_into(">II", data, 16, side, side)
    struct.pack_into(">I", data, 29, zlib.crc32(data[12:29]))
    _write(path, bytes(data))


def _compressed(path: Path, others: list[Path], rng: Rng) -> None:
    """A zip file with the same content, and a gigabyte of nothing where the last tensor was."""
    with zipfile.ZipFile(path) as old:
        content = {name: old.read(name) for name in old.namelist()}
    path.unlink()
    last = max(name for name in content if "/data/" in name)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as new:
        for name, data in content.items():
            with new.open(name, "w") as file:
                for _ in range(1024 if name == last else 0):
                    file.write(bytes(1 << 20))
                file.write(data)


def _swap(path: Path, others: list[Path], rng: Rng) -> None:
    other = others[rng.integers(len(others))]
    mine, theirs = path.read_bytes(), other.read_bytes()
    _write(path, theirs)
    if other != path:
        _write(other, mine)


def _number(path: Path, rng: Rng, new: bytes) -> None:
    data = path.read_bytes()
    found = list(NUMBER.finditer(data))
    place = found[rng.integers(len(found))]
    _write(path, data[: place.start()] + new + data[place.end() :])


def _drop_line(path: Path, others: list[Path], rng: Rng) -> None:
    lines = path.read_bytes().splitlines(keepends=True)
    del lines[rng.integers(len(lines))]
    _write(path, b"".join(lines))


def _exchange_lines(path: Path, others: list[Path], rng: Rng) -> None:
    lines = path.read_bytes().splitlines(keepends=True)
    i = rng.integers(len(lines) - 1)
    lines[i : i + 2] = lines[i + 1], lines[i]
    _write(path, b"".join(lines))


def _resize(path: Path, others: list[Path], rng: Rng) -> None:
    _change(path, lambda image: image[:-3, :-5])


def _grey16(path: Path, others: list[Path], rng: Rng) -> None:
    _change(path, lambda image: image[..., 1].astype(np.uint16) * 257)


def _black(path: Path, others: list[Path], rng: Rng) -> None:
    _change(path, np.zeros_like)


def _change(path: Path, change: Callable[[np.ndarray], np.ndarray]) -> None:
    import cv2

    image = cv2.imread(str(path))
    assert image is not None, f"{path} was sound"
    path.unlink()
    assert cv2.imwrite(str(path), change(image))
