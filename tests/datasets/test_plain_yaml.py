"""YAML from strangers: nothing but plain values comes of it, and never more than was written."""

from __future__ import annotations

from pathlib import Path

import pytest

from vo.datasets.errors import InputError
from vo.datasets.plain_yaml import MOST_BYTES, read_plain_yaml

TWICE = "a: &a [x, x, x, x, x, x, x, x, x, x]\n"
BOMB = TWICE + "".join(f"b{i}: &b{i} [{', '.join([f'*b{i - 1}'] * 10)}]\n" for i in range(1, 13))
MERGED = "a0: &a0 {x: 1, y: 2}\n" + "".join(
    f"a{i}: &a{i} {{<<: [{', '.join([f'*a{i - 1}'] * 10)}]}}\n" for i in range(1, 13)
)


def read(path: Path, text: str) -> object:
    path.write_text(text)
    return read_plain_yaml(path, "a test", "write another one")


def test_plain_values_are_read(tmp_path: Path) -> None:
    text = "\ufefffx: 1.5\nnames: [a, 'b']\nof: {x: {y: null}}\nmerged: {<<: {z: 1}}\n"
    found = read(tmp_path / "a.yaml", text)
    of = {"x": {"y": None}}
    assert found == {"fx": 1.5, "names": ["a", "b"], "of": of, "merged": {"z": 1}}


@pytest.mark.parametrize(
    "text",
    [
        BOMB,
        MERGED,
        "a: !!python/object/apply:os.system ['touch pwned']\n",
        "a: !!python/name:os.system\n",
        "a: 1" + ":1" * 300_000 + "\n",
        "a: " + "9" * 900_000 + "\n",
        "a: &a [*a]\n",
        "a: 1" + ":59" * 300 + ".5\n",
        "{<<: 3}\n",
        "a: 2001-99-99\n",
    ],
    ids=lambda text: text[:12].strip(),
)
def test_bombs_and_code_are_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(InputError, match="is no YAML; write another one"):
        read(tmp_path / "a.yaml", text)


def test_a_large_file_is_not_read(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is too large for a test"):
        read(tmp_path / "a.yaml", " " * (MOST_BYTES + 1))
