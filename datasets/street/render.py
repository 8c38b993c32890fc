"""Rays into the world, light on what they hit, and a camera's answer to it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from vo.datasets.camera import Array, Camera
from vo.datasets.street.drive import FRAME_S
from vo.datasets.street.materials import Material, Surface, albedo
from vo.datasets.street.mesh import Mesh, join
from vo.datasets.street.sky import sky_radiance
from vo.datasets.street.world import World, turn

FAR_M = 250.0  # depth beyond it is given as unknown; the 16-bit files end at 255.99 m
CAR_RADIUS_M = 3.2  # a sphere of this radius around its origin holds every car
_NOISE = 1.1  # standard deviation of the sensor's noise at mid grey, grey levels
_GAIN = 0.95
_SUBSAMPLES = np.array([[-0.3, 0.25], [0.3, -0.25]], np.float32)  # beside the centre


@dataclass(frozen=True, slots=True, eq=False)
class Rendered:
    """One frame with its exact truth.

    Attributes:
        image: (H, W, 3) uint8, RGB.
        depth: (H, W) float32, metres along the optical axis at the pixel's centre; 0 where the ray
            meets nothing within FAR_M.
        moving: (H, W) bool, True on moving cars.
    """

    image: Array
    depth: Array
    moving: Array


@dataclass(frozen=True, slots=True, eq=False)
class _Hits:
    """What N rays have met; ``triangle`` counts over the still mesh, then the moving one."""

    depth: Array  # (N,) inf where nothing
    triangle: Array  # (N,) -1 where nothing
    bary: Array  # (N, 2)
    moving: Array  # (N,) bool


class _Triangles:
    """What shading looks up for a triangle, of one mesh."""

    def __init__(self, mesh: Mesh) -> None:
        self.mesh = mesh
        e1 = mesh.vertices[:, 1] - mesh.vertices[:, 0]
        e2 = mesh.vertices[:, 2] - mesh.vertices[:, 0]
        normal = np.cross(e1, e2)
        square = np.maximum((normal**2).sum(-1, keepdims=True), 1e-12)
        self.normal = normal / np.sqrt(square)
        # Rows of the pseudo-inverse of [e1 e2]; the gradient of uv over the plane follows.
        dual = np.cross(e2, normal) / square, np.cross(normal, e1) / square
        d1 = mesh.uv[:, 1] - mesh.uv[:, 0]
        d2 = mesh.uv[:, 2] - mesh.uv[:, 0]
        self.uv_gradient = d1[:, :, None] * dual[0][:, None] + d2[:, :, None] * dual[1][:, None]


class Renderer:
    """Draws a world as its camera sees it. Frames do not depend on each other."""

    def __init__(self, world: World, camera: Camera, threads: int = 1) -> None:
        self._world, self._camera, self._threads = world, camera, threads
        self._still = _Triangles(world.mesh)
        self._still_scene = _scene(world.mesh, threads)
        self._rays = camera.rays().reshape(-1, 3).astype(np.float32)
        u, v = np.meshgrid(np.arange(camera.width), np.arange(camera.height))
        self._pixels = np.stack([u.ravel(), v.ravel()], axis=-1).astype(np.float32)

    def render(self, T_w_c: Array, index: int) -> Rendered:
        """Frame ``index`` as seen from pose ``T_w_c`` (4, 4), camera to the world with z up."""
        shape = (self._camera.height, self._camera.width)
        view = _View(self, T_w_c, index * FRAME_S)
        hits = view.cast(self._rays)
        radiance, lit = view.shade(self._rays, hits, step=1.0)
        rough = self._rough(hits, lit, shape)
        radiance[rough] = (radiance[rough] + self._supersample(view, rough)) / (
            1 + len(_SUBSAMPLES)
        )
        depth = np.where(hits.depth < FAR_M, hits.depth, 0).astype(np.float32)
        image = self._expose(radiance.reshape(*shape, 3), index)
        return Rendered(image, depth.reshape(shape), hits.moving.reshape(shape))

    def _rough(self, hits: _Hits, lit: Array, shape: tuple[int, int]) -> Array:
        """Flat indices of the pixels beside which another thing, a step or a shadow begins."""
        inverse = (1 / hits.depth).reshape(shape)  # planes are straight in inverse depth
        rough = np.zeros(shape, bool)
        for axis in (0, 1):
            first = np.diff(inverse, axis=axis)
            bend = np.abs(np.diff(first, axis=axis)) > 0.02 * np.take(
                inverse, range(1, shape[axis] - 1), axis
            )
            inner = [slice(None), slice(None)]
            inner[axis] = slice(1, -1)
            rough[tuple(inner)] |= bend
            change = np.diff(lit.reshape(shape), axis=axis) != 0
            low, high = [slice(None), slice(None)], [slice(None), slice(None)]
            low[axis], high[axis] = slice(None, -1), slice(1, None)
            rough[tuple(low)] |= change
            rough[tuple(high)] |= change
        return np.flatnonzero(rough)

    def _supersample(self, view: _View, pixels: Array) -> Array:
        """Sum of the radiance (N, 3) of further rays through the pixels (flat indices)."""
        camera = self._camera
        at = self._pixels[pixels][None] + _SUBSAMPLES[:, None]  # (S, N, 2)
        rays = np.ones((*at.shape[:2], 3), np.float32)
        rays[..., 0] = (at[..., 0] - camera.cx) / camera.fx
        rays[..., 1] = (at[..., 1] - camera.cy) / camera.fy
        flat = rays.reshape(-1, 3)
        radiance, _ = view.shade(flat, view.cast(flat), step=0.5)
        return radiance.reshape(*at.shape[:2], 3).sum(axis=0)

    def _expose(self, radiance: Array, index: int) -> Array:
        """The sensor: an exposure that drifts, a soft shoulder, gamma, and a little noise."""
        rng = np.random.default_rng([self._world.seed, 9, index])
        phase = np.random.default_rng([self._world.seed, 10]).uniform(0, 2 * np.pi, 3)
        drift = np.sin(2 * np.pi * index / np.array([173.0, 89.0, 311.0]) + phase).sum() * 0.045
        exposed = 1 - np.exp(-radiance * np.float32(_GAIN * (1 + drift)))
        signal = 255 * exposed ** np.float32(1 / 2.2)
        noise = rng.standard_normal(radiance.shape, dtype=np.float32) * np.float32(_NOISE)
        return np.clip(signal + noise + 0.5, 0, 255).astype(np.uint8)


class _View:
    """The world at one moment, from one pose."""

    def __init__(self, renderer: Renderer, T_w_c: Array, time_s: float) -> None:
        self._renderer = renderer
        self._world = renderer._world
        self._R = T_w_c[:3, :3].astype(np.float32)
        self._origin = T_w_c[:3, 3].astype(np.float32)
        self._cars = _cars_near(self._world, time_s, T_w_c[:3, 3])
        if self._cars:
            movers = join([car for car, _ in self._cars])
            self._movers = _Triangles(movers)
            self._mover_scene = _scene(movers, renderer._threads)

    def cast(self, rays: Array) -> _Hits:
        """First hit of the rays (N, 3), given in the camera frame with z = 1: so t is depth."""
        directions = rays @ self._R.T
        query = np.concatenate([np.broadcast_to(self._origin, rays.shape), directions], axis=1)
        threads = self._renderer._threads
        depth, triangle, bary = _cast(self._renderer._still_scene, query, threads)
        moving = np.zeros(len(rays), bool)
        towards = np.flatnonzero(self._towards_cars(directions))
        if len(towards):
            near, which, where = _cast(self._mover_scene, query[towards], threads)
            first = near < depth[towards]
            at = towards[first]
            moving[at] = True
            depth[at], triangle[at], bary[at] = near[first], which[first], where[first]
        return _Hits(depth, triangle, bary, moving)

    def _towards_cars(self, directions: Array) -> Array:
        """Whether each direction (N, 3) passes within CAR_RADIUS_M of a moving car."""
        towards = np.zeros(len(directions), bool)
        if not self._cars:
            return towards
        square = _dot(directions, directions)
        for _, centre in self._cars:
            offset = (centre - self._origin).astype(np.float32)
            along = directions @ offset
            towards |= (along > 0) & (square * (offset @ offset - CAR_RADIUS_M**2) < along**2)
        return towards

    def shade(self, rays: Array, hits: _Hits, step: float) -> tuple[Array, Array]:
        """Radiance (N, 3) along the rays, and whether the sun shines there (N,).

        ``step`` is the distance between samples in pixels.
        """
        radiance = np.empty(rays.shape, np.float32)
        lit = np.zeros(len(rays), bool)
        directions = rays @ self._R.T
        met = np.isfinite(hits.depth)
        sky = np.flatnonzero(~met)
        angle = step / self._renderer._camera.fy
        radiance[sky] = sky_radiance(self._world.light, directions[sky], angle)
        for moving in (False, True):
            chosen = np.flatnonzero(met & (hits.moving == moving))
            if len(chosen):
                triangles = self._movers if moving else self._renderer._still
                value, sunny = self._shade_mesh(triangles, directions[chosen], hits, chosen, step)
                radiance[chosen], lit[chosen] = value, sunny
        return radiance, lit

    def _shade_mesh(
        self, triangles: _Triangles, directions: Array, hits: _Hits, chosen: Array, step: float
    ) -> tuple[Array, Array]:
        """The same for the rays ``chosen``, all of which have met this mesh."""
        mesh, f = triangles.mesh, hits.triangle[chosen]
        depth = hits.depth[chosen].astype(np.float32)[:, None]
        points = self._origin + directions * depth
        face = triangles.normal[f]
        slope = _dot(face, directions)[:, None]
        face = np.where(slope > 0, -face, face)
        surface = self._surface(triangles, f, directions, points, depth, face, step)
        b = hits.bary[chosen]
        n = mesh.normals[f]
        normal = n[:, 0] * (1 - b[:, :1] - b[:, 1:]) + n[:, 1] * b[:, :1] + n[:, 2] * b[:, 1:]
        normal /= np.maximum(np.sqrt(_dot(normal, normal)), 1e-6)[:, None]
        leaves = mesh.material[f] == Material.LEAVES
        flip = (_dot(normal, directions) > 0) & ~leaves
        normal = np.where(flip[:, None], -normal, normal)
        sunny = ~self._shadowed(points, face)
        radiance = self._light(surface, normal, sunny, directions, depth)
        return radiance, sunny

    def _surface(
        self,
        triangles: _Triangles,
        f: Array,
        directions: Array,
        points: Array,
        depth: Array,
        face: Array,
        step: float,
    ) -> Surface:
        """Surface coordinates at the hits, and how they change from sample to sample."""
        mesh, camera = triangles.mesh, self._renderer._camera
        gradient = triangles.uv_gradient[f]
        uv = mesh.uv[f, 0] + np.einsum("nij,nj->ni", gradient, points - mesh.vertices[f, 0])
        slope = np.minimum(_dot(face, directions), -0.02)[:, None]
        changes = []
        for axis, focal in ((0, camera.fx), (1, camera.fy)):
            # p = o + t d with n.(p - p0) = 0, so dp = t (dd - d (n.dd) / (n.d)).
            dd = self._R[:, axis] * np.float32(step / focal)
            dp = depth * (dd - directions * ((face @ dd)[:, None] / slope))
            changes.append(np.einsum("nij,nj->ni", gradient, dp))
        return Surface(mesh.material[f], mesh.thing[f], self._world.looks, uv, *changes)

    def _shadowed(self, points: Array, face: Array) -> Array:
        """Whether the points (N, 3) turn away from the sun or lie behind something, (N,) bool."""
        to_sun = self._world.light.to_sun.astype(np.float32)
        shadowed = np.ones(len(points), bool)
        facing = np.flatnonzero(face @ to_sun > 0)
        start = points[facing] + np.float32(0.015) * face[facing]
        query = np.concatenate([start, np.broadcast_to(to_sun, start.shape)], axis=1)
        threads = self._renderer._threads
        hidden = _occluded(self._renderer._still_scene, query, threads)
        for _, centre in self._cars:
            near = np.flatnonzero(((start - centre.astype(np.float32)) ** 2).sum(1) < 8.0**2)
            if len(near):
                hidden[near] |= _occluded(self._mover_scene, query[near], threads)
        shadowed[facing] = hidden
        return shadowed

    def _light(
        self, surface: Surface, normal: Array, sunny: Array, directions: Array, depth: Array
    ) -> Array:
        """Radiance of a surface under sun and sky, seen through haze."""
        light, material = self._world.light, surface.material
        colour = albedo(surface, self._world.road.turns)
        facing = normal @ light.to_sun.astype(np.float32)
        leaves = material == Material.LEAVES
        facing = np.where(leaves, 0.45 + 0.55 * facing, facing)  # light comes through leaves
        sun = np.maximum(facing, 0) * sunny
        open_sky = 0.62 + 0.38 * normal[:, 2]
        received = sun[:, None] * light.sun + open_sky[:, None] * light.sky
        radiance = colour * received
        glossy = (material == Material.GLASS) | (material == Material.PAINT)
        if glossy.any():
            radiance[glossy] += self._gloss(directions[glossy], normal[glossy], material[glossy])
        haze = 1 - np.exp(-light.haze * depth)
        veil = light.sky * np.float32(1.5)
        return (radiance + (veil - radiance) * haze).astype(np.float32)

    def _gloss(self, directions: Array, normal: Array, material: Array) -> Array:
        """Sky mirrored by paint and glass (Schlick's approximation of Fresnel's law)."""
        d = directions / np.sqrt(_dot(directions, directions))[:, None]
        cosine = _dot(d, normal)
        share = 0.04 + 0.5 * (1 - np.abs(cosine)) ** 5
        mirrored = d - 2 * cosine[:, None] * normal
        up = np.clip(mirrored[:, 2] * 1.5 + 0.2, 0, 1)
        share = share * np.where(material == Material.GLASS, 1.6, 1.0)
        return (share * up)[:, None] * self._world.light.sky * 1.4


def _dot(a: Array, b: Array) -> Array:
    """Dot products (N,) of rows (N, 3)."""
    return np.einsum("ij,ij->i", a, b)


def _scene(mesh: Mesh, threads: int) -> Any:
    import open3d as o3d

    scene = o3d.t.geometry.RaycastingScene(nthreads=threads)
    corners = mesh.vertices.reshape(-1, 3)
    faces = np.arange(len(corners), dtype=np.uint32).reshape(-1, 3)
    scene.add_triangles(_tensor(corners), _tensor(faces))
    return scene


def _cast(scene: Any, query: Array, threads: int) -> tuple[Array, Array, Array]:
    result = scene.cast_rays(_tensor(query), nthreads=threads)
    depth = result["t_hit"].numpy()
    return depth, result["primitive_ids"].numpy().astype(np.int64), result["primitive_uvs"].numpy()


def _occluded(scene: Any, query: Array, threads: int) -> Array:
    return scene.test_occlusions(_tensor(query), nthreads=threads).numpy()


def _tensor(values: Array) -> Any:
    """A copy of an array, as Open3D takes it."""
    import open3d as o3d

    # Its stubs know no arrays.
    return o3d.core.Tensor(np.ascontiguousarray(values))  # pyright: ignore[reportCallIssue]


def _cars_near(world: World, time_s: float, eye: Array) -> list[tuple[Mesh, Array]]:
    """The moving cars near the camera where they are now, and their centres (3,)."""
    cars = []
    for traveller in world.travellers:
        s = traveller.s_at(time_s)
        if not 5 < s < world.road.length - 5:
            continue
        at = world.road.at(s, traveller.lane, -0.03)
        if np.linalg.norm(at - eye) > 160:
            continue
        yaw = float(world.road.heading_at(s)) + (0.0 if traveller.way > 0 else np.pi)
        cars.append((traveller.mesh.moved(turn(yaw), at), at))
    return cars
