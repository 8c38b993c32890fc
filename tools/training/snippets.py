"""What ``vo-train`` learns from where video lies in thousands of short pieces.

These are Cityscapes, in its own layout or as triplets, and the raw video of NYU Depth v2.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from vo.datasets.errors import InputError

if TYPE_CHECKING:
    from vo.datasets.frame import Sequence
    from vo.datasets.layout import Found
    from vo.tools.training.flags import Flags
    from vo.training.config import TrainConfig


def found_snippets(flags: Flags) -> Found | None:
    """What lies in ``--data`` where it is video in short pieces, else None.

    Raises:
        InputError: when there is nothing that can be read.
    """
    from vo.datasets.layout import SNIPPETS, recognise

    if flags.data is None:
        return None
    found = recognise(flags.data)
    return found if found.kind in SNIPPETS else None


def snippet_drives(
    flags: Flags, config: TrainConfig, found: Found, warn: Callable[[str], None]
) -> tuple[list[Sequence], list[Sequence]]:
    """Sequences to train and to validate on, at the size of the networks.

    Names are sequences, cities or rooms; without any, everything is trained on that is not
    validated on. Sequences too short for a sample are left out, with a warning.

    Raises:
        InputError: when something is missing or damaged, and when a sequence is trained and
            validated on at once.
    """
    from vo.datasets import open_found
    from vo.datasets.sequence import resize, select

    if flags.camera is not None:
        raise InputError("--camera", f"{found.data} has a single camera", "leave the flag out")
    val = _chosen(found, flags.val)
    train = _chosen(found, flags.seq)
    if both := [name for name in train if name in val]:
        problem = f"{', '.join(both[:3])} is trained on as well"
        raise InputError("--val", problem, "validate on other sequences")
    if not flags.seq:
        train = {name: place for name, place in found.sequences.items() if name not in val}
    size = config.model.width, config.model.height
    drives = [resize(open_found(found, name, flags.intrinsics), *size) for name in train]
    held_out = [resize(open_found(found, name, flags.intrinsics), *size) for name in val]
    if config.validate_frames:
        held_out = [select(d, end=min(config.validate_frames, len(d))) for d in held_out]
    return _long_enough(drives, config, found, warn), held_out


def _chosen(found: Found, names: Iterable[str]) -> dict[str, Path]:
    return {name: place for asked in names for name, place in found.choose_all(asked).items()}


def _long_enough(
    drives: list[Sequence], config: TrainConfig, found: Found, warn: Callable[[str], None]
) -> list[Sequence]:
    least = 2 * max(config.data.gaps, default=1) + 1
    long = [drive for drive in drives if len(drive) >= least]
    if not long:
        problem = f"asks for {least} frames that follow each other, which no sequence has"
        remedy = "triplets have 3 frames: leave it at 1" if found.kind == "triplets" else "lower it"
        raise InputError("--data.gaps", problem, remedy)
    if len(long) < len(drives):
        short = len(drives) - len(long)
        warn(f"{short} of {len(drives)} sequences have fewer than {least} frames: left out")
    return long
