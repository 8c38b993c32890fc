"""``python -m vo.tools.benchmark``: what things cost, measured on this machine."""

from __future__ import annotations

import json
import os
import platform
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from vo.datasets.errors import InputError
from vo.tools.benchmarks.ablation import ablation
from vo.tools.benchmarks.depth import depth
from vo.tools.benchmarks.json_file import demand_place
from vo.tools.benchmarks.pairs import pairs
from vo.tools.benchmarks.run import run_speed
from vo.tools.benchmarks.scenes import scenes
from vo.tools.benchmarks.train import train
from vo.tools.compiler import demand_compiler
from vo.tools.console import console, print_table, run
from vo.tools.tables import new_table, number, ratio_table

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rich.table import Table

    from vo.tools.benchmarks.refine_basin import Share
    from vo.tools.benchmarks.refine_rows import Plan, Report, Row

File = Annotated[Path | None, tyro.conf.arg(metavar="FILE")]

app = tyro.extras.SubcommandApp()
app.command(pairs)
app.command(ablation)
app.command(depth)
app.command(scenes)
app.command(name="run")(run_speed)
app.command(train)


def main() -> None:
    """Entry point of ``python -m vo.tools.benchmark``."""
    # What PyTorch's profiler and allocator, and packages in processes of the other way, tell.
    for name, value in (
        ("KINETO_LOG_LEVEL", "99"),
        ("TORCH_CPP_LOG_LEVEL", "ERROR"),
        ("PYTHONWARNINGS", "ignore::FutureWarning"),
    ):
        os.environ.setdefault(name, value)
    run(lambda: app.cli(prog="vo.tools.benchmark", description="Measure what things cost."))


@app.command(name="refine")
def refine(
    quick: bool = False,
    json_file: Annotated[Path | None, tyro.conf.arg(name="json", metavar="FILE")] = None,
    plot: File = None,
    eager_only: bool = False,
    threads: int | None = None,
) -> None:
    """Time, memory and basin of convergence of the pose refinement, beside other ways.

    Everything that is compared runs in turns in this process. The full benchmark takes about eight
    minutes on two cores that are otherwise idle, and takes pairs of the rendered street, which is
    rendered first where it is missing. The name of a ratio says what is over what.

    Example: python -m vo.tools.benchmark refine --quick --json refine.json

    Args:
        quick: one batch size and width of features, in about three minutes, without the basin.
        json_file: file for machine, rows and ratios.
        plot: file (.png) for a plot of the basin, which is then measured even when quick.
        eager_only: leave out compiled code, which needs a C++ compiler and a minute to compile.
        threads: of PyTorch; its own choice when not given. One is steadier where others compute.
    """
    _check_flags(json_file, plot, eager_only, threads)
    _prepare(threads)
    from vo.tools.benchmarks.refine import measure_all

    machine = _machine()
    console.print(", ".join(f"{key} {value}" for key, value in machine.items()), soft_wrap=True)
    with console.status("") as status:
        reports = list(measure_all(_plan(quick, eager_only), lambda what: status.update(what)))
        shares = []
        if plot is not None or not quick:
            status.update("basin of convergence")
            shares = _basin(quick, plot)
    _print(reports, shares)
    if json_file is not None:
        _write(json_file, machine, reports, shares)


def _check_flags(
    json_file: Path | None, plot: Path | None, eager_only: bool, threads: int | None
) -> None:
    """Say at once what would be found out after minutes."""
    for flag, path in (("--json", json_file), ("--plot", plot)):
        demand_place(flag, path)
    if plot is not None and plot.suffix.lower() != ".png":
        raise InputError(f"--plot {plot}", "is no .png", "give a name that ends in .png")
    if threads is not None and threads < 1:
        raise InputError("--threads", f"is {threads}", "give 1 or more")
    if not eager_only:
        demand_compiler("compiled code", "add --eager-only")


def _prepare(threads: int | None) -> None:
    """Load PyTorch as the measurements want it."""
    # What counts memory would else report its own start and stop.
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    import torch

    from vo.tools.training.memory import keep_freed_memory

    keep_freed_memory()  # as vo-train does, for all that is compared
    if threads is not None:
        torch.set_num_threads(threads)


def _plan(quick: bool, eager_only: bool) -> Plan:
    from vo.tools.benchmarks.refine_rows import Plan

    backends = ("eager",) if eager_only else ("eager", "compiled")
    if not quick:
        return Plan(backends=backends, training_backends=backends)
    return Plan(
        seconds=8.0, rounds=2, batches=(1,), channels=(16,), training_batches=(8,),
        backends=backends, training_backends=("eager",), dense_backwards=("unroll",),
    )  # fmt: skip


def _basin(quick: bool, plot: Path | None) -> list[Share]:
    from vo.tools.benchmarks.refine_basin import basin, draw_basin, street_pairs

    shares = basin(street_pairs(12 if quick else 48))
    if plot is not None:
        from vo.atomic import write_atomically

        write_atomically(plot, draw_basin(shares))
    return shares


def _machine() -> dict[str, Any]:
    """What the numbers depend on."""
    import pypose
    import torch

    return {
        "cpu": _cpu_name(),
        "cores": len(os.sched_getaffinity(0)),
        "threads": torch.get_num_threads(),
        "load_before": round(os.getloadavg()[0], 2),
        "torch": torch.__version__,
        "pypose": pypose.__version__,
        "python": platform.python_version(),
        "system": platform.system(),
    }


def _cpu_name() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _print(reports: Iterable[Report], shares: list[Share]) -> None:
    reports = list(reports)
    print_table(_row_table([row for report in reports for row in report.rows]))
    ratios = {name: ratio for report in reports for name, ratio in report.ratios.items()}
    print_table(ratio_table(ratios))
    if shares:
        print_table(_basin_table(shares))


def _row_table(rows: list[Row]) -> Table:
    numbers = (
        "B",
        "C",
        "points",
        "ms",
        "fastest",
        "rounds",
        "MB",
        "iterations",
        "off m",
        "off deg",
    )
    table = new_table(("task", "method", "backend", "variant"), numbers)
    for row in rows:
        s = row.setting
        table.add_row(
            s.task, s.method, s.backend, s.variant, str(s.batch), str(s.channels or "-"),
            "all" if s.points is None else str(s.points), number(row.ms), number(row.fastest_ms),
            str(row.rounds), number(row.peak_mb), number(row.iterations),
            number(row.error_m, 4), number(row.error_deg, 4),
        )  # fmt: skip
    return table


def _basin_table(shares: list[Share]) -> Table:
    numbers = ("start m", "start deg", "pairs", "share", "median m", "median deg")
    table = new_table(("derivative",), numbers)
    for s in shares:
        table.add_row(
            s.derivative, f"{s.off_m:g}", f"{s.off_deg:g}", str(s.pairs), f"{s.share:.2f}",
            f"{s.median_m:.4f}", f"{s.median_deg:.4f}",
        )  # fmt: skip
    return table


def _write(path: Path, machine: dict[str, Any], reports: list[Report], shares: list[Share]) -> None:
    from vo.atomic import write_atomically

    content = {
        "machine": machine,
        "rows": [
            asdict(row.setting) | {k: v for k, v in asdict(row).items() if k != "setting"}
            for report in reports
            for row in report.rows
        ],
        "ratios": {name: ratio for report in reports for name, ratio in report.ratios.items()},
        "basin": [asdict(share) for share in shares],
    }
    write_atomically(path, json.dumps(content, indent=2) + "\n")


if __name__ == "__main__":
    sys.exit(main())
