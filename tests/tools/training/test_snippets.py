"""What ``vo-train`` takes of Cityscapes, its triplets and NYU's raw video."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from short_videos import write_cityscapes_video, write_nyu_scene, write_triplet

from vo.datasets.errors import InputError
from vo.presets import preset
from vo.tools.training.drives import drives_of
from vo.tools.training.flags import Flags
from vo.training.config import TrainConfig


def settings(*gaps: int) -> TrainConfig:
    config = preset("finetune")
    model = replace(config.model, width=64, height=32)
    return replace(config, model=model, data=replace(config.data, gaps=gaps))


def names(drives: list) -> list[str]:
    return [drive.name for drive in drives]


@pytest.fixture
def cities(tmp_path: Path) -> Path:
    for sequence, length in (("aachen_000000", 5), ("ulm_000000", 6), ("ulm_000001", 3)):
        write_cityscapes_video(tmp_path, sequence, range(length), labelled=1)
    return tmp_path


def test_all_is_trained_on_that_is_not_validated_on(cities: Path) -> None:
    train, held_out = drives_of(Flags(data=cities, val=("aachen",)), settings(1), print)
    assert names(train) == ["ulm_000000_000000", "ulm_000001_000000"]
    assert names(held_out) == ["aachen_000000_000000"]
    assert train[0][0].image.shape == (32, 64, 3)


def test_city_or_sequence_is_named(cities: Path) -> None:
    train, _ = drives_of(
        Flags(data=cities, seq=("aachen", "ulm_000001_000000")), settings(1), print
    )
    assert names(train) == ["aachen_000000_000000", "ulm_000001_000000"]
    with pytest.raises(InputError, match="--val: ulm_000001_000000 is trained on as well"):
        drives_of(Flags(data=cities, seq=("ulm",), val=("ulm_000001",)), settings(1), print)


def test_short_sequences_are_left_out_with_a_warning(cities: Path, capsys) -> None:
    train, _ = drives_of(Flags(data=cities), settings(1, 2), print)
    assert names(train) == ["aachen_000000_000000", "ulm_000000_000000"]
    said = "1 of 3 sequences have fewer than 5 frames: left out"
    assert said in capsys.readouterr().out


def test_triplets_have_no_wider_gap(tmp_path: Path) -> None:
    write_triplet(tmp_path, "ulm_000002_000025")
    with pytest.raises(InputError, match=r"--data\.gaps: .* triplets have 3 frames: leave it at 1"):
        drives_of(Flags(data=tmp_path), settings(2), print)
    train, _ = drives_of(Flags(data=tmp_path), settings(1), print)
    assert names(train) == ["ulm_000002_000025"]


def test_intrinsics_of_nyu_can_be_given(tmp_path: Path) -> None:
    write_nyu_scene(tmp_path, "bath_0001", frames=3)
    own, _ = drives_of(Flags(data=tmp_path), settings(1), print)
    given, _ = drives_of(Flags(data=tmp_path, intrinsics="600,600,320,240"), settings(1), print)
    assert own[0].camera.fx == pytest.approx(518.8579 * 64 / 608)
    assert given[0].camera.fx == pytest.approx(600 * 64 / 608)
    with pytest.raises(InputError, match=r"--camera: .* has a single camera"):
        drives_of(Flags(data=tmp_path, camera="image_2"), settings(1), print)
