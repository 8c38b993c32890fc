"""Two processes train what one trains: the same losses, the same weights, the same files.

All of it is trained by one torchrun (`tests/helpers/train_on_ranks.py`), in a minute of two cores.
"""

from __future__ import annotations

import math
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import train_on_ranks
from tiny_training import CASES, curve, fingerprint, tiny_config, tiny_trainer
from torch import nn

from vo.datasets import open_sequence
from vo.datasets.errors import InputError
from vo.datasets.street import render_street
from vo.datasets.triplets import TripletBatch
from vo.model import Model
from vo.ranks import Ranks
from vo.training import shards
from vo.training.config import OptimConfig, TrainConfig
from vo.training.distributed import (
    known_pixels,
    mean_over,
    part_of,
    parts_of,
    with_batch_norm,
)
from vo.training.supervision import FARTHEST, supervised
from vo.training.trainer import STATE_FILE
from vo.training.validation import validate

# Of the refinement's steps and medians: means over parts are not those over the batch.
OF_EACH_PART = {"energy_ratio", "flow_px", "distillation", "coarse"}


@pytest.fixture(scope="module")
def street(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("street")
    render_street(root, ["00", "01"], size=(128, 64), frames=7)
    shutil.copytree(root / "sequences/01", root / "sequences/02")
    shutil.copyfile(root / "poses/00.txt", root / "poses/02.txt")  # so that its numbers are others
    return root


@pytest.fixture(scope="module")
def alone(street: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Every case by this process in one part."""
    folder = tmp_path_factory.mktemp("alone")
    found: dict[TrainConfig, dict[str, Any]] = {}
    for config in map(in_one, CASES.values()):
        if config not in found:
            trainer = tiny_trainer(config, street, folder)
            found[config] = {"curve": curve(trainer), "trainer": trainer}
    return {name: found[in_one(config)] for name, config in CASES.items()}


def in_one(config: TrainConfig) -> TrainConfig:
    """The same for one process, in one part."""
    return replace(config, optim=replace(config.optim, accumulate=1, shard=False))


@pytest.fixture(scope="module")
def found(street: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What two processes have come to."""
    folder = tmp_path_factory.mktemp("found")
    (folder / "begun").mkdir()
    begun = tiny_trainer(in_one(CASES["shards"]), street, folder / "begun")
    next(event for event in begun.run() if event.number == 2)
    begun.state.step = 3
    begun.save()
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    helpers = Path(train_on_ranks.__file__)
    done = subprocess.run(
        [*torchrun, helpers, street, folder],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return {"folder": folder} | torch.load(folder / "found.pt", weights_only=True)


def assert_same(
    curve: list[dict[str, float]], expected: list[dict[str, float]], exact: int = 4
) -> None:
    """The same steps, the first ``exact`` of them to the last digits."""
    assert len(curve) == len(expected)
    for number, (ours, theirs) in enumerate(zip(curve, expected, strict=True)):
        assert list(ours) == list(theirs), number
        # The refinement accepts or rejects a step: once it is learned from, a last bit may decide.
        loose = 1 if number < exact else 250
        for name in theirs.keys() - OF_EACH_PART:
            tolerance = loose * (1e-3 if name == "gradient" else 2e-5)
            assert ours[name] == pytest.approx(theirs[name], rel=tolerance), (number, name)


@pytest.mark.parametrize("case", CASES)
def test_the_curve_is_that_of_one_process(
    case: str, found: dict[str, Any], alone: dict[str, Any]
) -> None:
    # In the case of shards a last bit decides as soon as images are looked up at refined poses, in
    # one process that takes the batch in two parts as well.
    exact = 3 if case == "shards" else 4
    assert_same(found[case]["curve"], alone[case]["curve"], exact)
    first, second = found[case]["weights"]
    assert first == second, "not a bit may differ between processes"
    assert first == pytest.approx(fingerprint(alone[case]["trainer"]), rel=1e-6)


def test_each_process_holds_half_of_the_shards(found: dict[str, Any]) -> None:
    model = Model(CASES["shards"].model)
    assert sum(found["shards"]["held"]) == sum(p.numel() for p in model.parameters())
    assert max(found["shards"]["held"]) < 0.55 * sum(found["shards"]["held"])


def test_a_training_goes_on_with_another_number_of_processes(
    street: Path, found: dict[str, Any], alone: dict[str, Any], tmp_path: Path
) -> None:
    expected = alone["shards"]["curve"]
    assert found["gone on"]["from"] == 3
    assert found["gone on"]["same"], "what was loaded in shards is what the file holds"
    assert_same(found["gone on"]["curve"][:1], expected[3:4])
    assert len(found["gone on"]["curve"]) == 2
    shutil.copy(found["folder"] / "shards" / STATE_FILE, tmp_path)
    one, ended = tiny_trainer(CASES["shards"], street, tmp_path), alone["shards"]["trainer"]
    one.resume()
    assert one.state.step == len(expected)
    assert one.state.optimizer.state_dict()["state"].keys() == (
        ended.state.optimizer.state_dict()["state"].keys()
    )
    image = torch.rand(1, 3, 64, 128, generator=torch.Generator().manual_seed(0))
    for ours, theirs in (
        (one.state.model, ended.state.model),
        (one.state.average, ended.state.average),
    ):
        assert torch.allclose(ours.depth_net(image).depth, theirs.depth_net(image).depth, rtol=1e-3)


def test_running_statistics_are_those_of_all_processes(
    street: Path, found: dict[str, Any], tmp_path: Path
) -> None:
    first, second = found["statistics"]
    assert first == second
    config = replace(tiny_config(), optim=replace(tiny_config().optim, steps=1))
    trainer = tiny_trainer(config, street, tmp_path)
    curve(trainer)
    state = trainer.state.model.state_dict()
    whole = [float(v.sum()) for k, v in state.items() if k.endswith("running_mean")]
    assert first[0] == pytest.approx(whole[0], rel=1e-4), "the first layer sees the images alone"


def test_a_step_that_one_process_cannot_take_is_skipped_by_all(found: dict[str, Any]) -> None:
    first, second = found["not finite"]["losses"]
    assert math.isnan(first[0])
    assert math.isfinite(first[1])
    assert first[1:] == second[1:]
    told = found["not finite"]["told"]
    assert told[0] == told[1]
    assert told[0][0].count("00/") == 4, "all samples of the step are named"


def test_drives_are_shared_and_their_numbers_come_in_order(
    street: Path, found: dict[str, Any]
) -> None:
    torch.manual_seed(0)
    config = tiny_config()
    drives = [open_sequence(street, name) for name in ("01", "00", "02")]
    score, numbers = validate(Model(config.model), drives, config.model.refine)
    for theirs in found["validation"]:
        assert theirs[0] == score
        assert list(theirs[1].items()) == list(numbers.items())


def test_parts_cover_the_batch_once() -> None:
    rows = [parts_of(12, 3, Ranks(rank, 2)) for rank in (0, 1)]
    assert [list(range(12)[part]) for parts in rows for part in parts] == [
        [0, 1], [2, 3], [4, 5], [6, 7], [8, 9], [10, 11],
    ]  # fmt: skip
    message = r"--data\.batch: is 12, which 4 processes .* in 2 parts .*; give a multiple of 8"
    with pytest.raises(InputError, match=message):
        parts_of(12, 2, Ranks(0, 4))
    with pytest.raises(InputError, match=r"--optim\.accumulate: is 0"):
        OptimConfig(accumulate=0)


def test_in_one_process_parts_give_the_curve_of_the_whole(
    street: Path, alone: dict[str, Any], tmp_path: Path
) -> None:
    case = CASES["in parts"]
    assert_same(curve(tiny_trainer(case, street, tmp_path)), alone["in parts"]["curve"])
    assert mean_over([{"a": 1.0}, {"a": 3.0}], Ranks(), "cpu") == {"a": 2.0}


def test_a_part_of_a_batch_holds_its_samples(street: Path, tmp_path: Path) -> None:
    samples = tiny_trainer(tiny_config(), street, tmp_path).samples
    whole, rows = samples.at(1), slice(1, 3)
    part, read = part_of(whole, rows), samples.at(1, rows)
    assert part.names == read.names == whole.names[rows]
    for ours, theirs in ((part.images, read.images), (part.depth, read.depth)):
        assert torch.equal(ours, theirs)


def test_every_pixel_with_true_depth_weighs_the_same(
    street: Path, config: TrainConfig, tmp_path: Path
) -> None:
    """Also where one part of the batch has few of them."""
    batch = tiny_trainer(config, street, tmp_path).samples.at(0)
    assert isinstance(batch, TripletBatch)
    assert batch.depth is not None
    batch.depth[:2, :, :60] = 0
    model, generator = Model(config.model).eval(), torch.Generator()

    def depth_loss(part: TripletBatch, pixels: float | None) -> float:
        common = (part.images, config.bootstrap, config.refinement, generator, False, pixels)
        return supervised(model, None, part, *common).terms["depth"]

    pixels = known_pixels(batch, FARTHEST, 2, Ranks())
    parts = [part_of(batch, slice(0, 2)), part_of(batch, slice(2, 4))]
    mean = sum(depth_loss(part, pixels) for part in parts) / 2
    assert mean == pytest.approx(depth_loss(batch, None), rel=1e-5)
    assert sum(depth_loss(part, None) for part in parts) / 2 != pytest.approx(mean, rel=1e-2)
    assert known_pixels(batch, FARTHEST, 1, Ranks()) is None


def test_common_batch_norm_needs_a_gpu_and_keeps_the_weights(config: TrainConfig) -> None:
    model = Model(config.model).eval()
    with pytest.raises(InputError, match=r"--optim\.batch-norm: sync is not to be had on cpu"):
        with_batch_norm(model, "sync", Ranks(0, 2), "cpu")
    assert with_batch_norm(model, "sync", Ranks(), "cpu") is model
    image = torch.rand(1, 3, 64, 128)
    before, names = model.depth_net(image).depth, list(model.state_dict())
    with_batch_norm(model, "sync", Ranks(0, 2), "cuda")
    assert any(isinstance(module, nn.SyncBatchNorm) for module in model.modules())
    assert list(model.state_dict()) == names
    assert torch.allclose(model.depth_net(image).depth, before)


def test_blocks_are_called_by_their_chains_and_hold_most_weights() -> None:
    with torch.device("meta"):
        model = Model(tiny_config("convnext_tiny").model)
    blocks = shards._blocks(model)
    in_blocks = {id(p) for block in blocks for p in block.parameters()}
    total = sum(p.numel() for p in model.parameters())
    assert sum(p.numel() for p in model.parameters() if id(p) in in_blocks) > 0.8 * total
    positions = {id(module): i for i, module in enumerate(model.modules())}
    for i, block in enumerate(blocks):  # an inner one is shared out before the one around it
        inside = {id(module) for module in block.modules()} - {id(block)}
        assert not any(id(later) in inside for later in blocks[i + 1 :]), positions[id(block)]
