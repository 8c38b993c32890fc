"""``vo-eval scale``: how steady the scale of depth and of poses is, within drives and across."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from vo.datasets.depth_kind import DepthKind
from vo.datasets.errors import InputError
from vo.tools.console import console, print_table, warn

if TYPE_CHECKING:
    from vo.checkpoint import Checkpoint
    from vo.datasets.depth_truth import TruthFrames
    from vo.depth_scores import DepthProtocol
    from vo.tools.scoring.scale_result import ScaleResult

METRICS_FILE, FRAMES_FILE = "metrics.json", "frames.csv"
PUBLISHED_FRAMES = 110  # of each of the 13 drives
OptionalFolder = Annotated[Path | None, tyro.conf.arg(metavar="DIR")]


@dataclass(frozen=True, slots=True)
class ScaleFlags:
    """What ``vo-eval scale`` can be told.

    Attributes:
        ckpt: checkpoint file, or the name of one that is installed.
        data: folder in the layout of KITTI raw or Odometry, TUM RGB-D or 7-Scenes; the street when
            not given.
        seq: sequences to take; of KITTI raw the 13 drives in val of its annotated depth when not
            given.
        first: frames of each sequence, its first ones with true depth; 110 of the 13 drives, and
            all elsewhere, when not given.
        truth: true depth to compare with: improved (annotated depth) for KITTI raw, and own (that
            of the data) elsewhere, when not given.
        annotations: KITTI's data_depth_annotated, where it lies elsewhere than in --data.
        camera: image_02, image_03 and so on of KITTI.
        device: cpu, cuda, cuda:1, mps, ...
        out: new folder for metrics.json, frames.csv and a picture.
    """

    ckpt: Annotated[str, tyro.conf.arg(metavar="FILE")] = "street.safetensors"
    data: OptionalFolder = None
    seq: Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME [NAME ...]")] = ()
    first: Annotated[int | None, tyro.conf.arg(metavar="N")] = None
    truth: DepthKind | None = None
    annotations: OptionalFolder = None
    camera: Annotated[str | None, tyro.conf.arg(metavar="NAME")] = None
    device: str = "cpu"
    out: OptionalFolder = None


def scale(flags: Annotated[ScaleFlags, tyro.conf.arg(name="")]) -> None:
    """Measure how far truth and estimate differ by one factor: of depth, and of poses.

    The scale of a frame's depth is median(truth) / median(prediction), that of a motion its true
    length over the estimated one. Their spread (standard deviation over the median) is given
    within sequences and across them, by our definition: papers that report such a number publish
    no formula.

    Example: vo-eval scale --data kitti_raw --annotations data_depth_annotated --ckpt FILE
    """
    from vo.checkpoint import load_checkpoint
    from vo.odometry import Odometry
    from vo.scale_report import measure_scales
    from vo.tools.device import demand_device
    from vo.tools.progress import progress_bars
    from vo.tools.running.record import demand_free
    from vo.tools.scoring.scale_result import ScaleResult, lines, table

    if flags.out is not None:
        demand_free(flags.out)
    if flags.first is not None and flags.first < 1:
        raise InputError("--first", f"is {flags.first}", "give 1 or more")
    demand_device(flags.device)
    checkpoint = load_checkpoint(flags.ckpt, flags.device)
    drives, protocol, absent = _open(flags, checkpoint)
    odometry = Odometry(checkpoint.model, checkpoint.model.config.refine, device=flags.device)
    measured = []
    with progress_bars("scale {}") as show:
        for frames in drives:

            def progress(done: int, frames: TruthFrames = frames) -> None:
                show(frames.name, done, len(frames))

            measured.append(measure_scales(odometry, frames, protocol, True, progress))
    result = ScaleResult(tuple(measured), protocol, checkpoint, tuple(absent))
    print_table(table(result))
    for line in lines(result):
        console.print(line, soft_wrap=True, markup=False)
    _warn_of_training(flags, checkpoint, result)
    if flags.out is not None:
        _write(flags.out, result)


def _open(
    flags: ScaleFlags, checkpoint: Checkpoint
) -> tuple[list[TruthFrames], DepthProtocol, list[str]]:
    """The drives, what of their true depth counts, and those of the 13 that are not there."""
    from vo.datasets.depth_truth import open_truth
    from vo.datasets.layout import recognise
    from vo.tools.running.flags import RunFlags, asked_names, demand_different

    found = None if flags.data is None else recognise(flags.data)
    is_raw = found is not None and found.kind == "kitti_raw"
    truth: DepthKind = flags.truth or ("improved" if is_raw else "own")
    protocol, first, absent = _protocol(truth), flags.first, []
    if found is not None and is_raw and not flags.seq:
        names, absent = _depth_val(found.data, list(found.sequences))
        first = first or PUBLISHED_FRAMES
    else:
        names = asked_names(RunFlags(seq=flags.seq, data=flags.data))
    drives = []
    for name in names:
        root = flags.data or _street(name, checkpoint)
        drives.append(open_truth(root, name, truth, flags.camera, flags.annotations, poses=True))
    demand_different([frames.name for frames in drives])
    return [_first(frames, first) for frames in drives], protocol, absent


def _depth_val(data: Path, there: list[str]) -> tuple[list[str], list[str]]:
    from vo.datasets.kitti_groups import DEPTH_VAL

    names = [name for name in DEPTH_VAL if name in there]
    if not names:
        problem = "holds none of the 13 drives in val of KITTI's annotated depth"
        raise InputError(data, problem, "add them, or name other drives with --seq")
    return names, [name for name in DEPTH_VAL if name not in there]


def _protocol(truth: DepthKind) -> DepthProtocol:
    from vo.depth_protocols import KITTI_EIGEN, KITTI_EIGEN_BENCHMARK, STREET

    if truth == "improved":
        return KITTI_EIGEN_BENCHMARK
    return STREET if truth == "own" else replace(KITTI_EIGEN, truth=truth)


def _street(name: str | None, checkpoint: Checkpoint) -> Path:
    from vo.tools.street import drawn_street

    config = checkpoint.model.config
    return drawn_street(name, config.width, config.height)


def _first(frames: TruthFrames, count: int | None) -> TruthFrames:
    return replace(frames, indices=frames.indices[:count], files=frames.files[:count])


def _warn_of_training(flags: ScaleFlags, checkpoint: Checkpoint, result: ScaleResult) -> None:
    from vo.datasets.leakage import STREET, sequences_seen
    from vo.datasets.text import few

    data = STREET if flags.data is None else flags.data.name
    names = [drive.name for drive in result.drives]
    if seen := sequences_seen(checkpoint.card.trained_on, data, names):
        told = f"{checkpoint.path.name} was trained on {few(seen, 5)}, which is measured here"
        warn(told)


def _write(out: Path, result: ScaleResult) -> None:
    """The picture and the frames' numbers, then metrics.json: where it is, all of it is there."""
    from vo.atomic import write_atomically
    from vo.tools.scoring.scale_plot import PICTURE, draw_scales
    from vo.tools.scoring.scale_result import frames_csv, metrics_json

    out.mkdir(parents=True, exist_ok=True)
    draw_scales(result, out)
    write_atomically(out / FRAMES_FILE, frames_csv(result))
    write_atomically(out / METRICS_FILE, metrics_json(result))
    wrote = f"wrote {METRICS_FILE}, {FRAMES_FILE} and {PICTURE}.png to {out}"
    console.print(wrote, soft_wrap=True, markup=False)
