"""Cityscapes, its triplets and NYU's raw scenes as video."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from short_videos import (
    FX,
    NYU_START,
    U0,
    V0,
    scene,
    write,
    write_camera,
    write_cityscapes_video,
    write_nyu_scene,
    write_triplet,
)

from vo.datasets import list_sequences, open_sequence
from vo.datasets.errors import InputError
from vo.datasets.images import read_image_size
from vo.datasets.layout import recognise
from vo.datasets.listing import known_as, listed_frames
from vo.datasets.nyu import NYU_CAMERA
from vo.datasets.sequence import resize
from vo.datasets.split_list import ListedFrame
from vo.datasets.triplets import Triplets


def test_runs_of_cityscapes_are_sequences(tmp_path: Path) -> None:
    write_cityscapes_video(tmp_path, "aachen_000000", range(30), labelled=19)
    write_cityscapes_video(tmp_path, "hamburg_000000", range(40, 44), labelled=42)
    write_cityscapes_video(tmp_path, "hamburg_000000", range(90, 93), labelled=91)
    write_cityscapes_video(tmp_path, "bonn_000000", range(3), split="test")
    names = ["aachen_000000_000000", "hamburg_000000_000040", "hamburg_000000_000090"]
    assert list_sequences(tmp_path) == names
    assert list_sequences(tmp_path / "leftImg8bit_sequence") == names
    assert list_sequences(tmp_path / "leftImg8bit_sequence" / "test") == ["bonn_000000_000000"]
    drive = open_sequence(tmp_path, names[0])
    assert len(drive) == 30
    assert drive.timestamps[17] - drive.timestamps[0] == pytest.approx(1.0)
    assert [len(open_sequence(tmp_path, name)) for name in names[1:]] == [4, 3]


def test_bottom_quarter_is_cut_off_and_camera_belongs_to_the_rest(tmp_path: Path) -> None:
    write_cityscapes_video(tmp_path, "aachen_000000", range(3), labelled=1)
    drive = open_sequence(tmp_path)
    assert drive[1].image.shape == (48, 128, 3)
    np.testing.assert_array_equal(drive[1].image, scene(0.01, 128, 64)[:48])
    assert drive[1].camera == drive.camera
    s = 128 / 2048
    expected = (FX * s, FX * s, (U0 + 0.5) * s - 0.5, (V0 + 0.5) * s - 0.5)
    found = drive.camera
    assert (found.fx, found.fy, found.cx, found.cy) == pytest.approx(expected)


def test_camera_of_the_nearest_labelled_image(tmp_path: Path) -> None:
    write_cityscapes_video(tmp_path, "hamburg_000000", range(40, 44))
    write_camera(tmp_path, "hamburg_000000_000042", fx=2000.0)
    write_camera(tmp_path, "hamburg_000000_000100", fx=2100.0)
    write_camera(tmp_path, "hamburg_000001_000041", fx=2200.0)
    assert open_sequence(tmp_path).camera.fx == 2000 / 16


def test_sequences_and_cameras_in_the_folders_of_their_archives(tmp_path: Path) -> None:
    write_cityscapes_video(tmp_path, "aachen_000000", range(3), labelled=1)
    for name in ("leftImg8bit_sequence", "camera"):
        (tmp_path / f"{name}_trainvaltest").mkdir()
        (tmp_path / name).rename(tmp_path / f"{name}_trainvaltest" / name)
    assert open_sequence(tmp_path).camera.size == (128, 48)
    inside = tmp_path / "leftImg8bit_sequence_trainvaltest/leftImg8bit_sequence/train"
    assert open_sequence(inside).camera.size == (128, 48)


def test_missing_camera_is_named(tmp_path: Path) -> None:
    write_cityscapes_video(tmp_path, "aachen_000000", range(3))
    with pytest.raises(InputError, match="holds no camera of aachen_000000; unpack camera_train"):
        open_sequence(tmp_path)


def test_triplets_are_sequences_of_three(tmp_path: Path) -> None:
    write_triplet(tmp_path, "ulm_000002_000025")
    write_triplet(tmp_path, "bremen_000000_000002")
    assert list_sequences(tmp_path) == ["bremen_000000_000002", "ulm_000002_000025"]
    drive = open_sequence(tmp_path, "ulm_000002_000025")
    assert [drive[i].index for i in range(len(drive))] == [23, 25, 27]
    assert drive.timestamps[2] - drive.timestamps[0] == pytest.approx(4 / 17)
    for i in range(3):
        np.testing.assert_array_equal(drive[i].image, scene(0.02 * i, 128, 48))


def test_triplet_and_video_have_one_camera(tmp_path: Path) -> None:
    """The preparation forgot that pixel centres are at integers; reading it puts that right."""
    write_cityscapes_video(tmp_path / "video", "ulm_000002", range(3), labelled=1)
    write_triplet(tmp_path / "triplets", "ulm_000002_000025")
    ours, theirs = open_sequence(tmp_path / "video"), open_sequence(tmp_path / "triplets")
    np.testing.assert_allclose(ours.camera.K, theirs.camera.K)
    assert ours.camera.size == theirs.camera.size


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("1,0,2", "has 3 numbers, not 9"),
        ("9,1,5,0,9,5,0,0,1", "is no camera"),
        ("0,0,5,0,9,5,0,0,1", "is no camera"),
        ("9,0,x,0,9,5,0,0,1", "'x' is no finite number"),
    ],
)
def test_damaged_camera_of_a_triplet(tmp_path: Path, text: str, problem: str) -> None:
    path = write_triplet(tmp_path, "ulm_000002_000025")
    path.with_name("ulm_000002_000025_cam.txt").write_text(text)
    with pytest.raises(InputError, match=problem):
        open_sequence(tmp_path)


def test_triplet_without_image_or_of_a_wrong_width(tmp_path: Path) -> None:
    path = write_triplet(tmp_path, "ulm_000002_000025")
    path.write_bytes(write_triplet(tmp_path / "b", "ulm_000002_000025", (100, 48)).read_bytes())
    open_sequence(tmp_path / "b")
    path.unlink()
    with pytest.raises(InputError, match=r"is missing, the image of ulm_000002_000025_cam\.txt"):
        open_sequence(tmp_path)


def test_scenes_of_nyu_in_the_order_of_their_times(tmp_path: Path) -> None:
    folder = write_nyu_scene(tmp_path / "basements", "basement_0001a", frames=12)
    assert list_sequences(tmp_path) == ["basements/basement_0001a"]
    assert list_sequences(tmp_path / "basements") == ["basement_0001a"]
    drive = open_sequence(folder)
    assert len(drive) == 12
    np.testing.assert_allclose(drive.timestamps, 0.04 * np.arange(12), atol=1e-5)
    np.testing.assert_array_equal(drive[11].image, scene(0.11, 640, 480)[16:-16, 16:-16])
    assert drive.camera.size == (608, 448)
    assert drive.camera.cx == NYU_CAMERA.cx - 16
    assert drive[0].depth is None


def test_two_images_of_one_time(tmp_path: Path) -> None:
    folder = write_nyu_scene(tmp_path, "basement_0001a", frames=3)
    first = next(iter(sorted(folder.glob("r-*.ppm"))))
    (folder / f"r-{NYU_START:.6f}-9.ppm").write_bytes(first.read_bytes())
    with pytest.raises(InputError, match=r"r-1316653580\.471513-9\.ppm and .* have one time"):
        open_sequence(folder)


def test_truncated_ppm_is_refused(tmp_path: Path) -> None:
    folder = write_nyu_scene(tmp_path, "basement_0001a", frames=3)
    path = sorted(folder.glob("r-*.ppm"))[1]
    path.write_bytes(path.read_bytes()[:-1])
    drive = open_sequence(folder)
    assert drive[0].image.shape == (448, 608, 3)
    with pytest.raises(InputError, match=r"is truncated \(PPM ends after 921614 bytes\)"):
        drive[1]


@pytest.mark.parametrize("flag", [{"camera": "image_2"}, {"fps": 17.0}, {"intrinsics": "1,1,1,1"}])
def test_flags_that_do_not_suit(tmp_path: Path, flag: dict) -> None:
    write_cityscapes_video(tmp_path, "aachen_000000", range(3), labelled=1)
    with pytest.raises(InputError, match=f"--{next(iter(flag))}"):
        open_sequence(tmp_path, **flag)


def test_frames_are_called_as_in_the_lists_of_cityscapes(tmp_path: Path) -> None:
    write_cityscapes_video(tmp_path / "a", "mainz_000003", range(10923, 10926), labelled=10924)
    write_triplet(tmp_path / "b", "mainz_000003_010924")
    write_nyu_scene(tmp_path / "c", "bath_0001", frames=2)
    video, triplet, scene_ = (resize(open_sequence(tmp_path / x), 64, 32) for x in ("a", "b", "c"))
    assert listed_frames(video)[1] == ListedFrame("mainz", 3010924)
    assert [f.number for f in listed_frames(triplet)] == [3010922, 3010924, 3010926]
    assert known_as(video) == known_as(triplet) == "mainz"
    assert known_as(scene_) == "bath_0001"
    assert listed_frames(scene_)[1] == ListedFrame("bath_0001", 1)


def test_city_stands_for_all_in_it(tmp_path: Path) -> None:
    for name in ("ulm_000000", "ulm_000001", "ulmen_000000"):
        write_cityscapes_video(tmp_path, name, range(3))
    found = recognise(tmp_path)
    assert list(found.choose_all("ulm")) == ["ulm_000000_000000", "ulm_000001_000000"]
    assert list(found.choose_all("ulm_000001")) == ["ulm_000001_000000"]
    with pytest.raises(InputError, match="no sequence 'paris'"):
        found.choose_all("paris")


def test_training_samples_never_cross_from_one_to_the_next(tmp_path: Path) -> None:
    for stem in ("ulm_000002_000025", "ulm_000002_000031"):
        write_triplet(tmp_path, stem)
    drives = [resize(open_sequence(tmp_path, name), 64, 24) for name in list_sequences(tmp_path)]
    samples = Triplets(drives, batch=2, mirror=False)
    assert samples.count == 2
    batch = samples.at(0)
    assert sorted(batch.names) == ["ulm_000002_000025/000025", "ulm_000002_000031/000031"]
    assert batch.images.shape == (2, 3, 3, 24, 64)


@pytest.mark.parametrize("suffix", ["png", "jpg", "ppm"])
def test_size_is_told_by_the_beginning_of_a_file(tmp_path: Path, suffix: str) -> None:
    path = write(tmp_path / f"image.{suffix}", scene(0.0, 300, 200))
    assert read_image_size(path) == (300, 200)
    path.write_bytes(path.read_bytes()[:700])  # the rest is another's concern
    assert read_image_size(path) == (300, 200)
    path.write_bytes(path.read_bytes()[:9])
    with pytest.raises(InputError, match="is no PNG or JPEG image, or is damaged"):
        read_image_size(path)
