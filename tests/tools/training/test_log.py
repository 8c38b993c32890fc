"""The log of a training that goes on: lines of steps that are done again go, and no others."""

import os
from pathlib import Path

import pytest

from vo.datasets.errors import InputError
from vo.tools.training.log import LOG_FILE, TrainLog

LINES = '{"step": 20}\n{"step": 40}\n'


def go_on(folder: Path, start: int) -> None:
    TrainLog(folder, steps=100, start=start)


def test_lines_of_steps_that_are_done_again_are_dropped(tmp_path: Path) -> None:
    (tmp_path / LOG_FILE).write_text(LINES)
    go_on(tmp_path, 40)
    assert (tmp_path / LOG_FILE).read_text() == LINES
    go_on(tmp_path, 20)
    assert (tmp_path / LOG_FILE).read_text() == '{"step": 20}\n'


def test_a_link_in_place_of_the_log_is_replaced_and_not_written_through(tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_text(LINES)
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / LOG_FILE).symlink_to(other)
    go_on(folder, 20)
    assert not (folder / LOG_FILE).is_symlink()
    assert other.read_text() == LINES


@pytest.mark.parametrize("content", ["[]\n", "{\n", '{"step": "a"}\n', "[" * 100_000])
def test_what_is_no_log_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / LOG_FILE).write_text(content)
    with pytest.raises(InputError, match=r"log\.jsonl: is no log"):
        go_on(tmp_path, 20)
    assert (tmp_path / LOG_FILE).read_text() == content


def test_a_pipe_or_a_link_to_nowhere_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / LOG_FILE)
    with pytest.raises(InputError, match="pipe"):
        go_on(tmp_path, 20)
    (tmp_path / LOG_FILE).unlink()
    (tmp_path / LOG_FILE).symlink_to(tmp_path / "nowhere")
    with pytest.raises(InputError, match="leads nowhere"):
        go_on(tmp_path, 20)


def test_a_link_in_place_of_the_board_is_refused_and_nothing_is_written_through_it(
    tmp_path: Path,
) -> None:
    other, folder = tmp_path / "other", tmp_path / "run"
    for each in (other, folder):
        each.mkdir()
    (folder / "tensorboard").symlink_to(other)
    with pytest.raises(InputError, match="tensorboard: is a link; remove it"):
        go_on(folder, 20)
    assert not list(other.iterdir())
