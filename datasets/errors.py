"""The one exception for everything that a user can put right."""

from __future__ import annotations

from pathlib import Path


class InputError(Exception):
    """Something outside the program is wrong: a file, a folder, a flag.

    The message is one line that names the file or flag and the remedy. Commands print it and exit
    with a non-zero status; library users catch it.
    """

    def __init__(self, where: str | Path, problem: str, remedy: str = "") -> None:
        """Build the line ``where: problem; remedy``."""
        self.where = str(where)
        self.problem = problem
        self.remedy = remedy
        super().__init__(f"{where}: {problem}" + (f"; {remedy}" if remedy else ""))

    def __reduce__(self) -> tuple[type[InputError], tuple[str, str, str]]:
        """Pickle by the three parts, so that worker processes can raise it."""
        return (InputError, (self.where, self.problem, self.remedy))
