"""``vo-data leakage``, and what ``vo-eval depth`` says of sequences that a model has seen."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from commands import Call, Command, Done
from kitti_raw_drive import write_drive

from vo.checkpoint import load_checkpoint, save_checkpoint
from vo.datasets.split_list import read_split_list, split_hash
from vo.tools import data, evaluate

A, B = "2011_09_26_drive_0052_sync", "2011_09_30_drive_0033_sync"


@pytest.fixture
def command(call: Call) -> Command:
    """Run vo-data leakage, or another main."""

    def run(*words: object, main: Callable[[], None] = data.main) -> Done:
        return call(main, "vo", *(["leakage"] if main is data.main else []), *words)

    return run


@pytest.fixture
def listed(tmp_path: Path) -> Callable[..., Path]:
    """Write a list; returns the file."""

    def write(name: str, *lines: str) -> Path:
        path = tmp_path / name
        path.write_text("".join(f"{line}\n" for line in lines))
        return path

    return write


def rows(out: str) -> dict[str, tuple[str, ...]]:
    """Test frames, share, training frames and examples of the table by kind."""
    found = {}
    for kind in ("same frame", "same frame, other camera", "source", "adjacent frame",
                 "adjacent frame, other camera", "same drive"):  # fmt: skip
        [line] = [line for line in out.splitlines() if line.startswith(f"{kind}  ")]
        found[kind] = tuple(line.removeprefix(kind).split(maxsplit=3))
    return found


def test_each_kind_has_a_row(command: Command, listed: Callable[..., Path]) -> None:
    train = listed("train.txt", f"2011_09_26/{A} 10 l", f"{A} 21 r", f"2011_09_30/{B} 5 l")
    test = listed("test.txt", f"{A} 0000000010 l", f"{A} 20 r", "09 6 r", f"{A} 90 l")
    status, out, err = command("--train", train, "--test", test)
    assert (status, err) == (1, "")
    found = {kind: tuple(word.strip() for word in row) for kind, row in rows(out).items()}
    assert found == {
        "same frame": ("1", "25.0%", "1", f"{A} 10 l"),
        "same frame, other camera": ("0", "0.0%", "0", "-"),
        "source": ("1", "25.0%", "1", f"{A} 20 r (trained on 21 r)"),
        "adjacent frame": ("1", "25.0%", "1", f"{A} 20 r (trained on 21 r)"),
        "adjacent frame, other camera": ("1", "25.0%", "1", f"09 6 r (trained on {B} 5 l)"),
        "same drive": (
            "4", "100.0%", "3", f"{A} 10 l; {A} 20 r (trained on 10 l)",
        ),
    }  # fmt: skip
    hashes = [split_hash(read_split_list(path)) for path in (train, test)]
    assert out.splitlines()[-2:] == [
        "3 training frames, 4 test frames, 2 of 2 test drives trained on: "
        "more than drives is in common",
        f"training list {hashes[0]}, test list {hashes[1]}",
    ]


def test_drives_in_common_alone_are_no_failure(
    command: Command, listed: Callable[..., Path]
) -> None:
    train, test = listed("train.txt", f"{A} 10 l"), listed("test.txt", f"{A} 20 l", f"{B} 1 l")
    status, out, _ = command("--train", train, "--test", test)
    assert status == 0
    assert rows(out)["same drive"][0] == "1"
    assert "1 of 2 test drives trained on: no leakage of frames" in out
    status, out, _ = command("--train", train, "--test", test, "--gaps", "1", "10")
    assert status == 1
    assert rows(out)["source"][0] == "1"


def test_sequences_of_odometry_stand_for_all_their_frames(
    command: Command, listed: Callable[..., Path]
) -> None:
    test = listed("test.txt", f"2011_09_30/{B} 1590 l", f"2011_09_30/{B} 1591 l", f"{A} 1 l")
    status, out, _ = command("--train", "03", "09", "--test", test, "--stereo")
    assert status == 1
    assert rows(out)["same frame"][:3] == ("1", "33.3%", "1")
    assert rows(out)["source"][:3] == ("2", "66.7%", "3")  # 1589 l and 1590 r load 1590 l
    assert f"{2 * (801 + 1591)} training frames, 3 test frames" in out


def test_sequences_of_data_are_opened(
    command: Command, listed: Callable[..., Path], tmp_path: Path
) -> None:
    write_drive(tmp_path / "raw", frames=(0, 1, 2, 5))
    test = listed("test.txt", f"{A} 4 l", f"{A} 5 l")
    status, out, _ = command("--train", "52", "--data", tmp_path / "raw", "--test", test)
    assert status == 1
    assert rows(out)["same frame"][:3] == ("1", "50.0%", "1")
    assert "4 training frames" in out


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--train", "nowhere.txt", "--test", "{test}"], "nowhere.txt: no such file"),
        (["--train", "{test}", "--test", "nowhere.txt"], "nowhere.txt: no such file"),
        (["--train", "{test}", "--test", "{test}", "--gaps", "0"], "--gaps: must be 1 or more"),
        (["--train", A, "--test", "{test}"], f"--train: {A} is no file, and none of the sequences"),
        (["--train", "--test", "{test}"], "--train: names nothing"),
        (["--train", "{bad}", "--test", "{test}"], "bad.txt: line 1 has 1 words"),
    ],
)
def test_bad_input_is_one_line_and_status_2(
    command: Command, listed: Callable[..., Path], arguments: list[str], line: str
) -> None:
    files = {"test": listed("test.txt", f"{A} 1 l"), "bad": listed("bad.txt", "word")}
    status, out, err = command(*(argument.format(**files) for argument in arguments))
    assert (status, out) == (2, "")
    assert line in err
    assert err.startswith("error: ")
    assert err.count("\n") == 1


def test_lists_of_published_length_take_seconds(
    command: Command, listed: Callable[..., Path]
) -> None:
    rng = random.Random(0)
    names = [f"2011_09_26/2011_09_26_drive_{n:04d}_sync" for n in range(100)]
    lines = [f"{rng.choice(names)} {rng.randrange(3000)} {rng.choice('lr')}" for _ in range(70_000)]
    train, test = listed("train.txt", *lines), listed("test.txt", *lines[:700])
    begin = time.process_time()
    _, out, _ = command("--train", train, "--test", test, "--stereo")
    assert time.process_time() - begin < 10
    assert rows(out)["same frame"][:2] == ("700", "100.0%")


def test_depth_of_a_sequence_that_was_trained_on_is_told(
    command: Command, tiny_street: Path, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    tiny = load_checkpoint(tiny_checkpoint)
    (tmp_path / "kitti").symlink_to(tiny_street)  # the sequences of "street" are those of no other
    told = {}
    for name, seen in {
        "raw": ("raw/2011_09_30_drive_0033_sync/image_02",),
        "other": ("kitti/08", "street/09", "09"),
    }.items():
        path = tmp_path / f"{name}.safetensors"
        save_checkpoint(path, tiny.model, replace(tiny.card, trained_on=seen))
        flags = ["depth", "--protocol", "street", "--seq", "09", "--ckpt", path]
        status, _, told[name] = command(*flags, "--data", tmp_path / "kitti", main=evaluate.main)
        assert status == 0
    line = "warning: raw.safetensors was trained on 09, which it is evaluated on here"
    assert [text for text in told["raw"].splitlines() if "warning" in text] == [line]
    assert "warning" not in told["other"]
