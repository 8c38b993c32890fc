"""Fusion: known surfaces come out where they are, and memory stays in its bounds."""

from __future__ import annotations

import numpy as np
import open3d as o3d
import pytest

from vo.datasets.camera import Array, Camera
from vo.tools.mapping.mesh import Fusion, Mesh, TooManyBlocks, blocks_in, render, without_edges
from vo.tools.mapping.ply import write_ply

CAMERA = Camera(120.0, 120.0, 79.5, 47.5, 160, 96)
VOXEL = 0.1
GREEN = np.broadcast_to(np.array([10, 200, 30], np.uint8), (96, 160, 3))
WALL = (np.array([-0.6, 0.1, 1.0]) / np.linalg.norm([-0.6, 0.1, 1.0]), 6.03)  # normal, distance


def depth_of_wall(T_w_c: Array) -> Array:
    """Depth (H, W) of the plane n.x = d of the world."""
    normal, distance = WALL
    rays = CAMERA.rays() @ T_w_c[:3, :3].T
    z = (distance - normal @ T_w_c[:3, 3]) / (rays @ normal)
    return np.where((z > 0) & (z < 15), z, 0)


def pose(x: float, degrees: float) -> Array:
    T = np.eye(4)
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    T[:3, :3] = [[c, 0, s], [0, 1, 0], [-s, 0, c]]
    T[0, 3] = x
    return T


POSES = [pose(x, 10 * x) for x in (-0.5, 0.0, 0.5, 1.0)]


def off_the_wall(points: Array) -> Array:
    return points @ WALL[0] - WALL[1]


@pytest.fixture(scope="module")
def fused() -> Fusion:
    fusion = Fusion(VOXEL, 15.0, 20_000)
    for T_w_c in POSES:
        fusion.add(depth_of_wall(T_w_c), GREEN, CAMERA, T_w_c)
    return fusion


def test_a_slanted_wall_comes_out_where_it_is(fused):
    cloud = fused.cloud(2)
    assert len(cloud.points) > 2000
    off = off_the_wall(cloud.points)
    assert np.abs(off).max() < VOXEL
    # Cutting off pixels without the half that Open3D wants moves the wall by 0.02 m and more.
    assert abs(off.mean()) < 0.008
    assert np.abs(cloud.colours.astype(int) - [10, 200, 30]).max() <= 1


def test_triangles_lie_on_the_same_wall(fused):
    mesh = fused.mesh(2)
    assert mesh.triangles.min() >= 0
    assert mesh.triangles.max() < len(mesh.vertices)
    assert np.abs(off_the_wall(mesh.vertices)).max() < VOXEL
    assert np.abs(mesh.colours.astype(int) - [10, 200, 30]).max() <= 1


def test_what_too_few_frames_saw_is_left_out(fused):
    one, all_of_them = len(fused.cloud(1).points), len(fused.cloud(len(POSES)).points)
    assert one > all_of_them > 0
    assert len(fused.cloud(len(POSES) + 1).points) == 0
    assert len(fused.mesh(len(POSES) + 1).triangles) == 0


def test_far_and_unknown_depth_is_not_fused():
    fusion = Fusion(VOXEL, 5.0, 20_000)
    fusion.add(depth_of_wall(np.eye(4)), GREEN, CAMERA, np.eye(4))
    assert fusion.cloud(1).points[:, 2].max() < 5 + VOXEL
    empty = Fusion(VOXEL, 5.0, 20_000)
    empty.add(np.zeros((96, 160)), GREEN, CAMERA, np.eye(4))
    assert empty.blocks == 0
    assert len(empty.cloud(1).points) == len(empty.mesh(1).triangles) == 0


def test_no_more_blocks_than_agreed(fused):
    alone = Fusion(VOXEL, 15.0, 20_000)
    alone.add(depth_of_wall(POSES[0]), GREEN, CAMERA, POSES[0])
    most = alone.blocks + 10
    bounded = Fusion(VOXEL, 15.0, most)
    bounded.add(depth_of_wall(POSES[0]), GREEN, CAMERA, POSES[0])
    before = bounded.cloud(1)
    far_away = POSES[0].copy()
    far_away[1, 3] = 100
    with pytest.raises(TooManyBlocks):
        bounded.add(depth_of_wall(POSES[0]), GREEN, CAMERA, far_away)
    assert bounded.blocks == alone.blocks
    assert bounded._grid.hashmap().capacity() <= most
    assert np.array_equal(np.sort(bounded.cloud(1).points, 0), np.sort(before.points, 0))


def test_capacity_grows_up_to_the_bound_and_keeps_what_is_there(monkeypatch):
    monkeypatch.setattr("vo.tools.mapping.mesh.FIRST_BLOCKS", 16)
    small, large = Fusion(VOXEL, 15.0, 20_000), Fusion(VOXEL, 15.0, 20_000)
    monkeypatch.setattr("vo.tools.mapping.mesh.FIRST_BLOCKS", 20_000)
    for fusion in (small, large):
        for T_w_c in POSES:
            fusion.add(depth_of_wall(T_w_c), GREEN, CAMERA, T_w_c)
    assert small.blocks == large.blocks
    assert small._grid.hashmap().capacity() <= 20_000
    assert np.allclose(np.sort(small.cloud(2).points, 0), np.sort(large.cloud(2).points, 0))


def test_memory_is_counted_in_blocks():
    assert blocks_in(1.0) == 1e9 // (512 * 28)
    assert blocks_in(4.0) == pytest.approx(4 * blocks_in(1.0), abs=4)


def test_edges_are_cut_and_slopes_are_kept():
    depth = np.full((8, 12), 5.0)
    depth[:, 6:] = 9.0
    cut = without_edges(depth, 0.2)
    assert np.array_equal(np.flatnonzero((cut == 0).all(0)), [5, 6])
    assert np.array_equal(without_edges(depth, 0), depth)
    slope = 5 * 1.1 ** np.arange(12) * np.ones((8, 1))
    assert np.array_equal(without_edges(slope, 0.2), slope)
    unknown = slope.copy()
    unknown[3, 3] = 0
    assert np.count_nonzero(without_edges(unknown, 0.2)) >= slope.size - 5


def test_a_rendered_triangle_is_seen_where_it_is():
    vertices = np.array([[0, 0, 4], [2, 0, 4], [0, 2, 4]], np.float32)
    colours = np.full((3, 3), (200, 0, 0), np.uint8)
    mesh = Mesh(vertices, np.array([[0, 1, 2]], np.int32), colours)
    picture = render(mesh, np.zeros(3), CAMERA.rays())
    seen = (picture != 255).any(-1)
    assert not seen[:, :79].any()
    assert not seen[:47].any()
    assert seen[50, 82]
    assert picture[50, 82, 0] > 100
    assert picture[50, 82, 1] == 0
    assert seen.sum() == pytest.approx(60 * 60 / 2, rel=0.1)
    nothing = Mesh(vertices[:0], mesh.triangles[:0], colours[:0])
    assert (render(nothing, np.zeros(3), CAMERA.rays()) == 255).all()


def test_open3d_reads_the_ply_files(fused, tmp_path):
    mesh = fused.mesh(2)
    write_ply(tmp_path / "mesh.ply", mesh.vertices, mesh.colours, mesh.triangles)
    found = o3d.io.read_triangle_mesh(str(tmp_path / "mesh.ply"))
    assert np.allclose(np.asarray(found.vertices), mesh.vertices)
    assert np.array_equal(np.asarray(found.triangles), mesh.triangles)
    write_ply(tmp_path / "cloud.ply", mesh.vertices, mesh.colours)
    points = o3d.io.read_point_cloud(str(tmp_path / "cloud.ply"))
    assert np.allclose(np.asarray(points.points), mesh.vertices)
    assert np.allclose(np.asarray(points.colors) * 255, mesh.colours)
