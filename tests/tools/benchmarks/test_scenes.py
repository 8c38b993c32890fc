"""The benchmark of disturbances: what is done to a drive, and how it is judged."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from true_networks import DisturbedPose, Known, TrueDepth, motion, tiny_model

from vo.datasets import open_sequence
from vo.datasets.frame import Frame
from vo.datasets.street import render_street
from vo.odometry import Odometry
from vo.tools.benchmarks import scenes as benchmark
from vo.tools.benchmarks.disturbances import Scene, scenes
from vo.tools.benchmarks.scenes import Row, measure

FRAMES, FIRST, COUNT = 10, 3, 4


@pytest.fixture(scope="module")
def frames(tmp_path_factory: pytest.TempPathFactory) -> list[Frame]:
    root = tmp_path_factory.mktemp("scenes")
    render_street(root, ["00"], size=(320, 96), frames=FRAMES)
    drive = open_sequence(root, "00")
    return [drive[i] for i in range(FRAMES)]


@pytest.fixture(scope="module")
def by_name(frames: list[Frame]) -> dict[str, Scene]:
    return {scene.name: scene for scene in scenes(frames, FIRST, COUNT)}


@pytest.fixture(scope="module")
def odometry(frames: list[Frame]) -> Odometry:
    known, model = Known(frames), tiny_model("grey", (320, 96))
    model.depth_net, model.pose_net = TrueDepth(known), DisturbedPose(known)  # type: ignore[assignment]
    return Odometry(model, model.config.refine)


@pytest.mark.parametrize(
    "name", ["undisturbed", "repeated frames", "half the rate", "black frames", "lens blocked"]
)
def test_what_is_lost_is_flagged_and_nothing_else(
    by_name: dict[str, Scene], odometry: Odometry, name: str
) -> None:
    row = measure(odometry, by_name[name])
    assert row.flagged == row.lost == (COUNT + 1 if "black" in name or "lens" in name else 0)
    assert row.wrongly_flagged == 0
    assert row.end_m < max(0.3, 2 * row.constant_velocity_m)
    assert row.worst_refined_m < 0.3


def test_times_go_on_and_truth_is_what_images_show(
    by_name: dict[str, Scene], frames: list[Frame]
) -> None:
    for scene in by_name.values():
        assert np.all(np.diff([frame.time_s for frame in scene.frames]) > 0), scene.name
    still, turn = by_name["standing still"].frames, by_name["pure rotation"].frames
    repeated = by_name["repeated frames"].frames
    for i in range(FIRST, FIRST + COUNT):
        np.testing.assert_allclose(motion(still, i - 1, i), np.eye(4), atol=1e-9)
        assert not np.array_equal(still[i].image, still[i - 1].image), "noise is not frozen"
        np.testing.assert_allclose(motion(turn, i - 1, i)[:3, 3], 0, atol=1e-9)
    assert np.array_equal(repeated[FIRST].image, frames[FIRST - 1].image)
    assert np.array_equal(repeated[FIRST].T_w_c, frames[FIRST - 1].T_w_c)


def test_a_turn_moves_the_image_as_its_pose_says(
    by_name: dict[str, Scene], frames: list[Frame]
) -> None:
    """Half a degree to the right moves the middle to the left by fx tan 0.5 deg."""
    turned, held = by_name["pure rotation"].frames[FIRST], frames[FIRST - 1]
    T = motion([held, turned], 0, 1)
    assert (T @ [0, 0, 1, 1])[0] > 0.008, "to the right"
    shift = round(held.camera.fx * np.tan(np.radians(0.5)))
    middle = np.s_[20:80, 100:220]
    moved = np.roll(held.image, -shift, 1)[middle].astype(float)
    off = np.abs(moved - turned.image[middle]).mean()
    assert off < 0.5 * np.abs(held.image[middle] - moved).mean()


def test_too_long_a_disturbance(frames: list[Frame]) -> None:
    with pytest.raises(ValueError, match="do not fit"):
        scenes(frames, FIRST, FRAMES)


def test_the_command_writes_its_rows(
    frames: list[Frame], odometry: Odometry, monkeypatch: pytest.MonkeyPatch, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    row = Row("one black frame", 2, 2, 2, 0, 0.1, 0.05, 0.2, 0.1, 0.1, 0.04)
    monkeypatch.setattr(benchmark, "measure", lambda odometry, scene: row)
    monkeypatch.setattr("vo.odometry.Odometry.from_checkpoint", lambda ckpt: odometry)
    monkeypatch.setattr("vo.datasets.open_sequence", lambda *a, **k: frames)
    benchmark.scenes(frames=FRAMES, first=FIRST, count=COUNT, json_file=tmp_path / "rows.json")
    rows = json.loads((tmp_path / "rows.json").read_text())
    assert len(rows) == 13
    assert rows[0]["refined_m"] == 0.05
    assert "one black frame" in capsys.readouterr().out
