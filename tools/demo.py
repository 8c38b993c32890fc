"""``make demo``: the odometry on a street that it has not been trained on."""

from __future__ import annotations

import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import tyro

from vo.tools.console import console, run

if TYPE_CHECKING:
    from vo.datasets.frame import Sequence


@dataclass(frozen=True, slots=True)
class Demo:
    """Render a street and run the odometry on it.

    Attributes:
        out: folder for the picture of the street and for the run, DIR/SEQ, which replaces an
            earlier one.
        seq: sequence of the street; 09 and 10 have not been trained on.
        ckpt: checkpoint file, or the name of one that is installed.
    """

    out: Path = Path("demo")
    seq: str = "09"
    ckpt: str = "street.safetensors"


def main() -> None:
    """Entry point of ``python -m vo.tools.demo``."""
    run(lambda: show(tyro.cli(Demo, prog="make demo")))


def show(demo: Demo) -> None:
    """Do all of it and say where it lies.

    Raises:
        InputError: when the checkpoint is missing, or something else lies where the run shall be.
    """
    from vo.checkpoint import read_card
    from vo.datasets import open_sequence
    from vo.tools.report import REPORT_FILE
    from vo.tools.run import run_drives
    from vo.tools.running.flags import RunFlags
    from vo.tools.running.record import COMMAND_FILE, demand_free
    from vo.tools.street import drawn_street

    config, _ = read_card(demo.ckpt)
    folder = demo.out / demo.seq
    if (folder / COMMAND_FILE).is_file():  # an earlier run, and nothing else, is replaced
        shutil.rmtree(folder)
    demand_free(folder)
    root = drawn_street(demo.seq, config.width, config.height)
    demo.out.mkdir(parents=True, exist_ok=True)
    picture = demo.out / "street.png"
    draw_street(open_sequence(root, demo.seq), picture)
    run_drives(RunFlags(seq=(demo.seq,), ckpt=demo.ckpt, out=folder))
    console.print(
        f"look at {picture}: frames and their true depth; {folder / REPORT_FILE}: the "
        f"drive from above, its errors, and whether poses and depth keep one scale; and all of it "
        f"in three dimensions: {Path(sys.executable).parent / 'vo-view'} {folder}",
        soft_wrap=True,
        markup=False,
    )


def draw_street(sequence: Sequence, path: Path, rows: int = 4) -> None:
    """Frames from all along the drive, each beside its true depth.

    Raises:
        ValueError: when there is none.
    """
    import cv2
    import numpy as np

    from vo.atomic import write_atomically
    from vo.tools.depth_colours import depth_colours

    strips = []
    for index in np.linspace(0, len(sequence) - 1, rows).astype(int):
        frame = sequence[int(index)]
        if frame.depth is None:
            raise ValueError(f"{sequence.name} has no true depth")
        strips.append(np.concatenate([frame.image, depth_colours(frame.depth)], axis=1))
    ok, data = cv2.imencode(".png", np.concatenate(strips)[..., ::-1])
    if not ok:
        raise RuntimeError("OpenCV could not encode the picture")
    write_atomically(path, data.tobytes())


if __name__ == "__main__":
    main()
