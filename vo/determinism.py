"""The same bits from the same input, on the same machine, versions and number of threads."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager

from vo.datasets.errors import InputError

_WORKSPACE = "CUBLAS_WORKSPACE_CONFIG"


@contextmanager
def deterministic(enabled: bool) -> Iterator[None]:
    """Let PyTorch compute with deterministic operations alone; settings come back at the end.

    Args:
        enabled: False changes nothing.

    Raises:
        InputError: naming --deterministic, when an operation has no deterministic form.
    """
    if not enabled:
        yield
        return
    import torch

    workspace = os.environ.get(_WORKSPACE)
    before = (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
    )
    os.environ[_WORKSPACE] = ":4096:8"  # read when cuBLAS starts; without it torch refuses
    torch.use_deterministic_algorithms(True)
    try:
        yield
    except RuntimeError as error:
        found = re.match(r"(\S+) does not have a deterministic implementation", str(error))
        if found is None:
            raise
        problem = f"{found[1]} has no deterministic form on this device"
        raise InputError("--deterministic", problem, "add --device cpu, or leave it out") from error
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])
        if workspace is None:
            del os.environ[_WORKSPACE]
        else:
            os.environ[_WORKSPACE] = workspace
