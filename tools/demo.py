"""``make demo``: the street, and how a trajectory that drifts on it is judged."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import tyro

from vo.tools.console import console, run

if TYPE_CHECKING:
    import numpy as np

    from vo.datasets.frame import Sequence
    from vo.trajectory import Trajectory


@dataclass(frozen=True, slots=True)
class Demo:
    """Render a street and judge a made-up drift on it.

    Attributes:
        out: folder for the pictures, the trajectory and its scores; replaced.
        seq: sequence of the street, 00 to 10.
    """

    out: Path = Path("demo")
    seq: str = "09"


def main() -> None:
    """Entry point of ``python -m vo.tools.demo``."""
    run(lambda: show(tyro.cli(Demo, description="Render a street and judge a drift on it.")))


def show(demo: Demo) -> None:
    """Do all of it and say where it lies."""
    from vo.datasets import open_sequence
    from vo.datasets.street import street_root
    from vo.tools.data import street_progress
    from vo.tools.evaluate import trajectory
    from vo.trajectory import Trajectory

    with street_progress() as progress:
        root = street_root(demo.seq, progress=progress)
    sequence = open_sequence(root, demo.seq)
    demo.out.mkdir(parents=True, exist_ok=True)
    picture = demo.out / "street.png"
    draw_street(sequence, picture)
    truth_file = root / "poses" / f"{demo.seq}.txt"
    drifted = demo.out / "drifted.txt"
    drift(Trajectory.read_kitti(truth_file)).write_kitti(drifted)
    console.print("A made-up drift: the scale wanders by some per cent, the heading a little.")
    trajectory(gt=truth_file, est=(drifted,), align="sim3", out=demo.out, overwrite=True)
    console.print(f"street {demo.seq}: {len(sequence)} frames in {root}", soft_wrap=True)
    console.print(f"look at {picture} and at the plots beside it", soft_wrap=True)


def drift(truth: Trajectory, seed: int = 0) -> Trajectory:
    """The truth with a scale that wanders from frame to frame and a heading that turns away."""
    import numpy as np
    from scipy.spatial.transform import Rotation

    from vo.trajectory import Trajectory

    rng = np.random.default_rng(seed)
    motions = truth.T_c_next().copy()
    scale = np.exp(np.cumsum(rng.normal(0, 0.006, len(motions))))
    yaw_deg = rng.normal(0.015, 0.05, len(motions))
    motions[:, :3, 3] *= scale[:, None]
    motions[:, :3, :3] @= Rotation.from_euler("y", yaw_deg[:, None], degrees=True).as_matrix()
    poses = [np.eye(4)]
    for T_c_next in motions:
        poses.append(poses[-1] @ T_c_next)
    return Trajectory(truth.timestamps, np.stack(poses), truth.frames)


def draw_street(sequence: Sequence, path: Path, rows: int = 4) -> None:
    """Frames from all along the drive, each beside its true depth."""
    import cv2
    import numpy as np

    from vo.atomic import write_atomically

    strips = []
    for index in np.linspace(0, len(sequence) - 1, rows).astype(int):
        frame = sequence[int(index)]
        strips.append(np.concatenate([frame.image, colour_of_depth(frame.depth)], axis=1))
    ok, data = cv2.imencode(".png", np.concatenate(strips)[..., ::-1])
    if not ok:
        raise RuntimeError("OpenCV could not encode the picture")
    write_atomically(path, data.tobytes())


def colour_of_depth(depth: np.ndarray) -> np.ndarray:
    """Depth (H, W) in metres as RGB (H, W, 3) uint8: near is bright, unknown is black."""
    import cv2
    import numpy as np

    known = depth > 0
    inverse = np.where(known, 4.0 / np.maximum(depth, 4.0), 0) ** 0.6
    colours = cv2.applyColorMap((inverse * 255).astype(np.uint8), cv2.COLORMAP_MAGMA)[..., ::-1]
    return np.where(known[..., None], colours, 0).astype(np.uint8)


if __name__ == "__main__":
    main()
