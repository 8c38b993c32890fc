"""A checkpoint gives back the very model, or says what is wrong with the file."""

from __future__ import annotations

import dataclasses
import errno
import hashlib
import json
import os
from pathlib import Path

import pytest
import safetensors
import safetensors.torch
import timm
import torch
from torch import Tensor

from vo import checkpoint
from vo.checkpoint import Card, find_checkpoint, load_checkpoint, read_card, save_checkpoint
from vo.datasets.errors import InputError
from vo.depth.encoder import EncoderConfig
from vo.depth.feature_net import FeatureConfig
from vo.depth.net import DepthConfig
from vo.model import Model, ModelConfig
from vo.pose_net import PoseConfig
from vo.refine import RefineConfig

ENTRY = "scale-aligned-vo"
CONFIG = ModelConfig(
    width=64,
    height=64,
    depth=DepthConfig(EncoderConfig("regnetx_002"), decoder_channels=(8, 8, 8, 16, 16), scales=2),
    pose=PoseConfig(EncoderConfig("regnetx_002", in_channels=6), hidden=8, motions=1),
    features=FeatureConfig(channels=4, levels=2),
    refine=RefineConfig(iterations=(3, 4), kernel="huber"),
)
CARD = Card(
    name="tiny",
    preset="street",
    supervision="metric+M",
    trained_on=("00", "01"),
    split_hash="abc123",
    images_seen=12_000,
    commit="0123456",
    licence="Apache-2.0",
    metric=True,
    notes="für Tests",
    metrics={"refined_t_rel_percent": 2.5},
    bootstrap="true depth and pose of street 00-08, 4000 images",
)


@pytest.fixture(scope="module")
def model() -> Model:
    torch.manual_seed(0)
    model = Model(CONFIG)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):  # statistics that no fresh model has
            torch.nn.init.uniform_(module.running_mean, -1, 1)
            torch.nn.init.uniform_(module.running_var, 0.5, 2)
            module.num_batches_tracked.fill_(70_000)  # beyond the range of half precision
    return model


@pytest.fixture
def path(tmp_path, model) -> Path:
    save_checkpoint(tmp_path / "tiny.safetensors", model, CARD)
    return tmp_path / "tiny.safetensors"


def outputs(model: Model) -> list[Tensor]:
    torch.manual_seed(1)
    first, second = torch.rand(2, 1, 3, 64, 64)
    with torch.inference_mode():
        depth = model.depth_net(first)
        pose = model.pose_net(first, second)
        levels = model.features(first, depth)
    return [depth.depth, pose.translation, pose.axis_angle, *(level.features for level in levels)]


def parts(path: Path) -> tuple[dict[str, Tensor], dict]:
    """Weights and content of a checkpoint, to be changed."""
    with safetensors.safe_open(path, framework="pt") as file:
        content = json.loads(file.metadata()[ENTRY])
    return safetensors.torch.load_file(path), content


def rewrite(path: Path, weights: dict[str, Tensor], content: object) -> None:
    safetensors.torch.save_file(weights, path, {ENTRY: json.dumps(content)})


def refusal(path: Path) -> str:
    with pytest.raises(InputError) as caught:
        load_checkpoint(path)
    assert caught.value.where == str(path)
    assert caught.value.remedy
    return caught.value.problem


def test_the_very_model_comes_back(path, model):
    model.train()
    loaded = load_checkpoint(path)
    assert loaded.model.config == CONFIG
    assert (loaded.card, loaded.path) == (CARD, path)
    assert loaded.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()[:12]
    own = model.state_dict()
    assert own.keys() == loaded.model.state_dict().keys()
    assert all(torch.equal(own[key], value) for key, value in loaded.model.state_dict().items())
    assert not any(module.training for module in loaded.model.modules())
    # The mean and deviation that images are normalised by are no weights: they are built anew.
    expected = outputs(model.eval())
    assert all(torch.equal(a, b) for a, b in zip(outputs(loaded.model), expected, strict=True))


def test_equal_models_give_equal_files(tmp_path, path, model):
    save_checkpoint(tmp_path / "again.safetensors", model, CARD)
    assert (tmp_path / "again.safetensors").read_bytes() == path.read_bytes()


def test_any_memory_layout_is_saved_alike(tmp_path, path, model):
    other = load_checkpoint(path).model.to(memory_format=torch.channels_last)
    save_checkpoint(tmp_path / "last.safetensors", other, CARD)
    assert (tmp_path / "last.safetensors").read_bytes() == path.read_bytes()


def test_a_compiled_part_keeps_its_names(tmp_path, path):
    model = load_checkpoint(path).model
    model.depth_net = torch.compile(model.depth_net)  # type: ignore[assignment]
    assert any("_orig_mod" in key for key in model.state_dict())
    save_checkpoint(tmp_path / "compiled.safetensors", model, CARD)
    assert (tmp_path / "compiled.safetensors").read_bytes() == path.read_bytes()


def test_half_precision_takes_half_the_space_and_loads_as_float32(tmp_path, path, model):
    half = tmp_path / "half.safetensors"
    save_checkpoint(half, model, CARD, dtype=torch.float16)
    assert half.stat().st_size < 0.52 * path.stat().st_size
    loaded = load_checkpoint(half).model
    for key, value in model.state_dict().items():
        stored = value.half().float() if value.is_floating_point() else value  # counters: exact
        assert torch.equal(loaded.state_dict()[key], stored), key
        assert loaded.state_dict()[key].dtype == value.dtype
    for a, b in zip(outputs(loaded), outputs(model.eval()), strict=True):
        assert (a - b).abs().max() < 0.02 * b.abs().max()  # rounding at 2^-11, through many layers


def test_weights_that_are_no_use_are_not_written(tmp_path, path):
    model = load_checkpoint(path).model
    name, weight = next(iter(model.depth_net.decoder.named_parameters()))
    target = tmp_path / "new.safetensors"
    with torch.no_grad():
        weight.flatten()[0] = 1e6
    with pytest.raises(ValueError, match=rf"{name} reaches 1e\+06, beyond .* torch.float16"):
        save_checkpoint(target, model, CARD, dtype=torch.float16)
    with torch.no_grad():
        weight.flatten()[0] = float("nan")
    with pytest.raises(ValueError, match=rf"depth_net\.decoder\.{name} is not finite"):
        save_checkpoint(target, model, CARD)
    with pytest.raises(ValueError, match=r"floating type, got torch\.int8"):
        save_checkpoint(target, model, CARD, dtype=torch.int8)
    assert not target.exists()


def test_a_card_that_could_not_be_read_back_is_not_written(tmp_path, model):
    card = dataclasses.replace(CARD, trained_on="00-08")
    with pytest.raises(ValueError, match="trained_on is '00-08', not a list"):
        save_checkpoint(tmp_path / "new.safetensors", model, card)
    card = dataclasses.replace(CARD, supervision="true depth")
    with pytest.raises(ValueError, match=r"supervision is 'true depth'; choose one of M, S, MS,"):
        save_checkpoint(tmp_path / "new.safetensors", model, card)
    assert list(tmp_path.iterdir()) == []


def test_a_failed_write_leaves_the_old_file(path, model, monkeypatch):
    before = path.read_bytes()

    def fail(_: int) -> None:
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="full"):
        save_checkpoint(path, model, dataclasses.replace(CARD, name="other"))
    assert path.read_bytes() == before
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_loading_reaches_for_no_other_weights(path, model, monkeypatch):
    depth = dataclasses.replace(CONFIG.depth.encoder, weights_file=Path("gone.safetensors"))
    pose = dataclasses.replace(CONFIG.pose.encoder, pretrained=True)
    asked = dataclasses.replace(
        CONFIG,
        depth=dataclasses.replace(CONFIG.depth, encoder=depth),
        pose=dataclasses.replace(CONFIG.pose, encoder=pose),
    )
    monkeypatch.setattr(model, "config", asked)
    save_checkpoint(path, model, CARD)
    assert read_card(path)[0] == CONFIG
    assert "gone" not in json.dumps(parts(path)[1])  # no path of the training machine is passed on

    # Not even when the file asks for it.
    weights, content = parts(path)
    content["config"]["pose"]["encoder"]["pretrained"] = True
    content["config"]["depth"]["encoder"]["weights_file"] = "gone.safetensors"
    rewrite(path, weights, content)
    create, fetched = timm.create_model, []

    def watched(name: str, pretrained: bool = False, **options):
        fetched.append(pretrained)
        return create(name, pretrained=False, **options)

    monkeypatch.setattr(timm, "create_model", watched)
    assert load_checkpoint(path).model.config == CONFIG
    assert fetched
    assert not any(fetched)


def test_loading_leaves_random_numbers_alone(path):
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    load_checkpoint(path)
    assert torch.equal(torch.rand(4), expected)


def test_the_card_is_read_without_the_weights(path, monkeypatch):
    def fail(*_: object) -> None:
        raise AssertionError("weights were loaded")

    monkeypatch.setattr(safetensors.torch, "load", fail)
    monkeypatch.setattr(checkpoint, "Model", fail)
    assert read_card(path) == (CONFIG, CARD)


def test_a_card_of_an_older_version_stays_readable(path):
    weights, content = parts(path)
    for name in ("notes", "metrics", "bootstrap"):
        del content["card"][name]
    rewrite(path, weights, content)
    assert read_card(path)[1] == dataclasses.replace(CARD, notes="", metrics={}, bootstrap="")


def test_weights_that_do_not_fit_are_named_with_file_and_key(path):
    weights, content = parts(path)
    key = "pose_net.decoder.0.bias"
    counter = "depth_net.encoder.backbone.stem.bn.num_batches_tracked"

    def problem(**changes: Tensor) -> str:
        rewrite(path, {**weights, **changes}, content)
        return refusal(path)

    fit = "its weights do not fit its configuration: "
    assert problem(extra=torch.ones(1)) == f"{fit}extra is not part of the model"
    assert problem(**{key: torch.ones(9)}) == f"{fit}{key} is (9,) instead of (8,)"
    whole = torch.ones(8, dtype=torch.int64)
    assert problem(**{key: whole}) == f"{fit}{key} holds torch.int64 instead of torch.float32"
    assert problem(**{key: torch.full((8,), torch.inf)}) == f"{fit}{key} is not finite"
    del weights[counter]
    assert problem() == f"{fit}{counter} is missing"
    del weights[key]
    assert problem(extra=torch.ones(1)).endswith("is missing, and 2 more such differences")


def test_a_file_that_is_not_whole_is_refused(path):
    data = path.read_bytes()
    for length in (0, 4, 8, 100, len(data) // 2, len(data) - 1):
        path.write_bytes(data[:length])
        assert refusal(path) == "is no safetensors file, or not the whole of it"
        with pytest.raises(InputError, match="or not the whole of it"):
            read_card(path)
    path.write_bytes(b"\x80\x02}q\x00." * 100)  # a pickle
    assert refusal(path) == "is no safetensors file, or not the whole of it"


def test_a_foreign_safetensors_file_is_refused(path):
    expected = "is a safetensors file without the configuration of a model"
    for metadata in (None, {"format": "pt"}):
        safetensors.torch.save_file({"a": torch.ones(2)}, path, metadata)
        assert refusal(path) == expected
        with pytest.raises(InputError, match=expected):
            read_card(path)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"version": 2}, "has format 2, this version of the toolkit reads up to 1"),
        ({"version": 0}, "its configuration has no version"),
        ({"version": "1"}, "its configuration has no version"),
        ({"config": {"widht": 64}}, "unknown name widht"),
        ({"config": {"width": 60}}, "its networks cannot be built here (--size: is 60 192"),
        (
            {"config": {"width": 32 * 10**6}},
            "its networks cannot be built here (--size: is 32000000",
        ),
        (
            {"config": {"refine": {"iterations": [10**9] * 3}}},
            "its networks cannot be built here (--refine.iterations: is 1000000000; give at most",
        ),
        ({"card": {}}, "name is missing"),
    ],
)
def test_a_header_that_does_not_fit_is_named(path, change, expected):
    weights, content = parts(path)
    rewrite(path, weights, content | change)
    assert refusal(path).startswith(expected)


def test_a_header_that_holds_something_else_is_named(path):
    weights, content = parts(path)
    for other in ([], 3, None):
        rewrite(path, weights, other)
        assert refusal(path) == "its configuration has no version"
    safetensors.torch.save_file(weights, path, {ENTRY: "{"})
    assert refusal(path) == "its configuration is no JSON"
    rewrite(path, weights, {"version": 1, "config": content["config"]})
    assert refusal(path) == "lacks its configuration or its card"


@pytest.mark.parametrize(
    ("section", "name", "value", "expected"),
    [
        ("encoder", "backbone", "resnet17", "--backbone: timm knows no model 'resnet17'"),
        ("encoder", "in_channels", 5, "in_channels must be a multiple of 3, got 5"),
        ("depth", "decoder_channels", [8, 8, 8, 16, -16], "-16"),
    ],
)
def test_networks_that_cannot_be_built_name_the_file(path, section, name, value, expected):
    weights, content = parts(path)
    depth = content["config"]["depth"]
    (depth if section == "depth" else depth["encoder"])[name] = value
    rewrite(path, weights, content)
    problem = refusal(path)
    assert problem.startswith("its networks cannot be built here (")
    assert expected in problem


def test_networks_of_any_size_take_no_memory_before_they_fit(path):
    weights, content = parts(path)
    content["config"]["depth"]["decoder_channels"] = [10**6] * 5  # 36 TB and more a layer
    rewrite(path, weights, content)
    assert refusal(path).startswith("its weights do not fit its configuration: ")
    content["config"]["depth"]["decoder_channels"] = [10**12] * 5  # more than can be counted
    rewrite(path, weights, content)
    assert refusal(path).startswith("its networks cannot be built here (")


def test_installed_checkpoints_are_found_by_name(path, tmp_path, monkeypatch):
    installed, work = tmp_path / "checkpoints", tmp_path / "work"
    installed.mkdir()
    work.mkdir()
    path.rename(installed / "street.safetensors")
    monkeypatch.setattr(checkpoint, "SHIPPED", installed)
    monkeypatch.chdir(work)
    assert find_checkpoint("street.safetensors") == installed / "street.safetensors"
    assert load_checkpoint("street.safetensors").card == CARD
    assert read_card("street.safetensors")[1] == CARD
    with pytest.raises(InputError) as caught:
        find_checkpoint("sreet.safetensors")
    assert str(caught.value) == (
        "sreet.safetensors: no such checkpoint; give the path of a file, or one that is installed: "
        "street.safetensors"
    )
    # A path with a folder in it means that folder, and never the installed one.
    (installed / "runs").mkdir()
    (installed / "runs/street.safetensors").write_bytes(b"")
    for name in ("runs/street.safetensors", "./street.safetensors"):
        with pytest.raises(InputError, match=rf"{name}: no such checkpoint"):
            find_checkpoint(name)
    Path("street.safetensors").write_bytes(b"mine")
    assert find_checkpoint("street.safetensors") == Path("street.safetensors")


def test_a_folder_and_nothing_installed_are_named(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint, "SHIPPED", tmp_path / "none")
    with pytest.raises(InputError, match="is a folder; give the checkpoint file in it"):
        find_checkpoint(tmp_path)
    with pytest.raises(InputError, match="give the path of a file, or none is installed"):
        find_checkpoint("street.safetensors")
    with pytest.raises(InputError, match="there is no folder"):
        save_checkpoint(tmp_path / "none" / "a.safetensors", Model(CONFIG), CARD)
