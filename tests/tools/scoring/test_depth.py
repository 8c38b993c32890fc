"""``vo-eval depth``: the table, the files it leaves, and the line it says when it cannot."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from commands import Command, Done
from kitti_raw_drive import write_drive

from vo.datasets.split_list import ListedFrame, split_hash
from vo.tools.evaluate import main

NAME = "2011_09_26_drive_0052_sync"
KEYS = ("abs_rel", "sq_rel", "rmse", "rmse_log", "log10", "a1", "a2", "a3")


@pytest.fixture
def vo_eval(call, tiny_checkpoint, monkeypatch, tmp_path) -> Command:
    """Run ``vo-eval depth`` with the tiny checkpoint where none is named."""
    monkeypatch.setenv("VO_CACHE", str(tmp_path / "cache"))

    def command(*words: object) -> Done:
        own = () if "--ckpt" in words else ("--ckpt", tiny_checkpoint)
        return call(main, "vo-eval", "depth", *words, *own)

    return command


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    """Two drives of KITTI raw; frames 0 to 2 of each with a scan of a slanted wall."""
    for number in (52, 53):
        drive = write_drive(tmp_path / "raw", number)
        folder = drive / "velodyne_points" / "data"
        folder.mkdir(parents=True)
        for i in range(3):
            y, z = np.meshgrid(np.linspace(-4, 4, 30), np.linspace(-2, 2, 20))
            x = 10 + y + i
            points = np.stack([x, y, z, 0 * x], -1).reshape(-1, 4)
            points.astype(np.float32).tofile(folder / f"{i:010d}.bin")
    return tmp_path / "raw"


def rows(out: str) -> dict[str, list[str]]:
    """Words of the table's rows by sequence."""
    lines = out.splitlines()
    begin = next(i for i, line in enumerate(lines) if line.startswith("sequence"))
    found = {}
    for line in lines[begin + 1 :]:
        if " | " in line or line.startswith("wrote"):
            break
        name, *words = line.split()
        found[name] = words[1:] if words[0] in ("l", "r") else words
    return found


def test_every_line_says_what_its_numbers_depend_on(vo_eval: Command, raw: Path) -> None:
    done = vo_eval("--protocol", "kitti-eigen", "--data", raw)
    assert done.status == 0, done.err
    table = rows(done.out)
    assert set(table) == {NAME, "2011_09_26_drive_0053_sync", "all"}
    every = [
        ListedFrame(f"2011_09_26_drive_{n:04d}_sync", i, "l") for n in (52, 53) for i in range(3)
    ]
    hashes = [split_hash(every[:3]), split_hash(every[3:]), split_hash(every)]
    printed = done.out.splitlines()
    for line, of_frames in zip(printed[1:4], hashes, strict=True):
        for word in ("kitti-eigen", "velodyne-x", "median", "disparity", "none", "96x64",
                     "tiny.safetensors", of_frames):  # fmt: skip
            assert word in line.split(), line
    below = printed[4:]
    assert len(below) == 2
    for line in below:
        for word in ("protocol kitti-eigen", "truth velodyne-x", "scaling median", "size 96x64",
                     "resized disparity", "supervision none", f"frames {hashes[-1]}"):  # fmt: skip
            assert word in line
    assert below[0].startswith("every frame with true depth (no list was given): 6 images")
    assert "our definition" in below[1]
    assert "across 2 sequences" in below[1]


def test_the_files_hold_what_was_printed(vo_eval: Command, raw: Path, tmp_path: Path) -> None:
    out = tmp_path / "results" / "mine"
    done = vo_eval("--protocol", "kitti-eigen", "--data", raw, "--out", out)
    assert done.status == 0, done.err
    found = json.loads((out / "metrics.json").read_text())
    assert found["images"] == 6
    assert set(found["mean"]) == set(KEYS)
    assert found["protocol"]["name"] == "kitti-eigen"
    assert found["protocol"]["crop"] == "garg"
    assert found["protocol"]["max_depth"] == 80
    assert (found["supervision"], found["size"]) == ("none", [96, 64])
    with (out / "frames.csv").open() as file:
        lines = list(csv.DictReader(file))
    assert [(line["sequence"][-9:], line["frame"], line["side"]) for line in lines] == [
        (f"00{n}_sync", str(i), "l") for n in (52, 53) for i in range(3)
    ]
    for key in KEYS:
        assert found["mean"][key] == pytest.approx(np.mean([float(line[key]) for line in lines]))
    ratios = np.array([float(line["ratio"]) for line in lines])
    assert found["ratio_median"] == pytest.approx(np.median(ratios))
    assert found["ratio_spread"] == pytest.approx(np.std(ratios / np.median(ratios)))
    parts = [np.std(part / np.median(part)) for part in (ratios[:3], ratios[3:])]
    assert found["scale_consistency"]["within"] == pytest.approx(np.mean(parts))
    assert rows(done.out)["all"][1] == f"{found['mean']['abs_rel']:.4f}"


def test_the_worst_images_get_a_picture_worst_first(
    vo_eval: Command, raw: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    assert vo_eval("--protocol", "kitti-eigen", "--data", raw, "--out", out).status == 0
    with (out / "frames.csv").open() as file:
        lines = list(csv.DictReader(file))
    lines.sort(key=lambda line: -float(line["abs_rel"]))
    names = [
        f"worst_{rank}_{line['sequence']}_{int(line['frame']):06d}l.png"
        for rank, line in enumerate(lines[:5], 1)
    ]
    pictures = sorted(path.name for path in out.glob("*.png"))
    assert len(pictures) == 5
    # Frames of the two drives are alike but for their images, so that ties may come either way.
    assert pictures[0] == names[0]
    picture = cv2.imread(str(out / pictures[0]))
    assert picture is not None
    assert picture.shape[1] == 640
    assert len(np.unique(picture.reshape(-1, 3), axis=0)) > 50


def test_nothing_is_overwritten(vo_eval: Command, raw: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "metrics.json").write_text("mine")
    done = vo_eval("--protocol", "kitti-eigen", "--data", raw, "--out", out)
    assert done.status == 2
    assert "holds something already" in done.err
    assert (out / "metrics.json").read_text() == "mine"


def test_a_list_chooses_and_is_named(vo_eval: Command, raw: Path, tmp_path: Path) -> None:
    path = tmp_path / "mine.txt"
    path.write_text(f"2011_09_26/{NAME} 0000000002 l\n")
    done = vo_eval("--protocol", "kitti-eigen", "--data", raw, "--frames", path)
    assert done.status == 0, done.err
    assert "frames of mine.txt: 1 images" in done.out
    assert split_hash([ListedFrame(NAME, 2, "l")]) in done.out
    assert "across" not in done.out


def test_flags_change_the_protocol_and_show(vo_eval: Command, raw: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    flags = ("--seq", "52", "--truth", "velodyne-z", "--scaling", "none", "--resize", "depth")
    done = vo_eval(
        "--protocol", "kitti-eigen", "--data", raw, *flags, "--flip-tta", "--factor", "2.5",
        "--out", out,
    )  # fmt: skip
    assert done.status == 0, done.err
    assert "truth velodyne-z, scaling none x2.5, resized depth + flip" in done.out
    protocol = json.loads((out / "metrics.json").read_text())["protocol"]
    names = ("truth", "scaling", "resize", "flip_tta", "factor")
    assert [protocol[name] for name in names] == ["velodyne-z", "none", "depth", True, 2.5]


def test_the_street_has_its_own_depth(vo_eval: Command, tiny_street: Path) -> None:
    done = vo_eval("--protocol", "street", "--data", tiny_street)
    assert done.status == 0, done.err
    table = rows(done.out)
    assert [table[name][0] for name in ("09", "10", "all")] == ["12", "12", "24"]
    assert table["09"][:11] == table["10"][:11], "the one is a copy of the other"


def test_a_street_that_is_not_there_is_drawn(vo_eval: Command, monkeypatch, tiny_street) -> None:
    asked = []

    def street_root(name: str, width: int, height: int, progress: object) -> Path:
        asked.append((name, width, height))
        return tiny_street

    monkeypatch.setattr("vo.datasets.street.street_root", street_root)
    done = vo_eval("--protocol", "street", "--seq", "9")
    assert done.status == 0, done.err
    assert asked == [("09", 96, 64)]
    assert "12 images" in done.out


def test_images_where_nothing_counts_are_said(vo_eval: Command, raw: Path) -> None:
    scan = raw / "2011_09_26" / NAME / "velodyne_points" / "data" / "0000000001.bin"
    np.array([-5, 0, 0, 0], np.float32).tofile(scan)
    done = vo_eval("--protocol", "kitti-eigen", "--data", raw, "--seq", "52")
    assert done.status == 0, done.err
    assert "2 images" in done.out
    assert "1 images have no true depth that counts" in done.out


@pytest.mark.parametrize(
    ("flags", "problem"),
    [
        (("--protocol", "kitti-eigen-benchmark"), "holds no true depth of a drive with images"),
        (("--protocol", "street"), "has no true depth of its own"),
        (("--protocol", "kitti-eigen", "--seq", "9"), "there is no sequence '9'"),
        (("--protocol", "kitti-eigen", "--seq", "52", "0052"), "is given twice"),
        (("--protocol", "kitti-eigen", "--factor", "0"), "--factor: is 0"),
        (("--protocol", "kitti-eigen", "--device", "tpu9"), "--device: there is no 'tpu9' here"),
        (("--protocol", "kitti-eigen", "--ckpt", "none.pt"), "none.pt: no such checkpoint"),
        (("--protocol", "nyu", "--truth", "velodyne-x"), "nyu does not fit frame 0"),
        (("--protocol", "kitti-eigen", "--frames", "x.txt", "--seq", "52"), "--seq: does not go"),
        (("--protocol", "kitti-eigen", "--frames", "x.txt"), "x.txt: no such file"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(vo_eval: Command, raw: Path, flags, problem) -> None:
    done = vo_eval("--data", raw, *flags)
    assert done.status == 2
    assert done.err.startswith("error: ")
    assert done.err.count("\n") == 1
    assert problem in done.err


def test_a_damaged_scan_ends_it_and_leaves_nothing(
    vo_eval: Command, raw: Path, tmp_path: Path
) -> None:
    scan = raw / "2011_09_26" / NAME / "velodyne_points" / "data" / "0000000002.bin"
    scan.write_bytes(scan.read_bytes()[:-3])
    out = tmp_path / "out"
    done = vo_eval("--protocol", "kitti-eigen", "--data", raw, "--out", out)
    assert done.status == 2
    assert "0000000002.bin: has" in done.err
    assert not out.exists()


def test_help_loads_nothing_heavy_and_names_every_protocol() -> None:
    code = (
        "import sys; from vo.tools.evaluate import main\n"
        "sys.argv = ['vo-eval', 'depth', '--help']\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'numpy', 'open3d', 'evo', 'matplotlib', 'scipy', 'cv2'}\n"
        "sys.exit(' '.join(heavy & set(sys.modules)) or 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for word in ("kitti-eigen-benchmark", "make3d", "velodyne-z", "least-squares", "--out DIR"):
        assert word in done.stdout


@pytest.mark.real_data
def test_kitti_raw_goes_through_with_the_shipped_checkpoint(
    vo_eval: Command, real_data: Path, tmp_path: Path
) -> None:
    out, path = tmp_path / "out", tmp_path / "list.txt"
    path.write_text(f"2011_09_26/{NAME} 0 l\n2011_09_26/{NAME} 7 l\n")
    done = vo_eval(
        "--protocol", "kitti-eigen", "--data", real_data / "kitti_raw", "--frames", path,
        "--ckpt", "street.safetensors", "--out", out,
    )  # fmt: skip
    assert done.status == 0, done.err
    found = json.loads((out / "metrics.json").read_text())
    assert found["images"] == 2
    assert 0.05 < found["mean"]["abs_rel"] < 0.7, "it has never seen a real image"
    assert found["supervision"] == "metric+M"
