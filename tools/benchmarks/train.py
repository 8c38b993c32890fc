"""``python -m vo.tools.benchmark train``: how fast we train, beside monodepth2's way."""

from __future__ import annotations

import gc
import json
import tempfile
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from vo.datasets.errors import InputError
from vo.tools.benchmarks.json_file import demand_place
from vo.tools.console import console, print_table
from vo.tools.tables import new_table, number, ratio_table

if TYPE_CHECKING:
    from collections.abc import Callable

    from vo.tools.benchmarks.measure import Timing
    from vo.tools.benchmarks.train_roofline import Share
    from vo.tools.benchmarks.train_ways import Precision, Way

WITH, WITHOUT = "sa4depth", "monodepth2-r18"

# What was tried on two cores with AVX512-BF16, and left: ms of one core, forward + backward, of
# eight views at 192x640, if nothing else is said.
NOTES = {
    "SSIM by average pooling, gradient by autograd": "167 + 129; as it is 48 + 22",
    "SSIM by sums of rows and columns, gradient by autograd": "52 + 97",
    "SSIM as it was, compiled by Inductor": "16 + 80, after 25 s of compiling",
    "warp as it is, compiled": "62 + 61; not compiled 38 + 36",
    "coordinates of the warp, compiled": "14 + 9 instead of 21 + 15: 1 % of a step",
    "warp image by image": "39 + 43",
    "feature network with PyTorch's instance normalisation, 24 images": "1463; as it is 999",
    "GroupNorm in the feature network, 12 images, bf16": "82 + 481 instead of 95 + 313",
}


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured.

    Attributes:
        batch: samples a step; half of them at other sizes than the first.
        rounds: steps of each way that count.
        sizes: (width, height) of the images; the first one in all ways, the rest in fewer.
        workers: of monodepth2's loader, of which the fastest counts.
        stage_steps: steps for the table of stages.
        roofline_s: seconds for each encoder.
        frames: image files.
    """

    batch: int = 8
    rounds: int = 5
    sizes: tuple[tuple[int, int], ...] = ((640, 192), (1024, 320))
    workers: tuple[int, ...] = (0, 2)
    stage_steps: int = 2
    roofline_s: float = 10.0
    frames: int = 60


QUICK = Plan(
    batch=4, rounds=5, sizes=((640, 192),), workers=(0,), stage_steps=1, roofline_s=3.0, frames=24
)


@dataclass(frozen=True, slots=True)
class Row:
    """A way, and what it costs.

    Attributes:
        way: what trains.
        ms: median time of a step, loading included.
        fastest_ms: that of the fastest step.
        processor_ms: median of what all threads of this process spent in a step.
        images_per_s: targets a second, by the median.
        peak_mb: most memory in tensors at a time during a step.
    """

    way: Way
    ms: float
    fastest_ms: float
    processor_ms: float
    images_per_s: float
    peak_mb: float


@dataclass(frozen=True, slots=True)
class Report:
    """All that was measured.

    Attributes:
        rows: of all ways.
        stages: ms of each stage by preset and precision.
        roofline: of the encoder.
        ratios: by name.
    """

    rows: list[Row]
    stages: dict[str, dict[str, float]]
    roofline: list[Share]
    ratios: dict[str, float]


def train(
    quick: bool = False,
    data: Annotated[Path | None, tyro.conf.arg(metavar="DATA")] = None,
    seq: str | None = None,
    batch: int | None = None,
    threads: int | None = None,
    json_file: Annotated[Path | None, tyro.conf.arg(name="json", metavar="FILE")] = None,
) -> None:
    """Training with and without refinement, beside monodepth2's own pipeline and step.

    Ours is the training itself, data included, with the presets sa4depth (all steps refine) and
    monodepth2-r18, in float32 and, where this processor is faster with it, bfloat16. Beside it
    runs monodepth2's way, written from its description: Pillow, Lanczos pyramids, changes of colour
    image by image, the layers of our networks in float32 with channels first, losses by average
    pooling. Both read the same JPEG files of KITTI's size, each image anew for each sample. All
    take turns step by step in this process; random weights cost as much as learned ones. Where
    others compute as well, look at the ratios of processor time, with --threads 1.

    Example: python -m vo.tools.benchmark train --quick --json train.json

    Args:
        quick: 192x640 alone in smaller batches, in two to three minutes.
        data: where images come from; the rendered street when not given.
        seq: sequence of it; 09 of the street.
        batch: samples a step, 8 when not given, and 4 when quick.
        threads: of PyTorch; its own choice when not given.
        json_file: file for rows, stages, roofline, ratios and notes.
    """
    import torch

    from vo.datasets import open_sequence
    from vo.tools.training.memory import keep_freed_memory

    keep_freed_memory()  # as vo-train does, for the way beside ours, too
    demand_place("--json", json_file)
    plan = QUICK if quick else Plan()
    if batch is not None:
        plan = replace(plan, batch=batch)
    for flag, value in (("--batch", plan.batch), ("--threads", threads)):
        if value is not None and value < 1:
            raise InputError(flag, f"is {value}", "give 1 or more")
    if threads is not None:
        torch.set_num_threads(threads)
    drive = open_sequence(data, seq or ("09" if data is None else None))
    machine = {"threads": torch.get_num_threads(), "torch": torch.__version__}
    with tempfile.TemporaryDirectory() as folder, console.status("") as status:
        report = measure(plan, drive, Path(folder), status.update)
    _print(report)
    if json_file is not None:
        from vo.atomic import write_atomically

        content = {"machine": machine, **asdict(report), "notes": NOTES}
        write_atomically(json_file, json.dumps(content, indent=2) + "\n")


def measure(plan: Plan, drive: Any, folder: Path, tell: Callable[[str], None]) -> Report:
    """All of a plan.

    Args:
        plan: how much.
        drive: sequence that images are taken from.
        folder: an empty one for files that are needed meanwhile.
        tell: told what is being measured.

    Raises:
        InputError: when the drive is too short for the batch.
    """
    from vo.precision import use_bf16
    from vo.tools.benchmarks.train_roofline import encoder_share
    from vo.tools.benchmarks.train_ways import write_images

    images, training = folder / "images", folder / "training"
    images.mkdir()
    training.mkdir()
    frames = max(plan.frames, plan.batch + 2)
    if len(drive) < frames:
        remedy = f"give one of {frames} or more"
        raise InputError("--seq", f"{drive.name} has {len(drive)} frames", remedy)
    intrinsics = write_images(drive, frames, images)
    precisions: tuple[Precision, ...] = ("fp32", "bf16") if use_bf16("auto", "cpu") else ("fp32",)
    report = Report([], {}, [], {})
    for i, (width, height) in enumerate(plan.sizes):
        tell(f"steps at {height}x{width}")
        shown = replace(plan, batch=(plan.batch + 1) // 2) if i else plan
        ways = _ways(shown, width, height, precisions[-1:] if i else precisions)
        rows, timings, processor = _steps(ways, plan, images, intrinsics, training)
        report.rows.extend(rows)
        gc.collect()  # the networks of one size before those of the next
        end = f"_{height}x{width}" if i else ""
        report.ratios.update(_ratios(timings, precisions[-1], end))
        report.ratios.update(_ratios(processor, precisions[-1], f"{end}_processor_time"))
    width, height = plan.sizes[0]
    for precision in precisions:
        tell(f"stages and roofline, {precision}")
        for way in _ours(plan, width, height, precision):
            name = f"{way.preset} {precision}"
            report.stages[name] = _stages(way, plan, images, intrinsics, training)
        share = encoder_share(precision, plan.batch, height, width, plan.roofline_s)
        report.roofline.append(share)
    return report


def _ours(plan: Plan, width: int, height: int, precision: Precision) -> list[Way]:
    from vo.tools.benchmarks.train_ways import Way

    return [Way(name, precision, plan.batch, width, height) for name in (WITH, WITHOUT)]


def _ways(plan: Plan, width: int, height: int, precisions: tuple[Precision, ...]) -> list[Way]:
    from vo.tools.benchmarks.train_ways import PUBLISHED, Way

    published = [Way(PUBLISHED, "fp32", plan.batch, width, height, n) for n in plan.workers]
    return published + [way for p in precisions for way in _ours(plan, width, height, p)]


def _steps(
    ways: list[Way], plan: Plan, images: Path, intrinsics: str, folder: Path
) -> tuple[list[Row], dict[Way, Timing], dict[Way, Timing]]:
    """Rows, and times of each round: of the clock on the wall, and of the processor."""
    from vo.tools.benchmarks.measure import peak_mb, take_turns
    from vo.tools.benchmarks.train_clocks import ProcessorClock
    from vo.tools.benchmarks.train_ways import training_step

    calls = {way: training_step(way, images, intrinsics, folder) for way in ways}
    clocks = {way: ProcessorClock(call) for way, call in calls.items()}
    timings = take_turns(clocks, 0.0, plan.rounds, plan.rounds)
    processor = {way: clock.timing(plan.rounds) for way, clock in clocks.items()}
    rows = [
        Row(
            way, timing.median_ms, timing.fastest_ms, processor[way].median_ms,
            1e3 * way.batch / timing.median_ms, peak_mb(calls[way]),
        )
        for way, timing in timings.items()
    ]  # fmt: skip
    return rows, timings, processor


def _stages(way: Way, plan: Plan, images: Path, intrinsics: str, folder: Path) -> dict[str, float]:
    from vo.datasets.folder import open_folder
    from vo.datasets.sequence import resize
    from vo.tools.benchmarks.train_clocks import StageClock
    from vo.tools.benchmarks.train_ways import trainer_of

    drive = resize(open_folder(images, intrinsics), way.width, way.height)
    return StageClock(trainer_of(way, drive, folder)).medians_ms(plan.stage_steps)


def _ratios(timings: dict[Way, Timing], best: Precision, end: str) -> dict[str, float]:
    """Images a second of ours over the other way's, and time with over without refinement.

    Names without a precision mean the one that the setting ``auto`` chooses on this processor.
    """
    from vo.tools.benchmarks.train_ways import PUBLISHED

    published = min(
        (t for way, t in timings.items() if way.preset == PUBLISHED), key=lambda t: t.median_ms
    )
    ours = {(w.preset, w.precision): t for w, t in timings.items() if w.preset != PUBLISHED}
    ratios: dict[str, float] = {}
    for precision in dict.fromkeys((best, *(p for _, p in ours))):
        tail = (f"_{precision}" if precision != best else "") + end
        refined, plain = ours[WITH, precision], ours[WITHOUT, precision]
        name = "training_images_per_s_over_monodepth2_way"
        ratios[name + tail] = published.over(refined)
        ratios[f"{name}_without_refinement{tail}"] = published.over(plain)
        ratios[f"training_step_with_over_without_refinement{tail}"] = refined.over(plain)
    return ratios


def _print(report: Report) -> None:
    words = ("training", "precision", "size")
    numbers = ("B", "workers", "ms", "fastest", "processor ms", "images/s", "MB")
    table = new_table(words, numbers)
    for row in report.rows:
        way = row.way
        table.add_row(
            way.preset, way.precision, way.size, str(way.batch), str(way.workers),
            number(row.ms, 0), number(row.fastest_ms, 0), number(row.processor_ms, 0),
            number(row.images_per_s, 2), number(row.peak_mb, 0),
        )  # fmt: skip
    print_table(table)
    stages = new_table(("stage, ms",), tuple(report.stages))
    for name in dict.fromkeys(name for spent in report.stages.values() for name in spent):
        values = (number(spent.get(name), 0) for spent in report.stages.values())
        stages.add_row(name, *values)
    print_table(stages)
    shares = new_table(
        ("ResNet-18 encoder, forward and backward",), ("GFLOP/s", "product", "share")
    )
    for share in report.roofline:
        speeds = number(share.gflops, 0), number(share.peak_gflops, 0), number(share.share, 2)
        shares.add_row(f"{share.precision}, {share.batch} images of {share.size}", *speeds)
    print_table(shares)
    print_table(ratio_table(report.ratios))
    notes = new_table(("tried and left", "ms of one core, forward + backward"))
    for what, found in NOTES.items():
        notes.add_row(what, found)
    print_table(notes)
