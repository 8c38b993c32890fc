"""The benchmark of training: what is compared is comparable, and its file says what it should."""

from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from vo.datasets import open_sequence
from vo.datasets.errors import InputError
from vo.datasets.folder import open_folder
from vo.datasets.sequence import resize
from vo.datasets.street import render_street
from vo.datasets.triplets import TripletBatch
from vo.model import Model, with_first_weights
from vo.presets import preset
from vo.tools.benchmarks import train as benchmark
from vo.tools.benchmarks import train_roofline
from vo.tools.benchmarks.train import Plan, train
from vo.tools.benchmarks.train_baseline import (
    PublishedSamples,
    PublishedTraining,
    published_disparities,
    published_loader,
)
from vo.tools.benchmarks.train_clocks import ProcessorClock, StageClock
from vo.tools.benchmarks.train_roofline import _operations, encoder_share
from vo.tools.benchmarks.train_ways import PUBLISHED, Way, trainer_of, training_step, write_images
from vo.training.objective import self_supervised

WIDTH, HEIGHT = 128, 64


@pytest.fixture(scope="module")
def street(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("street")
    render_street(root, ["00"], size=(160, 64), frames=6)
    return root


@pytest.fixture(scope="module")
def images(street: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    folder = tmp_path_factory.mktemp("images")
    return folder, write_images(open_sequence(street, "00"), 5, folder)


def published_sample(batch: int = 2) -> dict[str, torch.Tensor]:
    """What a loader gives, at all scales."""
    torch.manual_seed(0)
    clean = F.interpolate(torch.rand(3 * batch, 3, 8, 16), (HEIGHT, WIDTH), mode="bilinear")
    K = torch.tensor([[0.6 * WIDTH, 0, 63.5], [0, 0.6 * WIDTH, 31.5], [0, 0, 1]])
    sample = {"K": K.expand(batch, 3, 3)}
    for scale in range(4):
        small = F.interpolate(clean, scale_factor=0.5**scale, mode="area")
        sample[f"clean{scale}"] = sample[f"seen{scale}"] = small.unflatten(0, (batch, 3))
    return sample


def test_both_ways_minimise_the_same_loss() -> None:
    """Other code, the same number: so what is compared is speed alone."""
    torch.manual_seed(0)
    config = preset("monodepth2-r18")
    model = Model(with_first_weights(config.model, pretrained=False))
    sample = published_sample()
    clean = sample["clean0"]
    batch = TripletBatch(clean, sample["K"], ("a", "b"), None, None)
    theirs = PublishedTraining(model).loss(sample, noise=0)
    generator = torch.Generator().manual_seed(0)
    ours = self_supervised(
        model, None, batch, clean, config.loss, config.refinement, generator
    ).loss
    assert theirs.item() == pytest.approx(ours.item(), rel=1e-3)
    names = [name for name, p in model.named_parameters() if "feature_net" not in name]
    found = []
    for loss in (theirs, ours):
        model.zero_grad()
        loss.backward()
        gradients = [p.grad for n, p in model.named_parameters() if n in names]
        found.append(torch.cat([g.flatten() for g in gradients if g is not None]))
    assert F.cosine_similarity(*found, dim=0) > 0.98


def test_its_network_is_ours() -> None:
    net = Model(with_first_weights(preset("monodepth2-r18").model, False)).depth_net.eval()
    image = torch.rand(1, 3, HEIGHT, WIDTH)
    with torch.no_grad():
        theirs, ours = published_disparities(net, image), net(image).disparities  # pyright: ignore[reportArgumentType]
    assert [d.shape for d in theirs] == [d.shape for d in ours]
    for a, b in zip(theirs, ours, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def test_its_samples_are_pyramids_of_three_frames(images: tuple[Path, str]) -> None:
    files = sorted(images[0].iterdir())
    samples = PublishedSamples(files, np.eye(3), (WIDTH, HEIGHT))
    assert len(samples) == 3
    torch.manual_seed(0)
    drawn = [samples[1] for _ in range(12)]
    for scale in range(4):
        assert drawn[0][f"clean{scale}"].shape == (3, 3, HEIGHT >> scale, WIDTH >> scale)
    unmirrored = drawn[0]["clean0"]
    mirrored = [torch.equal(s["clean0"], unmirrored.flip(-1)) for s in drawn]
    assert 0 < sum(mirrored) < len(mirrored), "every other one"
    changed = [not torch.equal(s["clean0"], s["seen0"]) for s in drawn]
    assert 0 < sum(changed) < len(changed), "every other one"
    batches = list(published_loader(samples, 2, 0))
    assert len(batches) == 1, "what is left over is left out"
    assert batches[0]["seen0"].shape == (2, 3, 3, HEIGHT, WIDTH)


def test_every_call_is_a_step_of_the_training(images: tuple[Path, str], tmp_path: Path) -> None:
    folder, intrinsics = images
    for way in (
        Way("sa4depth", "fp32", 1, WIDTH, HEIGHT),
        Way(PUBLISHED, "fp32", 1, WIDTH, HEIGHT, 0),
    ):
        step = training_step(way, folder, intrinsics, tmp_path)
        for _ in range(4):  # more than an epoch of three samples
            step()
    assert not list(tmp_path.iterdir()), "no state is saved meanwhile"


def test_stages_make_up_the_step(images: tuple[Path, str], tmp_path: Path) -> None:
    drive = resize(open_folder(*images), WIDTH, HEIGHT)
    trainer = trainer_of(Way("sa4depth", "fp32", 1, WIDTH, HEIGHT), drive, tmp_path)
    clock = StageClock(trainer)
    spent = clock.medians_ms(1)
    assert sorted(spent) == sorted(
        ["data", "losses", "depth network", "pose network", "feature network", "refinement",
         "backward", "optimizer and average"]
    )  # fmt: skip
    assert all(ms > 0 for ms in spent.values())


def test_processor_time_does_not_count_sleep() -> None:
    clock = ProcessorClock(lambda: time.sleep(0.2))
    clock()
    clock()
    assert len(clock.timing(1).rounds_ms) == 1
    assert clock.timing(2).fastest_ms < 150


def test_the_share_follows_from_both_speeds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train_roofline, "SIDE", 128)
    found = encoder_share("fp32", 1, 64, 64, 0.0)
    # Rounds differ, and the share is the median of theirs.
    assert 0.2 < found.share * found.peak_gflops / found.gflops < 5


def test_operations_are_those_of_the_layers() -> None:
    layer, x = torch.nn.Conv2d(4, 8, 3, padding=1), torch.rand(2, 4, 6, 10)
    forward = 2 * 2 * 8 * 4 * 9 * 6 * 10
    assert _operations(lambda: layer(x)) == forward
    assert _operations(lambda: layer(x).sum().backward()) == 2 * forward, "by the weights, not x"


def test_the_command_writes_ratios(
    street: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setattr(train_roofline, "SIDE", 128)
    tiny = Plan(1, 1, ((WIDTH, HEIGHT),), (0,), stage_steps=1, roofline_s=0.0, frames=4)
    monkeypatch.setattr(benchmark, "QUICK", tiny)
    monkeypatch.setattr("vo.precision.use_bf16", lambda *_: False)
    file = tmp_path / "train.json"
    train(quick=True, data=street, seq="00", json_file=file)
    found = json.loads(file.read_text())
    assert {row["way"]["preset"] for row in found["rows"]} == {
        PUBLISHED, "sa4depth", "monodepth2-r18",
    }  # fmt: skip
    printed = capsys.readouterr().out
    for name in (
        "training_images_per_s_over_monodepth2_way",
        "training_step_with_over_without_refinement",
    ):
        assert found["ratios"][name] > 0
        assert found["ratios"][f"{name}_processor_time"] > 0
        assert name in printed
    assert all(row["peak_mb"] > 1 for row in found["rows"])
    assert found["stages"]["sa4depth fp32"]["refinement"] > 0
    assert "refinement" not in found["stages"]["monodepth2-r18 fp32"]


def test_what_cannot_be_measured_is_said_at_once(street: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--batch: is 0"):
        train(batch=0)
    with pytest.raises(InputError, match="there is no folder"):
        train(json_file=tmp_path / "none" / "train.json")
    with pytest.raises(InputError, match="has 6 frames; give one of 24 or more"):
        train(quick=True, data=street, seq="00")
