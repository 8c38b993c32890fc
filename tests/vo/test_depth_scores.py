"""Depth metrics on numbers that can be checked by hand, and on KITTI against published code."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

from vo.datasets.camera import Array
from vo.datasets.depth_truth import open_truth
from vo.depth_protocols import KITTI_EIGEN
from vo.depth_scores import (
    METRICS,
    Box,
    DepthProtocol,
    DepthScores,
    as_compared,
    blend_flipped,
    crop_of,
    depth_scale_spread,
    pixels_that_count,
    score_depth,
    summarise,
)

PLAIN = DepthProtocol("plain", scaling="none")


def row(*values: float) -> Array:
    return np.array([values], np.float32)


def scored(abs_rel: float, ratio: float, pixels: int = 1) -> DepthScores:
    return DepthScores(abs_rel, 2, 3, 4, 5, 0.6, 0.7, 0.8, ratio, pixels)


def test_every_number_of_a_table_by_hand() -> None:
    found = score_depth(row(2, 2, 2, 8), row(1, 2, 4, 8), PLAIN)
    assert found.abs_rel == pytest.approx((1 + 0 + 0.5 + 0) / 4)
    assert found.sq_rel == pytest.approx((1 + 0 + 1 + 0) / 4)
    assert found.rmse == pytest.approx(math.sqrt((1 + 0 + 4 + 0) / 4))
    assert found.rmse_log == pytest.approx(math.log(2) / math.sqrt(2))
    assert found.log10 == pytest.approx(math.log10(2) / 2)
    # A factor of 2 is beyond 1.25^3 = 1.953.
    assert (found.a1, found.a2, found.a3) == (0.5, 0.5, 0.5)
    assert found.ratio == pytest.approx(3 / 2)
    assert found.pixels == 4
    rms = score_depth(row(2, 2, 2, 8), row(1, 2, 4, 8), replace(PLAIN, log10_rms=True))
    assert rms.log10 == pytest.approx(math.log10(2) / math.sqrt(2))


def test_thresholds_are_powers_of_a_quarter_more() -> None:
    found = score_depth(row(12.4, 12.6, 15.7, 19.4, 19.6), row(*[10.0] * 5), PLAIN)
    assert (found.a1, found.a2, found.a3) == pytest.approx((0.2, 0.4, 0.8))


@pytest.mark.parametrize(("scaling", "ratio"), [("median", 2.0), ("least-squares", 20 / 9)])
def test_scaling_is_by_what_the_protocol_says(scaling, ratio: float) -> None:
    """Medians are 4 and 2; sum(g p) is 2 + 8 + 10 = 20 and sum(p^2) is 1 + 4 + 4 = 9."""
    found = score_depth(row(1, 2, 2), row(2, 4, 5), DepthProtocol("x", scaling=scaling))
    assert found.ratio == pytest.approx(ratio)
    p = ratio * np.array([1, 2, 2])
    assert found.rmse == pytest.approx(math.sqrt(np.mean((p - [2, 4, 5]) ** 2)))


def test_any_scale_of_the_prediction_gives_the_same_errors() -> None:
    rng = np.random.default_rng(0)
    truth, depth = rng.uniform(2, 60, (2, 12, 16)).astype(np.float32)
    protocol = DepthProtocol("x")
    one, other = (asdict(score_depth(f * depth, truth, protocol)) for f in (1, 37))
    assert one.pop("ratio") == pytest.approx(37 * other.pop("ratio"))
    assert one == pytest.approx(other, rel=1e-5)


def test_predictions_end_at_the_bounds_after_they_were_scaled() -> None:
    protocol = DepthProtocol("x", min_depth=1, max_depth=10, only_within=False)
    found = score_depth(row(0.01, 2, 2, 2, 90), row(4, 4, 4, 4, 20), protocol)
    assert found.ratio == 2
    assert found.abs_rel == pytest.approx((3 / 4 + 0 + 0 + 0 + 10 / 20) / 5)


def test_the_factor_comes_before_everything() -> None:
    found = score_depth(row(1, 2), row(5.4, 10.8), replace(PLAIN, factor=5.4))
    assert found.abs_rel == pytest.approx(0, abs=1e-6)
    assert found.ratio == pytest.approx(1)


def test_true_depths_count_strictly_within_the_range_or_wherever_they_are_known() -> None:
    truth = row(0, 0.001, 1, 79, 80, 81)
    assert pixels_that_count(truth, PLAIN).tolist() == [[False, False, True, True, False, False]]
    every = pixels_that_count(truth, replace(PLAIN, only_within=False))
    assert every.tolist() == [[False, True, True, True, True, True]]


def test_an_image_without_truth_has_no_numbers_and_is_in_no_mean() -> None:
    nothing = score_depth(row(1, 2), row(0, 100), PLAIN)
    assert nothing.pixels == 0
    assert np.isnan([*(getattr(nothing, name) for name in METRICS), nothing.ratio]).all()
    summary = summarise([scored(0.1, 1.0), nothing, scored(0.3, 3.0)])
    assert (summary.images, summary.unscored) == (2, 1)
    assert summary.mean["abs_rel"] == pytest.approx(0.2)
    assert summary.ratio_median == 2.0
    assert math.isnan(summarise([nothing]).mean["abs_rel"])


def test_a_prediction_that_is_no_number_shows() -> None:
    assert math.isnan(score_depth(row(math.nan, 2), row(1, 2), PLAIN).abs_rel)


@pytest.mark.parametrize(
    ("crop", "height", "width", "rows", "columns"),
    [
        ("garg", 375, 1242, (153, 371), (44, 1197)),
        ("garg", 370, 1226, (151, 366), (44, 1181)),  # 366.9999993 is cut down
        ("eigen", 375, 1242, (124, 342), (44, 1197)),
        ("cityscapes", 768, 2048, (256, 768), (192, 1856)),
        ("nyu", 480, 640, (45, 471), (41, 601)),
    ],
)
def test_crops_are_those_of_the_published_code(crop, height, width, rows, columns) -> None:
    found = crop_of(crop, height, width)
    assert [(part.start, part.stop) for part in found] == [rows, columns]
    truth = np.ones((height, width), np.float32)
    counts = pixels_that_count(truth, DepthProtocol("x", crop=crop))
    assert counts.sum() == (rows[1] - rows[0]) * (columns[1] - columns[0])
    assert counts[rows[0], columns[0]]
    assert not counts[rows[0] - 1].any()


def test_a_crop_in_pixels_refuses_another_size() -> None:
    with pytest.raises(ValueError, match="crop nyu is made for 640x480 pixels, got 320x240"):
        crop_of("nyu", 240, 320)


@pytest.mark.parametrize(
    ("domain", "nearest", "expected"),
    [
        # Bilinear weights 1, 3/4, 1/4, 0 of the first pixel, on depths 1 and 3 or their inverses.
        ("depth", False, [1, 1.5, 2.5, 3]),
        ("disparity", False, [1, 1 / (3 / 4 + 1 / 12), 1 / (1 / 4 + 1 / 4), 3]),
        ("disparity", True, [1, 1, 3, 3]),
    ],
)
def test_what_is_interpolated_is_the_protocols_choice(domain, nearest, expected) -> None:
    protocol = replace(PLAIN, resize=domain, nearest=nearest)
    found = as_compared(row(1, 3), (1, 4), 1.0, protocol)
    np.testing.assert_allclose(found, [expected], rtol=1e-6)
    assert score_depth(row(1, 3), row(*expected), protocol).rmse == pytest.approx(0, abs=1e-6)


def test_what_is_drawn_is_what_was_compared() -> None:
    rng = np.random.default_rng(1)
    truth = rng.uniform(0, 90, (20, 30)).astype(np.float32)
    depth = rng.uniform(0.1, 9, (8, 12)).astype(np.float32)
    for protocol in (DepthProtocol("x", crop="garg", factor=2), replace(PLAIN, crop="garg")):
        scores = score_depth(depth, truth, protocol)
        p = as_compared(depth, truth.shape, scores.ratio, protocol)
        counts = pixels_that_count(truth, protocol)
        error = np.abs(p - truth)[counts] / truth[counts]
        assert scores.abs_rel == pytest.approx(error.mean(), rel=1e-5)


@pytest.mark.parametrize("domain", ["disparity", "depth"])
def test_the_blend_of_a_mirrored_prediction(domain) -> None:
    """101 columns: 5 % and 10 % of the width are columns 5 and 10, so 7 and 93 are on a ramp."""
    direct, mirrored = np.full((2, 101), 4.0, np.float32), np.full((2, 101), 12.0, np.float32)
    found = blend_flipped(direct, mirrored, domain)
    assert found.dtype == np.float32
    a, b = (4.0, 12.0) if domain == "depth" else (1 / 4, 1 / 12)
    value = found[1] if domain == "depth" else 1 / found[1]
    for column, of_mirrored in ((0, 1), (5, 1), (10, 0.5), (50, 0.5), (90, 0.5), (95, 0), (100, 0)):
        assert value[column] == pytest.approx((1 - of_mirrored) * a + of_mirrored * b, rel=1e-5)
    assert value[7] == pytest.approx(0.6 * b + 0.4 * (a + b) / 2, rel=1e-5)
    assert value[93] == pytest.approx(0.6 * a + 0.4 * (a + b) / 2, rel=1e-5)


def test_the_mirrored_prediction_is_mirrored_back() -> None:
    direct = np.linspace(1, 9, 64, dtype=np.float32)[None]
    np.testing.assert_allclose(blend_flipped(direct, direct[:, ::-1], "depth"), direct, rtol=1e-6)
    with pytest.raises(ValueError, match="of one size"):
        blend_flipped(direct, direct[:, 1:], "depth")


def test_scale_spreads_within_and_across_sequences() -> None:
    ratios = {"a": [1.0, 2.0, 3.0], "b": [4.0, 4.0, math.nan], "c": [math.nan]}
    found = depth_scale_spread(ratios)
    # Of a: std(0.5, 1, 1.5) = sqrt(1 / 6); of b none; medians 2 and 4 over their median 3.
    assert found.sequences == pytest.approx({"a": math.sqrt(1 / 6), "b": 0.0})
    assert found.within == pytest.approx(math.sqrt(1 / 6) / 2)
    assert found.across == pytest.approx(1 / 3)
    single = depth_scale_spread({"a": [1.0, 2.0, 3.0]})
    assert math.isnan(single.across), "there is nothing to compare it with"
    spread = summarise([scored(0.1, ratio) for ratio in (1, 2, 3)]).ratio_spread
    assert spread == pytest.approx(single.within)


def test_arguments_that_mean_nothing_are_refused() -> None:
    with pytest.raises(ValueError, match=r"min_depth and max_depth must be .* got 5 to 2"):
        DepthProtocol("x", min_depth=5, max_depth=2)
    with pytest.raises(ValueError, match="factor must be positive, got 0"):
        DepthProtocol("x", factor=0)
    with pytest.raises(ValueError, match=r"must be \(h, w\), got \(1, 1, 2\) and \(1, 2\)"):
        score_depth(row(1, 2)[None], row(1, 2), PLAIN)
    with pytest.raises(ValueError, match="an image of 4x2 pixels is asked, got 2x4"):
        Box(4, 2, top=0, bottom=1, left=0, right=4).cut(np.zeros((4, 2)))


def prediction(frame: int) -> Array:
    """The formula of the fixture, (192, 640) disparity, as depth."""
    y, x = np.mgrid[:192, :640].astype(np.float64)
    ramp = 0.25 * np.clip((y + 0.5) / 192 - 0.45, 0, 1)
    disparity = 0.02 + ramp + 0.01 * np.sin(6 * np.pi * (x + 0.5) / 640 + frame)
    return 1 / disparity.astype(np.float32)


@pytest.mark.real_data
def test_kitti_has_the_numbers_of_published_code(real_data: Path, fixtures: Path) -> None:
    golden = json.loads((fixtures / "kitti_eigen_depth_eval.json").read_text())
    by_x = open_truth(real_data / "kitti_raw", "0052", "velodyne-x")
    by_z = open_truth(real_data / "kitti_raw", "0052", "velodyne-z")
    found = []
    for i, truth in enumerate(golden["ground_truth"]):
        x, z = by_x[i].depth, by_z[i].depth
        assert x is not None
        assert z is not None
        assert x.shape == z.shape == tuple(truth["shape"])
        assert (x > 0).sum() == (z > 0).sum() == truth["n_positive"]
        assert x.sum(dtype=np.float64) == pytest.approx(truth["sum"], rel=1e-9)
        assert z[z > 0].mean(dtype=np.float64) == pytest.approx(
            truth["mean_positive_camera_z"], rel=1e-8
        )
        scores = score_depth(prediction(i), x, KITTI_EIGEN)
        found.append(scores)
        numbers = [getattr(scores, name) for name in golden["columns"]]
        np.testing.assert_allclose(numbers, golden["per_frame"][i], rtol=0, atol=1e-5)
        assert scores.ratio == pytest.approx(golden["ratios"][i], abs=1e-6)
    summary = summarise(found)
    mean = [summary.mean[name] for name in golden["columns"]]
    np.testing.assert_allclose(mean, golden["mean"], rtol=0, atol=1e-5)
    assert summary.ratio_median == pytest.approx(golden["ratio_median"], abs=1e-6)
    assert summary.ratio_spread == pytest.approx(golden["ratio_std_over_median"], abs=1e-6)
