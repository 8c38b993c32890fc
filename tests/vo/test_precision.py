"""When networks compute in bfloat16."""

from __future__ import annotations

import pytest
import torch

from vo.precision import use_bf16


def test_what_is_asked_for_is_done() -> None:
    assert use_bf16("bf16", "cpu")
    assert not use_bf16("fp32", "cpu")


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ({"avx2": True, "avx512_bf16": False, "amx_bf16": False}, False),
        ({"avx2": True, "avx512_bf16": True, "amx_bf16": False}, True),
        ({"avx2": True, "l2_cache_size": 1}, False),
        ({"cpu_name": "AMD EPYC", "avx512_bf16": True, "amx_bf16": False}, True),
        ({"cpu_name": "Intel Xeon", "avx512_bf16": True, "amx_bf16": False}, False),
        ({"cpu_name": "Intel Xeon", "avx512_bf16": True, "amx_bf16": True}, True),
    ],
)
def test_auto_takes_bf16_where_the_processor_is_faster_with_it(
    found: dict, expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: found)
    assert use_bf16("auto", "cpu") == expected
