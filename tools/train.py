"""``vo-train``: learn depth, pose and features from video, or metric depth from sparse truth."""

from __future__ import annotations

import math
import sys
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from vo.datasets.errors import InputError
from vo.ranks import ALONE, quiet_but_writer, ranks, ranks_of_environment
from vo.tools.console import console, run

if TYPE_CHECKING:
    from vo.datasets.annotated_batches import AnnotatedSamples
    from vo.datasets.frame import Sequence
    from vo.datasets.triplets import Triplets
    from vo.model import Model
    from vo.ranks import Ranks
    from vo.training.config import TrainConfig
    from vo.training.trainer import Trainer
    from vo.training.validation import Validation

TRAINING_STREETS = tuple(f"{number:02d}" for number in range(9))
CONFIG_FILE, FLAGS_FILE = "config.yaml", "flags.yaml"
BEST_FILE, LAST_FILE = "best.safetensors", "last.safetensors"
LOG_EVERY = 20
Names = Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME [NAME ...]")]


@dataclass(frozen=True, slots=True)
class Flags:
    """Learn depth, pose and features from video, or metric depth from sparse truth.

    Every setting of the preset can be changed as well, such as --optim.steps 3000: see all of them
    with ``vo-train --preset NAME --help``.

    A sequence may be a part of one: 03:0-440 is frames 0 to 440 of 03.

    Example: vo-train --preset finetune --init street.safetensors --data kitti --seq 03 --val 06

    On several GPUs: torchrun --nproc-per-node 4 -m vo.tools.train --device cuda ...; all see --out,
    and --data.batch is that of all together.

    Attributes:
        preset: street (the small shipped model), finetune (an own model on other video), metric and
            metric-nyu (its depth on sparse true depth, of KITTI and of NYU), sa4depth,
            monodepth2-r18, sqldepth-r50, sqldepth-r50-320, sqldepth-b5, sqldepth-large,
            spidepth-large, spidepth-huge; +sa4 behind a name adds the refinement of SA4Depth, +mono
            leaves out stereo.
        data: folder or video to learn from, as vo-run takes it; the street when not given. With
            true depth the root of KITTI raw, or of NYU's scenes.
        annotations: KITTI's data_depth_annotated; not needed where its depth lies in the drives.
        seq: sequences to train on; 00 to 08 of the street, all of Cityscapes and of NYU's raw
            video (or cities and rooms by their names). Of KITTI also lists (.txt) of the frames to
            learn from, `folder frame side` a line, as vo-data split writes them. With true depth
            files (.txt) with `image depth focal` a line; all drives but those of --val when not
            given.
        val: sequences to validate on, none of which is trained on; without any the last weights
            are kept.
        test: list of the frames that the model will be tested on, `folder frame side` a line: what
            training has in common with it is said, and a training on these frames refused.
        allow_leakage: train on frames of --test all the same.
        out: folder of the run.
        resume: go on with the run in --out, with its own settings.
        init: none, pretrained (timm's weights, fetched), or a checkpoint of ours to start from,
            which also brings its networks (layers that --model... changes start anew); what the
            preset says when not given.
        device: cpu, cuda, ...
        intrinsics: fx,fy,cx,cy[,width,height] or a camera file, for data that have none; or
            monodepth2, the constant camera of published trainings, for KITTI.
        camera: image_0 to image_3 of KITTI.
        name: of the model, for its card.
        deterministic: the same command leaves the same bytes in every file of a folder of the same
            name, on the same machine with the same versions and number of threads, but for
            TensorBoard's, which tell the time of day. What the device can compute in no such way
            ends the training.
    """

    preset: Annotated[str, tyro.conf.arg(metavar="NAME")] = "street"
    data: Annotated[Path | None, tyro.conf.arg(metavar="PATH")] = None
    annotations: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None
    seq: Names = ()
    val: Names = ()
    test: Annotated[Path | None, tyro.conf.arg(metavar="LIST")] = None
    allow_leakage: bool = False
    out: Annotated[Path, tyro.conf.arg(metavar="DIR")] = Path("runs/train")
    resume: bool = False
    init: Annotated[str | None, tyro.conf.arg(metavar="none|pretrained|FILE")] = None
    device: str = "cpu"
    intrinsics: str | None = None
    camera: str | None = None
    name: str = "model"
    deterministic: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False


def main() -> None:
    """Entry point of ``vo-train``."""
    arguments = sys.argv[1:]
    if _asks_for_help(arguments) and not any(a.startswith("--preset") for a in arguments):
        with quiet_but_writer(ranks_of_environment()):
            tyro.cli(Flags, prog="vo-train", args=["--help"])
    run(_command)


def _command() -> None:
    with ranks() as me, quiet_but_writer(me):
        train(*parse(sys.argv[1:]), me)


def _asks_for_help(arguments: list[str]) -> bool:
    return "--help" in arguments or "-h" in arguments


def parse(arguments: list[str]) -> tuple[Flags, TrainConfig]:
    """Flags, and the preset with everything that the flags change in it.

    Raises:
        InputError: for an unknown preset or checkpoint.
    """
    from vo.settings import read_yaml
    from vo.training.config import TrainConfig

    helps = [argument for argument in arguments if argument in ("--help", "-h")]
    given = [argument for argument in arguments if argument not in helps]
    flags, rest = tyro.cli(Flags, prog="vo-train", args=given, return_unknown_args=True)
    if flags.resume and rest:
        problem = f"goes on with the settings of the run, but {rest[0]} was given"
        raise InputError("--resume", problem, "leave it out, or start anew in another folder")
    if flags.resume:
        return flags, read_yaml(TrainConfig, flags.out / CONFIG_FILE, whole=True)
    about = f"Settings of the preset {flags.preset}, beside the flags that vo-train --help shows."
    config = tyro.cli(
        TrainConfig,
        prog="vo-train",
        args=rest + helps,
        description=about,
        default=_preset(flags, demand_init=not helps),
        config=(tyro.conf.AvoidSubcommands,),
    )
    return flags, config


def _preset(flags: Flags, demand_init: bool) -> TrainConfig:
    """The preset, with networks and first weights as --init says."""
    from vo.checkpoint import read_card
    from vo.model import with_first_weights
    from vo.presets import FROM_A_CHECKPOINT, PRESETS, preset

    try:
        config = preset(flags.preset)
    except ValueError:
        remedy = f"known are {', '.join(PRESETS)}, with +sa4 or +mono behind them"
        raise InputError("--preset", f"there is no {flags.preset!r}", remedy) from None
    if flags.init in ("none", "pretrained"):
        return replace(config, model=with_first_weights(config.model, flags.init == "pretrained"))
    if flags.init is not None:
        return replace(config, model=read_card(flags.init)[0])
    if demand_init and flags.preset in FROM_A_CHECKPOINT:
        raise InputError("--init", "is missing", "name the checkpoint to start from")
    return config


def train(flags: Flags, config: TrainConfig, me: Ranks = ALONE) -> None:
    """Train as flags and settings say.

    Args:
        flags: of the command.
        config: settings of the training.
        me: this process among those that torchrun has started; the first of them writes.

    Raises:
        InputError: when data, checkpoint or folder are not as they should be.
    """
    with ExitStack() as held:
        _train(flags, config, me, held)


def _train(flags: Flags, config: TrainConfig, me: Ranks, held: ExitStack) -> None:
    from vo.determinism import deterministic
    from vo.tools.training.alone import alone
    from vo.tools.training.card import save_weights
    from vo.tools.training.launch import forget_launch
    from vo.tools.training.leakage import check_leakage, frames_of_test
    from vo.tools.training.lists import listed_targets
    from vo.tools.training.log import TrainLog
    from vo.training.validation import Validation

    flags = me.broadcast(_checked(flags, me) if me.is_writer else flags)
    if me.is_writer and flags.resume:
        held.enter_context(alone(flags.out))
    test = frames_of_test(flags)
    drives, held_out = me.writer_first(lambda: _drives(flags, config))
    samples = _samples(config, drives, listed_targets(flags, config, drives))
    check_leakage(flags, samples, test, _warn)
    trainer = _trainer(flags, config, samples, held_out, me)
    if me.is_writer and not flags.resume:  # nothing is written before everything was in order
        held.enter_context(alone(flags.out))
        _checked(flags, me)  # another may have been faster, and be at its end
        _write_down(flags, config, me)
    start = trainer.state.step
    console.print(
        f"{samples.count} samples of {len(drives)} sequences, {config.optim.steps - start} "
        f"steps of {config.data.batch}; to stop and go on later: Ctrl-C, then --resume",
        soft_wrap=True,
    )
    every = math.gcd(LOG_EVERY, config.save_every)  # so that no line spans a saved state
    steps = config.optim.steps
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
    best = BEST_FILE if held_out else LAST_FILE
    console.print(f"try it: vo-run --ckpt {flags.out / best}", soft_wrap=True, markup=False)


def _checked(flags: Flags, me: Ranks) -> Flags:
    """The flags, once the folder of the run is fit for them; of a run that goes on, its own."""
    from vo.settings import read_yaml
    from vo.tools.training.alone import LOCK_FILE
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


def _write_down(flags: Flags, config: TrainConfig, me: Ranks) -> None:
    """Make the folder of the run and say what it is."""
    from vo.settings import write_yaml
    from vo.tools.training.launch import note_launch

    flags.out.mkdir(parents=True, exist_ok=True)
    note_launch(flags.out, me)
    write_yaml(config, flags.out / CONFIG_FILE)
    write_yaml(flags, flags.out / FLAGS_FILE)


def _drives(flags: Flags, config: TrainConfig) -> tuple[list[Sequence], list[Sequence]]:
    """Sequences to train and to validate on; those of video at the size of the networks."""
    from vo.datasets import list_sequences
    from vo.datasets.sequence import select
    from vo.tools.training.lists import listed_drives, without_lists
    from vo.tools.training.metric import annotated_drives
    from vo.tools.training.snippets import found_snippets, snippet_drives

    if config.metric.enabled:
        return annotated_drives(flags, config, _warn)
    if flags.annotations is not None:
        raise InputError("--annotations", "is used with --preset metric", "leave the flag out")
    if (found := found_snippets(flags)) is not None:
        return snippet_drives(flags, config, found, _warn)
    names = flags.seq
    if not names:
        known = list_sequences(flags.data)
        if flags.data is None:
            names = TRAINING_STREETS
        elif len(known) == 1:
            names = (known[0],)
        else:
            remedy = f"name some of {', '.join(known[:20])}"
            raise InputError("--seq", f"{flags.data} holds {len(known)} sequences", remedy)
    names, lists = without_lists(names)
    listed = listed_drives(flags, config, lists)
    _refuse_leaks(names, flags.val)
    held_out = [_open(flags, config, name) for name in flags.val]
    if config.validate_frames:
        held_out = [select(d, end=min(config.validate_frames, len(d))) for d in held_out]
    drives = [*listed, *(_open(flags, config, name) for name in names)]
    _refuse_leaks(tuple(d.name for d in drives), tuple(d.name for d in held_out))
    return drives, held_out


def _refuse_leaks(train: tuple[str, ...], val: tuple[str, ...]) -> None:
    """A drive is trained on or validated on, never both: neighbouring frames look alike."""
    both = {name.partition(":")[0] for name in train} & {name.partition(":")[0] for name in val}
    if both:
        problem = f"{', '.join(sorted(both))} is trained on as well"
        raise InputError("--val", problem, "validate on a drive of its own")


def _open(flags: Flags, config: TrainConfig, text: str) -> Sequence:
    """A sequence, or a part of one: ``03`` or ``03:0-440``."""
    from vo.datasets import open_sequence
    from vo.datasets.street import street_root
    from vo.tools.data import street_progress

    name, colon, part = text.partition(":")
    size = config.model.width, config.model.height
    if flags.data is None:
        with street_progress() as progress:
            street_root(name, *size, progress=progress)
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


def _samples(
    config: TrainConfig, drives: list[Sequence], targets: list[frozenset[int] | None] | None = None
) -> Triplets | AnnotatedSamples:
    from vo.datasets.annotated_batches import AnnotatedSamples
    from vo.datasets.triplets import Triplets

    data, seed = config.data, config.optim.seed
    if config.metric.enabled:
        size = config.model.width, config.model.height
        return AnnotatedSamples(
            drives, data.batch, size, config.metric.augment, seed, data.mirror, data.memory_gb,
            data.workers,
        )  # fmt: skip
    samples = Triplets(
        drives, data.batch, data.gaps, seed, data.mirror, data.memory_gb, data.workers, data.stereo,
        targets,
    )  # fmt: skip
    _demand_truth(config, samples)
    return samples


def _demand_truth(config: TrainConfig, samples: Triplets) -> None:
    if config.bootstrap.steps == 0:
        return
    sample = samples.at(0)
    if sample.depth is None or sample.T_s_t is None:
        problem = "needs true depth and poses, which these data lack"
        raise InputError("--bootstrap.steps", problem, "set it to 0, or --preset finetune")


def _trainer(
    flags: Flags,
    config: TrainConfig,
    samples: Triplets | AnnotatedSamples,
    held_out: list[Sequence],
    me: Ranks,
) -> Trainer:
    from vo.model import Model, with_first_weights
    from vo.training.metric import validate_depth
    from vo.training.trainer import Trainer
    from vo.training.validation import validate

    model, device = None, me.device(flags.device)
    if flags.init not in (None, "none", "pretrained") and not flags.resume:
        model = Model(with_first_weights(config.model, False))
        _start_from(str(flags.init), model)
    elif flags.resume:
        model = Model(with_first_weights(config.model, False))

    def judge(weights: Model) -> tuple[float, dict[str, float]]:
        if config.metric.enabled:
            return validate_depth(weights, held_out, config.metric, device, me)
        return validate(weights, held_out, config.model.refine, device, me)

    trainer = Trainer(
        config, samples, flags.out, device, model, judge if held_out else None, _warn, me
    )
    if flags.resume:
        trainer.resume()
    return trainer


def _start_from(file: str, model: Model) -> None:
    """Take over the weights of a checkpoint; layers that were changed start anew.

    Raises:
        InputError: when most layers are others.
    """
    from vo.checkpoint import load_checkpoint

    given, own = load_checkpoint(file).model.state_dict(), model.state_dict()
    changed = {_layer(key) for key in own if key not in given or given[key].shape != own[key].shape}
    layers = {_layer(key) for key in own}
    if len(changed) > len(layers) / 2:
        problem = f"{len(changed)} of the {len(layers)} layers are others than those of {file}"
        raise InputError("--init", problem, "start from none, or change fewer --model settings")
    kept = {key: weight for key, weight in given.items() if _layer(key) in layers - changed}
    model.load_state_dict(kept, strict=False)
    if changed:
        names = ", ".join(sorted(changed))
        _warn(f"{len(changed)} of {len(layers)} layers do not fit {file} and start anew: {names}")


def _layer(key: str) -> str:
    return key.rpartition(".")[0]


def _print_validation(found: Validation) -> None:
    shown = ", ".join(f"{k} {v:.4g}" for k, v in found.numbers.items() if _is_shown(k))
    best = " (best)" if found.is_best else ""
    console.print(f"step {found.step}: score {found.score:.4g}{best}; {shown}", soft_wrap=True)


def _is_shown(name: str) -> bool:
    return name.endswith(("t_rel_percent", "ate_m", "abs_rel", "scale_error"))


def _warn(message: str) -> None:
    print(f"warning: {message}", file=sys.stderr)


if __name__ == "__main__":
    main()
