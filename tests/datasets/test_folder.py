from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from vo.datasets import open_sequence
from vo.datasets.errors import InputError
from vo.datasets.folder import open_folder


def test_open_in_natural_order_at_the_nominal_rate(images: Callable[..., Path]) -> None:
    drive = open_folder(images(12))
    assert [p.name for p in drive.images[:3]] == ["0.png", "1.png", "2.png"]
    assert drive.images[-1].name == "11.png"
    np.testing.assert_allclose(drive.timestamps, np.arange(12) / 10)
    assert (drive.camera.fx, drive.T_w_c, drive[11].index) == (50, None, 11)


def test_rate_and_times(images: Callable[..., Path]) -> None:
    folder = images(3)
    np.testing.assert_allclose(open_folder(folder, fps=25).timestamps, [0, 0.04, 0.08])
    (folder / "times.txt").write_text("5\n5.5\n7\n")
    np.testing.assert_allclose(open_folder(folder).timestamps, [5, 5.5, 7])
    with pytest.raises(InputError, match=r"--fps: .*times\.txt has the times already"):
        open_folder(folder, fps=25)
    (folder / "times.txt").unlink()
    with pytest.raises(InputError, match="--fps: is 0"):
        open_folder(folder, fps=0)


def test_poses(images: Callable[..., Path]) -> None:
    folder = images(3)
    (folder / "poses.txt").write_text("".join(f"1 0 0 {i} 0 1 0 0 0 0 1 0\n" for i in range(3)))
    frame = open_folder(folder)[2]
    assert frame.T_w_c is not None
    assert frame.T_w_c[0, 3] == 2
    (folder / "poses.txt").write_text("1 0 0 0 0 1 0 0 0 0 1 0\n" * 2)
    with pytest.raises(InputError, match=r"poses\.txt: has 2 poses for 3 images"):
        open_folder(folder)


@pytest.mark.parametrize("name", ["times.txt", "poses.txt", "camera.yaml"])
def test_what_is_no_file_is_not_taken_for_absent(images: Callable[..., Path], name: str) -> None:
    path = images(3) / name
    path.unlink(missing_ok=True)
    path.symlink_to(path.name)
    with pytest.raises(InputError, match=f"{name}: no such file"):
        open_folder(path.parent)


def test_camera_may_lie_one_folder_up(images: Callable[..., Path]) -> None:
    folder = images(2, name="walk/images")
    (folder / "camera.yaml").rename(folder.parent / "camera.yaml")
    assert open_sequence(folder.parent).camera.fx == 50
    assert open_sequence(folder.parent).name == "images"


def test_camera_at_another_size_is_resized(images: Callable[..., Path]) -> None:
    folder = images(2, camera=False)
    drive = open_folder(folder, "500,500,199.5,149.5,400,300")
    assert (drive.camera.fx, drive.camera.size) == (50, (40, 30))
    assert drive.camera.cx == pytest.approx(19.5)
    with pytest.raises(InputError, match="--intrinsics: was calibrated at 400x200"):
        open_folder(folder, "500,500,200,100,400,200")


def test_unknown_camera_says_both_ways(images: Callable[..., Path]) -> None:
    with pytest.raises(
        InputError, match=r"write .*camera\.yaml .*or pass --intrinsics fx,fy,cx,cy"
    ):
        open_folder(images(2, camera=False))


def test_times_that_do_not_fit(images: Callable[..., Path]) -> None:
    folder = images(3)
    (folder / "times.txt").write_text("0\n1\n")
    with pytest.raises(InputError, match=r"times\.txt: has 2 times for 3 images"):
        open_folder(folder)
    (folder / "times.txt").write_text("0\n2\n1\n")
    with pytest.raises(InputError, match=r"do not increase: 2\.0+ s is followed by 1\.0+ s"):
        open_folder(folder)
