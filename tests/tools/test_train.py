"""vo-train as a user types it."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest

from vo.checkpoint import load_checkpoint
from vo.datasets.errors import InputError
from vo.datasets.street import render_street
from vo.tools.train import parse, train
from vo.tools.training.flags import Flags

TINY = (
    *("--model.width", "128", "--model.height", "64"),
    *("--model.depth.encoder.backbone", "regnetx_002"),
    *("--model.depth.decoder-channels", "8", "8", "8", "8", "8"),
    *("--data.batch", "2", "--bootstrap.steps", "2", "--refinement.settings.num-points", "200"),
    *("--save-every", "2", "--validate-every", "4", "--optim.steps", "8"),
)


@pytest.fixture(scope="module")
def street(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("street")
    render_street(root, ["00", "01"], size=(128, 64), frames=10)
    return root


def arguments(street: Path, out: Path, *more: str) -> list[str]:
    return ["--data", str(street), "--seq", "00", "--out", str(out), *TINY, *more]


def log(out: Path) -> list[dict]:
    return [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]


def test_a_training_leaves_checkpoints_a_log_and_its_settings(street: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    train(*parse(arguments(street, out, "--val", "01")))
    best, last = (
        load_checkpoint(out / "best.safetensors"),
        load_checkpoint(out / "last.safetensors"),
    )
    assert best.model.config.width == 128
    assert last.card.supervision == "metric+M"
    assert last.card.trained_on == (f"{street.name}/00",)
    assert last.card.images_seen == 16
    assert last.card.bootstrap.startswith("4 images with true depth")
    assert "01/refined_rpe_trans_m" in best.card.metrics
    validations = [line for line in log(out) if "validation" in line]
    assert [line["step"] for line in validations] == [4, 8]
    assert min(line["score"] for line in validations) == pytest.approx(
        best.card.metrics["01/refined_rpe_percent"]
    )
    _, config = parse(["--resume", "--out", str(out)])
    assert config.model == last.model.config
    assert list((out / "tensorboard").glob("events*"))


def test_help_is_short_at_first_and_whole_with_a_preset(capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit) as stop:
        parse(["--preset", "sa4depth", "--help"])
    assert stop.value.code == 0
    text = capsys.readouterr().out
    for setting in ("--loss.distillation", "--refinement.gradient-to-depth", "--optim.precision"):
        assert setting in text


def test_presets_are_what_they_say() -> None:
    _, street = parse([])
    assert (street.model.width, street.model.height) == (416, 128)
    _, plain = parse(["--preset", "monodepth2", "--init", "none"])
    assert not plain.refinement.enabled
    assert plain.model.depth.encoder.backbone == "resnet18"
    assert not plain.model.depth.encoder.pretrained
    _, changed = parse(["--preset", "sa4depth", "--loss.raw", "0.5", "--optim.seed", "3"])
    assert (changed.loss.raw, changed.optim.seed) == (0.5, 3)
    assert changed.refinement.enabled


def test_a_checkpoint_goes_on_learning_from_other_video(street: Path, tmp_path: Path) -> None:
    train(*parse(arguments(street, tmp_path / "first")))
    start = str(tmp_path / "first" / "last.safetensors")
    more = ["--preset", "finetune", "--init", start, "--data", str(street), "--seq", "01:0-7"]
    settings = ["--optim.steps", "2", "--data.batch", "2", "--optim.rise", "0"]
    train(*parse([*more, "--out", str(tmp_path / "second"), *settings]))
    second = load_checkpoint(tmp_path / "second" / "last.safetensors")
    assert second.model.config == load_checkpoint(start).model.config
    assert second.card.supervision == "metric+M"
    assert second.card.bootstrap.startswith("model: metric+M on")
    assert second.card.trained_on == (f"{street.name}/01",)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--preset", "monodeth2"], "--preset: there is no 'monodeth2'; known are street"),
        (["--preset", "finetune"], "--init: is missing"),
        (["--init", "nowhere.safetensors"], "nowhere.safetensors"),
        (["--val", "00:5-9"], "--val: 00 is trained on as well"),
        (["--val", "02"], "02"),
        (["--seq", "00:5"], "--seq: cannot read '00:5'"),
        (["--data.batch", "64"], "--data.batch: is 64, but the drives hold 8 samples"),
        (["--resume", "--optim.lr", "1"], "--resume: goes on with the settings of the run"),
    ],
)
def test_bad_input_is_one_line(
    street: Path, tmp_path: Path, flags: list[str], message: str
) -> None:
    with pytest.raises(InputError) as error:
        train(*parse(arguments(street, tmp_path / "run", *flags)))
    assert message in str(error.value)
    assert not (tmp_path / "run").exists(), "a second try finds the folder as the first did"


def test_data_without_truth_cannot_bootstrap(street: Path, tmp_path: Path) -> None:
    images = tmp_path / "images"
    images.mkdir()
    for file in sorted((street / "sequences" / "00" / "image_2").iterdir()):
        (images / file.name).write_bytes(file.read_bytes())
    own = ["--data", str(images), "--intrinsics", "74,74,63,30", "--out", str(tmp_path / "run")]
    with pytest.raises(InputError, match=r"--bootstrap\.steps: needs true depth"):
        train(*parse([*own, *TINY]))


def test_an_earlier_run_is_never_overwritten(street: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("precious")
    with pytest.raises(InputError, match="holds something already; add --resume"):
        train(*parse(arguments(street, tmp_path)))
    with pytest.raises(InputError, match=r"config\.yaml"):
        parse(["--resume", "--out", str(tmp_path)])
    assert (tmp_path / "mine.txt").read_text() == "precious"


def test_killed_at_random_moments_it_ends_as_the_unbroken_run(street: Path, tmp_path: Path) -> None:
    # All of them alike, on one thread: sums depend on how they are shared out.
    begin = partial(
        subprocess.Popen,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
    )
    command = [sys.executable, "-m", "vo.tools.train"]
    assert begin([*command, *arguments(street, tmp_path / "whole")]).wait() == 0
    out = tmp_path / "killed"
    flags = arguments(street, out)
    rng, kills = random.Random(0), 0
    for _ in range(12):
        process = begin([*command, *flags])
        if kills < 3:
            _wait_for_begin(out, process)
            time.sleep(rng.uniform(0.2, 2.0))
            process.send_signal(signal.SIGKILL)
        if process.wait() == 0:
            break
        kills += 1
        if (out / "state.pt").exists():
            flags = ["--resume", "--out", str(out)]
        else:  # killed before the first state: there is nothing yet to go on from
            for file in sorted(out.rglob("*"), reverse=True):
                file.unlink() if file.is_file() else file.rmdir()
    assert process.returncode == 0
    assert kills >= 1
    whole = load_checkpoint(tmp_path / "whole" / "last.safetensors").model.state_dict()
    killed = load_checkpoint(out / "last.safetensors").model.state_dict()
    for name, value in whole.items():
        assert value.equal(killed[name]), name
    expected, found = log(tmp_path / "whole"), log(out)
    for line in (*expected, *found):
        del line["images_per_s"]
    assert found == expected


def _wait_for_begin(out: Path, process: subprocess.Popen) -> None:
    """Until the training writes its settings: before, there is nothing to lose."""
    deadline = time.monotonic() + 60
    while not (out / "flags.yaml").exists() and process.poll() is None:
        assert time.monotonic() < deadline, "the training has not begun"
        time.sleep(0.05)


def test_flags_have_defaults_for_the_street() -> None:
    assert Flags() == Flags(preset="street", data=None, out=Path("runs/train"))


def test_layers_that_were_changed_start_anew_and_are_named(
    street: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    train(*parse(arguments(street, tmp_path / "first", "--optim.steps", "2")))
    start = tmp_path / "first" / "last.safetensors"
    more = ["--init", str(start), "--model.pose.hidden", "32", "--optim.lr", "0"]
    still = ["--optim.bootstrap-lr", "0", "--optim.ema", "0"]
    train(*parse(arguments(street, tmp_path / "second", *more, *still)))
    told = capsys.readouterr().err
    assert "start anew: pose_net.decoder.0, pose_net.decoder.2, " in told
    assert "depth_net" not in told
    before = load_checkpoint(start).model.state_dict()
    after = load_checkpoint(tmp_path / "second" / "last.safetensors").model.state_dict()
    kept = [key for key in before if not key.startswith("pose_net.decoder")]
    learned = [key for key in kept if before[key].is_floating_point() and "running" not in key]
    assert all(before[key].equal(after[key]) for key in learned)
    assert before["pose_net.decoder.0.bias"].shape != after["pose_net.decoder.0.bias"].shape


def test_a_checkpoint_of_other_networks_is_refused(street: Path, tmp_path: Path) -> None:
    train(*parse(arguments(street, tmp_path / "first", "--optim.steps", "2")))
    init = ["--init", str(tmp_path / "first" / "last.safetensors")]
    other = ["--model.depth.encoder.backbone", "resnet10t"]
    pose = ["--model.pose.encoder.backbone", "resnet10t"]
    with pytest.raises(InputError, match=r"--init: \d+ of the \d+ layers are others"):
        train(*parse(arguments(street, tmp_path / "second", *init, *other, *pose)))
