"""vo-train as torchrun starts it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from vo.checkpoint import load_checkpoint
from vo.datasets import open_sequence
from vo.datasets.street import render_street
from vo.datasets.triplets import Triplets
from vo.ranks import Ranks
from vo.tools.train import parse, train
from vo.tools.training.launch import forget_launch, is_of_launch, note_launch

TORCHRUN = (sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2")
TINY = (
    *("--model.width", "128", "--model.height", "64"),
    *("--model.depth.encoder.backbone", "regnetx_002", "--optim.batch-norm", "frozen"),
    *("--model.depth.decoder-channels", "8", "8", "8", "8", "8", "--optim.precision", "fp32"),
    *("--data.batch", "2", "--bootstrap.steps", "2", "--refinement.settings.num-points", "200"),
    *("--save-every", "2", "--validate-every", "4", "--optim.steps", "6", "--optim.rise", "0"),
    *("--loss.distillation", "0", "--loss.coarse", "0"),  # means over all of a batch
)


@pytest.fixture(scope="module")
def street(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("street")
    render_street(root, ["00", "01"], size=(128, 64), frames=7)
    return root


def begin(*words: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [str(word) for word in words],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def log(out: Path) -> list[dict]:
    return [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]


def children(pid: int) -> list[int]:
    """Processes that torchrun has started, in the order of their ranks."""
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs /proc to find processes")
def test_processes_that_die_are_started_again_and_go_on(street: Path, tmp_path: Path) -> None:
    out, flags = tmp_path / "shared", ["--data", street, "--seq", "00", "--val", "01", *TINY]
    whole = tmp_path / "whole"
    train(*parse([str(word) for word in (*flags, "--out", whole)]))
    process = begin(*TORCHRUN, "--max-restarts", "2", "-m", "vo.tools.train", *flags, "--out", out)
    deadline = time.monotonic() + 240
    while not (out / "state.pt").exists() and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    os.kill(children(process.pid)[-1], signal.SIGKILL)
    said, errors = process.communicate(timeout=240)
    assert process.returncode == 0, errors
    assert "steps of 2; to stop" in said
    assert said.count("try it: vo-run") == 1, "one process speaks"
    assert said.count("samples of 1 sequences") == 2, "it was started again"
    assert not (out / "launch.txt").exists()
    expected, found = log(whole), log(out)
    assert [line["step"] for line in found] == [line["step"] for line in expected]
    for ours, theirs in zip(found, expected, strict=True):
        for name in {"loss", "photo", "depth", "score"} & theirs.keys():
            assert ours[name] == pytest.approx(theirs[name], rel=1e-3), (ours["step"], name)
    card = load_checkpoint(out / "best.safetensors").card
    assert card.images_seen == load_checkpoint(whole / "best.safetensors").card.images_seen


def test_what_one_process_finds_ends_all_and_is_said_once(street: Path, tmp_path: Path) -> None:
    """An image that the second process alone needs in the first step is damaged."""
    samples = Triplets([open_sequence(street, "00")], 2)
    first, second = (samples.samples[number][1] for number in samples.chosen(0))
    frame = next(i for i in (second - 1, second, second + 1) if abs(i - first) > 1)
    data = tmp_path / "street"
    (data / "poses").mkdir(parents=True)
    for file in street.rglob("*"):
        copy = data / file.relative_to(street)
        copy.parent.mkdir(parents=True, exist_ok=True)
        if file.is_file():
            copy.write_bytes(file.read_bytes())
    damaged = sorted((data / "sequences/00/image_2").iterdir())[frame]
    damaged.write_bytes(b"no image")
    flags = [
        "--data",
        data,
        "--seq",
        "00",
        *TINY,
        "--bootstrap.steps",
        "0",
        "--out",
        tmp_path / "run",
    ]
    process = begin(*TORCHRUN, "-m", "vo.tools.train", *flags)
    _, errors = process.communicate(timeout=240)
    assert process.returncode != 0
    said = [line for line in errors.splitlines() if line.startswith("error: ")]
    assert len(said) == 1, errors
    assert damaged.name in said[0]
    assert "  exitcode  : 2" in errors
    assert not list((tmp_path / "run").glob("*.safetensors"))


def test_a_folder_is_gone_on_with_by_the_torchrun_that_made_it_alone(tmp_path: Path) -> None:
    ours, others = Ranks(0, 2, launch="a"), Ranks(0, 2, launch="b")
    assert not is_of_launch(tmp_path, ours)
    note_launch(tmp_path, ours)
    assert is_of_launch(tmp_path, ours)
    assert not is_of_launch(tmp_path, others)
    assert not is_of_launch(tmp_path, Ranks())
    forget_launch(tmp_path)
    assert not is_of_launch(tmp_path, ours)
    note_launch(tmp_path, Ranks())
    assert not list(tmp_path.iterdir()), "nothing without torchrun"
