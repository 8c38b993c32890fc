from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vo.datasets.camera import Camera, find_camera
from vo.datasets.errors import InputError

CAMERA = Camera(700.0, 710.0, 600.5, 180.25, 1242, 375)
PLAIN = "fx: 700\nfy: 710.0\ncx: 600.5\ncy: 180.25\nwidth: 1242\nheight: 375\n"
ROS = """image_width: 640
image_height: 480
camera_name: left
camera_matrix: {rows: 3, cols: 3, data: [500, 0, 320, 0, 501, 240, 0, 0, 1]}
distortion_model: plumb_bob
distortion_coefficients: {rows: 1, cols: 5, data: [0, 0, 0.0, 0, 0]}
"""


@pytest.fixture
def camera_file(tmp_path: Path):
    def write(text: str | bytes) -> Path:
        path = tmp_path / "camera.yaml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


# --- geometry


def test_projecting_the_rays_gives_the_pixels_back() -> None:
    rays = CAMERA.resized(64, 20).rays()
    u, v = np.meshgrid(np.arange(64), np.arange(20))
    pixels = CAMERA.resized(64, 20).project(rays * 7.5)
    np.testing.assert_allclose(pixels, np.stack([u, v], axis=-1), atol=1e-12)


def test_resized_to_its_own_size_is_the_identity_and_back_the_inverse() -> None:
    assert CAMERA.resized(1242, 375) == CAMERA
    back = CAMERA.resized(640, 192).resized(1242, 375)
    np.testing.assert_allclose(back.K, CAMERA.K, rtol=1e-14)


def test_resized_keeps_the_corners_of_the_image() -> None:
    # The image reaches from -1/2 to width - 1/2: the ray through its border must stay the same.
    half = CAMERA.resized(621, 150)
    for edge, scale in ((-0.5, 1.0), (1241.5, 621 / 1242)):
        x = (edge - CAMERA.cx) / CAMERA.fx
        assert half.fx * x + half.cx == pytest.approx(
            (edge + 0.5) * scale - 0.5 if edge > 0 else -0.5
        )


def test_flipped_twice_is_the_identity_and_mirrors_a_point() -> None:
    assert CAMERA.flipped().flipped() == CAMERA
    u, v = CAMERA.project(np.array([1.0, 0.5, 4.0]))
    mirrored = CAMERA.flipped().project(np.array([-1.0, 0.5, 4.0]))
    np.testing.assert_allclose(mirrored, [1242 - 1 - u, v])


def test_cropped_moves_the_pixels_by_the_corner() -> None:
    point = np.array([0.3, -0.2, 5.0])
    cropped = CAMERA.cropped(100, 50, 640, 192)
    np.testing.assert_allclose(cropped.project(point), CAMERA.project(point) - [100, 50])
    with pytest.raises(ValueError, match="leaves the image 1242x375"):
        CAMERA.cropped(700, 0, 640, 192)


def test_project_refuses_what_are_no_points_and_hides_what_lies_behind() -> None:
    with pytest.raises(ValueError, match=r"points must be \(\.\.\., 3\), got \(4, 2\)"):
        CAMERA.project(np.zeros((4, 2)))
    assert np.isnan(CAMERA.project(np.array([1.0, 1.0, -1.0]))).all()


@pytest.mark.parametrize("change", [{"fx": 0}, {"fy": -1}, {"cx": np.nan}, {"width": 0}])
def test_what_is_no_camera(change: dict) -> None:
    numbers = {"fx": 1.0, "fy": 1.0, "cx": 0.0, "cy": 0.0, "width": 2, "height": 2}
    with pytest.raises(ValueError, match="must be"):
        Camera(**numbers | change)


# --- files


def test_from_yaml(camera_file) -> None:
    assert Camera.from_yaml(camera_file(PLAIN)) == CAMERA
    assert Camera.from_yaml(camera_file("\ufeff# mine\n" + PLAIN)) == CAMERA


def test_from_yaml_of_ros(camera_file) -> None:
    assert Camera.from_yaml(camera_file(ROS)) == Camera(500, 501, 320, 240, 640, 480)


def test_distortion_is_refused_with_the_remedy(camera_file) -> None:
    path = camera_file(ROS.replace("[0, 0, 0.0, 0, 0]", "[-0.3, 0.1, 0, 0, 0]"))
    with pytest.raises(InputError, match=r"the lens distorts .*-0\.3.*undistort the images first"):
        Camera.from_yaml(path)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (PLAIN.replace("fx: 700\n", ""), "fx missing; write fx, fy"),
        (PLAIN + "k1: 0.1\n", "unknown name 'k1'; remove it; known names are cx, cy, fx"),
        (PLAIN.replace("700", "wide"), "fx is 'wide', not a number"),
        (PLAIN.replace("700", "true"), "fx is True, not a number"),
        (PLAIN.replace("700", "[1]"), r"fx is \[1\], not a number"),
        (PLAIN.replace("700", ".nan"), "fx is nan"),
        (PLAIN.replace("700", "1.0e+30"), r"fx is 1e\+30; write it in pixels"),
        (PLAIN.replace("700", "9" * 400), "fx is 99.*; write it in pixels"),
        (PLAIN.replace("700", "9" * 5000), "is no YAML"),
        (PLAIN.replace("700", "0"), "fx is 0 and fy is 710; focal lengths are positive"),
        (PLAIN.replace("1242", "1242.5"), "width is 1242.5; write a whole number"),
        (PLAIN.replace("375", "-375"), "height is -375; write a whole number"),
        ("fx: [", "is no YAML"),
        ("- 1\n- 2\n", "holds no names with values"),
        ("", "holds no names with values"),
        ("[" * 5000, "is no YAML"),
        (b"\xff\xfe\x00", "is no YAML"),
        (ROS.replace("500, 0,", "500, 3,"), "camera_matrix is .* must be fx 0 cx"),
        (ROS.replace("0, 0, 1]", "0, 0]"), "camera_matrix has 8 numbers"),
        (ROS.replace("data: [500", "dat: [500"), "camera_matrix has no list of numbers"),
        (ROS.replace("image_width: 640\n", ""), "image_width missing"),
    ],
)
def test_bad_camera_file(camera_file, text: str | bytes, problem: str) -> None:
    with pytest.raises(InputError, match=rf"camera\.yaml: {problem}"):
        Camera.from_yaml(camera_file(text))


def test_yaml_anchors_that_would_fill_the_memory(camera_file) -> None:
    nested = ["", "- &a0 [1, 1]", *(f"- &a{i} [*a{i - 1}, *a{i - 1}]" for i in range(1, 60))]
    with pytest.raises(InputError, match="is no YAML"):
        Camera.from_yaml(camera_file(PLAIN.replace("700", "\n".join(nested))))


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_damaged_camera_files_end_as_input_error_or_camera(tmp_path: Path, data) -> None:
    text = data.draw(st.sampled_from([PLAIN, ROS]))
    at = data.draw(st.integers(0, len(text)))
    cut = data.draw(st.integers(0, 20))
    piece = data.draw(st.one_of(st.binary(max_size=12), st.text(max_size=12).map(str.encode)))
    path = tmp_path / "camera.yaml"
    path.write_bytes(text[:at].encode() + piece + text[at + cut :].encode())
    try:
        camera = Camera.from_yaml(path)
    except InputError as error:
        _check_line(str(error), path)
    else:
        assert np.isfinite(camera.K).all()
        assert camera.width >= 1


def _check_line(message: str, path: Path) -> None:
    assert str(path) in message
    assert "\n" not in message


# --- the flag


def test_from_text_with_and_without_size() -> None:
    assert Camera.from_text("700,710,600.5,180.25", (1242, 375)) == CAMERA
    assert Camera.from_text("700, 710, 600.5, 180.25, 1242, 375", (64, 48)) == CAMERA


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("700,710,600", "has 3 parts; give fx,fy,cx,cy"),
        ("700,710,600,x", "cy is 'x', not a number"),
        ("nan,710,600,1", "fx is nan"),
        ("1_0,710,600,1", "fx is '1_0', not a number"),
        ("-1,710,600,1", "focal lengths are positive"),
        ("1,1,1,1,2.5,3", "width is 2.5"),
    ],
)
def test_bad_flag(text: str, problem: str) -> None:
    with pytest.raises(InputError, match=rf"^--intrinsics: .*{problem}"):
        Camera.from_text(text, (10, 10))


def test_fitted_follows_the_images(camera_file) -> None:
    assert CAMERA.fitted(1242, 375, "here") is CAMERA
    assert CAMERA.fitted(621, 188, "here") == CAMERA.resized(621, 188)  # 0.3 % off: rounding
    with pytest.raises(
        InputError, match=r"here: was calibrated at 1242x375 .* 640x480.*59\.7 % off"
    ):
        CAMERA.fitted(640, 480, "here")


def test_find_camera_prefers_the_flag_then_the_first_file(camera_file, tmp_path: Path) -> None:
    path = camera_file(PLAIN)
    files = [tmp_path / "none.yaml", path]
    assert find_camera(None, files, (1242, 375), "x") == CAMERA
    assert find_camera("10,10,5,5", files, (1242, 375), "x").fx == 10
    assert find_camera(str(path), [], (2484, 750), "x") == CAMERA.resized(2484, 750)
    with pytest.raises(
        InputError, match=r"x: the camera's .* write .*none\.yaml .*--intrinsics fx"
    ):
        find_camera(None, files[:1], (1242, 375), "x")
