"""A window of a sequence: the same pixels, the same rays."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from annotated_trees import write_kitti

from vo.datasets.annotated import find_annotated, open_annotated
from vo.datasets.crop import crop_to_bottom
from vo.datasets.errors import InputError
from vo.datasets.recording import Recording
from vo.datasets.sequence import select


@pytest.fixture
def recording(tmp_path: Path) -> Recording:
    write_kitti(tmp_path, 1, tmp_path / "2011_09_26", size=(1242, 375), annotated=range(1, 3))
    return open_annotated(find_annotated(tmp_path).places[0])


def test_the_window_lies_at_the_bottom_and_in_the_middle(recording: Recording) -> None:
    whole, cropped = recording[1], crop_to_bottom(recording)[1]
    assert whole.depth is not None
    assert cropped.depth is not None
    np.testing.assert_array_equal(cropped.image, whole.image[23:, 13 : 13 + 1216])
    np.testing.assert_array_equal(cropped.depth, whole.depth[23:, 13 : 13 + 1216])
    assert cropped.camera.size == (1216, 352)
    assert cropped.index == whole.index == 2


def test_a_pixel_keeps_its_ray(recording: Recording) -> None:
    rays, cropped = recording.camera.rays(), crop_to_bottom(recording, 600, 100).camera.rays()
    np.testing.assert_allclose(cropped, rays[-100:, 321 : 321 + 600], atol=1e-12)


def test_it_is_a_sequence_like_others(recording: Recording) -> None:
    cropped = crop_to_bottom(recording)
    assert (cropped.name, len(cropped), cropped.T_w_c) == (recording.name, 2, None)
    assert select(cropped, 1)[0].index == 2
    np.testing.assert_array_equal(cropped.timestamps, [0.1, 0.2])
    bare = crop_to_bottom(replace(recording, depths=None, depth_format=None))
    assert bare[0].depth is None


def test_what_does_not_fit_is_refused(recording: Recording) -> None:
    with pytest.raises(InputError, match=r"--metric\.crop: .* has 1242x375 pixels, a crop of"):
        crop_to_bottom(recording, 1216, 400)
