"""``python -m vo.tools.benchmark depth``: how fast depth networks are, beside a plain forward."""

from __future__ import annotations

import copy
import json
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from vo.datasets.errors import InputError
from vo.tools.benchmarks.json_file import demand_place
from vo.tools.console import console, print_table
from vo.tools.tables import new_table, number, ratio_table

if TYPE_CHECKING:
    from torch import Tensor

    from vo.depth.net import DepthNet
    from vo.depth.self_query_net import SelfQueryDepthNet
    from vo.tools.benchmarks.measure import Timing

PLAIN, OURS = "plain forward, channels first, fp32", "ours"


@dataclass(frozen=True, slots=True)
class Row:
    """A way to compute depth, and what it costs.

    Attributes:
        preset: whose depth network it is.
        method: way to compute it.
        precision: ``fp32`` or ``bf16``.
        parameters: of the network, in millions.
        ms: median time of an image.
        fastest_ms: of the fastest round.
    """

    preset: str
    method: str
    precision: str
    parameters: float
    ms: float
    fastest_ms: float


def depth(
    presets: Annotated[tuple[str, ...], tyro.conf.arg(name="preset", metavar="NAME")] = (
        "spidepth-large",
    ),
    seconds: float = 30.0,
    threads: int | None = None,
    json_file: Annotated[Path | None, tyro.conf.arg(name="json", metavar="FILE")] = None,
) -> None:
    """Time of the depth networks of presets, one image at a time at their own size.

    Beside ours runs a plain forward of the same layers: channels first, float32. bfloat16 is
    measured where this processor is faster with it. They take turns in this process; weights
    are random, which costs as much as learned ones.

    Example: python -m vo.tools.benchmark depth --preset sqldepth-r50 spidepth-large

    Args:
        presets: whose networks, see vo-train --help.
        seconds: no new round begins after so many, once there are three.
        threads: of PyTorch; its own choice when not given.
        json_file: file for rows and ratios.
    """
    import torch

    from vo.precision import use_bf16
    from vo.presets import FROM_A_CHECKPOINT, PRESETS

    demand_place("--json", json_file)
    known = [name for name in PRESETS if name not in FROM_A_CHECKPOINT]
    for name in presets:
        if name not in known:
            remedy = f"known are {', '.join(known)}"
            raise InputError("--preset", f"there is no network of {name!r}", remedy)
    if threads is not None:
        torch.set_num_threads(threads)
    precisions = ("fp32", "bf16") if use_bf16("auto", "cpu") else ("fp32",)
    rows: list[Row] = []
    ratios: dict[str, float] = {}
    for name in presets:
        with console.status(name):
            found = _measure(name, precisions, seconds)
        rows += found[0]
        ratios |= found[1]
    _print(rows, ratios)
    if len(precisions) == 1:
        console.print("this processor has no bfloat16: measured in float32 alone")
    if json_file is not None:
        from vo.atomic import write_atomically

        content = {"rows": [asdict(row) for row in rows], "ratios": ratios}
        write_atomically(json_file, json.dumps(content, indent=2) + "\n")


def _measure(
    name: str, precisions: tuple[str, ...], seconds: float
) -> tuple[list[Row], dict[str, float]]:
    import torch

    from vo.model import Model, with_first_weights
    from vo.presets import preset
    from vo.tools.benchmarks.measure import take_turns

    config = with_first_weights(preset(name).model, pretrained=False)
    plain = Model(config).depth_net.eval()
    net = copy.deepcopy(plain).to(memory_format=torch.channels_last)
    image = torch.rand(1, 3, config.height, config.width)
    calls = {(PLAIN, "fp32"): partial(_plain, plain, image)}
    for precision in precisions:
        calls[OURS, precision] = partial(_ours, net, image, precision == "bf16")
    with torch.inference_mode():
        torch.testing.assert_close(
            calls[OURS, "fp32"](), calls[PLAIN, "fp32"](), rtol=1e-3, atol=1e-3
        )
        timings: dict[tuple[str, str], Timing] = take_turns(calls, seconds)
    millions = sum(p.numel() for p in net.parameters()) / 1e6
    rows = [
        Row(name, method, precision, millions, t.median_ms, t.fastest_ms)
        for (method, precision), t in timings.items()
    ]
    ratios = {
        f"plain_over_ours_time_{name}_{precision}": timings[PLAIN, "fp32"].over(t)
        for (method, precision), t in timings.items()
        if method == OURS
    }
    return rows, ratios


def _ours(net: DepthNet | SelfQueryDepthNet, image: Tensor, bf16: bool) -> Tensor:
    import torch

    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        return net(image).depth


def _plain(net: DepthNet | SelfQueryDepthNet, image: Tensor) -> Tensor:
    """The same layers one after the other, as one writes them first."""
    import torch.nn.functional as F

    from vo.depth.net import DepthNet, disparity_to_depth

    encoder = net.encoder
    features: Any = encoder.backbone((image - encoder.mean) / encoder.std)
    if isinstance(net, DepthNet):
        disparity = net.decoder(features)[0]
        return disparity_to_depth(disparity, net.config.min_depth, net.config.max_depth)
    depth = net.layer(net.map_encoder.decoder(features))
    return F.interpolate(depth, image.shape[-2:], mode="bilinear")


def _print(rows: list[Row], ratios: dict[str, float]) -> None:
    words, numbers = ("preset", "method", "precision"), ("M weights", "ms", "fastest")
    table = new_table(words, numbers)
    for row in rows:
        values = (row.parameters, row.ms, row.fastest_ms)
        table.add_row(row.preset, row.method, row.precision, *map(number, values))
    print_table(table)
    print_table(ratio_table(ratios))
