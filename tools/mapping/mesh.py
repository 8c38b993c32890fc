"""Depth fused into a surface by Open3D, and what a surface looks like: all calls of Open3D.

Each frame moves the truncated signed distances of voxels near its depth by a running mean; the
surface is where the mean changes its sign. Voxels lie in blocks of 8 x 8 x 8, which exist only
where depth was seen, and never more of them than was agreed to.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from vo.datasets.camera import Array, Camera

if TYPE_CHECKING:
    import open3d as o3d

BLOCK = 8  # voxels a side
# Voxels before and behind a surface, along z, that a frame speaks about. A road is seen at so small
# an angle that with fewer the voxels right below it, 20 m ahead, would be out of reach: holes.
TRUNCATION = 16.0
# Distance, weight and colour of a voxel; and the index of vertices that extraction needs.
BYTES_PER_BLOCK = BLOCK**3 * (4 + 2 + 3 * 2) + BLOCK**3 * 4 * 4
FIRST_BLOCKS = 4096
LIGHT = (0.3, -0.8, -0.5)  # to the lamp, in the world: y is down


class TooManyBlocks(Exception):
    """A frame needs more blocks than a fusion may have."""


@dataclass(frozen=True, slots=True, eq=False)
class Cloud:
    """Coloured points.

    Attributes:
        points: (N, 3) float32.
        colours: (N, 3) uint8, RGB.
    """

    points: Array
    colours: Array


@dataclass(frozen=True, slots=True, eq=False)
class Mesh:
    """Coloured triangles.

    Attributes:
        vertices: (N, 3) float32.
        triangles: (M, 3) int32, indices of vertices.
        colours: (N, 3) uint8, RGB of the vertices.
    """

    vertices: Array
    triangles: Array
    colours: Array


class Fusion:
    """A surface that grows frame by frame.

    Args:
        voxel: its side, in the unit of the depth.
        max_depth: farther depth is left out.
        most_blocks: of voxels; see `blocks_in`.
    """

    def __init__(self, voxel: float, max_depth: float, most_blocks: int) -> None:
        self.voxel, self.max_depth, self.most_blocks = voxel, float(max_depth), most_blocks
        self._grid = _new_grid(voxel, min(FIRST_BLOCKS, most_blocks))

    @property
    def blocks(self) -> int:
        """Number of blocks so far."""
        return self._grid.hashmap().size()

    def add(self, depth: Array, image: Array, camera: Camera, T_w_c: Array) -> None:
        """Fuse a frame.

        Args:
            depth: (H, W) along z, 0 where unknown.
            image: (H, W, 3) uint8, RGB.
            camera: of both.
            T_w_c: (4, 4) its pose.

        Raises:
            TooManyBlocks: when they would not do; the surface is then as it was.
        """
        import open3d as o3d

        known = np.where((depth > 0) & (depth <= self.max_depth), depth, 0).astype(np.float32)
        if not known.any():
            return
        depth_image = o3d.t.geometry.Image(_tensor(known))
        colour_image = o3d.t.geometry.Image(_tensor(image.astype(np.float32)))
        K, T_c_w = _tensor(_open3d_K(camera)), _tensor(np.linalg.inv(T_w_c))
        ways = (1.0, self.max_depth, TRUNCATION)  # unit of the depth, range, truncation
        blocks = self._grid.compute_unique_block_coordinates(depth_image, K, T_c_w, *ways)
        self._make_room(len(blocks))
        self._grid.integrate(blocks, depth_image, colour_image, K, K, T_c_w, *ways)

    def _make_room(self, blocks: int) -> None:
        """Open3D reserves for all blocks of a frame as if they were new, and doubles at will."""
        found = self._grid.hashmap()
        wanted = found.size() + blocks
        if wanted > self.most_blocks:
            raise TooManyBlocks
        if wanted > found.capacity():
            found.reserve(min(max(wanted, 2 * found.capacity()), self.most_blocks))

    def cloud(self, views: int) -> Cloud:
        """Points of the surface, one where it crosses the edge between two voxels.

        Args:
            views: frames, at least, that must have seen a voxel.
        """
        if not self.blocks:
            return Cloud(np.zeros((0, 3), np.float32), np.zeros((0, 3), np.uint8))
        # Open3D wants more than the threshold.
        found = self._grid.extract_point_cloud(weight_threshold=views - 0.5)
        if not len(found.point.positions):
            return Cloud(np.zeros((0, 3), np.float32), np.zeros((0, 3), np.uint8))
        return Cloud(found.point.positions.numpy().copy(), _bytes(found.point.colors.numpy()))

    def mesh(self, views: int) -> Mesh:
        """The surface as triangles (marching cubes); ``views`` as in `cloud`."""
        if not self.blocks:
            return _empty_mesh()
        found = self._grid.extract_triangle_mesh(weight_threshold=views - 0.5)
        if not len(found.vertex.positions):
            return _empty_mesh()
        return Mesh(
            found.vertex.positions.numpy().copy(),
            found.triangle.indices.numpy().astype(np.int32),
            _bytes(found.vertex.colors.numpy()),
        )


def blocks_in(memory_gb: float) -> int:
    """Blocks that fit, their extraction included."""
    return int(memory_gb * 1e9 / BYTES_PER_BLOCK)


def without_edges(depth: Array, jump: float) -> Array:
    """Depth (H, W) with 0 where it is steep: where a neighbour is farther by more than a share.

    A network's depth goes from the near side of an edge to the far side over several pixels, whose
    points float where nothing is. Surfaces that are seen at a grazing angle go as well.

    Args:
        depth: (H, W), 0 where unknown.
        jump: depths of neighbours, larger over smaller, may differ by this share; 0 keeps all.
    """
    if jump <= 0:
        return depth
    with np.errstate(divide="ignore", invalid="ignore"):
        height = np.log(depth)
        steep = np.zeros(depth.shape, bool)
        down = np.abs(np.diff(height, axis=0)) > math.log1p(jump)
        right = np.abs(np.diff(height, axis=1)) > math.log1p(jump)
    steep[1:] |= down
    steep[:-1] |= down
    steep[:, 1:] |= right
    steep[:, :-1] |= right
    return np.where(steep, 0, depth)


def render(mesh: Mesh, origins: Array, directions: Array) -> Array:
    """What is seen along rays, by ray casting: no display and no graphics driver are needed.

    Args:
        mesh: lit from above.
        origins: (H, W, 3) in its world.
        directions: (H, W, 3).

    Returns:
        (H, W, 3) uint8, RGB; white where nothing is.
    """
    import open3d as o3d

    picture = np.full(directions.shape, 255, np.uint8)
    if not len(mesh.triangles):
        return picture
    scene = o3d.t.geometry.RaycastingScene()
    corners, faces = mesh.vertices.astype(np.float32), mesh.triangles.astype(np.uint32)
    scene.add_triangles(_tensor(corners), _tensor(faces))
    origins = np.broadcast_to(origins, directions.shape)
    rays = np.concatenate([origins, directions], axis=-1).astype(np.float32)
    hit = scene.cast_rays(_tensor(rays))
    seen = np.isfinite(hit["t_hit"].numpy())
    uv = hit["primitive_uvs"].numpy()[seen].astype(np.float64)
    corner_colours = mesh.colours[mesh.triangles[hit["primitive_ids"].numpy()[seen]]]
    shares = np.stack([1 - uv.sum(1), uv[:, 0], uv[:, 1]], axis=1)
    colours = np.einsum("nk,nkc->nc", shares, corner_colours)
    lamp = np.array(LIGHT) / np.linalg.norm(LIGHT)
    bright = 0.75 + 0.25 * np.abs(hit["primitive_normals"].numpy()[seen] @ lamp)
    picture[seen] = np.clip(1.15 * colours * bright[:, None], 0, 255)
    return picture


def show_mesh(mesh: Mesh, title: str) -> None:
    """Open a window with a mesh, and wait until it is closed."""
    import open3d as o3d

    vector, triple = o3d.utility.Vector3dVector, o3d.utility.Vector3iVector
    shown = o3d.geometry.TriangleMesh(vector(mesh.vertices.astype(float)), triple(mesh.triangles))
    shown.vertex_colors = vector(mesh.colours / 255.0)
    shown.compute_vertex_normals()
    _show([shown], title)


def show_clouds(clouds: list[Cloud], title: str) -> None:
    """Open a window with point clouds, and wait until it is closed."""
    import open3d as o3d

    shown = []
    for cloud in clouds:
        points = o3d.geometry.PointCloud(o3d.utility.Vector3dVector(cloud.points.astype(float)))
        points.colors = o3d.utility.Vector3dVector(cloud.colours / 255.0)
        shown.append(points)
    _show(shown, title)


def _show(shown: list[Any], title: str) -> None:
    import open3d as o3d

    # The camera of a drive looks along z, and its y points down.
    view = {"lookat": shown[0].get_center(), "front": (0, -0.4, -1), "up": (0, -1, 0), "zoom": 0.3}
    o3d.visualization.draw_geometries(shown, window_name=title, **view)


def _new_grid(voxel: float, blocks: int) -> o3d.t.geometry.VoxelBlockGrid:
    import open3d as o3d

    kinds = (o3d.core.float32, o3d.core.uint16, o3d.core.uint16)
    channels: Any = ((1,), (1,), (3,))
    return o3d.t.geometry.VoxelBlockGrid(
        ("tsdf", "weight", "color"), kinds, channels, voxel, BLOCK, max(blocks, 1),
        o3d.core.Device("CPU:0"),
    )  # fmt: skip


def _tensor(values: Array) -> o3d.core.Tensor:
    import open3d as o3d

    return o3d.core.Tensor.from_numpy(np.ascontiguousarray(values))


def _open3d_K(camera: Camera) -> Array:
    """Open3D takes the pixel that a point falls into by cutting off: centres at + 1/2."""
    K = camera.K
    K[:2, 2] += 0.5
    return K


def _bytes(colours: Array) -> Array:
    return np.clip(np.round(colours), 0, 255).astype(np.uint8)


def _empty_mesh() -> Mesh:
    nothing = np.zeros((0, 3))
    return Mesh(nothing.astype(np.float32), nothing.astype(np.int32), nothing.astype(np.uint8))
