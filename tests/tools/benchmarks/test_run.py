"""The benchmark of a run, on the fewest frames: what is compared does the same job."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from vo.datasets import open_sequence
from vo.datasets.errors import InputError
from vo.tools.benchmarks.run import PLAIN, run_speed
from vo.tools.benchmarks.run_profile import STAGES, memory_mb
from vo.tools.benchmarks.run_ways import (
    Images,
    Way,
    _plain_depth,
    _plain_pose,
    build_model,
    our_odometry,
    our_run,
    save_images,
)


@pytest.fixture(scope="module")
def images(tiny_street: Path, tmp_path_factory: pytest.TempPathFactory) -> Images:
    folder = tmp_path_factory.mktemp("images")
    return save_images(open_sequence(tiny_street, "09", end=3), folder, (96, 64))


def test_a_table_and_a_file_with_ratios(
    tiny_street: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    file = tmp_path / "run.json"
    run_speed(True, tiny_street, "09", 3, (96, 64), 0.0, None, 16, True, file)
    found = json.loads(file.read_text())
    fps = {row["way"]: row["fps"] for row in found["rows"]}
    assert fps[PLAIN] > 0
    assert {"ours, fp32", "ours, auto, first guess motion"} <= fps.keys()
    assert all(row["iterations"] > 0 for row in found["rows"] if row["way"] != PLAIN)
    ratio = found["ratios"]["ours_over_monodepth2_way_fps_fp32_96x64"]
    assert ratio == pytest.approx(fps["ours, fp32"] / fps[PLAIN], rel=2)
    assert 0 < found["ratios"]["refinement_share_of_time_96x64"] < 1
    stages = found["profile"][0][2]["stage_ms"]
    assert list(stages) == list(STAGES)
    assert all(ms > 0 for ms in stages.values())
    assert 0 < found["roofline"][0][1]["share"] < 2
    assert list(found["memory_mb"]) == [str(n) for n in range(2, 17, 2)]
    assert "refinement_share_of_time_96x64" in capsys.readouterr().out


def test_the_plain_way_computes_what_the_networks_compute(images: Images) -> None:
    plain, _ = build_model(images)
    x, y = torch.rand(2, 1, 3, 64, 96)
    with torch.no_grad():
        depth, pose = plain.depth_net(x).depth, plain.pose_net(x, y)
        torch.testing.assert_close(_plain_depth(plain.depth_net, x), depth, rtol=1e-4, atol=1e-4)
        T_last_now = pose.se3().Inv().matrix()[0].numpy()
        np.testing.assert_allclose(_plain_pose(plain.pose_net, x, y), T_last_now, atol=1e-6)


def test_the_refinement_is_given_what_the_shipped_networks_say(images: Images) -> None:
    _, answering = build_model(images)
    drives = []
    for ahead in (False, True):
        odometry = our_odometry(answering, images, Way("fp32", ahead, "network"))
        drives.append(our_run(odometry, images, ahead))
    rows = drives[0].rows
    assert len(rows) == 3
    assert all(row.tracked and row.iterations > 2 for row in rows[1:])
    assert all(0.1 < row.step < 3 for row in rows[1:]), "metres, as the shipped networks see them"
    assert np.allclose(drives[0].T_w_c, drives[1].T_w_c, atol=1e-6)
    odometry = our_odometry(answering, images, Way("fp32", True, "motion"))
    without = our_run(odometry, images, ahead=True)
    assert np.isnan(without.T_w_c_raw[2]).all()
    assert np.allclose(without.T_w_c, drives[0].T_w_c, atol=0.2)


def test_a_drive_of_any_length_goes_to_and_fro(images: Images) -> None:
    found = memory_mb(build_model(images)[1], images, 8, Way("fp32", True, "network"))
    assert list(found) == list(range(1, 9))


def test_what_cannot_be_measured_is_refused() -> None:
    with pytest.raises(InputError, match="--frames: is 2; give 3 or more"):
        run_speed(frames=2)
