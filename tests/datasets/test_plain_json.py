"""JSON of strangers."""

from __future__ import annotations

from pathlib import Path

import pytest

from vo.datasets.errors import InputError
from vo.datasets.plain_json import read_object


def test_an_object_comes_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "facts.json"
    path.write_text('{"width": 416, "name": "a", "long": ' + "9" * 5000 + "}")
    assert read_object(path, 10_000, "facts") == {"width": 416, "name": "a", "long": None}


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"{", "is no JSON; copy it again"),
        (b"\xff\xfe\x00", "is no JSON; copy it again"),
        (b"[" * 5000, "is no JSON; copy it again"),
        (b"[1]", "holds no JSON object; copy it again"),
        (b" " * 300_001, "is too large for facts: 300,001 bytes; copy it again"),
    ],
)
def test_anything_else_is_one_line(content: bytes, problem: str, tmp_path: Path) -> None:
    path = tmp_path / "facts.json"
    path.write_bytes(content)
    with pytest.raises(InputError) as caught:
        read_object(path, 300_000, "facts", "copy it again")
    assert str(caught.value) == f"{path}: {problem}"
