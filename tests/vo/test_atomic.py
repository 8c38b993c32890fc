"""Files are whole or not there."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from vo.atomic import write_atomically
from vo.datasets.errors import InputError


def test_text_and_bytes_replace_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    write_atomically(path, "größer\n")
    assert path.read_text(encoding="utf-8") == "größer\n"
    write_atomically(path, b"\x00\xff")
    assert path.read_bytes() == b"\x00\xff"
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "full"), KeyboardInterrupt()])
def test_an_interrupted_write_leaves_the_old_file(tmp_path: Path, monkeypatch, error) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")

    def fail(_: int) -> None:
        raise error

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(type(error)) as caught:
        write_atomically(path, "new" * 10_000)
    if isinstance(error, OSError):
        assert caught.value.filename == str(path)  # the message must say which file
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


def test_the_users_umask_counts(tmp_path: Path) -> None:
    previous = os.umask(0o027)
    try:
        write_atomically(tmp_path / "a.txt", "x")
    finally:
        os.umask(previous)
    assert (tmp_path / "a.txt").stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize("target", ["other/target.txt", "nowhere.txt", "link.txt"])
def test_a_link_is_replaced_and_what_it_leads_to_stays(tmp_path: Path, target: str) -> None:
    other, link = tmp_path / "other", tmp_path / "link.txt"
    other.mkdir()
    (other / "target.txt").write_text("old")
    link.symlink_to(tmp_path / target)
    write_atomically(link, "new")
    assert not link.is_symlink()
    assert link.read_text() == "new"
    assert (other / "target.txt").read_text() == "old"
    assert {p.name for p in tmp_path.rglob("*")} == {"other", "link.txt", "target.txt"}


def test_pipes_devices_and_links_to_folders_stay(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "null").symlink_to(os.devnull)
    (tmp_path / "folder").symlink_to(tmp_path)
    before = {path.name: path.lstat().st_mode for path in tmp_path.iterdir()}
    for name in before:
        problem = "is a folder" if name == "folder" else "is a pipe or a device"
        with pytest.raises(InputError, match=problem):
            write_atomically(tmp_path / name, "new")
    assert {path.name: path.lstat().st_mode for path in tmp_path.iterdir()} == before


def test_missing_folder_and_folder_as_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"there is no folder .*none; create it"):
        write_atomically(tmp_path / "none" / "a.txt", "x")
    with pytest.raises(InputError, match="is a folder"):
        write_atomically(tmp_path, "x")
