"""``vo-train``: learn depth, pose and features from video, or metric depth from sparse truth."""

from __future__ import annotations

import math
import sys
from contextlib import ExitStack, nullcontext
from typing import TYPE_CHECKING

import tyro

from vo.ranks import ALONE, quiet_but_writer, ranks, ranks_of_environment
from vo.tools.console import console, run, warn
from vo.tools.training.flags import Flags, parse
from vo.tools.training.folder import BEST_FILE, LAST_FILE

if TYPE_CHECKING:
    from vo.ranks import Ranks
    from vo.tools.training.samples import Samples
    from vo.training.config import TrainConfig
    from vo.training.trainer import Trainer
    from vo.training.validation import Validation

LOG_EVERY = 20
LOST = "go on with --resume, or give torchrun --max-restarts"  # when another process has gone


def main() -> None:
    """Entry point of ``vo-train``."""
    arguments = sys.argv[1:]
    if _asks_for_help(arguments) and not any(a.startswith("--preset") for a in arguments):
        with quiet_but_writer(ranks_of_environment()):
            tyro.cli(Flags, prog="vo-train", args=["--help"])
    run(_command)


def _command() -> None:
    with ranks(LOST) as me, quiet_but_writer(me):
        train(*parse(sys.argv[1:]), me)


def _asks_for_help(arguments: list[str]) -> bool:
    return "--help" in arguments or "-h" in arguments


def train(flags: Flags, config: TrainConfig, me: Ranks = ALONE) -> None:
    """Train as flags and settings say.

    Args:
        flags: of the command.
        config: settings of the training.
        me: this process among those that torchrun has started; the first of them writes.

    Raises:
        InputError: when data, checkpoint or folder are not as they should be.
    """
    from vo.tools.training.alone import alone
    from vo.tools.training.drives import drives_of
    from vo.tools.training.folder import checked, write_down
    from vo.tools.training.leakage import check_leakage, frames_of_test
    from vo.tools.training.lists import listed_targets
    from vo.tools.training.memory import keep_freed_memory
    from vo.tools.training.samples import samples_of
    from vo.tools.training.start import trainer_of

    flags = me.broadcast(checked(flags, me) if me.is_writer else flags)
    if flags.device.startswith("cpu"):
        keep_freed_memory()
    with ExitStack() as held:
        if me.is_writer and flags.resume:
            held.enter_context(alone(flags.out))
        test = frames_of_test(flags)
        drives, held_out = me.writer_first(lambda: drives_of(flags, config, warn))
        samples = samples_of(config, drives, listed_targets(flags, config, drives))
        check_leakage(flags, samples, test, warn)
        trainer = trainer_of(flags, config, samples, held_out, me, warn)
        if me.is_writer and not flags.resume:  # nothing is written before everything was in order
            held.enter_context(alone(flags.out))
            checked(flags, me)  # another may have been faster, and be at its end
            write_down(flags, config, me)
        console.print(
            f"{samples.count} samples of {len(drives)} sequences, "
            f"{config.optim.steps - trainer.state.step} steps of {config.data.batch}; "
            "to stop and go on later: Ctrl-C, then --resume",
            soft_wrap=True,
        )
        _learn(flags, config, trainer, samples, me)
        best = BEST_FILE if held_out else LAST_FILE
        console.print(f"try it: vo-run --ckpt {flags.out / best}", soft_wrap=True, markup=False)


def _learn(
    flags: Flags, config: TrainConfig, trainer: Trainer, samples: Samples, me: Ranks
) -> None:
    """Take all steps that are left; write down how they go, the best weights, and the last ones."""
    from vo.determinism import deterministic
    from vo.tools.training.card import save_weights
    from vo.tools.training.launch import forget_launch
    from vo.tools.training.log import TrainLog
    from vo.training.validation import Validation

    start, steps = trainer.state.step, config.optim.steps
    every = math.gcd(LOG_EVERY, config.save_every)  # so that no line spans a saved state
    with (
        TrainLog(flags.out, steps, start, every, not flags.deterministic)
        if me.is_writer
        else nullcontext() as log,
        deterministic(flags.deterministic),
    ):
        for event in trainer.run():
            if isinstance(event, Validation):
                if log is not None:
                    log.validation(event)
                _print_validation(event)
                if event.is_best:
                    save_weights(flags, config, trainer, samples, event, BEST_FILE)
            elif log is not None:
                log.step(event)
    save_weights(flags, config, trainer, samples, None, LAST_FILE)
    if me.is_writer:
        forget_launch(flags.out)


def _print_validation(found: Validation) -> None:
    shown = ", ".join(f"{k} {v:.4g}" for k, v in found.numbers.items() if _is_shown(k))
    best = " (best)" if found.is_best else ""
    console.print(f"step {found.step}: score {found.score:.4g}{best}; {shown}", soft_wrap=True)


def _is_shown(name: str) -> bool:
    return name.endswith(("t_rel_percent", "ate_m", "abs_rel", "scale_error"))


if __name__ == "__main__":
    main()
