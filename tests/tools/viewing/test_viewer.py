"""What a view records, and that nothing which befalls it reaches the run."""

from __future__ import annotations

import math
import subprocess
import sys
import threading
from collections import Counter

import cv2
import numpy as np
import pytest
from rerun import TransformRelation
from rerun.chunk import RrdReader

from vo.datasets.camera import Camera
from vo.datasets.errors import InputError
from vo.datasets.frame import Frame
from vo.drive import Row
from vo.odometry import Estimate
from vo.tools.new_file import demand_new
from vo.tools.viewing.pictures import (
    cloud,
    coloured,
    image_camera,
    jpeg,
    map_camera,
    photometric_error,
)
from vo.tools.viewing.places import (
    Address,
    Places,
    open_places,
    read_address,
)
from vo.tools.viewing.viewer import MAP_POINTS, SPARSE, Recording
from vo.tools.viewing.worker import MOST_WAITING, Viewer, viewing

BOTH = ("raw", "refined")
FRAMES = 12
CAMERA = Camera(70.0, 70.0, 47.5, 31.5, 96, 64)


def moved(z: float) -> np.ndarray:
    T_w_c = np.eye(4)
    T_w_c[2, 3] = z
    return T_w_c


def moment(index: int, tracked: bool = True) -> tuple[Frame, Estimate, Row]:
    """A frame of a straight drive, a metre a frame, whose raw motion is a fifth too short."""
    rng = np.random.default_rng(index)
    image = rng.integers(0, 255, (64, 96, 3), dtype=np.uint8)
    depth = np.full((64, 96), 10, np.float32)
    energy = math.nan if index == 0 else 0.5
    estimate = Estimate(
        index, index / 10, moved(index), moved(0.8 * index), moved(1), moved(0.8), depth, CAMERA,
        tracked, "" if tracked else "no texture", 1.0, energy, 0.9, 4,
        np.full((32, 48), 0.5, np.float32),
    )  # fmt: skip
    row = Row(
        index, index / 10, 0.8, 1.0, 0.8, 3.0, 10.0, 1.0, energy, 0.9, 4, tracked, estimate.reason
    )
    return Frame(index, index / 10, image, CAMERA), estimate, row


def record(path, untracked: int | None = None) -> list[str]:
    """A file of a whole drive; what was told of it."""
    told: list[str] = []
    truth = np.stack([moved(i) for i in range(FRAMES)])
    with viewing(Places(rrd=path), "drive", FRAMES, truth, BOTH, told.append, live=False) as viewer:
        assert viewer is not None
        viewer.say("it begins")
        for index in range(FRAMES):
            viewer.show(*moment(index, index != untracked))
    return told


def chunks(path) -> dict[str, list]:
    """Record batches by entity."""
    found: dict[str, list] = {}
    for chunk in RrdReader(path).stream():
        found.setdefault(chunk.entity_path, []).append(chunk.to_record_batch())
    return found


def in_time(batches: list) -> list:
    """Without what is static."""
    return [batch for batch in batches if "frame" in batch.schema.names]


def column(batches: list, end: str) -> list:
    """Values of the column with that end, over all rows."""
    values = []
    for batch in batches:
        names = [name for name in batch.schema.names if name.endswith(end)]
        values += batch.column(names[0]).to_pylist() if names else []
    return values


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    path = tmp_path_factory.mktemp("view") / "drive.rrd"
    assert record(path, untracked=7) == []
    return path


def test_the_file_is_valid(recorded):
    done = subprocess.run(
        [sys.executable, "-m", "rerun_cli", "rrd", "verify", recorded],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "1 file verified without error" in done.stdout + done.stderr


def test_rows_of_every_entity(recorded):
    rows = Counter()
    for path, batches in chunks(recorded).items():
        rows[path] += sum(batch.num_rows for batch in batches)
    every = dict.fromkeys(("/camera/depth", "/camera/image"), FRAMES + 1)
    moving = {f"/{kind}/follow": FRAMES for kind in ("raw", "refined")}
    # one more each: pinholes, axes, styles of curves
    sparse = len(range(0, FRAMES, SPARSE))
    pairs = {f"/camera/error/{kind}": sparse - 1 + 1 for kind in ("raw", "refined")}
    pairs["/camera/confidence"] = sparse + 1  # the first frame has no error
    worlds = {f"/{kind}": FRAMES + 1 for kind in ("raw", "refined")}
    truths = {f"/{kind}/truth": 1 for kind in ("raw", "refined")}
    assert rows.items() >= {**every, **moving, **pairs, **worlds, **truths}.items()
    assert rows["/plot/residual"] == FRAMES - 1 + 1
    assert rows["/log"] == 2


def test_one_segment_a_frame_and_never_the_strip_again(recorded):
    for kind, step in (("raw", 0.8), ("refined", 1.0)):
        found = in_time(chunks(recorded)[f"/{kind}/trajectory"])
        frames = [number for batch in found for number in batch.column("frame").to_pylist()]
        assert sorted(frames) == list(range(1, FRAMES))
        strips = column(found, "strips")
        assert [np.shape(strip) for strip in strips] == [(1, 2, 3)] * (FRAMES - 1)
        ends = {frame: strip[0] for frame, strip in zip(frames, strips, strict=True)}
        for frame, (first, last) in ends.items():
            assert np.allclose(first, [0, 0, step * (frame - 1)], atol=1e-5)
            assert np.allclose(last, [0, 0, step * frame], atol=1e-5)


def test_worlds_hang_on_the_camera_by_the_pose(recorded):
    found = chunks(recorded)["/refined"]
    assert set(map(tuple, column(found, "relation"))) - {()} == {
        (TransformRelation.ChildFromParent.value,)
    }
    at = column(found, "Transform3D:translation")
    assert sorted(t[0][2] for t in at if t) == list(range(FRAMES))


def test_clouds_are_keyframes_where_each_pose_puts_them(recorded):
    for kind, step in (("raw", 0.8), ("refined", 1.0)):
        found = in_time(chunks(recorded)[f"/{kind}/map"])
        frames = [number for batch in found for number in batch.column("frame").to_pylist()]
        assert frames == [0, 5, 10]
        for frame, points in zip(frames, column(found, "positions"), strict=True):
            z = np.array(points)[:, 2]
            assert np.allclose(z, 10 + step * frame, atol=1e-4)


def test_words_are_on_the_timeline(recorded):
    found = chunks(recorded)["/log"]
    frames = [number for batch in found for number in batch.column("frame").to_pylist()]
    assert frames == [0, 7]
    assert column(found, "text") == [["it begins"], ["frame 7 is not tracked: no texture"]]


def test_points_are_bounded_over_a_long_run(tmp_path):
    long = Recording("long", ("raw",), 10_000_000, None, (), tmp_path / "long.rrd")
    assert long._cloud_points * 10_000_000 / 5 <= MAP_POINTS * 10  # at least one point each
    assert long._cloud_points == 1
    long.close()


class Held:
    """A recording that draws nothing until it is let go."""

    def __init__(self, breaks: bool = False) -> None:
        self.let_go, self.breaks = threading.Event(), breaks
        self.light = self.heavy = self.closed = 0

    def add(self, poses, pictures) -> None:
        self.let_go.wait(10)
        if self.breaks:
            raise RuntimeError("the window\nwas closed")
        self.light += 1
        self.heavy += pictures is not None

    def say(self, text) -> None:
        pass

    def close(self) -> None:
        self.closed += 1


def test_a_slow_view_loses_pictures_but_no_poses():
    held = Held()
    viewer = Viewer(lambda: held, BOTH)  # pyright: ignore[reportArgumentType]
    for index in range(3 * MOST_WAITING):
        viewer.show(*moment(index))  # waits for nothing: nothing has been drawn yet
    held.let_go.set()
    told = viewer.close()
    assert (held.light, held.heavy, held.closed) == (3 * MOST_WAITING, MOST_WAITING, 1)
    frames = f"{2 * MOST_WAITING} of {3 * MOST_WAITING} frames"
    assert told == [f"view: {frames} without their pictures"]


def test_a_replay_waits_and_loses_nothing():
    held = Held()
    viewer = Viewer(lambda: held, BOTH, live=False)  # pyright: ignore[reportArgumentType]
    threading.Timer(0.05, held.let_go.set).start()
    for index in range(3 * MOST_WAITING):
        viewer.show(*moment(index))
    assert viewer.close() == []
    assert held.heavy == 3 * MOST_WAITING


@pytest.mark.parametrize("live", [True, False])
def test_a_broken_view_ends_alone(live):
    held = Held(breaks=True)
    held.let_go.set()
    viewer = Viewer(lambda: held, BOTH, live=live)  # pyright: ignore[reportArgumentType]
    for index in range(3 * MOST_WAITING):
        viewer.show(*moment(index))
    assert viewer.close()[0] == "view: it ended before the run did: the window was closed"


def test_no_place_is_no_viewer():
    with viewing(Places(), "drive", 3, None, BOTH, print) as viewer:
        assert viewer is None


def test_addresses():
    assert read_address(()) == Address("127.0.0.1", 9090)
    assert read_address(("9091",)) == Address("127.0.0.1", 9091)
    assert read_address(("0.0.0.0:80",)) == Address("0.0.0.0", 80)
    assert read_address(("[::1]:8000",)) == Address("::1", 8000)
    page = "http://[::1]:8000/?url=rerun%2Bhttp%3A%2F%2F%5B%3A%3A1%5D%3A8001%2Fproxy"
    assert read_address(("[::1]:8000",)).page == page
    for words in (("x",), ("host:",), ("0",), ("65535",), ("99999",), ("1", "2"), ("-1",), ("٣",)):
        with pytest.raises(InputError, match=r"^--serve: "):
            read_address(words)


def test_an_existing_file_is_refused(tmp_path):
    demand_new("--rrd", None)
    demand_new("--rrd", tmp_path / "new.rrd")
    (tmp_path / "mine.rrd").write_text("mine")
    (tmp_path / "link.rrd").symlink_to(tmp_path / "nothing")
    for name in ("mine.rrd", "link.rrd"):
        with pytest.raises(InputError, match="exists already, and is never overwritten"):
            demand_new("--rrd", tmp_path / name)
    with pytest.raises(InputError, match=r"^--rrd: there is no folder .*; create it first"):
        demand_new("--rrd", tmp_path / "none/new.rrd")


def test_without_a_screen_there_is_one_line(monkeypatch):
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "WAYLAND_SOCKET"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("vo.tools.viewing.places.sys.platform", "linux")
    monkeypatch.setattr("vo.tools.viewing.places.WINDOW_PORT", 1)  # nobody answers there
    told: list[str] = []
    with open_places(True, None, None, told.append) as places:
        assert not places
    assert told == ["no window: there is no screen here; use --serve or --rrd FILE"]
    with (
        pytest.raises(InputError, match=r"^--view: there is no screen"),
        open_places(True, None, None),
    ):
        pass


def test_photometric_error_of_a_known_motion():
    """A plane at 10 m, seen after a step of 1 m to the right: a shift of f / 10 pixels."""
    rng = np.random.default_rng(0)
    texture = cv2.GaussianBlur(rng.random((64, 96)).astype(np.float32), (0, 0), 3)
    depth = np.full((64, 96), 10, np.float32)
    step = moved(0)
    step[0, 3] = 1
    now = np.roll(texture, -7, axis=1)  # f = 70
    error = photometric_error(now, texture, depth, CAMERA, step)
    assert np.isnan(error[:, -7:]).all(), "not seen by the last image"
    assert np.nanmax(error) < 1e-5
    assert np.nanmax(photometric_error(texture, texture, depth, CAMERA, np.eye(4))) < 1e-6
    assert np.nanmean(photometric_error(now, texture, depth, CAMERA, np.eye(4))) > 0.01


def test_clouds_keep_near_points_with_their_colours():
    depth = np.full((64, 96), 10, np.float32)
    depth[:8] = 80  # sky
    image = np.zeros((64, 96, 3), np.uint8)
    image[..., 0] = np.arange(96)
    points, colours = cloud(image, depth, CAMERA, 500)
    assert len(points) == len(colours)
    assert 400 < len(points) <= 500
    assert np.allclose(points[:, 2], 10)
    u = CAMERA.project(points)[:, 0]
    assert np.allclose(colours[:, 0], u, atol=1e-3)


def test_sizes_and_files_of_pictures():
    kitti = Camera(721.0, 721.0, 620.0, 187.0, 1241, 376)
    assert image_camera(kitti) == kitti
    large = image_camera(Camera(1500.0, 1500.0, 959.5, 539.5, 1920, 1080))
    assert large.width * large.height <= 501_000
    assert map_camera(CAMERA).size == (48, 32)
    assert map_camera(kitti).size == (310, 94)
    image = np.full((32, 48, 3), (200, 30, 60), np.uint8)
    again = cv2.imdecode(np.frombuffer(jpeg(image), np.uint8), cv2.IMREAD_COLOR)
    assert again is not None
    assert np.abs(again[..., ::-1].astype(int) - image).max() < 8, "red stays red"
    colours = coloured(np.array([[0.0, 1.0, np.nan]]), cv2.COLORMAP_INFERNO)
    assert colours[0, 2].tolist() == colours[0, 0].tolist()
    assert colours[0, 1].sum() > colours[0, 0].sum()
