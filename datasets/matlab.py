"""Arrays of MATLAB files of version 5 to 7, which are no HDF5."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from vo.datasets.camera import Array
from vo.datasets.errors import InputError


def read_matlab(path: Path, name: str) -> Array:
    """The numeric array ``name`` of a file, with at least two dimensions as MATLAB has them.

    Raises:
        InputError: when the file is missing or cannot be read, and when it has no such array.
    """
    from scipy.io import loadmat

    if not path.is_file():
        raise InputError(path, "is a folder" if path.is_dir() else "no such file", "check the path")
    try:
        content = loadmat(str(path), appendmat=False, variable_names=[name])
    except NotImplementedError as error:
        problem = "is a MATLAB file of version 7.3"
        raise InputError(path, problem, "save it with MATLAB's `-v7`") from error
    except Exception as error:  # damage comes as any error: of zlib, of sizes, of unknown types
        problem = "cannot be read as a MATLAB file"
        raise InputError(path, problem, "copy or download it again") from error
    found = content.get(name)
    if found is None:
        raise InputError(path, f"has no variable {name}", "give the file as it was published")
    if not isinstance(found, np.ndarray) or found.dtype.kind not in "iuf":
        raise InputError(path, f"{name} is no array of numbers", "download the file again")
    return found
