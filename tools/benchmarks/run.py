"""``python -m vo.tools.benchmark run``: frames a second of ``vo-run``, beside monodepth2's way."""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from vo.datasets.errors import InputError
from vo.tools.benchmarks.json_file import demand_place
from vo.tools.compiler import demand_compiler
from vo.tools.console import console, print_table
from vo.tools.tables import new_table, number, ratio_table

if TYPE_CHECKING:
    from vo.datasets.frame import Sequence
    from vo.tools.benchmarks.measure import Timing
    from vo.tools.benchmarks.run_profile import Profile, Roofline
    from vo.tools.benchmarks.run_ways import Images, Way

PLAIN = "monodepth2's way, fp32"
SHORTEST = 3  # frames: two pairs


@dataclass(frozen=True, slots=True)
class Row:
    """A way to run a drive, and what it costs.

    Attributes:
        width: of the images, in pixels.
        height: of them.
        way: see `_ways`.
        fps: frames a second, of the median round.
        fastest_fps: of the fastest round, the one that others disturbed least.
        cpu_ms: time of all threads together for a frame, in the round with the least.
        peak_mb: most memory of the process in use at the end of a round; it counts all ways so far.
        iterations: of the refinement, a pair; None without.
    """

    width: int
    height: int
    way: str
    fps: float
    fastest_fps: float
    cpu_ms: float
    peak_mb: float
    iterations: float | None


def run_speed(
    quick: bool = False,
    data: Annotated[Path | None, tyro.conf.arg(metavar="PATH")] = None,
    seq: str = "09",
    frames: int = 24,
    size: tuple[int, int] = (640, 192),
    seconds: float = 120.0,
    threads: int | None = None,
    memory_frames: int = 0,
    eager_only: bool = False,
    json_file: Annotated[Path | None, tyro.conf.arg(name="json", metavar="FILE")] = None,
) -> None:
    """Frames a second of the whole of vo-run, beside the published way to run such networks.

    The networks are those of the preset sa4depth (ResNet-18). Monodepth2's way decodes and resizes
    each frame, and runs the depth network on it and the pose network on the pair, one after the
    other, channels first in float32. Ours refines every pose besides, and writes every file that
    vo-run writes while it runs. Both read the same PNG files; they take turns in this process.
    Weights are random, but the refinement is given depth, poses and features of the shipped
    checkpoint, so that it takes as many steps as it does with learned networks. The name of a ratio
    says what is over what.

    Example: python -m vo.tools.benchmark run --quick --json run.json

    Args:
        quick: fewer frames and rounds, and one size.
        data: drive in any layout; the street when not given.
        seq: sequence of it.
        frames: how many are run in a round.
        size: width and height that networks see; 1024 320 comes besides when not quick.
        seconds: no new round begins after so many, once there are three.
        threads: of PyTorch; its own choice when not given.
        memory_frames: also go to and fro over the frames for so many, at 192x64, and tell the
            memory in use on the way.
        eager_only: leave out compiled refinement, which needs a C++ compiler, and two minutes to
            compile.
        json_file: file for rows, profile, memory and ratios.
    """
    if frames < SHORTEST:
        raise InputError("--frames", f"is {frames}", f"give {SHORTEST} or more")
    demand_place("--json", json_file)
    if not eager_only:
        demand_compiler("compiled code", "add --eager-only")
    import torch

    if threads is not None:
        torch.set_num_threads(threads)
    sizes = [size] if quick else [size, (1024, 320)]
    content: dict[str, Any] = {"threads": torch.get_num_threads(), "rows": [], "ratios": {}}
    with tempfile.TemporaryDirectory() as folder, console.status("") as status:
        drive = _open(data, seq, size, min(frames, 8) if quick else frames)
        for width, height in sizes:
            images = _save(drive, Path(folder) / f"{width}", (width, height))
            found = _measure(images, 5.0 if quick else seconds, status.update, eager_only)
            content["rows"] += found.pop("rows")
            content["ratios"] |= found.pop("ratios")
            content |= {key: content.get(key, []) + value for key, value in found.items()}
        if memory_frames:
            status.update(f"memory of {memory_frames} frames")
            images = _save(drive, Path(folder) / "small", (192, 64))
            content["memory_mb"] = _memory(images, memory_frames)
    _print(content)
    if json_file is not None:
        from vo.atomic import write_atomically

        rows = [asdict(row) for row in content["rows"]]
        content = {key: _plain(value) for key, value in content.items()} | {"rows": rows}
        write_atomically(json_file, json.dumps(content, indent=2) + "\n")


def _ways(eager_only: bool) -> dict[str, Way]:
    """Ours, from the plainest on; ``auto`` is bf16 where this processor has it."""
    from vo.precision import use_bf16
    from vo.tools.benchmarks.run_ways import Way

    found = {
        "ours, fp32, one frame at a time": Way("fp32", False, "network"),
        "ours, fp32": Way("fp32", True, "network"),
    }
    if use_bf16("auto", "cpu"):
        found["ours, bf16, one frame at a time"] = Way("bf16", False, "network")
        found["ours, bf16"] = Way("bf16", True, "network")
    found["ours, auto, first guess motion"] = Way("auto", True, "motion")
    if not eager_only:
        found["ours, auto, compiled"] = Way("auto", True, "network", "compiled")
        found["ours, auto, motion, compiled"] = Way("auto", True, "motion", "compiled")
    return found


def _open(data: Path | None, seq: str, size: tuple[int, int], frames: int) -> Sequence:
    from vo.datasets import open_sequence
    from vo.datasets.street import street_root

    if data is None:
        street_root(seq, *size)
    return open_sequence(data, seq, size=size if data is None else None, end=frames)


def _save(drive: Sequence, folder: Path, size: tuple[int, int]) -> Images:
    from vo.tools.benchmarks.run_ways import save_images

    folder.mkdir()
    return save_images(drive, folder, size)


def _measure(
    images: Images, seconds: float, say: Callable[[str], object], eager_only: bool
) -> dict[str, Any]:
    """Rows, ratios, profiles and rooflines at one size."""
    from vo.tools.benchmarks.measure import take_turns
    from vo.tools.benchmarks.run_profile import profile, roofline, rss_mb
    from vo.tools.benchmarks.run_ways import build_model, our_odometry, our_run, plain_run

    name = f"{images.size[0]}x{images.size[1]}"
    say(name)
    plain, answering = build_model(images)
    ways = _ways(eager_only)
    odometries = {key: our_odometry(answering, images, way) for key, way in ways.items()}
    cpu_ms: dict[str, list[float]] = {key: [] for key in (PLAIN, *ways)}
    peak_mb = dict.fromkeys(cpu_ms, 0.0)
    iterations: dict[str, float] = {}
    frames = len(images.sequence)

    def once(key: str) -> None:
        begun = time.process_time()
        if key == PLAIN:
            plain_run(plain, images)
        else:
            rows = our_run(odometries[key], images, ways[key].ahead).rows[1:]
            iterations[key] = statistics.mean(row.iterations for row in rows)
        cpu_ms[key].append(1e3 * (time.process_time() - begun) / frames)
        peak_mb[key] = max(peak_mb[key], rss_mb())

    timings = take_turns({key: lambda key=key: once(key) for key in cpu_ms}, seconds)
    rows = [
        Row(*images.size, key, 1e3 * frames / t.median_ms, 1e3 * frames / t.fastest_ms,
            min(cpu_ms[key][1:]), peak_mb[key], iterations.get(key))
        for key, t in timings.items()
    ]  # fmt: skip
    say(f"{name}: profile")
    best = "ours, bf16" if "ours, bf16" in ways else "ours, fp32"
    profiles = {key: profile(odometries[key], images) for key in ("ours, fp32", best)}
    rooflines = {key: roofline(odometries[key], min(seconds, 10)) for key in profiles}
    suffix = "" if images.size == (640, 192) else f"_{name}"
    ratios = _ratios(timings, cpu_ms, best, suffix)
    ratios[f"refinement_share_of_time{suffix}"] = profiles[best].refinement_share
    return {
        "rows": rows,
        "ratios": ratios,
        "profile": [(name, key, each) for key, each in profiles.items()],
        "roofline": [(name, each) for each in rooflines.values()],
    }


def _ratios(
    timings: dict[str, Timing], cpu_ms: dict[str, list[float]], best: str, suffix: str
) -> dict[str, float]:
    """Frames a second, and by processor time, of ours over the published way's."""
    ways = {
        "": best,
        "_fp32": "ours, fp32",
        "_motion": "ours, auto, first guess motion",
        "_compiled": "ours, auto, compiled",
        "_motion_compiled": "ours, auto, motion, compiled",
    }
    ratios = {}
    for words, way in ways.items():
        if way in timings:
            begin, end = "ours_over_monodepth2_way", f"{words}{suffix}"
            ratios[f"{begin}_fps{end}"] = timings[PLAIN].over(timings[way])
            cpu = min(cpu_ms[PLAIN][1:]) / min(cpu_ms[way][1:])
            ratios[f"{begin}_frames_per_cpu_time{end}"] = cpu
    return ratios


def _memory(images: Images, frames: int) -> dict[int, float]:
    from vo.tools.benchmarks.run_profile import memory_mb
    from vo.tools.benchmarks.run_ways import Way, build_model

    return memory_mb(build_model(images)[1], images, frames, Way("auto", True, "network"))


def _print(content: dict[str, Any]) -> None:
    numbers = ("frames/s", "fastest", "CPU ms a frame", "MB", "iterations")
    table = new_table(("size", "way"), numbers)
    for row in content["rows"]:
        values = (row.fps, row.fastest_fps, row.cpu_ms, row.peak_mb, row.iterations)
        table.add_row(f"{row.width}x{row.height}", row.way, *map(number, values))
    print_table(table)
    _print_profiles(content["profile"], content["roofline"])
    if "memory_mb" in content:
        table = new_table((), ("frames", "MB"))
        for frames, mb in content["memory_mb"].items():
            table.add_row(str(frames), number(mb))
        print_table(table)
    print_table(ratio_table(content["ratios"]))


def _print_profiles(
    profiles: list[tuple[str, str, Profile]], rooflines: list[tuple[str, Roofline]]
) -> None:
    stages = list(profiles[0][2].stage_ms)
    table = new_table(("size", "ms a frame, one at a time"), (*stages, "refinement %"))
    for size, way, each in profiles:
        values = [*each.stage_ms.values(), 100 * each.refinement_share]
        table.add_row(size, way, *map(number, values))
    print_table(table)
    table = new_table(("size", "depth encoder"), ("GFLOP/s", "matrix product", "share"))
    for size, each in rooflines:
        values = (number(each.gflops), number(each.peak_gflops), number(each.share, 2))
        table.add_row(size, each.precision, *values)
    print_table(table)


def _plain(value: Any) -> Any:
    """What JSON can hold of it."""
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return asdict(value) if hasattr(value, "__dataclass_fields__") else value
