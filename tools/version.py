"""Which code this is: the commit of the checkout, where it is one."""

from __future__ import annotations

import subprocess
from pathlib import Path


def commit() -> str:
    """Short hash of the checkout's commit, with ``+`` where files differ from it; else empty."""
    folder = Path(__file__).resolve().parent

    def git(*arguments: str) -> str | None:
        try:
            done = subprocess.run(
                ["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=True
            )
        except (OSError, subprocess.CalledProcessError):
            return None
        return done.stdout.strip()

    # An installed copy may lie inside of somebody else's checkout.
    if git("ls-files", "--error-unmatch", str(Path(__file__).name)) is None:
        return ""
    changed = git("status", "--porcelain", "--untracked-files=no")
    return (git("rev-parse", "--short=12", "HEAD") or "") + ("+" if changed else "")
