"""Files with published weights: read without running anything in them, written whole or not at all.

monodepth2, SQLdepth and SPIdepth save a folder with one file for each network; what SQLdepth and
SPIdepth have fine-tuned on true depth is one ``.pt`` file without a pose network.
"""

from __future__ import annotations

import errno
import hashlib
import io
import pickle
import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vo.atomic import new_folder, write_atomically
from vo.datasets.errors import InputError
from vo.datasets.pickled import demand_no_growth

ENCODER, DEPTH, POSE, POSE_ENCODER = "encoder.pth", "depth.pth", "pose.pth", "pose_encoder.pth"

WRONG = "give published weights of this very architecture"

_SAVED = "give weights that torch.save has written"
# Prefixes in a fine-tuned file: there the two networks are parts of one.
_FINETUNED = {ENCODER: "encoder.", DEPTH: "depth_decoder."}
_PICKLE_ERRORS = (
    # What torch and pickle let through for damaged data: pickle documents that there is no list.
    *(pickle.UnpicklingError, RuntimeError, EOFError, struct.error, ImportError, MemoryError),
    *(ValueError, TypeError, AttributeError, LookupError, ArithmeticError, AssertionError),
)


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """What a file says of one network.

    Attributes:
        path: the file.
        values: key -> tensor, or a plain value such as the image's height; without ``module.`` of
            DataParallel, and with timm's names for a backbone that gives features.
        prefix: what stands before each key in the file; for messages.
    """

    path: Path
    values: Mapping[str, object]
    prefix: str = ""

    def __contains__(self, key: str) -> bool:
        """Whether there is a tensor of that name."""
        return isinstance(self.values.get(key), Tensor)

    def shape(self, key: str, ndim: int) -> tuple[int, ...]:
        """Shape of a tensor that must be there with ``ndim`` dimensions.

        Raises:
            InputError: when it is not.
        """
        value = self.values.get(key)
        if not isinstance(value, Tensor):
            raise self.error(f"{self.prefix}{key} is missing")
        if value.ndim != ndim or 0 in value.shape:
            wanted = f"instead of {ndim} dimensions"
            raise self.error(f"{self.prefix}{key} is {tuple(value.shape)} {wanted}")
        return tuple(value.shape)

    def count(self, pattern: str) -> int:
        """How many of ``pattern.format(0)``, ``pattern.format(1)``, ... are there."""
        number = 0
        while pattern.format(number) in self:
            number += 1
        return number

    def error(self, problem: str, remedy: str = WRONG) -> InputError:
        """An error of this file, to be raised."""
        return InputError(self.path, problem, remedy)


def read_folder(folder: Path, pose: Path | None = None) -> dict[str, Table]:
    """The networks in a published folder.

    Args:
        folder: with ``encoder.pth``, ``depth.pth``, ``pose.pth`` and, of monodepth2,
            ``pose_encoder.pth``; everything else in it is passed over.
        pose: folder or file of another pose network; see `read_pose`.

    Returns:
        file name -> what it holds.

    Raises:
        InputError: when one of them is missing or cannot be read.
    """
    if not folder.is_dir():
        problem = "is a file" if folder.exists() else "no such folder"
        raise InputError(folder, problem, "give the folder of encoder.pth, depth.pth and pose.pth")
    tables = {name: _read_table(folder / name) for name in (ENCODER, DEPTH)}
    if pose is None and not (folder / POSE).exists():
        remedy = "a model has a pose network: name the folder or file of one with --pose"
        raise InputError(folder / POSE, "no such file", remedy)
    return tables | read_pose(folder if pose is None else pose)


def read_finetuned(where: Path, pose: Path | None) -> dict[str, Table]:
    """The networks in a file of fine-tuned weights, with a pose network from elsewhere.

    Args:
        where: a ``.pt`` file, or a folder that holds only one.
        pose: folder or file of the pose network; see `read_pose`.

    Returns:
        file name, as if they lay in a folder -> what it holds.

    Raises:
        InputError: when there is no such file, when it is damaged or none of fine-tuned weights,
            and when there is no pose network.
    """
    path = _only_file(where)
    content = read_plain(path)
    model = content.get("model")
    if not isinstance(model, dict):
        remedy = "give the file that fine-tuning has written, with model, optimizer and epoch"
        raise InputError(path, "holds no model", remedy)
    parts: dict[str, dict[str, object]] = {name: {} for name in _FINETUNED}
    for key, value in _named(path, model).items():
        found = [name for name, prefix in _FINETUNED.items() if key.startswith(prefix)]
        if not found:
            raise InputError(path, f"{key} is not part of it", WRONG)
        parts[found[0]][key.removeprefix(_FINETUNED[found[0]])] = value
    if pose is None:
        remedy = "name the folder or file of one with --pose"
        raise InputError(path, "fine-tuned weights have no pose network", remedy)
    tables = {name: Table(path, _flat(part), _FINETUNED[name]) for name, part in parts.items()}
    return tables | read_pose(pose)


def read_pose(where: Path) -> dict[str, Table]:
    """A pose network: ``pose.pth``, and ``pose_encoder.pth`` where that lies beside it.

    Args:
        where: the folder, or the file ``pose.pth`` under any name.

    Raises:
        InputError: when there is none, or it cannot be read.
    """
    path = where / POSE if where.is_dir() else where
    tables = {POSE: _read_table(path)}
    encoder = path.with_name(POSE_ENCODER)
    if encoder.exists() and "net.0.weight" in tables[POSE]:
        tables[POSE_ENCODER] = _read_table(encoder)
    return tables


def read_plain(path: Path) -> dict[str, object]:
    """What ``torch.save`` has written, as long as it is tensors and plain values by name.

    A pickle is a program. Nothing but the making of tensors, numbers, text and their collections
    is executed: anything else in the file is refused, and so is what would take more memory than
    the file has bytes.

    Raises:
        InputError: when there is no such file, when it is damaged, and when it holds anything else.
    """
    is_zip = demand_no_growth(path, _SAVED)
    try:
        # What is mapped is read only where it is looked at: in a file of terabytes, nowhere.
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=is_zip)
    except (OSError, *_PICKLE_ERRORS) as error:
        # A file that is cut off is also read before its beginning.
        if isinstance(error, OSError) and error.errno != errno.EINVAL:
            raise
        raise _damaged(path, str(error)) from error
    if not isinstance(content, dict):
        raise InputError(path, f"holds a {type(content).__name__}, no tensors by name", WRONG)
    return content


def image_size(encoder: Table) -> tuple[int, int] | None:
    """(width, height) in pixels that published weights were trained at, where the file says so."""
    width, height = encoder.values.get("width"), encoder.values.get("height")
    return (width, height) if isinstance(width, int) and isinstance(height, int) else None


def file_hash(path: Path) -> str:
    """First 12 hexadecimal digits of a file's SHA-256."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:12]


def write_folder(folder: Path, files: Mapping[str, Mapping[str, object]]) -> None:
    """Write files of ``torch.save``, all or none: under another name beside, which is then taken.

    Args:
        folder: new, or empty.
        files: file name -> key -> tensor or plain value.

    Raises:
        InputError: when the folder holds something, or its parent does not exist.
        OSError: when the disk is full or cannot be written to.
    """
    demand_free_folder(folder)
    with new_folder(folder) as part:
        for name, content in files.items():
            buffer = io.BytesIO()
            torch.save(dict(content), buffer)
            write_atomically(part / name, buffer.getvalue())


def demand_free_folder(folder: Path) -> None:
    """Refuse a folder that cannot become a new one.

    Raises:
        InputError: when it is a file or holds something, and when there is no folder around it.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        problem = "holds something already" if folder.is_dir() else "is a file"
        raise InputError(folder, problem, "choose a new folder, or an empty one")
    if not folder.absolute().parent.is_dir():
        raise InputError(folder, f"there is no folder {folder.parent}", "create it first")


def _damaged(path: Path, reason: str) -> InputError:
    found = re.search(r"GLOBAL ([\w.]+)|Unsupported class ([\w.]+)", reason)
    if found is None:
        problem = "is no file of torch.save, or not the whole of it"
        return InputError(path, problem, "get it anew")
    problem = f"holds code ({found[1] or found[2]}), none of which was run"
    return InputError(path, problem, "save its state_dict() alone, tensors by name")


def _read_table(path: Path) -> Table:
    return Table(path, _flat(_named(path, read_plain(path))))


def _named(path: Path, content: Mapping[Any, object]) -> dict[str, object]:
    """Content by names that are text, without ``module.`` of DataParallel."""
    named: dict[str, object] = {}
    for key, value in content.items():
        if not isinstance(key, str):
            raise InputError(path, "its names are no text", WRONG)
        named[key.removeprefix("module.")] = value
    return named


def _flat(content: Mapping[str, object]) -> dict[str, object]:
    """timm calls ``stem.0`` and ``stages.1`` of a whole model ``stem_0`` and ``stages_1`` in one
    that gives features; either may have been saved."""
    dotted = re.compile(r"^((?:encoder\.)*(?:stem|stages))\.(\d+)\.")
    return {dotted.sub(r"\1_\2.", key): value for key, value in content.items()}


def _only_file(where: Path) -> Path:
    if not where.is_dir():
        return where
    found = sorted(where.glob("*.pt"))
    if len(found) != 1:
        raise InputError(where, f"holds {len(found)} .pt files", "name the one to import")
    return found[0]
