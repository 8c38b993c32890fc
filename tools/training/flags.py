"""What ``vo-train`` can be told. Loads nothing heavy, so that --help is quick."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from vo.datasets.errors import InputError
from vo.tools.training.folder import CONFIG_FILE

if TYPE_CHECKING:
    from vo.training.config import TrainConfig

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
