"""What a command says when it is run in the process of the tests."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple


class Done(NamedTuple):
    """How a command ended: exit status, standard output, standard error."""

    status: object
    out: str
    err: str


Call = Callable[..., Done]  # main, then the words of the command line
Command = Callable[..., Done]  # the words that follow the command's name
