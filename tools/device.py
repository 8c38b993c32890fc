"""The device that PyTorch computes on."""

from __future__ import annotations

from vo.datasets.errors import InputError


def demand_device(name: str) -> None:
    """Refuse a device that torch cannot use here.

    Raises:
        InputError: naming --device.
    """
    import torch

    try:
        torch.zeros(1, device=name).item()
    except (RuntimeError, AssertionError, NotImplementedError) as error:  # as each device likes it
        problem = f"there is no {name!r} here"
        raise InputError("--device", problem, "give cpu, or a GPU that torch can use") from error
