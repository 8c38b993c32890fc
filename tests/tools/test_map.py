"""`vo-map`: what it writes and prints, and what it refuses."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import open3d as o3d
import pytest
from commands import Command, help_and_imports

from vo.datasets.camera import Camera
from vo.odometry import FirstGuess
from vo.tools.map import main
from vo.tools.mapping.scale_view import disagreement
from vo.tools.run import run_drives
from vo.tools.running import finished as finished_run

SMALL = ("--voxel", "0.4", "--max-depth", "15", "--edge", "0", "--views", "1")
COLMAP = {f"colmap/sparse/0/{name}.txt" for name in ("cameras", "images", "points3D")}


@pytest.fixture(scope="module")
def tiny_run(run_flags, tmp_path_factory) -> Callable[..., Path]:
    """Runs over twelve frames of the street, with refined poses and without, and those alone."""
    found: dict[tuple[bool, FirstGuess], Path] = {}

    def make(refine: bool, first_guess: FirstGuess = "network") -> Path:
        if (refine, first_guess) not in found:
            out = tmp_path_factory.mktemp("runs") / "tiny"
            flags = dataclasses.replace(run_flags, refine=refine, first_guess=first_guess, out=out)
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr("vo.tools.running.plots.draw_run", lambda result, truth: [])
                run_drives(flags)
            found[refine, first_guess] = out
        return found[refine, first_guess]

    return make


@pytest.fixture
def vo_map(call) -> Command:
    return lambda *words: call(main, "vo-map", *words)


@pytest.fixture
def no_picture(monkeypatch) -> None:
    """The picture takes longer than the map."""
    monkeypatch.setattr("vo.tools.mapping.pictures.draw_map", lambda *arguments: None)


def files(folder: Path) -> set[str]:
    return {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}


def refused(answer: tuple[object, str, str], *words: str) -> None:
    status, out, err = answer
    assert (status, out) == (2, "")
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    for word in words:
        assert word in err


def test_both_maps_beside_each_other(vo_map, tiny_run, tmp_path):
    run, out = tiny_run(True), tmp_path / "map"
    status, said, err = vo_map(run, "--poses", "both", "--out", out, *SMALL)
    assert (status, err) == (0, "")
    images = {f"colmap/images/{index:06d}.jpg" for index in range(12)}
    meshes = {f"{what}-{kind}.ply" for what in ("mesh", "cloud") for kind in ("raw", "refined")}
    assert files(out) == {"map.png", "map.json"} | meshes | images | COLMAP
    assert [p.name for p in tmp_path.iterdir()] == ["map"]
    assert (out.stat().st_mode & 0o777) == (run.stat().st_mode & 0o777)
    assert cv2.imread(str(out / "map.png")) is not None
    numbers = json.loads((out / "map.json").read_text())
    for kind in ("raw", "refined"):
        one = numbers["maps"][kind]
        cloud = o3d.io.read_point_cloud(str(out / f"cloud-{kind}.ply"))
        mesh = o3d.io.read_triangle_mesh(str(out / f"mesh-{kind}.ply"))
        assert len(cloud.points) == one["points"] > 10
        assert len(mesh.triangles) == one["triangles"] > 10
        assert 0 <= one["chunks"]["completeness"] <= 1
        assert one["chunks_judged"] == numbers["chunks"] == 1
        assert one["fusion_frames_per_s"] > numbers["frames_per_s"] > 0
    points = (out / "colmap/sparse/0/points3D.txt").read_text().splitlines()
    assert len(points) == numbers["maps"]["refined"]["points"]
    assert [line.split()[0] for line in said.splitlines()[2:4]] == ["raw", "refined"]
    assert "chunks: every 12 frames" in said


@pytest.mark.usefixtures("no_picture")
def test_the_default_lies_in_the_run_and_is_not_overwritten(vo_map, tiny_run):
    run = tiny_run(True)
    before = files(run)
    assert vo_map(run, "--no-colmap", *SMALL)[0] == 0
    new = {"mesh.ply", "cloud.ply", "map.json"}
    assert files(run) == before | {f"map-refined/{name}" for name in new}
    refused(vo_map(run, *SMALL), "map-refined", "never overwritten")


@pytest.mark.usefixtures("no_picture")
def test_true_depth_and_poses_give_the_true_surface(vo_map, tiny_run, tmp_path, monkeypatch):
    """The command's own numbers say so when depth and poses are replaced by the true ones."""
    replay = finished_run.FinishedRun.replay

    def true_replay(self, device="cpu", positions=None):
        for frame, estimate in replay(self, device, positions):
            yield frame, dataclasses.replace(estimate, depth=frame.depth)

    def true_poses(folder):
        found = finished_run_read(folder)
        truth = found.truth
        rows = [dataclasses.replace(row, depth_scale=1.0) for row in found.rows]
        poses = {"raw": truth, "refined": truth}
        return dataclasses.replace(found, trajectories=poses, rows=rows)

    finished_run_read = finished_run.read_run
    monkeypatch.setattr(finished_run.FinishedRun, "replay", true_replay)
    monkeypatch.setattr(finished_run, "read_run", true_poses)
    flags = ("--voxel", "0.2", "--max-depth", "15", "--edge", "0", "--views", "1", "--no-colmap")
    assert vo_map(tiny_run(True), "--out", tmp_path / "map", *flags)[0] == 0
    found = json.loads((tmp_path / "map/map.json").read_text())["maps"]["refined"]["chunks"]
    assert found["completeness"] > 0.9
    assert found["accuracy"] > 0.6
    assert found["median_m"] < 0.1


def test_refused_before_anything_is_written(vo_map, tiny_run, tmp_path):
    run, out = tiny_run(True), tmp_path / "map"
    refused(vo_map(tmp_path, "--out", out), "has no config.yaml", "vo-run")
    refused(vo_map(tmp_path / "nothing", "--out", out), "nothing")
    refused(vo_map(run, "--out", out, "--voxel", "0"), "--voxel", "more than 0")
    refused(vo_map(run, "--out", out, "--max-depth", "nan"), "--max-depth")
    refused(vo_map(run, "--out", out, "--max-depth", "0.2"), "--max-depth", "voxels")
    refused(vo_map(run, "--out", out, "--edge", "-1"), "--edge")
    refused(vo_map(run, "--out", out, "--views", "0"), "--views")
    refused(vo_map(run, "--out", out, "--device", "nonsense"), "--device")
    taken = tmp_path / "taken"
    taken.mkdir()
    (taken / "mine").touch()
    refused(vo_map(run, "--out", taken), "taken", "never overwritten")
    assert not out.exists()
    assert files(tmp_path) == {"taken/mine"}


def test_a_window_needs_a_display(vo_map, tiny_run, tmp_path, monkeypatch):
    monkeypatch.setattr("vo.tools.map._has_display", lambda: False)
    refused(vo_map(tiny_run(True), "--out", tmp_path / "map", "--window"), "--window", "display")


@pytest.mark.usefixtures("no_picture")
def test_a_run_without_refined_poses(vo_map, tiny_run, tmp_path):
    run, out = tiny_run(False), tmp_path / "map"
    for poses in ("refined", "both"):
        refused(vo_map(run, "--poses", poses, "--out", out), "has no refined poses", "--poses raw")
    assert not out.exists()
    assert vo_map(run, "--poses", "raw", "--out", out, "--no-colmap", *SMALL)[0] == 0


@pytest.mark.usefixtures("no_picture")
def test_a_run_without_raw_poses(vo_map, tiny_run, tmp_path, monkeypatch):
    run, out = tiny_run(True, "motion"), tmp_path / "map"
    for poses in ("raw", "both"):
        answer = vo_map(run, "--poses", poses, "--out", out)
        refused(answer, "has no raw poses", "--poses refined", "--first-guess motion")
    assert not out.exists()
    assert vo_map(run, "--out", out, "--no-colmap", *SMALL)[0] == 0
    monkeypatch.setattr("vo.tools.mapping.scale_view.STEP", 2)
    status, said, _ = vo_map(run, "--overlay", "0", "--out", out, "--edge", "0")
    assert status == 0
    assert [line.split()[0] for line in said.splitlines()[:-1]] == ["refined"]


def test_a_map_that_is_too_large_is_refused_and_leaves_nothing(vo_map, tiny_run, tmp_path):
    answer = vo_map(tiny_run(True), "--out", tmp_path / "map", "--memory", "0.0005", *SMALL)
    refused(answer, "--memory", "full at frame", "--voxel", "--max-depth")
    assert list(tmp_path.iterdir()) == []


def test_an_interrupt_leaves_nothing(vo_map, tiny_run, tmp_path, monkeypatch):
    def stop(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr("vo.tools.mapping.building.Maps.finish", stop)
    status, _, err = vo_map(tiny_run(True), "--out", tmp_path / "map", *SMALL)
    assert status == 130
    assert "interrupted" in err
    assert list(tmp_path.iterdir()) == []


def test_overlay(vo_map, tiny_run, tmp_path, monkeypatch):
    run, out = tiny_run(True), tmp_path / "pictures"
    refused(vo_map(run, "--overlay", "0", "--out", out), "12 frames", "needs 21")
    monkeypatch.setattr("vo.tools.mapping.scale_view.STEP", 2)
    refused(vo_map(run, "--overlay", "4", "--out", out), "--overlay", "from 0 to 3")
    status, said, err = vo_map(run, "--overlay", "3", "--out", out, "--edge", "0")
    assert (status, err) == (0, "")
    assert "frames 3, 5, 7, 9, 11" in said
    assert files(out) == {"overlay-000003.png"}
    assert np.ptp(cv2.imread(str(out / "overlay-000003.png"))) > 0
    refused(vo_map(run, "--overlay", "3", "--out", out), "overlay-000003.png", "already")


def test_depths_agree_where_poses_have_their_scale():
    camera, z = Camera(70.0, 70.0, 47.5, 31.5, 96, 64), [9.0, 8.0]
    depths = [np.full((64, 96), depth) for depth in z]  # a wall, and one metre nearer
    points = [(depth[..., None] * camera.rays()).reshape(-1, 3) for depth in depths]
    T_w_c = np.tile(np.eye(4), (2, 1, 1))
    for scale, gap in ((1.0, 0.0), (0.6, 0.4), (1.5, 0.5)):
        T_w_c[1, 2, 3] = scale
        assert disagreement(points, depths, camera, T_w_c) == pytest.approx(gap, abs=1e-9)
    T_w_c[1, 0, 3] = 1000
    assert np.isnan(disagreement(points, depths, camera, T_w_c))


def test_help_is_quick():
    heavy = {"torch", "numpy", "open3d", "evo", "matplotlib", "scipy", "cv2"}
    text, loaded = help_and_imports("vo.tools.map", "vo-map", heavy=heavy)
    assert loaded == "[]"
    assert "--overlay FRAME" in text
