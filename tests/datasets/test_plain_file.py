"""What is no file with an end, wherever a file is asked for."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from limited import refusal

from vo.datasets.cityscapes import read_depth_array
from vo.datasets.cityscapes_camera import read_camera
from vo.datasets.errors import InputError
from vo.datasets.images import DepthFormat, read_depth, read_image, read_image_size, read_mask
from vo.datasets.matlab import read_matlab
from vo.datasets.nyu import open_nyu
from vo.datasets.plain_file import demand_file, read_file
from vo.datasets.poses import read_kitti_poses, read_tum_poses
from vo.datasets.text import read_times
from vo.datasets.velodyne import read_scan
from vo.datasets.video import open_video

READERS: dict[str, Callable[[Path], object]] = {
    "a.png": read_image,
    "size.jpg": read_image_size,
    "depth.png": partial(read_depth, depth_format=DepthFormat(256)),
    "mask.png": read_mask,
    "times.txt": read_times,
    "poses.txt": read_kitti_poses,
    "tum.txt": read_tum_poses,
    "a.bin": read_scan,
    "a.npy": read_depth_array,
    "a.mat": partial(read_matlab, name="a"),
    "nyu.mat": open_nyu,
    "camera.json": read_camera,
    "a.mp4": partial(open_video, intrinsics="50,50,19.5,14.5"),
}


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize("kind", ["pipe", "device", "endless", "loop", "folder", "nothing"])
def test_no_reader_waits_or_fills_the_memory(tmp_path: Path, name: str, kind: str) -> None:
    path = tmp_path / name
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "endless":
        path.touch()
        os.truncate(path, 1 << 40)
    elif kind == "loop":
        path.symlink_to(name)
    elif kind == "folder":
        path.mkdir()
    said = refusal(lambda: READERS[name](path))
    assert said.startswith(f"{path}: ")
    assert "\n" not in said


def test_a_file_is_read_up_to_its_limit(tmp_path: Path) -> None:
    path, link = tmp_path / "a", tmp_path / "link"
    path.write_bytes(b"12345")
    link.symlink_to(path)
    assert read_file(link, 5, "a test") == b"12345"
    assert demand_file(link) == 5
    with pytest.raises(InputError, match=r"link: is too large for a test: 5 bytes; shorten it"):
        read_file(link, 4, "a test", "shorten it")
    path.unlink()
    with pytest.raises(InputError, match="no such file, a link that leads nowhere"):
        demand_file(link)
