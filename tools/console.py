"""How every command talks: one console, one line for an error, one exit code for its kind."""

from __future__ import annotations

import errno
import logging
import os
import re
import sys
import warnings
from collections.abc import Callable
from typing import Any, NoReturn

from rich.console import Console
from rich.table import Table
from rich.text import Text

from vo.datasets.errors import InputError

# What a terminal obeys, what turns the order of letters round, and bytes that are no text.
_COMMANDS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def plain(text: str) -> str:
    """Text of a file, of a folder's name or a checkpoint's card, with what a terminal would obey
    written out: ``\\x1b``."""
    return _COMMANDS.sub(lambda found: ascii(found[0])[1:-1], text)


class PlainConsole(Console):
    """A console that shows text as it is: no part of it is a command to the terminal or to rich."""

    def __init__(self, **options: Any) -> None:
        super().__init__(highlight=False, markup=False, emoji=False, **options)

    def render_str(self, text: str, **options: Any) -> Text:
        """What every printed text and cell of a table goes through."""
        return super().render_str(plain(text), **options)


console = PlainConsole()

BAD_INPUT = 2  # the exit status of tyro, too, for a flag it does not know
FAILED_CHECK = 1
INTERRUPTED = 130


def print_table(table: Table) -> None:
    """Print a table as wide as it is: cut-off numbers would be wrong numbers."""
    PlainConsole(width=table_width(table)).print(table, crop=False)


def table_width(table: Table) -> int:
    """Columns that a table takes when nothing in it is folded."""
    from rich.measure import Measurement

    return Measurement.get(console, console.options.update(max_width=10_000), table).maximum


def run(command: Callable[[], int | None]) -> NoReturn:
    """Run ``command`` and exit with its status (None is 0).

    What a user can put right ends as one line on standard error. An exception that is none of
    these is a defect of the program and keeps its traceback.
    """
    # PyPose's, at import; it tells a user nothing that could be put right.
    warnings.filterwarnings("ignore", ".torch.jit.script. is deprecated", FutureWarning)
    if logging.lastResort is not None:  # prints what the library logs
        logging.lastResort.setFormatter(_PlainFormatter("warning: %(message)s"))
    try:
        status = command() or 0
        sys.stdout.flush()
    except InputError as error:
        status = _fail(str(error))
    except BrokenPipeError:
        # The reader of a pipe (head, less) has gone; keep Python from complaining at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = 0
    except OSError as error:
        status = _fail(_describe(error))
    except KeyboardInterrupt:
        status = _fail("interrupted; nothing half-written was left behind", INTERRUPTED)
    sys.exit(status)


class _PlainFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return plain(super().format(record))


def warn(message: str) -> None:
    """Say what a user should know, as one line on standard error."""
    print("warning: " + plain(" ".join(message.split())), file=sys.stderr)


def _fail(message: str, status: int = BAD_INPUT) -> int:
    print("error: " + plain(" ".join(message.split())), file=sys.stderr)
    return status


def _describe(error: OSError) -> str:
    where = error.filename or "output"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"{where}: the disk is full; free some space or choose another folder"
    return f"{where}: {error.strerror or error}"
