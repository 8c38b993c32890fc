"""Settings in files: frozen dataclasses as plain values, and back, strictly.

What is written can be read again, also by a later version: a name that a file lacks takes its
default. What does not fit is never guessed at; it is one line with the file and the dotted name.
"""

from __future__ import annotations

import dataclasses
import difflib
import numbers
import reprlib
import types
from enum import Enum
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from vo.atomic import write_atomically
from vo.datasets.errors import InputError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Config = TypeVar("Config", bound="DataclassInstance")

_TYPE = "type"  # which of several configurations a dictionary is; the first where it is missing


def to_plain(config: DataclassInstance) -> dict[str, Any]:
    """A configuration as values that YAML and JSON know.

    Nested configurations become dictionaries, tuples lists, paths text, enums their values;
    numbers become Python's own, infinities and NaN included.

    Raises:
        ValueError: naming the field, when it holds something that could not be read back.
    """
    if isinstance(config, type) or not dataclasses.is_dataclass(config):
        raise ValueError(f"a configuration must be a dataclass object, got {_shown(config)}")
    values = _plain(config, "")
    try:
        from_plain(type(config), values, type(config).__name__)
    except InputError as error:
        raise ValueError(f"could not be read back: {error}") from error
    return values


def from_plain(cls: type[Config], values: object, where: str | Path) -> Config:
    """The configuration that `to_plain` gave, or that somebody wrote by hand.

    Known are nested dataclasses, ``bool``, ``int``, ``float``, ``str``, `Path`, enums, ``Literal``,
    ``X | None`` and other unions (of several dataclasses the one that ``type`` names, which is the
    first where it is missing), ``tuple[X, ...]``, ``tuple[X, Y]`` and ``dict[str, X]``. A whole
    number may stand for a ``float``; ``True`` is no number.

    Args:
        cls: the dataclass to build.
        values: a dictionary by field names; a name that is missing takes the field's default.
        where: file or flag that the values came from, for the message.

    Raises:
        InputError: naming ``where`` and the dotted name, when a name is unknown, or missing without
            a default, when a value has another type or is none of the choices, and when the class
            itself refuses the values.
        ValueError: when ``cls`` has a field of a type that is not known here.
    """
    return _read_config(cls, values, where, "")


def write_yaml(config: DataclassInstance, path: str | Path) -> None:
    """Write a configuration as YAML, whole or not at all, fields in their order.

    Raises:
        ValueError: see `to_plain`.
        InputError: when the folder does not exist.
    """
    import yaml

    text = yaml.safe_dump(to_plain(config), sort_keys=False, allow_unicode=True)
    write_atomically(path, text)


def read_yaml(cls: type[Config], path: str | Path, whole: bool = False) -> Config:
    """Read a configuration from YAML.

    Args:
        cls: of the configuration.
        path: file to read.
        whole: demand every field, as `write_yaml` writes them: none is to take its default because
            a line was lost.

    Raises:
        InputError: when there is no such file, when it is no YAML, when a demanded field is
            missing, and see `from_plain`.
    """
    from vo.datasets.plain_yaml import read_plain_yaml

    path = Path(path)
    if not path.is_file():
        problem = "is a folder" if path.is_dir() else "no such file"
        raise InputError(path, problem, "give the path of a YAML file with settings")
    values = read_plain_yaml(path, "a file of settings", "write `name: value`, one a line")
    config = from_plain(cls, {} if values is None else values, path)
    if whole and (missing := _missing(to_plain(config), values or {})):
        name, default = missing
        raise InputError(path, f"{name} is missing", f"write it, if need be its default: {default}")
    return config


def _missing(
    plain: dict[str, Any], values: dict[str, Any], key: str = ""
) -> tuple[str, Any] | None:
    """The first entry of ``plain`` that ``values`` lacks, by its full name, and what it is."""
    for name, value in plain.items():
        full = _joined(key, name)
        if name not in values:
            return full, value
        inner = values[name]
        nested = isinstance(value, dict) and isinstance(inner, dict)
        if nested and (found := _missing(value, inner, full)):
            return found
    return None


def _plain(value: Any, key: str) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _plain_config(value, key)
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, PurePath):
        return str(value)
    if isinstance(value, tuple | list):
        return [_plain(item, f"{key}[{i}]") for i, item in enumerate(value)]
    if isinstance(value, dict):
        return {name: _plain(item, _joined(key, name)) for name, item in value.items()}
    if value is None or isinstance(value, bool | str):
        return value
    # NumPy's numbers are such, too, and neither YAML nor JSON takes all of them.
    if isinstance(value, numbers.Integral):
        return int(value)
    if isinstance(value, numbers.Real):
        return float(value)
    raise ValueError(f"{key} is a {type(value).__name__}, which is no value for a file")


def _plain_config(value: DataclassInstance, key: str) -> dict[str, Any]:
    kinds = get_type_hints(type(value))
    plain = {}
    for field in dataclasses.fields(value):
        if not field.init:
            continue
        item = getattr(value, field.name)
        plain[field.name] = _plain(item, _joined(key, field.name))
        classes = _configurations(get_args(kinds[field.name]))
        if type(item) in classes[1:]:  # the first is what a file without a type means
            plain[field.name] = {_TYPE: type(item).__name__, **plain[field.name]}
    return plain


def _configurations(kinds: tuple[Any, ...]) -> list[type[Any]]:
    """The dataclasses among types."""
    return [kind for kind in kinds if isinstance(kind, type) and dataclasses.is_dataclass(kind)]


def _read_config(cls: type[Config], values: object, where: str | Path, key: str) -> Config:
    if not isinstance(values, dict):
        raise _refusal(where, key, values, "names with values")
    fields = {field.name: field for field in dataclasses.fields(cls) if field.init}
    for name in values:
        if name not in fields:
            raise _unknown(where, key, name, list(fields))
    kinds = get_type_hints(cls)
    arguments = {}
    for name, field in fields.items():
        full = _joined(key, name)
        if name in values:
            arguments[name] = _read(kinds[name], values[name], where, full)
        elif field.default is field.default_factory is dataclasses.MISSING:
            raise InputError(where, f"{full} is missing", "write it: it has no default")
    try:
        return cls(**arguments)
    except ValueError as error:
        raise InputError(where, f"{key or 'these settings'}: {error}") from error


def _read(kind: Any, value: Any, where: str | Path, key: str) -> Any:
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        return _read_config(kind, value, where, key)
    origin, parts = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        return _read_union(parts, value, where, key)
    if origin is Literal:
        return _read_choice(parts, value, where, key)
    if isinstance(kind, type) and issubclass(kind, Enum):
        return kind(_read_choice([choice.value for choice in kind], value, where, key))
    if origin is tuple:
        return _read_tuple(parts, value, where, key)
    if origin is dict and parts[0] is str:
        return _read_dict(parts[1], value, where, key)
    return _read_scalar(kind, value, where, key)


def _read_scalar(kind: Any, value: Any, where: str | Path, key: str) -> Any:
    if kind is bool:
        if isinstance(value, bool):
            return value
        raise _refusal(where, key, value, "true or false")
    if kind is int:
        if isinstance(value, int) and not isinstance(value, bool):
            return value
        raise _refusal(where, key, value, "a whole number")
    if kind is float:
        return _read_float(value, where, key)
    if kind is str or kind is Path:
        if isinstance(value, str):
            return kind(value)
        raise _refusal(where, key, value, "text", "write it in quotes")
    if kind is type(None):
        if value is None:
            return None
        raise _refusal(where, key, value, "null")
    raise ValueError(f"{key}: fields of type {kind} cannot be read from a file")


def _read_float(value: Any, where: str | Path, key: str) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool):
        try:
            return float(value)
        except OverflowError:
            raise _refusal(where, key, value, "a number of usual size") from None
    remedy = ""
    if isinstance(value, str) and _is_number(value):
        remedy = "write it without quotes, and 1e-4 as 1.0e-4, which YAML takes for a number"
    raise _refusal(where, key, value, "a number", remedy)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _read_choice(choices: Any, value: Any, where: str | Path, key: str) -> Any:
    for choice in choices:
        if type(choice) is type(value) and choice == value:  # True == 1, yet is another choice
            return value
    remedy = f"choose one of {', '.join(map(str, choices))}"
    raise InputError(where, f"{key} is {_shown(value)}", remedy)


def _read_union(kinds: tuple[Any, ...], value: Any, where: str | Path, key: str) -> Any:
    """The first of several types that takes the value."""
    if value is None and type(None) in kinds:
        return None
    classes = _configurations(kinds)
    if len(classes) > 1 and isinstance(value, dict):
        names = [cls.__name__ for cls in classes]
        rest = {name: item for name, item in value.items() if name != _TYPE}
        name = _read_choice(names, value.get(_TYPE, names[0]), where, _joined(key, _TYPE))
        return _read_config(classes[names.index(name)], rest, where, key)
    kinds = tuple(kind for kind in kinds if kind is not type(None))
    refusals = []
    for kind in kinds:
        try:
            return _read(kind, value, where, key)
        except InputError as refusal:
            refusals.append(refusal)
    if len(refusals) == 1:
        raise refusals[0]
    reasons = " and ".join(dict.fromkeys(refusal.problem for refusal in refusals))
    raise InputError(where, reasons, refusals[0].remedy)


def _read_tuple(kinds: tuple[Any, ...], value: Any, where: str | Path, key: str) -> Any:
    if not isinstance(value, list | tuple):
        raise _refusal(where, key, value, "a list", "write [a, b, ...]")
    if len(kinds) == 2 and kinds[1] is Ellipsis:
        kinds = (kinds[0],) * len(value)
    if len(value) != len(kinds):
        problem = f"{key} has {len(value)} values"
        raise InputError(where, problem, f"it must have {len(kinds)}")
    items = zip(kinds, value, strict=True)
    return tuple(_read(kind, item, where, f"{key}[{i}]") for i, (kind, item) in enumerate(items))


def _read_dict(kind: Any, value: Any, where: str | Path, key: str) -> dict[str, Any]:
    if not isinstance(value, dict) or not all(isinstance(name, str) for name in value):
        raise _refusal(where, key, value, "names with values")
    return {name: _read(kind, item, where, _joined(key, name)) for name, item in value.items()}


def _unknown(where: str | Path, key: str, name: object, known: list[str]) -> InputError:
    close = difflib.get_close_matches(name, known, n=1) if isinstance(name, str) else []
    remedy = f"did you mean {close[0]}?" if close else f"known names are {', '.join(known)}"
    shown = _joined(key, name if isinstance(name, str) and len(name) <= 60 else _shown(name))
    return InputError(where, f"unknown name {shown}", remedy)


def _refusal(
    where: str | Path, key: str, value: object, wanted: str, remedy: str = ""
) -> InputError:
    problem = f"{key} is {_shown(value)}" if key else f"holds {_shown(value)}"
    return InputError(where, f"{problem}, not {wanted}", remedy or f"write {wanted}")


def _joined(key: str, name: object) -> str:
    return f"{key}.{name}" if key else str(name)


def _shown(value: object) -> str:
    """A value of any kind in a few characters, without building a text of its full length."""
    try:
        text = reprlib.repr(value)
    except (ValueError, RecursionError):  # a number of thousands of digits has no repr
        return f"a {type(value).__name__} too long to show"
    return text if len(text) <= 60 else text[:57] + "..."
