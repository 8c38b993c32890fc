"""Whether networks compute in bfloat16. Commands list the choices before PyTorch is loaded."""

from __future__ import annotations

from typing import Literal

Precision = Literal["auto", "fp32", "bf16"]
"""Of the networks' arithmetic: float32, bfloat16 under autocast, or bfloat16 where it is faster."""


def use_bf16(precision: Precision, device: str) -> bool:
    """Whether to compute in bfloat16; ``auto`` does where the device is faster so.

    A CPU without instructions for it emulates bfloat16, at several times the cost of float32. On
    Intel's only AMX is faster: with AVX512-BF16 alone, as virtual machines often have it, a matrix
    product ran at 0.57 times the speed of float32.
    """
    if precision != "auto":
        return precision == "bf16"
    import torch

    if torch.device(device).type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    found = torch.cpu.get_capabilities()  # names such as avx512_bf16 or amx_bf16: whether it has it
    is_intel = "Intel" in str(found.get("cpu_name"))
    fast = ("amx_bf16",) if is_intel else [name for name in found if name.endswith("bf16")]
    return any(found.get(name) for name in fast)
