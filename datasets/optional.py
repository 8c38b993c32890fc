"""Files that a recording may have or lack."""

from __future__ import annotations

import os
from pathlib import Path


def is_there(path: Path) -> bool:
    """Whether anything has that name, a folder or a link that leads nowhere included.

    What is no file is then refused by its reader; taken for absent, truth or times would be left
    out without a word.
    """
    return os.path.lexists(path)
