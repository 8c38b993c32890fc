"""Which torchrun a training's folder is of: what it restarts goes on in it, and nothing else."""

from __future__ import annotations

from pathlib import Path

from vo.atomic import write_atomically
from vo.ranks import Ranks

LAUNCH_FILE = "launch.txt"  # while it trains


def note_launch(folder: Path, me: Ranks) -> None:
    """Write down who has made a folder; nothing without torchrun."""
    if me.launch:
        write_atomically(folder / LAUNCH_FILE, me.launch + "\n")


def is_of_launch(folder: Path, me: Ranks) -> bool:
    """Whether processes that the same torchrun has started before have made a folder, and have
    not come to the end."""
    file = folder / LAUNCH_FILE
    return bool(me.launch) and file.is_file() and file.read_text().strip() == me.launch


def forget_launch(folder: Path) -> None:
    """The training is over: nothing is to be restarted."""
    (folder / LAUNCH_FILE).unlink(missing_ok=True)
