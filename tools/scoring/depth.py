"""``vo-eval depth``: depth scored as papers score it."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from vo.datasets.depth_kind import DepthKind
from vo.datasets.errors import InputError
from vo.protocol import DepthDomain, DepthProtocolName, DepthScaling
from vo.tools.console import console, print_table, warn

if TYPE_CHECKING:
    from vo.checkpoint import Checkpoint
    from vo.datasets.depth_truth import TruthFrames
    from vo.datasets.stills import DepthFrames
    from vo.depth_evaluation import Comparison
    from vo.depth_scores import DepthProtocol
    from vo.tools.scoring.depth_result import DepthResult
    from vo.tools.scoring.literature import Published

WORST = 5  # images that get a picture
METRICS_FILE, FRAMES_FILE = "metrics.json", "frames.csv"
OptionalFile = Annotated[Path | None, tyro.conf.arg(metavar="FILE")]
OptionalFolder = Annotated[Path | None, tyro.conf.arg(metavar="DIR")]


@dataclass(frozen=True, slots=True)
class DepthFlags:
    """What ``vo-eval depth`` can be told.

    Attributes:
        protocol: how depth is compared with the truth, and which truth that is.
        ckpt: checkpoint file, or the name of one that is installed.
        data: folder in the layout of KITTI raw or Odometry, TUM RGB-D, 7-Scenes, Make3D or
            Cityscapes, or nyu_depth_v2_labeled.mat; the street when not given.
        seq: sequences to take; all that have true depth when not given.
        frames: list of the frames to take, `folder frame side` a line, as published splits are
            written (Cityscapes: `city frame`; NYU: splits.mat, or a number from 1 a line); every
            frame with true depth when not given.
        truth: true depth to compare with, other than the protocol's.
        annotations: KITTI's data_depth_annotated, where it lies elsewhere than in --data; depths
            of Cityscapes that are numbered by the lines of --frames (000_depth.npy).
        camera: image_02, image_03 and so on of KITTI.
        scaling: of each prediction, other than the protocol's.
        resize: what is interpolated to the size of the truth, other than the protocol's.
        flip_tta: average with the prediction for the mirrored image.
        factor: multiply predictions by it first: 5.4 for published stereo models.
        compare: print published numbers of the same protocol beside the result.
        device: cpu, cuda, cuda:1, mps, ...
        out: new folder for metrics.json, frames.csv and pictures of the worst images.
    """

    protocol: DepthProtocolName
    ckpt: Annotated[str, tyro.conf.arg(metavar="FILE")] = "street.safetensors"
    data: OptionalFolder = None
    seq: Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME [NAME ...]")] = ()
    frames: OptionalFile = None
    truth: DepthKind | None = None
    annotations: OptionalFolder = None
    camera: Annotated[str | None, tyro.conf.arg(metavar="NAME")] = None
    scaling: DepthScaling | None = None
    resize: DepthDomain | None = None
    flip_tta: bool = False
    factor: float = 1.0
    compare: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    device: str = "cpu"
    out: OptionalFolder = None


def depth(flags: Annotated[DepthFlags, tyro.conf.arg(name="")]) -> None:
    """Compare predicted depth with the truth: abs_rel, sq_rel, rmse, rmse_log, log10, a1 to a3.

    Numbers are means over images; ratio is the median of the scale between truth and prediction,
    spread its standard deviation over that median. Every line says what the numbers depend on.

    Example: vo-eval depth --protocol kitti-eigen --data kitti_raw --frames eigen_test.txt --ckpt F
    """
    from vo.checkpoint import load_checkpoint
    from vo.depth_evaluation import DepthPredictor, compare
    from vo.tools.device import demand_device
    from vo.tools.progress import progress_bars
    from vo.tools.running.record import demand_free
    from vo.tools.scoring.depth_result import ScoredFrame, depth_result, lines, table
    from vo.tools.scoring.literature_table import demand_published

    if flags.out is not None:
        demand_free(flags.out)
    protocol = _protocol(flags)
    rows = demand_published(flags.protocol, protocol) if flags.compare else ()
    demand_device(flags.device)
    checkpoint = load_checkpoint(flags.ckpt, flags.device)
    sequences, chosen, without = _open(flags, protocol, checkpoint)
    flip = protocol.resize if protocol.flip_tta else None
    predict = DepthPredictor(checkpoint.model, flags.device, flip)
    scored, worst = [], _Worst(WORST if flags.out is not None else 0)
    with progress_bars("depth {}") as show:
        for frames in sequences:
            for i, comparison in enumerate(compare(predict, frames, protocol), 1):
                scored.append(ScoredFrame(comparison.frame, comparison.scores))
                worst.add(comparison)
                show(f"{frames.name} {frames.side}", i, len(frames))
    result = depth_result(scored, protocol, checkpoint, chosen, without)
    print_table(table(result))
    for line in lines(result):
        console.print(line, soft_wrap=True, markup=False)
    if rows:
        _compare(flags, result, rows)
    _warn_of_training(flags, result)
    if flags.out is not None:
        _write(flags.out, result, worst)


def _compare(flags: DepthFlags, result: DepthResult, rows: tuple[Published, ...]) -> None:
    from vo.tools.scoring.literature_table import caution, comparison

    console.print()
    print_table(comparison(result, rows))
    if line := caution(flags.protocol, result):
        console.print(line, soft_wrap=True, markup=False)


def _protocol(flags: DepthFlags) -> DepthProtocol:
    """The named protocol with what the flags change of it."""
    from vo.depth_protocols import PROTOCOLS

    protocol = PROTOCOLS[flags.protocol]
    if not 0 < flags.factor < float("inf"):
        raise InputError("--factor", f"is {flags.factor:g}", "give a positive number")
    return replace(
        protocol,
        truth=flags.truth or protocol.truth,
        scaling=flags.scaling or protocol.scaling,
        resize=flags.resize or protocol.resize,
        flip_tta=flags.flip_tta,
        factor=flags.factor,
    )


def _open(
    flags: DepthFlags, protocol: DepthProtocol, checkpoint: Checkpoint
) -> tuple[Sequence[DepthFrames], str, list[str]]:
    """The frames, which ones these are in words, and drives that have no true depth."""
    from vo.datasets.depth_stills import open_stills
    from vo.datasets.depth_truth import open_every, open_listed, open_truth
    from vo.tools.running.flags import RunFlags, asked_names, demand_different

    every, annotations = "every frame with true depth (no list was given)", flags.annotations
    chosen = every if flags.frames is None else f"frames of {flags.frames.name}"
    if flags.data is not None:
        stills = open_stills(flags.data, flags.frames, annotations)
        if stills is not None:
            _demand_suits_stills(flags, protocol)
            beside = "" if annotations is None else f" with the depth of {annotations.name}"
            return stills, chosen + beside, []
    if flags.frames is not None:
        listed = open_listed(_data_of_list(flags), flags.frames, protocol.truth, annotations)
        return listed, chosen, []
    if flags.data is None:
        names = asked_names(RunFlags(seq=flags.seq))
        config = checkpoint.model.config
        return list(_street(names, (config.width, config.height))), every, []
    if not flags.seq:
        opened, without = open_every(flags.data, protocol.truth, flags.camera, annotations)
        return opened, every, without
    names = asked_names(RunFlags(seq=flags.seq, data=flags.data))
    opened = [
        open_truth(flags.data, name, protocol.truth, flags.camera, annotations) for name in names
    ]
    demand_different([frames.name for frames in opened])
    return opened, every, []


def _demand_suits_stills(flags: DepthFlags, protocol: DepthProtocol) -> None:
    """Single images have no drives or cameras to choose from, and one true depth."""
    for flag, given in (("--seq", bool(flags.seq)), ("--camera", flags.camera is not None)):
        if given:
            raise InputError(flag, f"{flags.data} holds single images", "leave it out")
    if protocol.truth != "own":
        where = "--protocol" if flags.truth is None else "--truth"
        problem = f"asks for {protocol.truth} depth, which {flags.data} has not"
        raise InputError(where, problem, "choose the protocol of these data")


def _data_of_list(flags: DepthFlags) -> Path:
    """The data that a list belongs to; a list says all that --seq and --camera could."""
    for flag, given in (("--seq", bool(flags.seq)), ("--camera", flags.camera is not None)):
        if given:
            raise InputError(flag, "does not go with --frames, which names them", "leave it out")
    if flags.data is None:
        raise InputError("--data", "is missing", "name the folder that the list belongs to")
    return flags.data


def _street(names: list[str | None], size: tuple[int, int]) -> Iterator[TruthFrames]:
    """Sequences of the street, drawn at the size that the network sees where they are missing."""
    from vo.datasets.depth_truth import open_truth
    from vo.tools.street import drawn_street

    for name in names:
        yield open_truth(drawn_street(name, *size), name, "own")


def _warn_of_training(flags: DepthFlags, result: DepthResult) -> None:
    """Say which of the sequences the model has seen in training, as far as its card tells."""
    from vo.datasets.leakage import STREET, sequences_seen
    from vo.datasets.text import few

    data = STREET if flags.data is None else flags.data.name
    names = dict.fromkeys(row.frame.drive for row in result.scored)
    seen = sequences_seen(result.trained_on, data, names)
    if seen:
        told = f"{result.checkpoint} was trained on {few(seen, 5)}, which it is evaluated on here"
        warn(told)


class _Worst:
    """The images with the largest abs_rel, of any number that come by.

    Args:
        count: that are kept.
    """

    def __init__(self, count: int) -> None:
        self.count, self._seen = count, 0
        self._heap: list[tuple[float, int, Comparison]] = []

    def add(self, comparison: Comparison) -> None:
        """Keep it while it is among the worst."""
        self._seen += 1
        if comparison.scores.pixels > 0:
            heapq.heappush(self._heap, (comparison.scores.abs_rel, -self._seen, comparison))
        if len(self._heap) > self.count:
            heapq.heappop(self._heap)

    def in_order(self) -> list[Comparison]:
        """The worst first."""
        return [comparison for _, _, comparison in sorted(self._heap, reverse=True)]


def _write(out: Path, result: DepthResult, worst: _Worst) -> None:
    """Pictures and the images' numbers, then metrics.json: where it is, all of it is there."""
    from vo.atomic import write_atomically
    from vo.tools.scoring.depth_pictures import depth_picture, png
    from vo.tools.scoring.depth_result import frames_csv, metrics_json

    out.mkdir(parents=True, exist_ok=True)
    for rank, comparison in enumerate(worst.in_order(), 1):
        frame = comparison.frame
        drive = frame.drive.replace("/", "_")
        name = f"worst_{rank}_{drive}_{frame.number:06d}{frame.side}.png"
        write_atomically(out / name, png(depth_picture(comparison, result.protocol)))
    write_atomically(out / FRAMES_FILE, frames_csv(result))
    write_atomically(out / METRICS_FILE, metrics_json(result))
    wrote = f"wrote {METRICS_FILE}, {FRAMES_FILE} and pictures to {out}"
    console.print(wrote, soft_wrap=True, markup=False)
