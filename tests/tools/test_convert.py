"""`vo-convert`: published weights in, checkpoints that run out, and back."""

from __future__ import annotations

import csv
import json
import math
import os
from pathlib import Path

import pytest
import torch
from commands import Command, Done, help_and_imports
from published_weights import save_folder, small_config, small_model

from vo.checkpoint import Card, load_checkpoint, read_card, save_checkpoint
from vo.datasets import open_sequence
from vo.depth.net import DepthConfig
from vo.model import Model, ModelConfig
from vo.pose_cnn import PoseCNNConfig
from vo.published.exporting import export_model
from vo.settings import to_plain
from vo.tools.convert import main


@pytest.fixture
def convert(call) -> Command:
    return lambda *words: call(main, "vo-convert", *words)


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Path:
    """A folder in SQLdepth's layout, for images of 96 x 64."""
    model = small_model(small_config(PoseCNNConfig()))
    files = export_model(model, "sqldepth", False, "model")
    return save_folder(tmp_path_factory.mktemp("published") / "weights_19", files)


@pytest.fixture
def out(tmp_path) -> Path:
    return tmp_path / "model.safetensors"


def command_line(weights: Path, out: Path) -> list[str | Path]:
    return ["import", weights, "--from", "sqldepth", "--out", out, "--depth-range", "0.001", "80"]


def assert_refused(done: Done, message: str) -> None:
    assert done.status == 2
    assert done.out == ""
    assert done.err.startswith("error: ")
    assert len(done.err.splitlines()) == 1
    assert message in done.err


# Import -----------------------------------------------------------------------------------------


def test_an_imported_checkpoint_runs_with_refinement(
    convert, weights, out, vo_run, tiny_street, tmp_path, no_pictures
):
    done = convert(*command_line(weights, out))
    assert (done.status, done.err) == (0, "")
    assert done.out.splitlines()[-1] == f"try it: vo-run --ckpt {out}"
    ran = vo_run("--data", tiny_street, "--seq", "09", "--ckpt", out)
    assert (ran.status, ran.err) == (0, "")
    folder = tmp_path / "runs/09-1"
    with open(folder / "scale.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 12
    # Refined for every pair whose depth allows it: some energy went down.
    assert all(float(row["energy"]) <= float(row["energy_before"]) for row in rows[1:])
    assert (folder / "refined.txt").read_bytes() != (folder / "raw.txt").read_bytes()


def test_the_card_says_what_was_said_of_the_weights(convert, weights, out):
    flags = [
        "--supervision",
        "MS",
        "--split",
        "eigen_zhou",
        "--licence",
        "MIT",
        "--name",
        "SQL R50",
    ]
    done = convert(*command_line(weights, out), *flags, "--scale", "5.4", "--metric")
    assert (done.status, done.err) == (0, "")
    config, card = read_card(out)
    notes = card.notes
    assert card == Card(
        name="SQL R50", preset="imported", supervision="MS", trained_on=("eigen_zhou",),
        split_hash="", images_seen=0, commit="", licence="MIT", metric=True, notes=notes,
    )  # fmt: skip
    assert notes.startswith("imported from sqldepth weights depth.pth (sha256 ")
    assert (config.depth.min_depth, config.depth.max_depth) == pytest.approx((0.0054, 432))
    assert config.pose.translation_scale == pytest.approx(0.054)


def test_the_card_of_weights_of_which_nothing_was_said(convert, weights, out):
    assert convert(*command_line(weights, out)).status == 0
    _, card = read_card(out)
    assert (card.name, card.supervision, card.licence) == ("weights_19", "none", "unknown")
    assert (card.trained_on, card.metric) == ((), False)


def test_what_is_lost_of_a_pose_network_taught_by_one_camera_is_told(convert, weights, out):
    done = convert(*command_line(weights, out), "--supervision", "M")
    assert done.status == 0
    assert done.err.startswith("warning: trained on one camera, this pose network had")
    assert "mean inverse depth" in read_card(out)[1].notes


def test_the_depth_range_must_be_given_where_it_is_not_known(convert, weights, out):
    words = command_line(weights, out)[:-3]
    assert_refused(convert(*words), "--depth-range: is missing: the weights do not tell it")
    assert not out.exists()


def test_an_existing_file_is_only_replaced_when_that_is_said(convert, weights, out):
    out.write_text("precious")
    assert_refused(convert(*command_line(weights, out)), f"{out}: exists; choose another --out")
    assert out.read_text() == "precious"
    assert convert(*command_line(weights, out), "--overwrite").status == 0
    assert read_card(out)[1].preset == "imported"


@pytest.mark.parametrize(
    ("out", "message"), [(".", ".: is a folder"), ("no/model.safetensors", "there is no folder no")]
)
def test_a_file_that_cannot_be_written_is_refused_first(
    convert, tmp_path, monkeypatch, out, message
):
    monkeypatch.chdir(tmp_path)
    assert_refused(convert(*command_line(tmp_path / "no weights", Path(out))), message)


class Evil:
    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self):
        return os.system, (f"touch {self.trace}",)


def test_bad_files_end_in_one_line_and_write_nothing(convert, weights, out, tmp_path):
    def attempt(file: str, data: bytes | None, source: str = "sqldepth") -> Done:
        folder = tmp_path / "changed"
        folder.mkdir(exist_ok=True)
        for path in weights.iterdir():
            (folder / path.name).write_bytes(path.read_bytes())
        (folder / file).unlink()
        if data is not None:
            (folder / file).write_bytes(data)
        words = command_line(folder, out)
        words[3] = source
        return convert(*words)

    whole = (weights / "depth.pth").read_bytes()
    assert_refused(attempt("depth.pth", None), "changed/depth.pth: no such file")
    assert_refused(attempt("pose.pth", None), "pose.pth: no such file; a model has a pose network")
    assert_refused(attempt("depth.pth", whole[:5000]), "depth.pth: is no file of torch.save")
    assert_refused(attempt("depth.pth", whole, "monodepth2"), "depth.pth: is of SQLdepth or SPIde")
    pose = (weights / "pose.pth").read_bytes()
    message = "changed/depth.pth: embedding_convPxP.weight is missing"
    assert_refused(attempt("depth.pth", pose), message)
    trace = tmp_path / "trace"
    torch.save({"positional_encodings": Evil(trace)}, tmp_path / "evil.pth")
    evil = (tmp_path / "evil.pth").read_bytes()
    assert_refused(attempt("depth.pth", evil), "depth.pth: holds code (")
    assert not trace.exists()
    assert not out.exists()


def test_fine_tuned_weights_need_a_pose_network_and_a_size(convert, weights, out, tmp_path):
    parts = {"encoder.pth": "module.encoder.", "depth.pth": "module.depth_decoder."}
    content = {
        prefix + key: value
        for file, prefix in parts.items()
        for key, value in torch.load(weights / file, weights_only=True).items()
        if isinstance(value, torch.Tensor)
    }
    path = tmp_path / "best.pt"
    torch.save({"model": content, "optimizer": {}, "epoch": 5}, path)
    words = command_line(path, out)
    words[3] = "spidepth-finetuned"
    assert_refused(convert(*words), "best.pt: fine-tuned weights have no pose network; name the")
    assert_refused(convert(*words, "--pose", weights), "--size: ")
    flags = ["--pose", weights, "--size", "96", "64", "--pose-scale", "5.4", "--metric"]
    done = convert(*words, *flags, "--supervision", "metric")
    assert (done.status, done.err) == (0, "")
    config, card = read_card(out)
    assert (config.depth.max_depth, config.pose.translation_scale) == pytest.approx((80, 0.054))
    assert (card.name, card.metric, card.supervision) == ("best", True, "metric")


# Export -----------------------------------------------------------------------------------------


def test_monodepth2s_there_and_back(convert, out, tmp_path):
    config = ModelConfig(96, 64, DepthConfig(), PoseCNNConfig())
    torch.manual_seed(0)
    model = Model(config)
    card = Card("m", "monodepth2", "MS", (), "", 0, "", "unknown", metric=False)
    save_checkpoint(tmp_path / "own.safetensors", model, card)
    folder = tmp_path / "weights"
    done = convert("export", tmp_path / "own.safetensors", folder, "--to", "monodepth2")
    assert (done.status, done.err) == (0, "")
    assert done.out.splitlines() == [
        f"wrote encoder.pth, depth.pth, pose.pth to {folder}",
        "not in it: features, refinement, card, and depth range "
        "(give --min_depth 0.1 --max_depth 100)",
    ]
    assert torch.load(folder / "encoder.pth", weights_only=True)["use_stereo"] is True
    assert convert("import", folder, "--from", "monodepth2", "--out", out).status == 0
    found = load_checkpoint(out).model
    assert found.config.depth == config.depth
    for net in ("depth_net", "pose_net"):
        own, back = getattr(model, net).state_dict(), getattr(found, net).state_dict()
        assert all(torch.equal(own[key], value) for key, value in back.items())


def test_a_model_in_metres_says_what_its_unit_is_there(convert, weights, out, tmp_path):
    assert convert(*command_line(weights, out), "--scale", "5.4").status == 0
    done = convert("export", out, tmp_path / "again", "--to", "sqldepth")
    assert done.out.splitlines()[-1].endswith(
        "(give --min_depth 0.001 --max_depth 80; one unit of length there is 5.4 here)"
    )


def test_a_model_that_no_layout_holds_leaves_no_folder(convert, tmp_path):
    done = convert("export", "street.safetensors", tmp_path / "weights", "--to", "monodepth2")
    message = "street.safetensors: does not fit monodepth2's layout: backbone regnetx_004 instead"
    assert_refused(done, message)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_with_something_in_it_is_refused_first(convert, weights):
    before = sorted(weights.iterdir())
    done = convert("export", "no.safetensors", weights, "--to", "sqldepth")
    assert_refused(done, f"{weights}: holds something already; choose a new folder")
    assert sorted(weights.iterdir()) == before


# Info -------------------------------------------------------------------------------------------


def test_info_names_what_one_should_know(convert):
    done = convert("info", "street.safetensors")
    assert (done.status, done.err) == (0, "")
    said = {line[:13].strip(): line[13:] for line in done.out.splitlines()}
    checkpoint = load_checkpoint("street.safetensors")
    card = checkpoint.card
    assert said["sha256"] == checkpoint.sha256
    assert (said["preset"], said["commit"]) == (card.preset, card.commit)
    assert (said["licence"], said["bootstrap"]) == (card.licence, card.bootstrap)
    assert said["supervision"].startswith("metric+M (true depth or poses, then neighbouring")
    assert said["trained on"] == ", ".join(card.trained_on)
    assert (said["size"], said["depth range"], said["unit"]) == ("416x128", "1 to 100 m", "metre")
    parameters = sum(p.numel() for p in checkpoint.model.depth_net.parameters())
    assert said["depth"] == (
        f"disparity on regnetx_004 (monodepth2), {parameters / 1e6:.2f} M parameters"
    )
    assert said["split hash"] == "-"


def test_info_as_json_is_strict_and_whole(convert, tmp_path):
    model = small_model(small_config(PoseCNNConfig()))
    metrics = {"raw_t_rel_percent": math.nan, "abs_rel": 0.1}
    card = Card(
        "käfer", "p", "M", ("00",), "abc", 7, "c0ffee", "MIT", metric=False, metrics=metrics
    )
    path = tmp_path / "model.safetensors"
    save_checkpoint(path, model, card)
    done = convert("info", path, "--json")
    assert (done.status, done.err) == (0, "")

    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is no JSON")

    found = json.loads(done.out, parse_constant=refuse)
    assert (found["file"], found["sha256"]) == (str(path), load_checkpoint(path).sha256)
    assert found["card"] == {
        **to_plain(card),
        "metrics": {"raw_t_rel_percent": None, "abs_rel": 0.1},
    }
    assert found["config"] == to_plain(model.config)
    counts = [sum(p.numel() for p in net.parameters()) for net in model.children()]
    assert list(found["parameters"].values()) == counts
    assert found["parameters"]["pose"] == 1_586_774


def test_info_shows_metrics_with_their_names(convert, tmp_path, weights):
    model = small_model(small_config(PoseCNNConfig()))
    card = Card("m", "p", "none", (), "", 0, "", "MIT", metric=False, metrics={"abs_rel": 0.125})
    save_checkpoint(tmp_path / "model.safetensors", model, card)
    lines = convert("info", tmp_path / "model.safetensors").out.splitlines()
    assert lines[-1].split() == ["abs_rel", "0.125"]
    assert "Self Query Layer of 9 queries and 7 bins, unet on convnextv2_atto" in "\n".join(lines)


def test_info_of_what_is_no_checkpoint(convert, weights):
    assert_refused(convert("info", weights / "pose.pth"), "pose.pth: is no safetensors file")


# The command itself -----------------------------------------------------------------------------


@pytest.mark.parametrize("command", [[], ["import"], ["export"], ["info"]])
def test_help(convert, command):
    done = convert(*command, "--help")
    assert done.status == 0
    assert "vo-convert" in done.out


def test_help_imports_nothing_heavy():
    heavy = {"numpy", "torch", "timm", "safetensors"}
    text, loaded = help_and_imports("vo.tools.convert", "vo-convert", "import", heavy=heavy)
    assert loaded == "[]"
    assert "--depth-range MIN MAX" in text


# Prune ------------------------------------------------------------------------------------------


def test_a_pruned_checkpoint_is_smaller_and_sees_much_the_same(
    convert, tiny_checkpoint, tiny_street, out
):
    done = convert(
        "prune", tiny_checkpoint, "--channels", 12, "--data", tiny_street, "--seq", "09",
        "--images", 8, "--out", out,
    )  # fmt: skip
    assert done.status in (0, None), done.err
    whole, pruned = load_checkpoint(tiny_checkpoint), load_checkpoint(out)
    assert isinstance(pruned.model.config.depth, DepthConfig)
    assert pruned.model.config.depth.decoder_channels == (8, 8, 8, 16, 12)
    assert out.stat().st_size < tiny_checkpoint.stat().st_size
    assert "pruned to 12 channels" in pruned.card.notes
    image = torch.from_numpy(open_sequence(tiny_street, "09")[0].image).permute(2, 0, 1)[None] / 255
    with torch.inference_mode():
        before, after = (c.model.eval().depth_net(image).depth for c in (whole, pruned))
    assert not torch.equal(before, after)
    torch.testing.assert_close(after, before, rtol=0.02, atol=0)


def test_only_a_disparity_decoder_is_pruned(convert, weights, out, tmp_path):
    assert convert(*command_line(weights, out)).status in (0, None)
    small = tmp_path / "small.safetensors"
    done = convert("prune", out, "--channels", 4, "--out", small)
    assert_refused(done, "no disparity decoder")
    assert not small.exists()
