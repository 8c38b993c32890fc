"""The street: exact truth, the same every time, a drive like KITTI's."""

import cv2
import numpy as np
import pytest

from vo.datasets.camera import Camera
from vo.datasets.street import STREET_SEQUENCES
from vo.datasets.street.recipe import (
    default_frames,
    street_camera,
    street_poses,
    street_world,
)
from vo.datasets.street.render import FAR_M, Rendered, Renderer


@pytest.fixture(scope="module")
def renderers():
    """Renderers of the default worlds, made when they are first asked for."""
    made = {}

    def get(seq: str) -> Renderer:
        if seq not in made:
            made.clear()  # one world at a time is enough memory
            world = street_world(seq, default_frames(seq))
            made[seq] = Renderer(world, street_camera(640, 192), threads=2)
        return made[seq]

    return get


def warp_next_into_this(a: Rendered, b: Rendered, T_b_a: np.ndarray, camera: Camera):
    """Image b seen through the depth of a; also how depth agrees, and where nothing interferes."""
    points = camera.rays() * a.depth[..., None]
    in_b = points @ T_b_a[:3, :3].T + T_b_a[:3, 3]
    pixels = camera.project(in_b).astype(np.float32)
    u, v = pixels[..., 0], pixels[..., 1]
    warped = cv2.remap(b.image.astype(np.float32), u, v, cv2.INTER_LINEAR)
    seen = cv2.remap(b.depth, u, v, cv2.INTER_NEAREST)
    moving = cv2.remap(b.moving.astype(np.uint8), u, v, cv2.INTER_NEAREST) > 0
    inside = (u > 0) & (u < camera.width - 1) & (v > 0) & (v < camera.height - 1)
    static = inside & (a.depth > 0) & (seen > 0) & ~a.moving & ~moving
    ratio = np.divide(seen, in_b[..., 2], where=static, out=np.ones_like(in_b[..., 2]))
    return warped, ratio, static


@pytest.mark.parametrize("seq", STREET_SEQUENCES)
def test_next_frame_warped_by_the_truth_is_this_frame(renderers, seq):
    renderer, camera = renderers(seq), street_camera(640, 192)
    frames = default_frames(seq)
    T_z_c = street_poses(seq, frames)
    for k in (frames // 5, frames // 2, frames - 40):
        a, b = renderer.render(T_z_c[k], k), renderer.render(T_z_c[k + 1], k + 1)
        T_b_a = np.linalg.inv(T_z_c[k + 1]) @ T_z_c[k]
        warped, ratio, static = warp_next_into_this(a, b, T_b_a, camera)
        visible = static & (np.abs(ratio - 1) < 0.05)
        assert visible.sum() > 0.9 * static.sum(), "most of what is in view is not occluded"
        difference = np.abs(warped - a.image).mean(axis=-1)
        assert np.median(difference[visible]) < 3
        # Across occlusions the ratio is anything; elsewhere it is limited by the nearest pixel.
        assert np.median(np.abs(ratio[static] - 1)) < 0.01
        assert a.image[visible].std() > 25, "a picture with nothing on it would pass as well"


def test_wrong_pose_is_told_from_the_right_one(renderers):
    """The check above can fail: a pose that is a little off is seen in the median."""
    renderer, camera, T_z_c = renderers("09"), street_camera(640, 192), street_poses("09", 300)
    k = 200
    a, b = renderer.render(T_z_c[k], k), renderer.render(T_z_c[k + 1], k + 1)
    T_b_a = np.linalg.inv(T_z_c[k + 1]) @ T_z_c[k]
    errors = []
    for scale in (1.0, 0.7):
        T = T_b_a.copy()
        T[:3, 3] *= scale
        warped, ratio, static = warp_next_into_this(a, b, T, camera)
        visible = static & (np.abs(ratio - 1) < 0.05)
        errors.append(np.median(np.abs(warped - a.image).mean(axis=-1)[visible]))
    assert errors[1] > 1.5 * errors[0]


def test_rendering_is_repeatable_and_frames_do_not_depend_on_each_other(renderers):
    renderer, T_z_c = renderers("01"), street_poses("01", 60)
    first = renderer.render(T_z_c[50], 50)
    renderer.render(T_z_c[10], 10)
    again = Renderer(street_world("01", 60), street_camera(640, 192)).render(T_z_c[50], 50)
    for name in ("image", "depth", "moving"):
        assert np.array_equal(getattr(first, name), getattr(again, name)), name
    assert first.moving.any(), "01 has traffic"


def test_depth_lies_along_the_optical_axis_through_the_pixel_centre(renderers):
    """Depth of the road follows from the height of the camera above it."""
    renderer, camera, T_z_c = renderers("04"), street_camera(640, 192), street_poses("04", 120)
    k = 60
    depth = renderer.render(T_z_c[k], k).depth
    points_z = (camera.rays() * depth[..., None]) @ T_z_c[k][:3, :3].T + T_z_c[k][:3, 3]
    centre = points_z[-1, camera.width // 2]  # the bottom of the picture shows the road
    assert T_z_c[k][2, 3] - centre[2] == pytest.approx(1.65, abs=0.12)
    assert depth.max() < FAR_M
    assert (depth[0] == 0).any(), "there is sky"


def test_shorter_sequence_is_the_beginning_of_the_longer():
    assert np.array_equal(street_poses("03", 40), street_poses("03", 400)[:40])


@pytest.mark.parametrize("seq", STREET_SEQUENCES)
def test_drive_is_like_kittis(seq):
    T_z_c = street_poses(seq, default_frames(seq))
    steps = np.linalg.norm(np.diff(T_z_c[:, :3, 3], axis=0), axis=1)
    assert steps.max() < 1.5
    assert steps.sum() > 150, "long enough for sub-sequences of 100 m"
    R = T_z_c[:, :3, :3]
    assert np.allclose(R @ R.transpose(0, 2, 1), np.eye(3), atol=1e-12)
    assert np.allclose(np.linalg.det(R), 1)
    turned_deg = np.rad2deg(
        np.arccos(np.clip(np.einsum("nij,nij->n", R[:-1], R[1:]) / 2 - 0.5, -1, 1))
    )
    assert turned_deg.max() < 6
    assert np.all(R[:, 2, 1] < -0.95), "the y axis points down"


def test_worlds_have_junction_turns_stops_and_hills():
    heading, stops, climbs = [], 0, []
    for seq in STREET_SEQUENCES:
        T_z_c = street_poses(seq, default_frames(seq))
        forward = T_z_c[:, :3, 2]
        heading.append(np.abs(np.diff(np.unwrap(np.arctan2(forward[:, 1], forward[:, 0])))).sum())
        stops += bool((np.linalg.norm(np.diff(T_z_c[:, :3, 3], axis=0), axis=1) < 0.03).any())
        climbs.append(np.ptp(T_z_c[:, 2, 3]))
    assert sum(turned > np.pi / 2 for turned in heading) >= 8
    assert stops >= 3
    assert max(climbs) > 1.5


def test_worlds_differ():
    seen = {street_poses(seq, 20)[-1].tobytes() for seq in STREET_SEQUENCES}
    assert len(seen) == len(STREET_SEQUENCES)
