"""What ``vo-train`` says, and refuses, of a test list that it is given."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest
from annotated_trees import drive_name, write_kitti
from kitti_raw_drive import write_drive

from vo.checkpoint import load_checkpoint
from vo.datasets import open_sequence
from vo.datasets.errors import InputError
from vo.datasets.split_list import ListedFrame, split_hash
from vo.datasets.triplets import Triplets
from vo.tools.train import parse, train
from vo.tools.training.flags import Flags
from vo.tools.training.leakage import check_leakage, frames_hash, training_samples

NAME = "2011_09_26_drive_0052_sync"
TINY = (
    *("--model.width", "96", "--model.height", "64", "--bootstrap.steps", "0"),
    *("--model.depth.encoder.backbone", "regnetx_002", "--model.pose.encoder.backbone"),
    *("regnetx_002", "--model.depth.decoder-channels", "8", "8", "8", "8", "8"),
    *("--data.batch", "2", "--optim.steps", "1", "--optim.rise", "0", "--init", "none"),
)
Training = Callable[..., Path]


@pytest.fixture
def training(tmp_path: Path, tiny_street: Path) -> Training:
    """Train on frames 0 to 7 of street 09 with a test list of some lines; returns the run."""

    def run(*lines: str, flags: tuple[str, ...] = ()) -> Path:
        test, out = tmp_path / "test.txt", tmp_path / "run"
        test.write_text("".join(f"{line}\n" for line in lines))
        data = ["--data", str(tiny_street), "--seq", "09:0-7", "--out", str(out)]
        train(*parse([*data, "--test", str(test), *TINY, *flags]))
        return out

    return run


def card_hash(lines: list[str]) -> str:
    return hashlib.sha256("".join(f"{line}\n" for line in sorted(lines)).encode()).hexdigest()[:12]


def test_a_test_frame_that_is_trained_on_is_refused(training: Training, tmp_path: Path) -> None:
    message = r"--test .*test.txt: 1 of 2 test frames \(50.0%\) are trained on, such as 09 3 l; "
    with pytest.raises(InputError, match=message + r".*--allow-leakage"):
        training("09 3 l", "10 3 l")
    assert not (tmp_path / "run").exists()


def test_a_raw_drive_behind_the_sequence_is_refused(training: Training) -> None:
    message = r"such as 2011_09_30_drive_0033_sync 6 l \(trained on 09 6 l\)"
    with pytest.raises(InputError, match=message):
        training("2011_09_30/2011_09_30_drive_0033_sync 0000000006 l")


def test_what_is_near_is_a_warning_each_and_the_card_has_the_hash(
    training: Training, capsys: pytest.CaptureFixture
) -> None:
    out = training("9 7 l", "9 0 r", "9 11 l", "10 3 l")
    told = [line for line in capsys.readouterr().err.splitlines() if "--test" in line]
    # targets are 1 to 6, which load 0 and 7 as well
    assert [line.partition(" test frames ")[2] for line in told] == [
        "(25.0%) are loaded beside training frames, such as 9 7 l (trained on 09 6 l)",
        "(25.0%) lie next to training frames, such as 9 7 l (trained on 09 6 l)",
        "(25.0%) lie next to training frames of the other camera, "
        "such as 9 0 r (trained on 09 1 l)",
        "(75.0%) are of drives that are trained on, such as 9 7 l (trained on 09 1 l)",
    ]
    card = load_checkpoint(out / "last.safetensors").card
    assert card.split_hash == card_hash([f"09 {i} l" for i in range(1, 7)])


def test_it_can_be_allowed_and_is_still_told(
    training: Training, capsys: pytest.CaptureFixture
) -> None:
    out = training("09 3 l", flags=("--allow-leakage",))
    assert (out / "last.safetensors").exists()
    assert "1 of 1 test frames (100.0%) are trained on, such as 09 3 l" in capsys.readouterr().err
    train(*parse(["--resume", "--out", str(out)]))
    assert "--test" not in capsys.readouterr().err, "a training that goes on was checked"


def test_bad_flags_are_refused_before_anything_is_opened(tmp_path: Path) -> None:
    nowhere = ["--data", "nowhere", "--out", str(tmp_path / "run")]
    with pytest.raises(InputError, match=r"missing\.txt: no such file"):
        train(*parse([*nowhere, "--test", str(tmp_path / "missing.txt")]))
    with pytest.raises(InputError, match="--allow-leakage: has nothing to allow without --test"):
        train(*parse([*nowhere, "--allow-leakage"]))


def test_metric_training_is_checked_as_well(tmp_path: Path, tiny_checkpoint: Path) -> None:
    raw, depths, test = tmp_path / "raw", tmp_path / "depths", tmp_path / "test.txt"
    write_kitti(raw, 1, depths / "train", camera="image_03")
    test.write_text(f"2011_09_26/{drive_name(1)} 0000000004 r\n")
    flags = ["--preset", "metric", "--init", str(tiny_checkpoint), "--out", str(tmp_path / "run")]
    data = ["--data", str(raw), "--annotations", str(depths), "--test", str(test)]
    with pytest.raises(InputError, match=f"are trained on, such as {drive_name(1)} 4 r"):
        train(*parse([*flags, *data, "--metric.crop", "none", "--data.batch", "2"]))


def test_samples_name_the_frames_that_they_load(tmp_path: Path) -> None:
    # Frame 4 is missing: the frame after 3 is 5.
    write_drive(tmp_path, frames=(0, 1, 2, 3, 5, 6), cameras=("image_02", "image_03"))
    drive = open_sequence(tmp_path, camera="image_03")
    samples = Triplets([drive], 1, gaps=(1, 2), stereo=True)
    found = {
        sample.target.number: [(f.number, f.side) for f in sample.sources]
        for sample in training_samples(samples)
    }
    assert found == {
        2: [(1, "r"), (3, "r"), (0, "r"), (5, "r"), (2, "l")],
        3: [(2, "r"), (5, "r"), (1, "r"), (6, "r"), (3, "l")],
    }
    assert frames_hash(samples) == split_hash([ListedFrame(NAME, n, "r") for n in (2, 3)])


def test_the_street_is_not_taken_for_kitti(tiny_street: Path) -> None:
    samples = Triplets([open_sequence(tiny_street, "09")], 1)
    raw, ours = ListedFrame("2011_09_30_drive_0033_sync", 3, "l"), ListedFrame("9", 3, "l")
    told: list[str] = []
    check_leakage(Flags(), samples, (raw,), told.append)
    assert told == []
    with pytest.raises(InputError, match="1 of 2 test frames"):
        check_leakage(Flags(), samples, (raw, ours), told.append)
    with pytest.raises(InputError, match="2 of 2 test frames"):
        check_leakage(Flags(data=tiny_street), samples, (raw, ours), told.append)
