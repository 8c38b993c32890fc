"""JSON from anybody: one object, of a bounded size, or one line that says what is wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from vo.datasets.errors import InputError
from vo.datasets.plain_file import read_file

_MOST_DIGITS = 19  # a whole number of any length fits no format; longer ones are None


def read_object(path: Path, most_bytes: int, kind: str, remedy: str = "") -> dict[str, Any]:
    """The object that a file of JSON holds.

    Args:
        path: of the file.
        most_bytes: that it can have.
        kind: what it is, for the message: ``the facts of a street``.
        remedy: what to do where it cannot be read.

    Raises:
        InputError: see `vo.datasets.plain_file.read_file`; also when it is no JSON, nested without
            end, or something else than an object.
    """
    data = read_file(path, most_bytes, kind, remedy)
    try:
        content = json.loads(data, parse_int=_whole)
    except (ValueError, RecursionError) as error:
        raise InputError(path, "is no JSON", remedy) from error
    if not isinstance(content, dict):
        raise InputError(path, "holds no JSON object", remedy)
    return content


def _whole(word: str) -> int | None:
    return int(word) if len(word) <= _MOST_DIGITS else None
