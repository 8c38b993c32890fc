"""`vo-convert onnx` and `torch-export`: files that give what the model gives, or no files."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pypose as pp
import pytest
import torch
from commands import Command, Done, help_and_imports
from published_weights import small_model

from vo.checkpoint import Card, load_checkpoint, save_checkpoint
from vo.depth.encoder import EncoderConfig
from vo.depth.feature_net import FeatureConfig
from vo.depth.map_encoder import MapConfig
from vo.depth.self_query_decoder import SelfQueryConfig
from vo.depth.self_query_net import SelfQueryDepthConfig
from vo.export import natural_images
from vo.model import ModelConfig
from vo.pose_cnn import PoseCNNConfig
from vo.refine import NormalEquations, PoseModel, PoseRefiner, RefineConfig
from vo.refine.points import median_depth
from vo.tools.convert import main
from vo.tools.converting import graphs as convert_graphs

# What a process without this package does: ours, and what only we need, is out of reach.
ALONE = """
import sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"vo", "pypose", "timm"}:
            raise ImportError(f"{name} is out of reach")
sys.meta_path.insert(0, Blocker())
import torch
extra = {"metadata.json": ""}
module = torch.export.load(sys.argv[1], extra_files=extra).module()
last, now = torch.load(sys.argv[2])
with torch.no_grad():
    torch.save(module(last, now), sys.argv[3])
print(extra["metadata.json"])
"""


@pytest.fixture
def convert(call, monkeypatch) -> Command:
    # What PyTorch logs of its tracing takes pytest longer than the tracing takes.
    monkeypatch.setattr(logging.getLogger("torch.__trace"), "propagate", False)
    return lambda *words: call(main, "vo-convert", *words)


def assert_refused(done: Done, message: str) -> None:
    assert (done.status, done.out) == (2, "")
    assert done.err.startswith("error: ")
    assert len(done.err.splitlines()) == 1
    assert message in done.err


def images(batch: int, seed: int) -> torch.Tensor:
    return natural_images(batch, (64, 96), seed)


class PoseModelOfFile(PoseModel):
    """The energy as a file gives it."""

    run: Callable[..., tuple[torch.Tensor, ...]]
    inputs: tuple[torch.Tensor, ...]

    def at(self, T, pair, prior=None) -> NormalEquations:
        equations = NormalEquations(*self.run(*self.inputs, T.float()), torch.zeros(len(T)))
        return equations if prior is None else prior.added_to(equations, T)


@pytest.fixture
def self_query_checkpoint(tmp_path) -> Path:
    """A Self Query Layer, a PoseCNN, and one level of grey features that are refined on."""
    small = MapConfig(EncoderConfig("resnet10t"), "unet", (16, 8, 8, 8, 8), 8)
    layer = SelfQueryConfig(8, 8, 8, queries=9, bins=7, feed_forward=64, layers=1)
    config = ModelConfig(
        *(96, 64),
        SelfQueryDepthConfig(small, layer),
        PoseCNNConfig(),
        FeatureConfig(source="grey", levels=1),
        RefineConfig(iterations=(4,), num_points=500),
    )
    path = tmp_path / "self query.safetensors"
    card = Card("small", "p", "M", (), "", 0, "c0ffee", "MIT", metric=True)
    save_checkpoint(path, small_model(config), card)
    return path


@torch.no_grad()
def test_onnx_files_give_depth_motion_and_the_refined_motion(
    convert, self_query_checkpoint, tmp_path, monkeypatch
):
    folder = tmp_path / "onnx"
    done = convert("onnx", self_query_checkpoint, "--out", folder)
    assert (done.status, done.err) == (0, "")
    names = ["depth", "pose", "features", "energy_2"]
    assert [line.split(".onnx")[0] for line in done.out.splitlines()[:-1]] == names
    run = {name: convert_graphs._read_onnx(folder / f"{name}.onnx") for name in names}
    model = load_checkpoint(self_query_checkpoint).model
    last, now = images(3, 1), images(3, 1).roll(1, 3)

    depth = model.depth_net(last)
    torch.testing.assert_close(run["depth"](last)[0], depth.depth, rtol=1e-4, atol=1e-5)
    T_last_now = model.pose_net(last, now).se3().Inv().matrix().float()
    torch.testing.assert_close(run["pose"](last, now)[0], T_last_now, rtol=0, atol=1e-5)
    source, target = model.features(now), model.features(last)
    features, confidence = run["features"](now)
    torch.testing.assert_close(features, source[0].features, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(confidence, source[0].confidence, rtol=0, atol=1e-5)

    # The refinement, once with its own normal equations and once with those of the files.
    K = torch.tensor([[60.0, 0, 48], [0, 60, 32], [0, 0, 1]]).expand(3, 3, 3).contiguous()
    # From the identity points lie just on the border, where rounding decides what is seen.
    xi = torch.tensor([[0.003, -0.002, 0.013, 0.004, -0.011, 0.007]], dtype=torch.float64)
    T = pp.se3(xi.repeat(3, 1)).Exp()
    refiner = PoseRefiner(model.config.refine)
    wanted = refiner(source, target, depth.depth, K, T)
    PoseModelOfFile.run = staticmethod(run["energy_2"])
    PoseModelOfFile.inputs = (
        source[0].features, source[0].confidence, target[0].features, target[0].confidence,
        depth.depth, median_depth(depth.depth, 0.0), K,
    )  # fmt: skip
    monkeypatch.setattr(refiner, "_model", lambda pose: PoseModelOfFile(pose, refiner.kernel))
    again = refiner(source, target, depth.depth, K, T)
    assert wanted.success.all()
    assert (wanted.pose @ T.Inv()).Log().tensor().norm(dim=1).min() > 1e-3  # it moved
    torch.testing.assert_close(again.pose.tensor(), wanted.pose.tensor(), rtol=0, atol=1e-4)
    torch.testing.assert_close(again.energy, wanted.energy, rtol=1e-3, atol=0)
    assert_described(folder / "pose.onnx", self_query_checkpoint)


def assert_described(file: Path, checkpoint: Path) -> None:
    model = onnx.load(file)
    said = {entry.key: entry.value for entry in model.metadata_props}
    whole = load_checkpoint(checkpoint)
    assert said["checkpoint_sha256"] == whole.sha256
    assert (said["unit"], said["licence"], said["commit"]) == ("metres", "MIT", "c0ffee")
    assert (said["width"], said["height"]) == ("96", "64")
    assert json.loads(said["card"])["name"] == "small"
    assert json.loads(said["config"])["depth"]["layer"]["queries"] == 9
    assert [entry.version for entry in model.opset_import] == [convert_graphs.OPSET]
    assert [value.name for value in model.graph.input] == ["last", "now"]
    shape = model.graph.input[0].type.tensor_type.shape.dim
    assert [d.dim_param or d.dim_value for d in shape] == ["batch", 3, 64, 96]
    assert "the earlier frame" in model.graph.input[0].doc_string
    assert str(Path(__file__).parents[2]).encode() not in file.read_bytes()


def test_pt2_files_run_in_a_process_without_this_package(convert, self_query_checkpoint, tmp_path):
    folder = tmp_path / "pt2"
    flags = ["--parts", "pose", "--size", "128", "64"]
    done = convert("torch-export", self_query_checkpoint, "--out", folder, *flags)
    assert (done.status, done.err) == (0, "")
    assert [path.name for path in folder.iterdir()] == ["pose.pt2"]
    pair = natural_images(5, (64, 128), 1), natural_images(5, (64, 128), 2)
    torch.save(pair, tmp_path / "pair.pt")
    files = [folder / "pose.pt2", tmp_path / "pair.pt", tmp_path / "found.pt"]
    command = [sys.executable, "-I", "-c", ALONE, *files]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    metadata = json.loads(said)
    assert (metadata["width"], list(metadata["inputs"])) == ("128", ["last", "now"])
    checkpoint = load_checkpoint(self_query_checkpoint)
    assert metadata["checkpoint_sha256"] == checkpoint.sha256
    with torch.no_grad():
        wanted = checkpoint.model.pose_net(*pair).se3().Inv().matrix().float()
    found = torch.load(files[2])
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-6)
    assert np.allclose(found[:, 3], [0, 0, 0, 1])


@pytest.mark.parametrize(
    ("factor", "is_refused"), [(1.0001, False), (1.01, True), (float("nan"), True)]
)
def test_a_file_that_disagrees_with_pytorch_is_an_error_and_leaves_nothing(
    convert, tiny_checkpoint, tmp_path, monkeypatch, factor, is_refused
):
    graphs = {}

    def write(graph, path: Path, _: object) -> None:
        graphs[path.name] = graph
        path.write_text("written")

    def read(path: Path):
        assert path.read_text() == "written"
        return lambda *inputs: tuple(factor * x for x in graphs[path.name](*inputs))

    monkeypatch.setattr(convert_graphs, "_write_onnx", write)
    monkeypatch.setattr(convert_graphs, "_read_onnx", read)
    out = tmp_path / "onnx"
    done = convert("onnx", tiny_checkpoint, "--out", out, "--parts", "depth", "features")
    if is_refused:
        assert_refused(done, "its depth as onnx differs from PyTorch by ")
        assert list(tmp_path.iterdir()) == []
    else:
        assert sorted(path.name for path in out.iterdir()) == ["depth.onnx", "features.onnx"]
        assert "depth.onnx        0.0 MB, off PyTorch by 1e-04: image -> depth" in done.out


def test_a_network_that_cannot_be_written_is_one_line(
    convert, tiny_checkpoint, tmp_path, monkeypatch
):
    def fail(*_: object) -> None:
        raise torch.onnx.OnnxExporterError("no such\noperator")

    monkeypatch.setattr(convert_graphs, "_write_onnx", fail)
    done = convert("onnx", tiny_checkpoint, "--out", tmp_path / "onnx")
    assert_refused(done, "its depth cannot be written as onnx (no such operator)")
    assert list(tmp_path.iterdir()) == []


def test_missing_packages_are_named_with_the_extra(convert, tmp_path, monkeypatch):
    def find(name: str) -> object:
        return None if name == "onnxruntime" else object()

    monkeypatch.setattr(convert_graphs, "find_spec", find)
    done = convert("onnx", "street.safetensors", "--out", tmp_path / "onnx")
    assert_refused(done, "needs onnxruntime, not installed; run: pip install 'scale-aligned-vo[exp")


def test_what_cannot_be_is_refused_first(convert, tiny_checkpoint, tmp_path):
    out = tmp_path / "onnx"
    for command in ("onnx", "torch-export"):
        to = [command, tiny_checkpoint, "--out"]
        assert_refused(convert(*to, out, "--size", "100", "64"), "--size: is 100 64")
        assert_refused(convert(*to, out, "--parts"), "--parts: names none")
        assert_refused(convert(*to, tmp_path / "no/onnx"), "there is no folder")
        assert_refused(convert(command, "no.safetensors", "--out", out), "no such checkpoint")
    (tmp_path / "full").mkdir()
    (tmp_path / "full/file").touch()
    assert_refused(convert("onnx", tiny_checkpoint, "--out", tmp_path / "full"), "holds something")
    assert not out.exists()


def test_help_imports_nothing_heavy():
    heavy = {"numpy", "torch", "onnx", "onnxruntime"}
    text, loaded = help_and_imports("vo.tools.convert", "vo-convert", "onnx", heavy=heavy)
    assert loaded == "[]"
    assert "--parts" in text
