"""``vo-map``: the depth of a finished run fused into a map, and how near it comes to the truth."""

from __future__ import annotations

import json
import math
import os
import signal
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from vo.datasets.errors import InputError
from vo.tools.console import console, print_table
from vo.tools.console import run as run_command

if TYPE_CHECKING:
    from vo.tools.mapping.building import Maps
    from vo.tools.running.finished import FinishedRun

MAP_FILE = "map.json"


@dataclass(frozen=True, slots=True)
class MapFlags:
    """Fuse the depth of a finished run into a mesh and a cloud, and compare them with the truth.

    Writes mesh.ply, cloud.ply, pictures, map.json and a COLMAP model with images into a new folder.
    Lengths are in the unit of the run's depth: metres where its checkpoint is metric.

    Example: vo-map runs/09-1 --poses both

    Attributes:
        run: folder that vo-run has written.
        poses: of the pose network (raw), refined, or a map of each beside the other (both).
        out: folder to write to; RUN/map-raw, map-refined or map-both when not given.
        voxel: side of a voxel.
        max_depth: farther depth is left out: the error of depth grows with it.
        edge: depth is left out where neighbouring pixels differ by more than this share: points
            that float between near and far; 0 keeps all.
        views: frames, at least, that must have seen a piece of the surface.
        memory: gigabytes that the voxels of a map may take; one that needs more is refused.
        colmap: with --no-colmap no COLMAP model and no images.
        overlay: draw the clouds of five frames from this one on, raw beside refined, instead of a
            map: RUN/overlay-FRAME.png.
        window: show the map (or the clouds) in a window, too.
        device: to compute depth on: cpu, cuda, ...
    """

    run: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    poses: Literal["raw", "refined", "both"] = "refined"
    out: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None
    voxel: float = 0.1
    max_depth: float = 20.0
    edge: float = 0.2
    views: int = 2
    memory: float = 4.0
    colmap: bool = True
    overlay: Annotated[int | None, tyro.conf.arg(metavar="FRAME")] = None
    window: bool = False
    device: str = "cpu"

    def kinds(self) -> tuple[str, ...]:
        """The trajectories that are asked for."""
        return ("raw", "refined") if self.poses == "both" else (self.poses,)


def main() -> None:
    """Entry point of ``vo-map``."""

    def command() -> None:
        flags = tyro.cli(MapFlags, prog="vo-map")
        # A program that is told to end cleans up as an interrupted one does.
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        make_map(flags)

    run_command(command)


def make_map(flags: MapFlags) -> None:
    """Do what the flags say.

    Raises:
        InputError: when the run, a flag or the folder is not as it should be; nothing is written
            then.
    """
    _check(flags)
    from vo.atomic import new_folder
    from vo.tools.device import demand_device
    from vo.tools.mapping.result import lines, table
    from vo.tools.running.finished import read_run
    from vo.tools.running.record import demand_free

    run = read_run(flags.run)
    demand_device(flags.device)
    if flags.overlay is not None:
        _make_overlay(flags, run, flags.overlay)
        return
    for kind in flags.kinds():
        _demand_poses(run, kind)
    out = flags.out or flags.run / f"map-{flags.poses}"
    begun = time.perf_counter()
    demand_free(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    with new_folder(out) as folder:
        maps = _build(flags, run, folder)
        numbers = _write(flags, run, maps, folder, begun)
        demand_free(out)  # it took a while
    print_table(table(numbers))
    for line in [*lines(numbers), f"the map of {len(run.rows)} frames is in {out}/"]:
        console.print(line, soft_wrap=True, markup=False)
    if flags.window:
        from vo.tools.mapping.mesh import show_mesh

        show_mesh(maps.maps[flags.kinds()[-1]].mesh, f"{run.name}, {flags.kinds()[-1]} poses")


def _check(flags: MapFlags) -> None:
    for name in ("voxel", "max_depth", "memory"):
        value = getattr(flags, name)
        if not (math.isfinite(value) and value > 0):
            raise InputError(f"--{name.replace('_', '-')}", f"is {value:g}", "give more than 0")
    if not (math.isfinite(flags.edge) and flags.edge >= 0):
        raise InputError("--edge", f"is {flags.edge:g}", "give a share such as 0.2, or 0")
    if flags.views < 1:
        raise InputError("--views", f"is {flags.views}", "give 1 or more")
    if flags.max_depth < 4 * flags.voxel:
        problem = f"is {flags.max_depth:g}, only {flags.max_depth / flags.voxel:.1f} voxels"
        raise InputError("--max-depth", problem, "give smaller voxels with --voxel")
    if flags.window and not (os.name == "nt" or _has_display()):
        problem = "there is no display"
        raise InputError("--window", problem, "leave it out: pictures are written")


def _has_display() -> bool:
    named = os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    return sys.platform == "darwin" or bool(named)


def _demand_poses(run: FinishedRun, kind: str) -> None:
    if kind not in run.trajectories:
        remedy = {
            "raw": "give --poses refined, or run vo-run again without --first-guess motion",
            "refined": "give --poses raw, or run vo-run again without --no-refine",
        }[kind]
        raise InputError(run.folder, f"has no {kind} poses", remedy)


def _build(flags: MapFlags, run: FinishedRun, folder: Path) -> Maps:
    """All frames, with a bar."""
    from vo.tools.mapping.building import Maps, MapSettings
    from vo.tools.mapping.colmap import write_image
    from vo.tools.progress import progress_bars

    settings = MapSettings(flags.voxel, flags.max_depth, flags.edge, flags.views, flags.memory)
    maps = Maps(run, flags.kinds(), settings)
    if flags.colmap:
        (folder / "colmap/images").mkdir(parents=True)
    with progress_bars("map {}") as show:
        for frame, estimate in run.replay(flags.device):
            maps.add(frame, estimate)
            if flags.colmap:
                write_image(folder / "colmap", frame.index, frame.image)
            show(run.name, estimate.index + 1, len(run.rows))
    maps.finish()
    return maps


def _write(
    flags: MapFlags, run: FinishedRun, maps: Maps, folder: Path, begun: float
) -> dict[str, Any]:
    """All files; returns the numbers that the last of them holds."""
    from vo.atomic import write_atomically
    from vo.tools.mapping.colmap import write_model
    from vo.tools.mapping.pictures import draw_map
    from vo.tools.mapping.ply import write_ply
    from vo.tools.strict_json import strict

    for kind in flags.kinds():
        end = "" if len(flags.kinds()) == 1 else f"-{kind}"
        mesh, cloud = maps.maps[kind].mesh, maps.maps[kind].cloud
        write_ply(folder / f"mesh{end}.ply", mesh.vertices, mesh.colours, mesh.triangles)
        write_ply(folder / f"cloud{end}.ply", cloud.points, cloud.colours)
    if flags.colmap and maps.image_camera is not None:
        kind = flags.kinds()[-1]
        (folder / "colmap/sparse/0").mkdir(parents=True)
        frames = [row.frame for row in run.rows]
        poses = run.trajectories[kind].T_w_c
        write_model(folder / "colmap", maps.image_camera, frames, poses, maps.maps[kind].cloud)
    meshes = {kind: (maps.maps[kind].mesh, run.trajectories[kind]) for kind in flags.kinds()}
    # The true path has its own scale: where that of the run is another, they cannot be compared.
    truth = run.truth if _unit(run) == "m" else None
    draw_map(meshes, folder / "map.png", flags.max_depth, _unit(run), truth)
    seconds = time.perf_counter() - begun
    numbers = maps.numbers() | {"frames_per_s": maps.frames / seconds}
    content = {"run": str(run.folder), "flags": asdict(flags)} | numbers
    text = json.dumps(strict(content), indent=2, default=str, allow_nan=False) + "\n"
    write_atomically(folder / MAP_FILE, text)
    return numbers


def _make_overlay(flags: MapFlags, run: FinishedRun, frame: int) -> None:
    from vo.tools.mapping.scale_view import CLOUDS, STEP, draw_overlay, overlay
    from vo.tools.progress import progress_bars

    numbers = [row.frame for row in run.rows]
    last = len(numbers) - 1 - (CLOUDS - 1) * STEP
    if last < 0:
        problem = f"has {len(numbers)} frames, an overlay needs {(CLOUDS - 1) * STEP + 1}"
        raise InputError(run.folder, problem)
    if frame not in numbers[: last + 1]:
        remedy = f"give one from {numbers[0]} to {numbers[last]}"
        raise InputError("--overlay", f"no {CLOUDS} frames follow each other from {frame}", remedy)
    path = (flags.out or flags.run) / f"overlay-{frame:06d}.png"
    if path.exists():
        raise InputError(path, "is there already", "remove it, or choose another --out")
    with progress_bars("overlay {}") as show:
        found = overlay(
            run, numbers.index(frame), flags.max_depth, flags.edge, flags.device,
            lambda done: show(run.name, done, CLOUDS),
        )  # fmt: skip
    path.parent.mkdir(parents=True, exist_ok=True)
    draw_overlay(found, _unit(run), path)
    for kind, gap in found.gaps.items():
        console.print(
            f"{kind} poses: depths of neighbours differ by {gap:.3f} {_unit(run)} (median)"
        )
    console.print(
        f"{path}: frames {', '.join(map(str, found.frames))}", soft_wrap=True, markup=False
    )
    if flags.window:
        from vo.tools.mapping.mesh import show_clouds

        kinds = enumerate(found.clouds)
        clouds = [c for n, kind in kinds for c in found.coloured(kind, 3 * flags.max_depth * n)]
        show_clouds(clouds, f"{run.name}: {', and to the right '.join(found.clouds)}")


def _unit(run: FinishedRun) -> str:
    return str(run.metrics.get("unit") or "units of the depth")


if __name__ == "__main__":
    main()
