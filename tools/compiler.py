"""The C++ compiler that compiled code on a processor needs."""

from __future__ import annotations

import os
import shutil

from vo.datasets.errors import InputError


def demand_compiler(where: str, remedy: str) -> None:
    """Refuse to compile where nothing can.

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
