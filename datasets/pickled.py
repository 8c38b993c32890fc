"""Files of ``torch.save``, looked at before torch reads them.

torch inflates what is compressed in them, and lets the pickle of names and shapes ask for bytes by
their number: either way a few bytes become gigabytes.
"""

from __future__ import annotations

import io
import pickletools
import zipfile
from pathlib import Path
from typing import IO

from vo.datasets.errors import InputError
from vo.datasets.plain_file import demand_file

_SAVED = "give a file that torch.save has written"
_MOST_BYTES = 64 * 1024 * 1024  # of names and shapes; tensors lie beside them
_OLD_PICKLES = 5  # at the beginning of a file of the old format, before the tensors
_GROWING = {"builtins bytearray", "__builtin__ bytearray", "_codecs encode"}


def demand_no_growth(path: Path, remedy: str = _SAVED) -> bool:
    """Refuse a file of which more would come than it has bytes.

    Args:
        path: of the file.
        remedy: what to do about one that is refused.

    Returns:
        whether it is a zip file, as torch has written them since 2020, which may be mapped.

    Raises:
        InputError: for such a file, and see `demand_file`. What is damaged otherwise is left to
            torch.
    """
    size = demand_file(path, remedy)
    if not zipfile.is_zipfile(path):
        with path.open("rb") as file:
            begin = io.BytesIO(file.read(_MOST_BYTES))
        if not _calls_nothing_growing(path, begin, _OLD_PICKLES, remedy) and size > _MOST_BYTES:
            raise InputError(path, "is no file of torch.save, or not the whole of it", remedy)
        return False
    try:
        with zipfile.ZipFile(path) as file:
            _check_zip(path, file, size, remedy)
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError) as error:
        problem = "is no file of torch.save, or not the whole of it"
        raise InputError(path, problem, remedy) from error
    return True


def _check_zip(path: Path, file: zipfile.ZipFile, size: int, remedy: str) -> None:
    entries = file.infolist()
    if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
        raise InputError(path, "is compressed, which torch.save does not do", remedy)
    if sum(entry.file_size for entry in entries) > size:
        raise InputError(path, "says that it holds more than its own bytes", remedy)
    for entry in entries:
        if entry.filename.endswith("data.pkl"):
            if entry.file_size > _MOST_BYTES:
                problem = f"has {entry.file_size:,} bytes of names and shapes"
                raise InputError(path, problem, remedy)
            with file.open(entry) as names:
                _calls_nothing_growing(path, names, 1, remedy)


def _calls_nothing_growing(path: Path, file: IO[bytes], pickles: int, remedy: str) -> bool:
    """False where the pickles cannot be read; InputError where they call what grows."""
    for _ in range(pickles):
        try:
            called = {arg for code, arg, _ in pickletools.genops(file) if code.name == "GLOBAL"}
        except Exception:  # damage comes as any error
            return False
        if called & _GROWING:
            what = min(_GROWING & called).replace(" ", ".")
            raise InputError(path, f"calls {what}, which no weights need", remedy)
    return True
