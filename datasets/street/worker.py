"""One of the processes that draw a sequence: ``python -m vo.datasets.street.worker``.

A process of its own rather than ``multiprocessing``, so that a user's script needs no guard around
its main part. It says one line for each frame that is on the disk.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

from vo.datasets.street.recipe import write_frames


def main() -> None:
    """Draw every ``step``-th frame, as told by one JSON argument."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides when to stop
    job = json.loads(sys.argv[1])
    indices = range(job["first"], job["stop"], job["step"])
    try:
        write_frames(Path(job["folder"]), job["seq"], tuple(job["size"]), indices, _say_done)
    except BrokenPipeError:
        os._exit(1)  # the parent is gone
    except OSError as error:
        print(json.dumps([error.errno, error.strerror]), flush=True)
        sys.exit(1)


def _say_done() -> None:
    print("done", flush=True)


if __name__ == "__main__":
    main()
