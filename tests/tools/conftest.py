"""A street and a model small enough to run in a second, for the tests of `vo-run`."""

from __future__ import annotations

import shutil
import signal
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from commands import Call, Command, Done

from vo.checkpoint import Card, save_checkpoint
from vo.datasets.street import render_street
from vo.depth.encoder import EncoderConfig
from vo.depth.feature_net import FeatureConfig
from vo.depth.net import DepthConfig
from vo.model import Model, ModelConfig
from vo.pose_net import PoseConfig
from vo.refine import RefineConfig
from vo.tools.run import main, run_drives
from vo.tools.running.flags import RunFlags

SIZE = (96, 64)
FRAMES = 12
TINY = ModelConfig(
    *SIZE,
    depth=DepthConfig(
        EncoderConfig("regnetx_002"), (8, 8, 8, 16, 16), scales=1, min_depth=1.0, max_depth=100.0
    ),
    pose=PoseConfig(EncoderConfig("regnetx_002", in_channels=6), hidden=8, motions=1),
    # Fixed features, so that the refinement follows real images without any training.
    features=FeatureConfig(source="grey", levels=2),
    refine=RefineConfig(iterations=(3, 3), num_points=500),
)


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory) -> Path:
    """A model that has learned nothing: its poses are good enough to be written."""
    path = tmp_path_factory.mktemp("checkpoint") / "tiny.safetensors"
    torch.manual_seed(0)
    card = Card("tiny", "street", "none", (), "", 0, "", "Apache-2.0", metric=False)
    save_checkpoint(path, Model(TINY), card)
    return path


@pytest.fixture(scope="session")
def tiny_street(tmp_path_factory) -> Path:
    """Street 09, twelve frames of 96x64; and the same once more as 10."""
    root = tmp_path_factory.mktemp("tiny") / "street"
    render_street(root, ["09"], SIZE, FRAMES, workers=1)
    shutil.copytree(root / "sequences/09", root / "sequences/10")
    shutil.copyfile(root / "poses/09.txt", root / "poses/10.txt")
    return root


@pytest.fixture(scope="session")
def long_street(tmp_path_factory) -> Path:
    """Street 00, 24 frames of 96x64: two processes share it in three stretches of eight."""
    root = tmp_path_factory.mktemp("long") / "street"
    render_street(root, ["00"], SIZE, 24, workers=1)
    return root


@pytest.fixture(scope="session")
def run_flags(tiny_street, tiny_checkpoint) -> RunFlags:
    """Flags of a run of the tiny street."""
    return RunFlags(("09",), str(tiny_checkpoint), tiny_street)


@pytest.fixture(scope="session")
def tiny_run(run_flags, tmp_path_factory) -> Path:
    """A finished run, as the command leaves it but for its plots; to be looked at, not changed."""
    folder = tmp_path_factory.mktemp("finished") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("vo.tools.running.plots.draw_run", lambda result, truth: [])
        run_drives(replace(run_flags, out=folder))
    return folder


@pytest.fixture
def walk(tiny_street, tmp_path) -> Path:
    """The frames of the street as a folder of images that says nothing else."""
    folder = tmp_path / "walk"
    shutil.copytree(tiny_street / "sequences/09/image_2", folder)
    return folder


@pytest.fixture
def call(monkeypatch, capsys) -> Call:
    """Run a command in this process."""
    before = signal.getsignal(signal.SIGTERM)

    def command(main: Callable[[], None], *words: object) -> Done:
        capsys.readouterr()  # what was said before
        monkeypatch.setattr(sys, "argv", [str(word) for word in words])
        with pytest.raises(SystemExit) as end:
            main()
        signal.signal(signal.SIGTERM, before)
        return Done(end.value.code, *capsys.readouterr())

    return command


@pytest.fixture
def vo_run(call, tiny_checkpoint, tmp_path, monkeypatch) -> Command:
    """Run the command in an empty folder, with the tiny checkpoint where none is named."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VO_CACHE", str(tmp_path / "cache"))

    def command(*words: object) -> Done:
        own = () if "--ckpt" in words else ("--ckpt", tiny_checkpoint)
        return call(main, "vo-run", *words, *own)

    return command


@pytest.fixture
def no_pictures(monkeypatch) -> None:
    """Pictures take longer than the run."""
    monkeypatch.setattr("vo.tools.running.plots.draw_run", lambda result, truth: [])
