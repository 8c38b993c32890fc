"""``python -m vo.tools.benchmark scenes``: what the odometry makes of frames that are no use."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import tyro

from vo.datasets.errors import InputError
from vo.tools.benchmarks.json_file import demand_place
from vo.tools.console import console, print_table
from vo.tools.tables import new_table, number

if TYPE_CHECKING:
    from vo.datasets.camera import Array
    from vo.odometry import Odometry
    from vo.tools.benchmarks.disturbances import Scene


@dataclass(frozen=True, slots=True)
class Row:
    """What became of a scene. Errors are those of the motions in its stretch, in metres.

    Attributes:
        scene: its name.
        frames: in the stretch.
        lost: of these, whose motion cannot be seen.
        flagged: of these that were flagged.
        wrongly_flagged: flagged frames of the whole drive that could be tracked.
        raw_m: mean error of a motion by the pose network.
        refined_m: by the refinement.
        worst_raw_m: largest error of a motion.
        worst_refined_m: by the refinement.
        end_m: error of the refined position at the end of the stretch, seen from its beginning.
        constant_velocity_m: that of the true motion before the stretch, had it gone on.
    """

    scene: str
    frames: int
    lost: int
    flagged: int
    wrongly_flagged: int
    raw_m: float
    refined_m: float
    worst_raw_m: float
    worst_refined_m: float
    end_m: float
    constant_velocity_m: float


def scenes(
    ckpt: Annotated[str, tyro.conf.arg(metavar="FILE")] = "street.safetensors",
    seq: Annotated[str, tyro.conf.arg(metavar="NN")] = "09",
    frames: int = 60,
    first: int = 20,
    count: int = 20,
    json_file: Annotated[Path | None, tyro.conf.arg(name="json", metavar="FILE")] = None,
) -> None:
    """Standing still, black frames, a blocked lens: what is flagged, and how far the path gets off.

    Each disturbance is done in memory to frames of the rendered street (which is rendered where it
    is missing), and judged by the true motion of what the images show.

    Example: python -m vo.tools.benchmark scenes --json scenes.json

    Args:
        ckpt: checkpoint file, or the name of one that is installed.
        seq: street to drive on.
        frames: length of the drive.
        first: frame at which the disturbance begins.
        count: of frames that it lasts, an even number.
        json_file: file for all rows.
    """
    from vo.atomic import write_atomically
    from vo.datasets import open_sequence
    from vo.odometry import Odometry
    from vo.tools.benchmarks import disturbances

    demand_place("--json", json_file)
    if first < 2 or count < 2 or count % 2 or first + count + 2 > frames:
        problem = f"{count} from --first {first} on do not fit into --frames {frames}"
        raise InputError("--count", problem, "give an even number that leaves two at either end")
    odometry = Odometry.from_checkpoint(ckpt)
    drive = open_sequence(None, seq, size=odometry.size, end=frames)
    rows = []
    with console.status("") as status:
        for scene in disturbances.scenes([drive[i] for i in range(frames)], first, count):
            status.update(scene.name)
            rows.append(measure(odometry, scene))
    _print(rows)
    if json_file is not None:
        write_atomically(json_file, json.dumps([asdict(row) for row in rows], indent=1) + "\n")


def measure(odometry: Odometry, scene: Scene) -> Row:
    """Run the odometry over a scene whose frames have true poses."""
    from vo.drive import run

    estimates = [estimate for _, estimate in run(odometry, scene.frames)]
    truth = [_pose(frame.T_w_c) for frame in scene.frames]
    a, b = scene.stretch.start - 1, scene.stretch.stop - 1
    motions = {i: np.linalg.inv(truth[i - 1]) @ truth[i] for i in range(1, len(truth))}
    raw = [_apart(estimates[i].T_last_c_raw, motions[i]) for i in scene.stretch]
    refined = [_apart(estimates[i].T_last_c, motions[i]) for i in scene.stretch]
    T_a_b = np.linalg.inv(truth[a]) @ truth[b]
    moved = np.linalg.inv(estimates[a].T_w_c) @ estimates[b].T_w_c
    elapsed = _periods(scene, a, b)
    flagged = {e.index for e in estimates if not e.tracked}
    return Row(
        scene.name, len(scene.stretch), len(scene.lost), len(flagged & scene.lost),
        len(flagged - scene.lost), float(np.mean(raw)), float(np.mean(refined)), max(raw),
        max(refined), _apart(moved, T_a_b),
        _apart(np.linalg.matrix_power(motions[a], elapsed), T_a_b),
    )  # fmt: skip


def _periods(scene: Scene, a: int, b: int) -> int:
    """How many times the time between the first two frames goes by from frame a to frame b."""
    times_s = [frame.time_s for frame in scene.frames]
    return round((times_s[b] - times_s[a]) / (times_s[1] - times_s[0]))


def _pose(T_w_c: Array | None) -> Array:
    assert T_w_c is not None, "scenes are made of drives with true poses"
    return T_w_c


def _apart(T: Array, T_true: Array) -> float:
    """Distance of two positions."""
    return float(np.linalg.norm(T[:3, 3] - T_true[:3, 3]))


def _print(rows: list[Row]) -> None:
    columns = ("frames", "lost", "flagged", "wrongly", "raw", "refined", "worst raw",
               "worst refined", "end", "const. velocity")  # fmt: skip
    table = new_table(("scene",), columns)
    for r in rows:
        lengths = (r.raw_m, r.refined_m, r.worst_raw_m, r.worst_refined_m, r.end_m,
                   r.constant_velocity_m)  # fmt: skip
        counts = map(str, (r.frames, r.lost, r.flagged, r.wrongly_flagged))
        table.add_row(r.scene, *counts, *(number(length, 3) for length in lengths))
    print_table(table)
    console.print(
        "errors of a motion in metres; end: of the refined position where the disturbance is over, "
        "seen from where it began; const. velocity: had the true motion before it gone on",
        soft_wrap=True,
    )
