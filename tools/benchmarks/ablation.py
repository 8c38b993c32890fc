"""What each part of the method is worth: trainings that differ in one switch, judged as drives."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from vo.tools.benchmarks.json_file import demand_place
from vo.tools.console import console, print_table
from vo.tools.tables import new_table

if TYPE_CHECKING:
    from vo.datasets.frame import Sequence

# Without refinement in training no features are learned: at run time grey values stand in.
VARIANTS = {
    "no refinement in training": ("--refinement.no-enabled", "--model.features.source", "grey"),
    "refinement, no confidence": ("--model.features.no-confidence",),
    "refinement, confidence": (),
}


@dataclass(frozen=True, slots=True)
class Result:
    """A training and a way to run it, on one drive.

    Attributes:
        training: name of the variant.
        run: ``raw`` or ``refined``.
        seq: the drive.
        t_rel_percent: translation error over sub-sequences, as the following aligned by sim3.
        r_rel_deg_per_100m: rotation error.
        ate_m: absolute trajectory error.
        rpe_trans_m: translation error of a step.
        scale_error: mean distance from 1 of pose scale over depth scale.
        abs_rel: of the depth, scaled by its median.
    """

    training: str
    run: str
    seq: str
    t_rel_percent: float
    r_rel_deg_per_100m: float
    ate_m: float
    rpe_trans_m: float
    scale_error: float
    abs_rel: float


def ablation(
    out: Annotated[Path, tyro.conf.arg(metavar="DIR")] = Path("runs/ablation"),
    seq: Annotated[tuple[str, ...], tyro.conf.arg(metavar="NN [NN ...]")] = ("09", "10"),
    steps: int = 1000,
    bootstrap: int = 600,
    json_file: Annotated[Path | None, tyro.conf.arg(name="json", metavar="FILE")] = None,
) -> None:
    """Refinement in training and at run time, and confidence: on or off, on the street.

    Trains the preset ``street`` three times with a small budget (about ten minutes each on two
    cores), goes on where an earlier call in the same folder stopped, and runs every result with
    and without refinement on streets that were not trained on.

    Example: python -m vo.tools.benchmark ablation --json ablation.json

    Args:
        out: folder of the trainings.
        seq: streets to judge on.
        steps: of each training, bootstrap included.
        bootstrap: of these, steps with true depth and poses.
        json_file: file for all rows.
    """
    from vo.atomic import write_atomically

    demand_place("--json", json_file)
    rows: list[Result] = []
    for name, flags in VARIANTS.items():
        folder = out / name.replace(", ", "-").replace(" ", "-")
        budget = ("--optim.steps", str(steps), "--bootstrap.steps", str(bootstrap))
        _train(folder, (*budget, *flags))
        rows += _judge(name, folder / "last.safetensors", seq)
    _print(rows)
    if json_file is not None:
        content = [{key: getattr(row, key) for key in Result.__slots__} for row in rows]
        write_atomically(json_file, json.dumps(content, indent=1) + "\n")


def _train(folder: Path, flags: tuple[str, ...]) -> None:
    """A training from the start, from where it was stopped, or none where it is complete."""
    from vo.tools.train import LAST_FILE, parse, train

    if (folder / LAST_FILE).exists():
        return
    console.print(str(folder), soft_wrap=True)
    if (folder / "state.pt").exists():
        train(*parse(["--resume", "--out", str(folder)]))
    else:
        train(*parse(["--preset", "street", "--out", str(folder), *flags]))


def _judge(name: str, checkpoint: Path, seq: tuple[str, ...]) -> list[Result]:
    from vo.checkpoint import load_checkpoint
    from vo.datasets import open_sequence
    from vo.training.validation import validate

    model = load_checkpoint(checkpoint).model
    size = model.config.width, model.config.height
    drives: list[Sequence] = [open_sequence(None, street, size=size) for street in seq]
    _, numbers = validate(model, drives, model.config.refine)
    return [
        Result(
            training=name,
            run=run,
            seq=street,
            t_rel_percent=numbers[f"{street}/{run}_t_rel_percent"],
            r_rel_deg_per_100m=numbers[f"{street}/{run}_r_rel_deg_per_100m"],
            ate_m=numbers[f"{street}/{run}_ate_m"],
            rpe_trans_m=numbers[f"{street}/{run}_rpe_trans_m"],
            scale_error=numbers[f"{street}/{run}_scale_error"],
            abs_rel=numbers[f"{street}/abs_rel"],
        )
        for street in seq
        for run in ("raw", "refined")
    ]


def _print(rows: list[Result]) -> None:
    errors = ("t_rel\n(%)", "r_rel\n(deg/100m)", "ATE\n(m)", "RPE\n(m)")
    scales = ("scale\noff by", "abs_rel\n")
    table = new_table(("training", "run", "street"), errors + scales)
    for row in rows:
        table.add_row(
            row.training, row.run, row.seq, f"{row.t_rel_percent:.2f}",
            f"{row.r_rel_deg_per_100m:.2f}", f"{row.ate_m:.2f}", f"{row.rpe_trans_m:.4f}",
            f"{row.scale_error:.4f}", f"{row.abs_rel:.4f}",
        )  # fmt: skip
    print_table(table)
    console.print("alignment: sim3")
