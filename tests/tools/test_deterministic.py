"""--deterministic: the same command leaves the same bytes, in this process and in another one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from vo.datasets.errors import InputError
from vo.determinism import deterministic
from vo.tools import run, train

TRAINING = (
    "--init none --model.width 96 --model.height 64 --model.depth.encoder.backbone regnetx_002 "
    "--model.pose.encoder.backbone regnetx_002 --model.depth.decoder-channels 8 8 8 8 8 "
    "--data.batch 2 --bootstrap.steps 2 --refinement.settings.num-points 200 "
    "--save-every 2 --validate-every 3 --optim.steps 4"
)
TELL_TIME = ("log.txt", "command.txt", "config.yaml", "metrics.json", "report.html")
TWO_COMMANDS = """
import json, sys
from vo.tools import run, train
for words, main in zip(json.loads(sys.argv[1]), (run.main, train.main), strict=True):
    sys.argv = words
    try:
        main()
    except SystemExit as end:
        assert end.code == 0, words
"""


@pytest.fixture
def commands(tiny_street: Path, tiny_checkpoint: Path, tmp_path: Path) -> list[list[str]]:
    """A run and a training, to folders that are still to be made."""
    of_run = ["--seq", "09", "--data", tiny_street, "--ckpt", tiny_checkpoint]
    of_training = ["--data", tiny_street, "--seq", "09", "--val", "10", *TRAINING.split()]
    return [
        [*map(str, (name, *words)), "--deterministic", "--out", str(tmp_path / name)]
        for name, words in (("vo-run", of_run), ("vo-train", of_training))
    ]


def files(folder: Path) -> dict[str, bytes]:
    """Content by name, without what TensorBoard writes."""
    found = {p.relative_to(folder).as_posix(): p for p in folder.rglob("*") if p.is_file()}
    return {n: p.read_bytes() for n, p in found.items() if not n.startswith("tensorboard")}


def test_two_processes_leave_the_same_bytes(commands, call, tmp_path: Path) -> None:
    there = {**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads()), "PYTHONHASHSEED": "7"}
    words = [sys.executable, "-c", TWO_COMMANDS, json.dumps(commands)]
    subprocess.run(words, check=True, env=there, capture_output=True)
    for command, main in zip(commands, (run.main, train.main), strict=True):
        out = tmp_path / command[0]
        other = out.rename(tmp_path / f"{command[0]}-there")
        assert call(main, *command).status == 0
        here, there_too = files(out), files(other)
        assert here.keys() == there_too.keys()
        assert [name for name in here if here[name] != there_too[name]] == []
    run_files, training = files(tmp_path / "vo-run"), files(tmp_path / "vo-train")
    assert {"report.html", "metrics.json", "scale.csv", "scale.png", "scale.pdf"} <= set(run_files)
    assert {"best.safetensors", "last.safetensors", "state.pt", "log.jsonl"} <= set(training)
    assert json.loads(run_files["metrics.json"])["frames_per_s"] is None


@pytest.mark.usefixtures("no_pictures")
def test_without_the_flag_time_and_speed_are_all_that_differs(commands, call, tmp_path) -> None:
    command = commands[0]
    assert call(run.main, *command).status == 0
    strict = files((tmp_path / "vo-run").rename(tmp_path / "strict"))
    assert call(run.main, *(word for word in command if word != "--deterministic")).status == 0
    usual = files(tmp_path / "vo-run")
    assert {name for name in usual if usual[name] != strict[name]} == set(TELL_TIME)
    numbers, others = (json.loads(found["metrics.json"]) for found in (usual, strict))
    assert numbers.pop("frames_per_s") > 0
    assert others.pop("frames_per_s") is None
    assert numbers == others


def test_an_operation_without_a_deterministic_form_is_named() -> None:
    x, one = torch.zeros(3), torch.ones(1)
    told = pytest.raises(InputError, match=r"--deterministic: put_ has no deterministic form")
    with told, deterministic(True):
        x.put_(torch.tensor([0]), one)
    assert not torch.are_deterministic_algorithms_enabled()
    with deterministic(False):
        x.put_(torch.tensor([0]), one)
    assert x[0] == 1
    with pytest.raises(RuntimeError, match="shape"), deterministic(True):
        torch.zeros(2).view(3)
