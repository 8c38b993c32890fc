"""What ``vo-convert prune`` can be told. Loads nothing heavy, so that --help is quick."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro


@dataclass(frozen=True, slots=True)
class PruneFlags:
    """Flags of the command.

    Attributes:
        ckpt: checkpoint file, or the name of one that is installed.
        out: checkpoint to write.
        level: of the decoder: 4 is the coarsest one of a backbone that ends at stride 32.
        channels: that the level keeps.
        seq: sequences whose images the weights are fitted to.
        data: folder that holds them, in any layout that vo-data knows; the street when not given.
        images: of each sequence, evenly spread.
        half: store weights in half precision.
        overwrite: replace --out where it exists.
    """

    ckpt: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="FILE")]
    out: Annotated[Path, tyro.conf.arg(metavar="FILE")]
    channels: int
    level: int = 4
    seq: Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME [NAME ...]")] = ("00",)
    data: Annotated[Path | None, tyro.conf.arg(metavar="PATH")] = None
    images: int = 40
    half: bool = False
    overwrite: bool = False
