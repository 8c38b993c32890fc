"""Checkpoints: one safetensors file with the weights, the configuration and the card of a model.

The file holds no code, and what it needs to be built again is in its header: one metadata entry
with JSON, so that equal models give equal files, byte for byte.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from vo.atomic import write_atomically
from vo.datasets.errors import InputError
from vo.model import Model, ModelConfig, with_first_weights
from vo.settings import from_plain, to_plain

Supervision = Literal["M", "S", "MS", "metric", "metric+M", "metric+S", "metric+MS", "none"]
"""What a model learned from: neighbouring frames of one camera (M), the other camera of a stereo
pair (S), both (MS), or true depth and pose (metric). ``metric+M`` was first taught with true depth
and pose and then trained without; ``none`` is untrained or imported from an unknown source."""

SHIPPED = Path(__file__).with_name("checkpoints")
"""Folder of the checkpoints that are installed with the package."""

_ENTRY = "scale-aligned-vo"  # name of the metadata entry
_VERSION = 1
_MOST_HEADER_BYTES = 100_000_000  # that safetensors reads
_WRITTEN_BY = "give a checkpoint that this toolkit has written"


@dataclass(frozen=True, slots=True)
class Card:
    """What one should know of a model before using it.

    Attributes:
        name: of the model, for tables.
        preset: settings that it was trained with.
        supervision: what it learned from, see `Supervision`.
        trained_on: sequences it has seen, or the name of a published split.
        split_hash: hash of the split list; empty where there was none.
        images_seen: target images in training, repeats counted.
        commit: of the code that trained it.
        licence: of the weights.
        metric: whether depth and poses are in metres; in free scene units otherwise.
        notes: anything else, in prose.
        metrics: numbers of its validation, by name with unit: ``refined_t_rel_percent``.
        bootstrap: where the first weights came from and what those had been taught on, with data
            and budget; empty where they were random.
    """

    name: str
    preset: str
    supervision: Supervision
    trained_on: tuple[str, ...]
    split_hash: str
    images_seen: int
    commit: str
    licence: str
    metric: bool
    notes: str = ""
    metrics: dict[str, float] = field(default_factory=dict)
    bootstrap: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Checkpoint:
    """A model as it was read from a file.

    Attributes:
        model: in evaluation mode, float32, on the device asked for.
        card: what the file says of it.
        path: the file.
        sha256: first 12 hexadecimal digits of the file's SHA-256.
    """

    model: Model
    card: Card
    path: Path
    sha256: str


def save_checkpoint(
    path: str | Path, model: Model, card: Card, dtype: torch.dtype | None = None
) -> None:
    """Write a model and its card, whole or not at all.

    Args:
        path: file to write; an old one is replaced.
        model: on any device, in any mode. Where its first weights came from is not kept in the
            configuration: loading needs no other file and fetches nothing.
        card: what to say of it.
        dtype: type that floating weights are stored in, such as ``torch.float16``; None keeps
            theirs. Counters stay whole numbers.

    Raises:
        ValueError: when a weight is not finite, or not within the range of ``dtype``; when the card
            holds a value of a wrong type.
        InputError: when the folder does not exist.
    """
    if dtype is not None and not dtype.is_floating_point:
        raise ValueError(f"dtype must be a floating type, got {dtype}")
    # torch.compile puts a name of its own in between.
    own = {key.replace("_orig_mod.", ""): value for key, value in model.state_dict().items()}
    weights = {key: _stored(key, value, dtype) for key, value in own.items()}
    content = {
        "version": _VERSION,
        "config": to_plain(with_first_weights(model.config, pretrained=False)),
        "card": to_plain(card),
    }
    metadata = {_ENTRY: json.dumps(content)}
    write_atomically(path, safetensors.torch.save(weights, metadata))


def load_checkpoint(where: str | Path, device: str | torch.device = "cpu") -> Checkpoint:
    """Read a model. Nothing is fetched, and torch's random numbers go on as if it had not been.

    Args:
        where: a file, or the name of a checkpoint that is installed with the package.
        device: where the model shall be.

    Raises:
        InputError: when there is no such file, when it is damaged, foreign or of a later format,
            and when its weights do not fit its configuration to the last key and shape.
    """
    path = find_checkpoint(where)
    # First without memory: a file may ask for networks of any size, and holds those of one.
    expected, _ = read_card(path)
    own = _build(path, expected, "meta").state_dict()
    _check_size(path, own)
    # Read once: hash, card and weights are of one file, also while another takes its place.
    data = path.read_bytes()
    try:
        weights = safetensors.torch.load(data)
    except (safetensors.SafetensorError, KeyError) as error:  # KeyError: a type torch does not have
        raise _no_checkpoint(path) from error
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    config, card = _read_content(path, header.get("__metadata__"))
    if config != expected:  # another has taken its place just now
        own = _build(path, config, "meta").state_dict()
    _check_fit(path, weights, own)
    model = _build(path, config)
    model.load_state_dict(weights, strict=True)
    sha256 = hashlib.sha256(data).hexdigest()[:12]
    return Checkpoint(model.eval().to(device), card, path, sha256)


def read_card(where: str | Path) -> tuple[ModelConfig, Card]:
    """Configuration and card alone, from the file's header.

    Args:
        where: a file, or the name of a checkpoint that is installed with the package.

    Raises:
        InputError: when there is no such file, or it is damaged, foreign or of a later format.
    """
    path = find_checkpoint(where)
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            metadata = file.metadata()
    except safetensors.SafetensorError as error:
        raise _no_checkpoint(path) from error
    return _read_content(path, metadata)


def find_checkpoint(name: str | Path) -> Path:
    """The file of a checkpoint.

    Args:
        name: a path, taken as it is where it exists; otherwise a bare file name among those that
            are installed with the package.

    Raises:
        InputError: when there is neither, with the names of those that are installed.
    """
    path = Path(name)
    if path.is_file():
        return path
    if path.is_dir():
        raise InputError(path, "is a folder", "give the checkpoint file in it")
    if path.name == str(name) and (SHIPPED / path).is_file():
        return SHIPPED / path
    names = sorted(file.name for file in SHIPPED.glob("*.safetensors"))
    shipped = f"one that is installed: {', '.join(names)}" if names else "none is installed"
    raise InputError(name, "no such checkpoint", f"give the path of a file, or {shipped}")


def _stored(key: str, value: Tensor, dtype: torch.dtype | None) -> Tensor:
    value = value.detach().cpu().contiguous()
    if not value.is_floating_point():
        return value
    if not value.isfinite().all():
        raise ValueError(f"{key} is not finite: the model is not worth keeping")
    stored = value if dtype is None else value.to(dtype)
    if not stored.isfinite().all():
        largest = value.abs().max().item()
        raise ValueError(f"{key} reaches {largest:g}, beyond the range of {dtype}")
    return stored


def _read_content(path: Path, metadata: dict[str, str] | None) -> tuple[ModelConfig, Card]:
    if metadata is None or _ENTRY not in metadata:
        problem = "is a safetensors file without the configuration of a model"
        raise InputError(path, problem, _WRITTEN_BY)
    try:
        content: Any = json.loads(metadata[_ENTRY])
    except (ValueError, RecursionError) as error:
        raise InputError(path, "its configuration is no JSON", _WRITTEN_BY) from error
    version = content.get("version") if isinstance(content, dict) else None
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise InputError(path, "its configuration has no version", _WRITTEN_BY)
    if version > _VERSION:
        problem = f"has format {version}, this version of the toolkit reads up to {_VERSION}"
        raise InputError(path, problem, "install a newer version of scale-aligned-vo")
    if not {"config", "card"} <= content.keys():
        raise InputError(path, "lacks its configuration or its card", _WRITTEN_BY)
    config = from_plain(ModelConfig, content["config"], path)
    # Also for a file from elsewhere: loading never reaches for the network or another file.
    return with_first_weights(config, pretrained=False), from_plain(Card, content["card"], path)


def _build(path: Path, config: ModelConfig, device: str = "cpu") -> Model:
    try:
        with torch.random.fork_rng(devices=[]), torch.device(device):
            return Model(config)
    # The words of torch for impossible channels are RuntimeError, those of our nets the other two.
    except (InputError, ValueError, RuntimeError) as error:
        problem = f"its networks cannot be built here ({' '.join(str(error).split())[:300]})"
        raise InputError(path, problem, "check the versions of timm and of this toolkit") from error


def _check_size(path: Path, own: dict[str, Tensor]) -> None:
    """Refuse a file of more bytes than its networks have weights, before it is read."""
    most = _MOST_HEADER_BYTES + sum(8 * value.numel() for value in own.values())
    if path.stat().st_size > most:
        problem = f"has {path.stat().st_size:,} bytes, more than its networks have weights"
        raise InputError(path, problem, _WRITTEN_BY)


def _check_fit(path: Path, weights: dict[str, Tensor], own: dict[str, Tensor]) -> None:
    problems = [f"{key} is missing" for key in own if key not in weights]
    problems += [f"{key} is not part of the model" for key in weights if key not in own]
    for key, value in weights.items():
        if key not in own:
            continue
        if value.shape != own[key].shape:
            shape = f"{tuple(value.shape)} instead of {tuple(own[key].shape)}"
            problems.append(f"{key} is {shape}")
        elif value.is_floating_point() != own[key].is_floating_point() or value.is_complex():
            problems.append(f"{key} holds {value.dtype} instead of {own[key].dtype}")
        elif value.is_floating_point() and not value.float().isfinite().all():
            problems.append(f"{key} is not finite")
    if problems:
        problem = f"its weights do not fit its configuration: {problems[0]}"
        if len(problems) > 1:
            problem += f", and {len(problems) - 1} more such differences"
        raise InputError(path, problem, _WRITTEN_BY)


def _no_checkpoint(path: Path) -> InputError:
    return InputError(path, "is no safetensors file, or not the whole of it", _WRITTEN_BY)
