"""Lists of frames: what they may look like, and that a set of frames has one hash."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from vo.datasets.errors import InputError
from vo.datasets.split_list import ListedFrame, read_split_list, split_hash


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "list.txt"
    path.write_text(text)
    return path


def test_lists_are_read_in_their_order(tmp_path: Path) -> None:
    text = (
        "2011_09_26/2011_09_26_drive_0002_sync 0000000069 r\n\n9 4 l # odometry\nchess/seq-01 3\n"
    )
    frames = read_split_list(written(tmp_path, text))
    assert [(f.drive, f.number, f.side, f.line) for f in frames] == [
        ("2011_09_26_drive_0002_sync", 69, "r", 1),
        ("9", 4, "l", 3),
        ("chess/seq-01", 3, "", 4),
    ]


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("2011_09_26_drive_0002_sync", "line 2 has 1 words"),
        ("a 1 l r", "line 2 has 4 words"),
        ("ulm ulm_000002_000025", "line 2: 'ulm_000002_000025' is no number"),
        ("a -1 l", "line 2: '-1' is no number of a frame"),
        ("a 1 2", "line 2: side is '2', not l or r"),
    ],
)
def test_a_line_that_is_none_is_named(tmp_path: Path, line: str, problem: str) -> None:
    path = written(tmp_path, f"a 1 l\n{line}\n")
    with pytest.raises(InputError, match=f"list.txt: {problem}"):
        read_split_list(path)


def test_an_empty_or_missing_list_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"list.txt: is empty; write `folder frame side`"):
        read_split_list(written(tmp_path, "# nothing\n"))
    with pytest.raises(InputError, match="no such file"):
        read_split_list(tmp_path / "other.txt")


def test_the_hash_is_that_of_the_sorted_lines() -> None:
    frames = [ListedFrame("b", 10, "l"), ListedFrame("2011_09_26/b", 9, "l"), ListedFrame("a", 1)]
    lines = "a 1\nb 10 l\nb 9 l\n"
    assert split_hash(frames) == hashlib.sha256(lines.encode()).hexdigest()[:12]


def test_the_hash_does_not_depend_on_how_a_list_is_written(tmp_path: Path) -> None:
    one = read_split_list(written(tmp_path, "2011_09_26/d 0000000002 l\n2011_09_26/d 3 r\n"))
    other = read_split_list(written(tmp_path, "d 3 r\nd 2 l\nd 2 l\n"))
    assert split_hash(one) == split_hash(other)
    for line in ("d 2 r\nd 3 r\n", "d 2 l\n", "e 2 l\ne 3 r\n", "d 2 l\nd 4 r\n"):
        assert split_hash(read_split_list(written(tmp_path, line))) != split_hash(one)
