"""Readers of files that ask for more memory than they are worth."""

from __future__ import annotations

import os
import resource
import signal
from collections.abc import Callable
from pathlib import Path

from vo.datasets.errors import InputError

MOST_MORE_BYTES = 400 * 1024**2
MOST_S = 120


def refusal(read: Callable[[], object]) -> str:
    """What an `InputError` says that ``read`` raises with 400 MB of further memory and two minutes;
    what else came of it in capitals. In a process of its own, which a bomb would take with it."""
    receiver, sender = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(receiver)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(MOST_S)
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        most = pages * resource.getpagesize() + MOST_MORE_BYTES
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
        try:
            read()
            said = "READ"
        except InputError as error:
            said = str(error)
        except BaseException as error:
            said = f"RAISED {type(error).__name__}: {error}"
        os.write(sender, said[:4000].encode())
        os._exit(0)
    os.close(sender)
    with os.fdopen(receiver, "rb") as file:
        said = file.read().decode()
    _, status = os.waitpid(child, 0)
    return said or f"ENDED BY SIGNAL {status & 127}"
