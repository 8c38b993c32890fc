"""What ``vo-convert import`` can be told. Loads nothing heavy, so that --help is quick."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from vo.published import Source

Supervised = Literal["M", "S", "MS", "metric", "none"]


@dataclass(frozen=True, slots=True)
class ImportFlags:
    """Flags of the command.

    Attributes:
        folder: with encoder.pth, depth.pth, pose.pth and, of monodepth2, pose_encoder.pth; or the
            .pt file of a fine-tuned depth network.
        source: the system that the weights are of.
        out: checkpoint to write.
        pose: folder or file of a pose network, where there is none among the weights or another
            one is wanted.
        depth_range: smallest and largest depth of the training, which the weights do not tell;
            0.001 80 of SQLdepth's and SPIdepth's on KITTI. monodepth2's is 0.1 100 when not given.
        heads: of the attention, which the weights do not tell.
        size: width and height of images in pixels; those of the weights when not given.
        scale: their unit of length in ours: depth range and translations are multiplied by it.
            Trainings with stereo on KITTI have a unit of 5.4 m, so that 5.4 gives metres.
        pose_scale: that of the translations, where it is another one, such as 5.4 beside a
            fine-tuned depth network, which is in metres.
        metric: say in the card that depth and poses are in metres, once scaled.
        supervision: what they learned from: neighbouring frames of one camera (M), the other
            camera of a stereo pair (S), both (MS), true depth (metric), none for not known.
        split: name of the published split that they learned from.
        licence: of the weights.
        name: of the model, for tables; that of the folder when not given.
        overwrite: replace --out where it exists.
    """

    folder: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="FOLDER")]
    source: Annotated[Source, tyro.conf.arg(name="from")]
    out: Annotated[Path, tyro.conf.arg(metavar="FILE")]
    pose: Annotated[Path | None, tyro.conf.arg(metavar="PATH")] = None
    depth_range: Annotated[tuple[float, float] | None, tyro.conf.arg(metavar="MIN MAX")] = None
    heads: int = 4
    size: tuple[int, int] | None = None
    scale: float = 1.0
    pose_scale: float | None = None
    metric: bool = False
    supervision: Supervised = "none"
    split: str | None = None
    licence: str = "unknown"
    name: str | None = None
    overwrite: bool = False
