"""Settings survive the way to a file and back; what does not fit is named."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest

from vo.datasets.errors import InputError
from vo.depth.encoder import EncoderConfig
from vo.model import ModelConfig
from vo.refine import RefineConfig
from vo.settings import from_plain, read_yaml, to_plain, write_yaml


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


@dataclass(frozen=True, slots=True)
class Inner:
    rate: float
    count: int = 3
    name: str = "09"

    def __post_init__(self) -> None:
        if self.count < 0:
            raise ValueError(f"count must not be negative, got {self.count}")


@dataclass(frozen=True, slots=True)
class Outer:
    inner: Inner
    active: bool = True
    size: tuple[int, int] = (640, 192)
    widths: tuple[float, ...] = ()
    kernel: Literal["cauchy", "none", 1] = "none"
    file: Path | None = None
    limit: int | str = "all"
    colour: Colour = Colour.RED
    scores: dict[str, float] = field(default_factory=dict)
    parts: tuple[Inner, ...] = ()


FULL = Outer(
    inner=Inner(1e-05, 7, "03"),
    active=False,
    size=(64, 96),
    widths=(0.5, 1e20),
    kernel=1,
    file=Path("größe/yes"),
    limit=4,
    colour=Colour.BLUE,
    scores={"t_rel": 1.5, "lost": float("inf")},
    parts=(Inner(1.0), Inner(2.0, name="no: #1\n")),
)


def read(values: Any) -> Outer:
    return from_plain(Outer, values, "run.yaml")


def message(values: Any) -> str:
    with pytest.raises(InputError) as caught:
        read(values)
    assert caught.value.where == "run.yaml"
    assert caught.value.remedy
    return str(caught.value)


def test_plain_values_are_those_of_yaml_and_json():
    plain = to_plain(FULL)
    assert plain["inner"] == {"rate": 1e-05, "count": 7, "name": "03"}
    assert (plain["size"], plain["file"], plain["colour"]) == ([64, 96], "größe/yes", "blue")
    assert list(plain) == [f.name for f in dataclasses.fields(Outer)]
    assert read(plain) == FULL


def test_a_file_holds_the_fields_in_order_and_gives_them_back(tmp_path):
    path = tmp_path / "config.yaml"
    write_yaml(FULL, path)
    # Names such as 03 and texts such as yes keep their quotes, or YAML would make others of them.
    assert read_yaml(Outer, path) == FULL
    text = path.read_text(encoding="utf-8")
    assert "größe" in text
    assert text.startswith("inner:\n  rate: 1.0e-05\n  count: 7\n  name: '03'\nactive: false\n")
    assert [p.name for p in tmp_path.iterdir()] == ["config.yaml"]


@pytest.mark.parametrize(
    "config",
    [
        ModelConfig(),
        ModelConfig(refine=RefineConfig(iterations=(1, 2), num_points=None, damping=1e-12)),
        EncoderConfig(weights_file=Path("/a/b.safetensors"), normalisation="imagenet"),
    ],
)
def test_the_projects_own_configurations_survive(tmp_path, config):
    write_yaml(config, tmp_path / "config.yaml")
    assert read_yaml(type(config), tmp_path / "config.yaml") == config


def test_numbers_of_numpy_become_plain_ones(tmp_path):
    config = dataclasses.replace(FULL, scores={"a": np.float32(0.5), "b": np.int64(2)})
    plain = to_plain(config)
    assert [type(v) for v in plain["scores"].values()] == [float, int]
    write_yaml(config, tmp_path / "config.yaml")
    assert read_yaml(Outer, tmp_path / "config.yaml").scores == {"a": 0.5, "b": 2.0}


def test_missing_names_take_their_defaults_so_that_older_files_stay_readable():
    assert read({"inner": {"rate": 2}}) == Outer(Inner(2.0))


def test_a_whole_number_becomes_the_float_that_the_field_promises():
    assert type(read({"inner": {"rate": 2}}).inner.rate) is float


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({}, "run.yaml: inner is missing; write it: it has no default"),
        ({"inner": {}}, "run.yaml: inner.rate is missing; write it: it has no default"),
        (
            {"inner": {"rate": 1, "cuont": 2}},
            "run.yaml: unknown name inner.cuont; did you mean count?",
        ),
        (
            {"inner": {"rate": 1, "xyz": 2}},
            "run.yaml: unknown name inner.xyz; known names are rate, count, name",
        ),
        ({3: 4}, "run.yaml: unknown name 3; known names are inner, active, "),
        ([1], "run.yaml: holds [1], not names with values; write names with values"),
        ({"inner": None}, "run.yaml: inner is None, not names with values"),
    ],
)
def test_wrong_names_are_named(values, expected):
    assert message(values).startswith(expected)


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("active", 1, "active is 1, not true or false"),
        ("active", "false", "active is 'false', not true or false"),
        ("size", [64], "size has 1 values; it must have 2"),
        ("size", 64, "size is 64, not a list"),
        ("size", "64", "size is '64', not a list"),
        ("size", [64, 1.0], "size[1] is 1.0, not a whole number"),
        ("size", [64, True], "size[1] is True, not a whole number"),
        ("widths", [1, "x"], "widths[1] is 'x', not a number; write a number"),
        ("widths", [True], "widths[0] is True, not a number"),
        ("widths", [10**400], "widths[0] is 1000000"),
        ("widths", [None], "widths[0] is None, not a number"),
        ("widths", ["1e-4"], "widths[0] is '1e-4', not a number; write it without quotes, and 1e-"),
        ("kernel", "huber", "kernel is 'huber'; choose one of cauchy, none, 1"),
        ("kernel", True, "kernel is True; choose one of cauchy, none, 1"),
        ("kernel", ["none"], "kernel is ['none']; choose one of cauchy, none, 1"),
        ("colour", "green", "colour is 'green'; choose one of red, blue"),
        ("file", 3, "file is 3, not text; write it in quotes"),
        ("limit", 1.5, "limit is 1.5, not a whole number and limit is 1.5, not text"),
        ("limit", None, "limit is None, not a whole number and limit is None, not text"),
        ("scores", {"a": "b"}, "scores.a is 'b', not a number"),
        ("scores", {1: 2.0}, "scores is {1: 2.0}, not names with values"),
        ("parts", [{"rate": 1}, {"rate": "x"}], "parts[1].rate is 'x', not a number"),
        ("inner", {"rate": 1, "count": -1}, "inner: count must not be negative, got -1"),
        ("inner", {"rate": 1, "name": 9}, "inner.name is 9, not text; write it in quotes"),
    ],
)
def test_wrong_values_are_named_by_their_dotted_name(name, value, expected):
    values = {"inner": {"rate": 1.0}} | {name: value}
    with pytest.raises(InputError) as caught:
        read(values)
    assert str(caught.value).startswith(f"run.yaml: {expected}")
    assert len(str(caught.value)) < 250


def test_a_value_that_could_not_be_read_back_is_not_written(tmp_path):
    for config, reason in [
        (dataclasses.replace(FULL, scores={"a": object()}), r"scores\.a is a object"),
        (dataclasses.replace(FULL, size=(1, 2, 3)), r"Outer: size has 3 values"),
        (dataclasses.replace(FULL, widths="12"), r"Outer: widths is '12', not a list"),
    ]:
        with pytest.raises(ValueError, match=reason):
            write_yaml(config, tmp_path / "config.yaml")
    with pytest.raises(ValueError, match="must be a dataclass object"):
        to_plain(Outer)  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


def test_a_field_type_that_is_not_known_is_a_defect_of_the_program():
    @dataclass(frozen=True, slots=True)
    class Odd:
        numbers: set[int]

    with pytest.raises(ValueError, match=r"numbers: fields of type set\[int\] cannot be read"):
        from_plain(Odd, {"numbers": [1]}, "run.yaml")


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"a: [1", "is no YAML; write `name: value`, one a line"),
        (b"\xff\xfe\x00", "is no YAML"),
        (b"<<: 1", "is no YAML"),
        (b"a: " + b"9" * 5000, "is no YAML"),
        (b"!!python/object:os.system {}", "is no YAML"),
        (b"just words", "holds 'just words', not names with values"),
        (b"", "inner is missing"),
        (b"inner: {rate: 1e-4}", "inner.rate is '1e-4', not a number; write it without quotes"),
        (b" " * (1024 * 1024 + 1), "is too large for a file of settings"),
    ],
)
def test_damaged_files_are_named(tmp_path, content, expected):
    path = tmp_path / "config.yaml"
    path.write_bytes(content)
    with pytest.raises(InputError) as caught:
        read_yaml(Outer, path)
    assert str(caught.value).startswith(f"{path}: {expected}")


def test_a_whole_file_lacks_no_field(tmp_path):
    """What a lost line held must not become the default without a word."""
    path = tmp_path / "config.yaml"
    write_yaml(FULL, path)
    assert read_yaml(Outer, path, whole=True) == FULL
    path.write_text(path.read_text().replace("  count: 7\n", ""))
    assert read_yaml(Outer, path).inner.count != 7
    with pytest.raises(InputError, match=r"inner\.count is missing; write it"):
        read_yaml(Outer, path, whole=True)


def test_missing_file_and_folder_are_named(tmp_path):
    with pytest.raises(InputError, match=r"none\.yaml: no such file; give the path"):
        read_yaml(Outer, tmp_path / "none.yaml")
    with pytest.raises(InputError, match="is a folder; give the path"):
        read_yaml(Outer, tmp_path)
    with pytest.raises(InputError, match="there is no folder"):
        write_yaml(FULL, tmp_path / "none" / "config.yaml")


@dataclass(frozen=True)
class Square:
    side: float = 1.0


@dataclass(frozen=True)
class Circle:
    radius: float = 1.0


@dataclass(frozen=True)
class Drawing:
    shape: Square | Circle = field(default_factory=Square)


def test_of_several_configurations_the_file_says_which() -> None:
    assert to_plain(Drawing()) == {"shape": {"side": 1.0}}
    assert to_plain(Drawing(Circle(2))) == {"shape": {"type": "Circle", "radius": 2}}
    for drawing in (Drawing(), Drawing(Square(3.0)), Drawing(Circle())):
        assert from_plain(Drawing, to_plain(drawing), "here") == drawing
    assert from_plain(Drawing, {"shape": {"type": "Square"}}, "here") == Drawing()


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ({"radius": 1.0}, "unknown name shape.radius"),
        ({"type": "Circle", "side": 1.0}, "unknown name shape.side"),
        ({"type": "Cirle"}, "shape.type is 'Cirle'"),
        ({"type": 3}, "shape.type is 3"),
    ],
)
def test_a_configuration_of_another_kind_is_refused(shape: dict, message: str) -> None:
    with pytest.raises(InputError) as error:
        from_plain(Drawing, {"shape": shape}, "here")
    assert message in str(error.value)
