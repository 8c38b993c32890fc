"""The street on disk: complete or not there at all, whoever else is at work."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from vo.datasets import open_sequence
from vo.datasets.errors import InputError
from vo.datasets.street import render_street, street_root
from vo.datasets.street.recipe import street_camera, street_poses

SIZE = (160, 48)
RENDER = """
import sys
from pathlib import Path
from vo.datasets.street import render_street
root, frames, workers = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
render_street(root, ["02"], (160, 48), frames=frames, workers=workers)
"""


def start(root: Path, frames: int, workers: int, **options) -> subprocess.Popen:
    command = [sys.executable, "-c", RENDER, str(root), str(frames), str(workers)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options)


def heed_interrupts() -> None:
    """A shell's background jobs ignore interrupts, and so do their children: undo it."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def wait_for_frames(root: Path) -> None:
    deadline = time.monotonic() + 60
    while not list(root.glob(".partial-02-*/image_2/000003.png")):
        assert time.monotonic() < deadline, "no frames came"
        time.sleep(0.02)


def assert_complete(root: Path, frames: int) -> None:
    folder = root / "sequences" / "02"
    for name in ("image_2", "depth", "moving"):
        assert len(list((folder / name).iterdir())) == frames
    assert len((root / "poses" / "02.txt").read_text().splitlines()) == frames
    assert not list(root.glob(".partial*"))


@pytest.fixture(scope="module")
def street(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("street")
    render_street(root, ["05"], SIZE, frames=40, workers=2)
    return root


def test_any_kitti_reader_reads_it(street):
    sequence = open_sequence(street, "05")
    assert len(sequence) == 40
    T_z_c = street_poses("05", 40)
    assert np.allclose(sequence.T_w_c, np.linalg.inv(T_z_c[0]) @ T_z_c, atol=1e-9)
    assert np.array_equal(sequence.T_w_c[0], np.eye(4))
    camera, known = sequence.camera, street_camera(*SIZE)
    assert camera.size == SIZE
    assert np.allclose(camera.K, known.K, atol=1e-6)
    assert np.allclose(np.diff(sequence.timestamps), 0.1)
    frame = sequence[20]
    assert frame.image.shape == (48, 160, 3)
    assert frame.depth.shape == frame.moving.shape == (48, 160)
    assert 2 < np.median(frame.depth[frame.depth > 0]) < 40
    assert any(sequence[k].moving.any() for k in range(0, 40, 5)), "05 has traffic"


def test_processes_and_one_process_draw_the_same(street, tmp_path):
    render_street(tmp_path, ["05"], SIZE, frames=40, workers=1)
    for path in sorted((street / "sequences" / "05").rglob("*.*")):
        twin = tmp_path / path.relative_to(street)
        assert path.read_bytes() == twin.read_bytes(), path.name


def test_what_lies_there_is_not_drawn_again_nor_replaced(street):
    image = street / "sequences" / "05" / "image_2" / "000000.png"
    before = image.stat().st_mtime_ns
    render_street(street, ["05"], SIZE, frames=40)
    assert image.stat().st_mtime_ns == before
    with pytest.raises(InputError, match="holds 40 frames of 160x48 already"):
        render_street(street, ["05"], SIZE, frames=41)
    assert image.stat().st_mtime_ns == before


@pytest.mark.parametrize("content", ["[40, 160, 48]", "{", "[" * 100_000, None])
def test_a_folder_of_others_is_refused_whatever_its_facts_are(tmp_path, content):
    facts = tmp_path / "sequences" / "05" / "street.json"
    facts.parent.mkdir(parents=True)
    if content is None:
        os.mkfifo(facts)
    else:
        facts.write_text(content)
    with pytest.raises(InputError, match="holds other data already"):
        render_street(tmp_path, ["05"], SIZE, frames=40)


def test_cache_is_named_by_size_and_recipe(tmp_path, monkeypatch):
    monkeypatch.setenv("VO_CACHE", str(tmp_path / "cache"))
    drawn = []
    monkeypatch.setattr("vo.datasets.street.dataset.render_street", lambda *a, **k: drawn.append(a))
    root = street_root("09", 320, 96)
    assert root.parent == tmp_path / "cache"
    assert root.name.startswith("street-320x96-")
    assert drawn[0][1] == ["09"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"sequences": ["11"]}, "--seq: there is no sequence '11'; the street has 00 to 10"),
        ({"size": (8, 8)}, "--size: cannot draw 8x8"),
        ({"frames": 1}, "--frames: cannot draw 1 frames"),
    ],
)
def test_impossible_requests(tmp_path, arguments, message):
    with pytest.raises(InputError, match=message):
        render_street(tmp_path / "new", **arguments)
    assert not (tmp_path / "new").exists()


def test_folder_that_cannot_be_made_names_the_remedy(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"cannot be created.*VO_CACHE"):
        render_street(tmp_path / "file" / "street", ["00"], SIZE, frames=2)


def test_killed_in_the_middle_it_leaves_no_sequence_and_the_next_run_cleans_up(tmp_path):
    process = start(tmp_path, 400, 2)
    wait_for_frames(tmp_path)
    process.kill()
    process.communicate()
    assert not (tmp_path / "sequences").exists()
    render_street(tmp_path, ["02"], SIZE, frames=6, workers=1)
    assert_complete(tmp_path, 6)


def test_interrupt_leaves_nothing(tmp_path):
    process = start(tmp_path, 400, 2, start_new_session=True, preexec_fn=heed_interrupts)
    wait_for_frames(tmp_path)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to the workers, too
    process.communicate(timeout=30)
    assert process.returncode != 0
    assert not (tmp_path / "sequences").exists()
    assert not list(tmp_path.glob(".partial*"))


def test_two_at_once_draw_it_once(tmp_path):
    both = [start(tmp_path, 12, 1) for _ in range(2)]
    for process in both:
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors.decode()
    assert_complete(tmp_path, 12)


@pytest.mark.parametrize("workers", [1, 2])
def test_full_disk_is_an_error_that_names_the_folder_and_leaves_nothing(tmp_path, workers):
    code = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (3000, 3000))\n" + RENDER
    command = [sys.executable, "-c", code, str(tmp_path), "40", str(workers)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode != 0
    assert "File too large" in done.stderr  # a limit stands in for the full disk
    assert f"'{tmp_path}'" in done.stderr
    assert not (tmp_path / "sequences").exists()
    assert not list(tmp_path.glob(".partial*"))
