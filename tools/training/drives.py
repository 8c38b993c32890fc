"""The drives that ``vo-train`` learns from, and those that it is judged by."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from vo.datasets.errors import InputError

if TYPE_CHECKING:
    from vo.datasets.frame import Sequence
    from vo.tools.training.flags import Flags
    from vo.training.config import TrainConfig

TRAINING_STREETS = tuple(f"{number:02d}" for number in range(9))


def drives_of(
    flags: Flags, config: TrainConfig, warn: Callable[[str], None]
) -> tuple[list[Sequence], list[Sequence]]:
    """Sequences to train and to validate on; those of video at the size of the networks.

    Raises:
        InputError: when something is missing, damaged, or trained and validated on at once.
    """
    from vo.datasets.sequence import select
    from vo.tools.training.lists import listed_drives, without_lists
    from vo.tools.training.metric import annotated_drives
    from vo.tools.training.snippets import found_snippets, snippet_drives

    if config.metric.enabled:
        return annotated_drives(flags, config, warn)
    if flags.annotations is not None:
        raise InputError("--annotations", "is used with --preset metric", "leave the flag out")
    if (found := found_snippets(flags)) is not None:
        return snippet_drives(flags, config, found, warn)
    names, lists = without_lists(flags.seq or _all_of(flags.data))
    listed = listed_drives(flags, config, lists)
    _refuse_leaks(names, flags.val)
    held_out = [_open(flags, config, name) for name in flags.val]
    if config.validate_frames:
        held_out = [select(d, end=min(config.validate_frames, len(d))) for d in held_out]
    drives = [*listed, *(_open(flags, config, name) for name in names)]
    _refuse_leaks(tuple(d.name for d in drives), tuple(d.name for d in held_out))
    return drives, held_out


def _all_of(data: Path | None) -> tuple[str, ...]:
    """What is trained on where no sequence is named."""
    from vo.datasets import list_sequences

    if data is None:
        return TRAINING_STREETS
    known = list_sequences(data)
    if len(known) != 1:
        remedy = f"name some of {', '.join(known[:20])}"
        raise InputError("--seq", f"{data} holds {len(known)} sequences", remedy)
    return tuple(known)


def _refuse_leaks(train: tuple[str, ...], val: tuple[str, ...]) -> None:
    """A drive is trained on or validated on, never both: neighbouring frames look alike."""
    both = {name.partition(":")[0] for name in train} & {name.partition(":")[0] for name in val}
    if both:
        problem = f"{', '.join(sorted(both))} is trained on as well"
        raise InputError("--val", problem, "validate on a drive of its own")


def _open(flags: Flags, config: TrainConfig, text: str) -> Sequence:
    """A sequence, or a part of one: ``03`` or ``03:0-440``."""
    from vo.datasets import open_sequence
    from vo.tools.street import drawn_street

    name, colon, part = text.partition(":")
    size = config.model.width, config.model.height
    if flags.data is None:
        drawn_street(name, *size)
    start, end = 0, None
    if colon:
        first, dash, last = part.partition("-")
        if not (first.isdecimal() and dash and last.isdecimal()):
            raise InputError("--seq", f"cannot read {text!r}", "write 03, or 03:0-440 for a part")
        start, end = int(first), int(last) + 1
    return open_sequence(
        flags.data, name, size=size, intrinsics=flags.intrinsics, camera=flags.camera,
        start=start, end=end,
    )  # fmt: skip
