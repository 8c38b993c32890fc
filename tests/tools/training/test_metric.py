"""vo-train on sparse true depth, as a user types it."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
import torch
from annotated_trees import drive_name, write_kitti, write_nyu

from vo.checkpoint import load_checkpoint
from vo.datasets.errors import InputError
from vo.tools.train import parse, train
from vo.tools.training.log import TrainLog
from vo.training.trainer import Step

SETTINGS = ("--optim.steps", "4", "--data.batch", "2", "--save-every", "2", "--validate-every", "2")


@pytest.fixture(scope="module")
def kitti(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Drives 1 and 2 in train, 3 in val, and the depth of 4 without images."""
    root = tmp_path_factory.mktemp("kitti")
    raw, depths = root / "raw", root / "data_depth_annotated"
    write_kitti(raw, 1, depths / "train")
    write_kitti(raw, 1, depths / "train", camera="image_03")
    write_kitti(raw, 2, depths / "train")
    write_kitti(raw, 3, depths / "val")
    write_kitti(root / "elsewhere", 4, depths / "train", range(2))
    return raw, depths


def arguments(
    kitti: tuple[Path, Path], checkpoint: Path, out: Path, *more: str, crop: str = "none"
) -> list[str]:
    data = ["--data", str(kitti[0]), "--annotations", str(kitti[1])]
    start = ["--preset", "metric", "--init", str(checkpoint), "--out", str(out)]
    return [*start, *data, "--metric.crop", crop, *SETTINGS, *more]


def test_a_training_leaves_metric_checkpoints(
    kitti: tuple[Path, Path], tiny_checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    out = tmp_path / "run"
    train(*parse(arguments(kitti, tiny_checkpoint, out, "--val", "3")))
    said = capsys.readouterr()
    assert f"warning: 1 drives with true depth have no images: {drive_name(4)}" in said.err
    assert "12 samples of 3 sequences" in said.out
    last, best = (load_checkpoint(out / f"{name}.safetensors") for name in ("last", "best"))
    assert (last.card.supervision, last.card.metric, last.card.preset) == ("metric", True, "metric")
    assert last.card.bootstrap.startswith("tiny: none on")
    assert last.card.images_seen == 8
    assert last.card.trained_on == tuple(
        f"raw/{drive_name(n)}/{camera}"
        for n, camera in ((1, "image_02"), (1, "image_03"), (2, "image_02"))
    )
    assert best.card.metrics["abs_rel"] == best.card.metrics[f"{drive_name(3)}/image_02/abs_rel"]
    before = load_checkpoint(tiny_checkpoint).model.state_dict()
    after = last.model.state_dict()
    changed = {
        name.partition(".")[0] for name in after if not torch.equal(after[name], before[name])
    }
    assert changed == {"depth_net"}
    log = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in log if "validation" in line] == [2, 4]
    assert {line["phase"] for line in log if "phase" in line} == {"metric"}


def test_an_interrupted_training_goes_on_exactly(
    kitti: tuple[Path, Path],
    tiny_checkpoint: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    train(*parse(arguments(kitti, tiny_checkpoint, tmp_path / "whole")))
    real = TrainLog.step

    def interrupted(self: TrainLog, step: Step) -> None:
        if step.number == 3:  # the state after two steps was saved
            raise KeyboardInterrupt
        real(self, step)

    out = tmp_path / "killed"
    monkeypatch.setattr(TrainLog, "step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train(*parse(arguments(kitti, tiny_checkpoint, out)))
    monkeypatch.undo()
    assert not (out / "last.safetensors").exists()
    train(*parse(["--resume", "--out", str(out)]))
    whole, again = (
        load_checkpoint(folder / "last.safetensors").model.state_dict()
        for folder in (tmp_path / "whole", out)
    )
    assert all(torch.equal(whole[name], again[name]) for name in whole)


def test_lists_choose_frames(
    kitti: tuple[Path, Path], tiny_checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    def write(name: str, number: int, frames: tuple[int, ...]) -> str:
        image = f"2011_09_26/{drive_name(number)}/image_02/data/{{:010d}}.png"
        depth = f"{drive_name(number)}/proj_depth/groundtruth/image_02/{{:010d}}.png"
        lines = [f"{image} {depth} 721.5377\n".format(i, i) for i in frames]
        lines.append(f"{image} None 721.5377\n".format(0))
        (tmp_path / name).write_text("".join(lines))
        return str(tmp_path / name)

    lists = ["--seq", write("train.txt", 1, (1, 2, 4)), "--val", write("test.txt", 2, (3,))]
    train(*parse(arguments(kitti, tiny_checkpoint, tmp_path / "run", *lists)))
    said = capsys.readouterr()
    assert "3 samples of 1 sequences" in said.out
    assert said.err.count("1 lines without a depth are left out") == 2
    card = load_checkpoint(tmp_path / "run" / "best.safetensors").card
    assert f"{drive_name(2)}/image_02/abs_rel" in card.metrics
    lines = "".join(f"{drive_name(1)} {i} l\n" for i in (1, 2, 4))
    assert card.split_hash == hashlib.sha256(lines.encode()).hexdigest()[:12]


def test_nyu_needs_no_annotations(tiny_checkpoint: Path, tmp_path: Path) -> None:
    root = tmp_path / "nyu"
    write_nyu(root, "kitchen_0028b", (1, 2))
    write_nyu(root, "office_0001", (3,), size=(640, 480))
    write_nyu(root, "office_0002", (4, 5), size=(640, 480))
    flags = [
        *("--preset", "metric-nyu", "--init", str(tiny_checkpoint), "--data", str(root)),
        *("--out", str(tmp_path / "run"), *SETTINGS),
    ]
    train(*parse([*flags, "--seq", "office_0002", "--val", "office_0001"]))
    card = load_checkpoint(tmp_path / "run" / "best.safetensors").card
    assert card.trained_on == ("nyu/office_0002",)
    assert "office_0001/abs_rel" in card.metrics
    flags[flags.index("--out") + 1] = str(tmp_path / "other")
    with pytest.raises(InputError, match=r"--metric\.score-crop: kitchen_0028b: .*640x480"):
        train(*parse([*flags, "--seq", "office_0002", "--val", "kitchen_0028b"]))


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--seq", "1", "--val", drive_name(1)], f"--val: {drive_name(1)} is trained on as well"),
        (["--seq", "1", drive_name(1)], f"--seq: {drive_name(1)}/image_02 is named twice"),
        (["--seq", "4"], "--seq: there is no sequence '4'"),
        (["--val", "1", "2"], "--seq: nothing is left to train on"),
        (["--seq", "nowhere.txt"], "nowhere.txt: no such file"),
        (["--camera", "image_00"], "--camera: no true depth is that of 'image_00'; choose from im"),
        (["--intrinsics", "1,1,1,1"], "--intrinsics: is not used with true depth"),
        (["--bootstrap.steps", "4"], "--bootstrap.steps: is 4 in a training from true depth"),
        (["--metric.augment.gamma", "2"], "--metric.augment.gamma: is 2;"),
        (["--metric.crop", "kitti"], "--metric.crop: "),
        (["--data.batch", "64"], "--data.batch: is 64, but the drives hold 12 samples"),
        (["--preset", "metric+mono", "--init", "nowhere"], "nowhere"),
    ],
)
def test_bad_input_is_one_line_and_writes_nothing(
    kitti: tuple[Path, Path],
    tiny_checkpoint: Path,
    tmp_path: Path,
    flags: list[str],
    message: str,
) -> None:
    with pytest.raises(InputError) as error:
        train(*parse(arguments(kitti, tiny_checkpoint, tmp_path / "run", *flags)))
    assert message in str(error.value)
    assert not (tmp_path / "run").exists()


def test_help_needs_no_checkpoint(capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit) as stop:
        parse(["--preset", "metric", "--help"])
    assert stop.value.code == 0
    assert "--metric.augment.rotation-deg" in capsys.readouterr().out


def test_what_is_missing_is_said(kitti: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--init: is missing; name the checkpoint"):
        parse(["--preset", "metric", "--data", str(kitti[0])])
    none = ["--preset", "metric", "--init", "none", "--out", str(tmp_path / "run")]
    with pytest.raises(InputError, match="--data: is missing; name the root of KITTI raw"):
        train(*parse(none))
    with pytest.raises(InputError, match="holds no true depth of a drive with images; give KITTI"):
        train(*parse([*none, "--data", str(kitti[0])]))
    with pytest.raises(InputError, match="--annotations: is used with --preset metric"):
        train(*parse(["--data", str(kitti[0]), "--annotations", str(kitti[1])]))
