"""The C++ compiler that compiled code on a processor needs."""

from __future__ import annotations

import logging
import os
import shutil
import warnings

from vo.datasets.errors import InputError


def demand_compiler(where: str, remedy: str) -> None:
    """Refuse to compile where nothing can; where it can, let it say nothing of its own insides.

    Args:
        where: the flag that asks for it.
        remedy: what to do instead of installing one.

    Raises:
        InputError: naming it.
    """
    compilers = (os.environ.get("CXX") or "g++", "clang++")
    if not any(map(shutil.which, compilers)):
        problem = f"needs a C++ compiler, and there is no {' or '.join(compilers)}"
        raise InputError(where, problem, f"install one, or {remedy}")
    warnings.filterwarnings("ignore", category=FutureWarning, module=r"torch\._inductor")
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)
