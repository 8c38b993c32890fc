"""How near the encoder comes to what this processor can do at most."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from vo.depth.encoder import Encoder, EncoderConfig
from vo.tools.benchmarks.measure import Call, take_turns

SIDE = 2048  # of the matrices whose product is the yardstick


@dataclass(frozen=True, slots=True)
class Share:
    """Speed of a ResNet-18 forward and backward beside that of a product of large matrices.

    Attributes:
        precision: ``fp32`` or ``bf16``.
        batch: images at a time.
        size: their height and width.
        gflops: of the encoder, 10^9 operations a second.
        peak_gflops: of the product.
        share: of the encoder's speed in the product's, median over rounds.
    """

    precision: str
    batch: int
    size: str
    gflops: float
    peak_gflops: float
    share: float


def encoder_share(precision: str, batch: int, height: int, width: int, seconds: float) -> Share:
    """Measure encoder and product in turns."""
    torch.manual_seed(0)
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    encoder = Encoder(EncoderConfig()).to(memory_format=torch.channels_last)
    image = torch.rand(batch, 3, height, width)
    a, b = torch.rand(2, SIDE, SIDE).to(dtype)

    def learn() -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            deepest: Tensor = encoder(image)[-1]
        deepest.float().sum().backward()

    work = {"encoder": _operations(learn), "product": 2 * SIDE**3}
    calls: dict[str, Call] = {"encoder": learn, "product": lambda: a @ b}
    timings = take_turns(calls, seconds)
    speed = {name: work[name] / timing.median_ms / 1e6 for name, timing in timings.items()}
    share = work["encoder"] / work["product"] / timings["encoder"].over(timings["product"])
    return Share(precision, batch, f"{height}x{width}", speed["encoder"], speed["product"], share)


def _operations(call: Call) -> int:
    """Floating-point operations of a call, two for a multiplication with its sum."""
    with FlopCounterMode(display=False) as counter:
        call()
    return counter.get_total_flops()
