"""``vo-data split``: the lists of published splits, made from the user's own data."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from vo.datasets.errors import InputError
from vo.tools.console import FAILED_CHECK, console

if TYPE_CHECKING:
    from vo.datasets.kitti_split import Frames, Split

# As `vo.datasets.kitti_split.SplitName`, without loading numpy for --help.
Name = Literal["eigen-test", "eigen-zhou", "eigen-benchmark", "odom", "eigen-clean175"]
Folder = Annotated[Path, tyro.conf.arg(metavar="DIR")]
OptionalFolder = Annotated[Path | None, tyro.conf.arg(metavar="DIR")]
ListFile = Annotated[Path | None, tyro.conf.arg(metavar="LIST")]


def split(
    data: Folder,
    name: Name,
    out: Annotated[Path, tyro.conf.arg(metavar="FILE")],
    list_: Annotated[ListFile, tyro.conf.arg(name="list")] = None,
    static: ListFile = None,
    annotations: OptionalFolder = None,
    val: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None,
    seed: int = 0,
) -> int:
    """Write the list of a published split of KITTI, `folder frame side` a line.

    Frames are those that are on disk: what the published split has besides is counted, and makes
    the exit status 1. The hash depends on the frames alone, in whatever order.

    Example: vo-data split --data kitti --name odom --out odom.txt

    Args:
        data: root of KITTI raw; of KITTI Odometry for odom.
        name: odom (training on sequences 00 to 08), eigen-zhou (monodepth2's training), eigen-test
            (697 test images), eigen-benchmark (652 with annotated depth), or eigen-clean175 (175
            that the list published with SPIdepth has not seen).
        out: file to write.
        list_: list of the 697 test images, which follow from no rule: test_files.txt of monodepth2
            or test_files_eigen.txt of SfMLearner.
        static: SfMLearner's static_frames.txt, which eigen-zhou leaves out.
        annotations: KITTI's data_depth_annotated, where it lies elsewhere than in --data.
        val: file for a tenth of the frames of odom or eigen-zhou, drawn at random and left out of
            --out, as monodepth2's lists are cut (39810 and 4424 of eigen-zhou).
        seed: of the draw.
    """
    from vo.atomic import write_atomically
    from vo.datasets.kitti_split import TRAINING, cut, make_split, split_lines

    if val is not None and name not in TRAINING:
        raise InputError("--val", f"is not for {name}", f"only {' and '.join(TRAINING)} are cut")
    if val is not None and val.absolute() == out.absolute():
        raise InputError("--val", "is the file of --out", "give another one")
    made = make_split(name, data, list_, static, annotations)
    parts = {out: made.frames}
    if val is not None:
        parts = dict(zip((out, val), cut(made.frames, seed), strict=True))
    for file, frames in parts.items():
        write_atomically(file, split_lines(name, frames))
    for line in [*said(made, out), *_parts(parts)]:
        console.print(line, soft_wrap=True, markup=False)
    return FAILED_CHECK if made.lacking else 0


def _parts(parts: dict[Path, Frames]) -> list[str]:
    """What each file of a cut holds; nothing where there is one file."""
    from vo.datasets.split_list import split_hash

    if len(parts) == 1:
        return []
    return [f"{file}: {len(f)} frames, hash {split_hash(f)}" for file, f in parts.items()]


def said(made: Split, out: Path) -> list[str]:
    """What the list holds, and what it lacks."""
    from vo.datasets.kitti_split import PUBLISHED
    from vo.datasets.split_list import split_hash

    count, published = len(made.frames), PUBLISHED[made.name]
    lines = [f"incomplete: {what}" for what in made.lacking]
    told = f"{out}: {made.name}, {count} of {published} frames, hash {split_hash(made.frames)}"
    if made.missing:
        told += f", {made.missing} missing"
    return [*lines, told if made.lacking else f"{told}, complete"]
