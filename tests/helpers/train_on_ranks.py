"""Run by torchrun: what `tests/vo/training/test_distributed.py` looks at.

Usage: torchrun --nproc-per-node 2 train_on_ranks.py STREET FOLDER
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from tiny_training import CASES, curve, fingerprint, shared_config, tiny_config, tiny_trainer

from vo.datasets import open_sequence
from vo.datasets.triplets import TripletBatch, Triplets
from vo.model import Model
from vo.ranks import Ranks, ranks
from vo.training.shards import whole
from vo.training.trainer import STATE_FILE, Step
from vo.training.validation import validate


def main() -> None:
    """Train every case; the first process writes down what came of it."""
    street, folder = Path(sys.argv[1]), Path(sys.argv[2])
    found: dict[str, Any] = {}
    with ranks() as me:
        for name, config in CASES.items():
            found[name] = trained(name, config, street, folder, me)
        found["gone on"] = gone_on(street, folder, me)
        found["statistics"] = statistics(street, folder, me)
        found["not finite"] = not_finite(street, folder, me)
        found["validation"] = validation(street, me)
        if me.is_writer:
            torch.save(found, folder / "found.pt")


def trained(name: str, config: Any, street: Path, folder: Path, me: Ranks) -> dict[str, Any]:
    """Its curve, and the weights that each process ends with."""
    out = folder / name
    if me.is_writer:
        out.mkdir()
    me.barrier()
    trainer = tiny_trainer(config, street, out, me)
    found = curve(trainer)
    held = (
        sum(p.to_local().numel() for p in trainer.state.model.parameters())
        if (trainer.state.sharded)
        else 0
    )
    return {"curve": found, "weights": me.gather(fingerprint(trainer)), "held": me.gather(held)}


def gone_on(street: Path, folder: Path, me: Ranks) -> dict[str, Any]:
    """A state that one process has saved in the middle, by two, in shards."""
    trainer = tiny_trainer(CASES["shards"], street, folder / "begun", me)
    trainer.resume()
    state = trainer.state
    held = torch.load(folder / "begun" / STATE_FILE, weights_only=True)
    same = equal(whole(state.model.state_dict(), True), held["model"])
    same &= equal(whole(state.average.state_dict(), True), held["average"])
    for number, moments in state.optimizer.state_dict()["state"].items():
        same &= equal(whole(moments, True), held["optimizer"]["state"][number])
    return {"from": state.step, "same": same, "curve": curve(trainer)}


def equal(ours: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor]) -> bool:
    """Whether tensors are the same, bit for bit."""
    return ours.keys() == theirs.keys() and all(torch.equal(ours[k], theirs[k]) for k in ours)


def statistics(street: Path, folder: Path, me: Ranks) -> list[list[float]]:
    """Running means of both processes after a step in which each has seen its own samples."""
    config = replace(tiny_config(), optim=replace(tiny_config().optim, steps=1))
    trainer = tiny_trainer(config, street, folder / "two processes", me)
    curve(trainer)
    state = trainer.state.model.state_dict()
    return me.gather([float(v.sum()) for k, v in state.items() if k.endswith("running_mean")])


def not_finite(street: Path, folder: Path, me: Ranks) -> dict[str, Any]:
    """One process alone has a spoilt sample."""
    real, told = Triplets.at, []

    def spoilt(self: Triplets, step: int, rows: slice) -> TripletBatch:
        batch = real(self, step, rows)
        if step == 0 and me.rank == 1:
            batch.images[0] = torch.nan
        return batch

    Triplets.at = spoilt
    config = replace(shared_config(), optim=replace(shared_config().optim, steps=2))
    trainer = tiny_trainer(config, street, folder / "two processes", me, warn=told.append)
    losses = [event.loss for event in trainer.run() if isinstance(event, Step)]
    Triplets.at = real
    return {"losses": me.gather(losses), "told": me.gather(told)}


def validation(street: Path, me: Ranks) -> list[Any]:
    """Three drives for two processes."""
    torch.manual_seed(0)
    config = tiny_config()
    drives = [open_sequence(street, name) for name in ("01", "00", "02")]
    return me.gather(validate(Model(config.model), drives, config.model.refine, ranks=me))


if __name__ == "__main__":
    main()
