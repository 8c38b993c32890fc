"""What a command says when it is run in the process of the tests."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import NamedTuple


class Done(NamedTuple):
    """How a command ended: exit status, standard output, standard error."""

    status: object
    out: str
    err: str


Call = Callable[..., Done]  # main, then the words of the command line
Command = Callable[..., Done]  # the words that follow the command's name


def help_and_imports(module: str, *words: str, heavy: set[str]) -> tuple[str, str]:
    """What a command prints for ``words`` and --help in a process of its own, and the list of the
    heavy packages that it has loaded for that."""
    code = (
        f"import sys; sys.argv = {[*words, '--help']!r}\n"
        f"from {module} import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        f"print(sorted({heavy!r} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    text, _, loaded = done.stdout.rstrip("\n").rpartition("\n")
    return text, loaded
