"""The folder of a training: whose it is, and what lies in it from the beginning."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from vo.datasets.errors import InputError

if TYPE_CHECKING:
    from vo.ranks import Ranks
    from vo.tools.training.flags import Flags
    from vo.training.config import TrainConfig

CONFIG_FILE, FLAGS_FILE = "config.yaml", "flags.yaml"
BEST_FILE, LAST_FILE = "best.safetensors", "last.safetensors"


def checked(flags: Flags, me: Ranks) -> Flags:
    """The flags, once the folder of the run is fit for them; of a run that goes on, its own.

    Raises:
        InputError: when the folder holds something else.
    """
    from vo.settings import read_yaml
    from vo.tools.training.alone import LOCK_FILE
    from vo.tools.training.flags import Flags
    from vo.tools.training.launch import is_of_launch
    from vo.training.trainer import STATE_FILE

    restarted = not flags.resume and is_of_launch(flags.out, me)
    if restarted and not (flags.out / STATE_FILE).exists():
        return flags  # died before the first state: anew, in the folder that it has made
    if restarted:
        flags = replace(flags, resume=True)
    if flags.resume:
        if not (flags.out / STATE_FILE).exists():
            raise InputError(flags.out, "holds no saved state", "leave --resume out")
        return replace(
            read_yaml(Flags, flags.out / FLAGS_FILE, whole=True),
            out=flags.out,
            resume=True,
            device=flags.device,
        )
    if flags.out.exists() and any(p.name != LOCK_FILE for p in flags.out.iterdir()):
        problem = "holds something already"
        raise InputError(flags.out, problem, "add --resume to go on, or choose another --out")
    return flags


def write_down(flags: Flags, config: TrainConfig, me: Ranks) -> None:
    """Make the folder of the run and say what it is."""
    from vo.settings import write_yaml
    from vo.tools.training.launch import note_launch

    flags.out.mkdir(parents=True, exist_ok=True)
    note_launch(flags.out, me)
    write_yaml(config, flags.out / CONFIG_FILE)
    write_yaml(flags, flags.out / FLAGS_FILE)
