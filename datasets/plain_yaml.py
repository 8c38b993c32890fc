"""YAML files of names and values, whoever has written them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from vo.datasets.errors import InputError

MOST_BYTES = 1024 * 1024
_LONGEST = 4096  # a path; PyYAML takes minutes for a number of a million digits


def read_plain_yaml(path: Path, what: str, remedy: str) -> Any:
    """Plain values of a YAML file: no tag makes anything else, and no alias repeats a value, which
    could make terabytes of a small file.

    Args:
        path: a file that is there.
        what: it is, for messages: ``a camera file``.
        remedy: what to do where it is no YAML.

    Raises:
        InputError: when it is larger than a megabyte, or no such YAML.
    """
    if path.stat().st_size > MOST_BYTES:
        raise InputError(path, f"is too large for {what}", remedy)
    try:
        return yaml.load(path.read_bytes().decode("utf-8-sig"), _PlainLoader)
    # Besides its own errors, PyYAML lets those of int(), datetime(), merge keys and deep nesting
    # through.
    except (
        yaml.YAMLError,
        ValueError,
        ArithmeticError,
        RecursionError,
        LookupError,
        TypeError,
        AttributeError,
    ) as error:
        raise InputError(path, "is no YAML", remedy) from error


class _PlainLoader(yaml.SafeLoader):
    def compose_node(self, parent: Any, index: Any) -> Any:
        event = self.peek_event()
        if isinstance(event, yaml.AliasEvent):
            raise yaml.YAMLError("an alias")
        if isinstance(event, yaml.ScalarEvent) and len(event.value) > _LONGEST:
            raise yaml.YAMLError("a value without end")
        return super().compose_node(parent, index)
