"""Batches with true depth: what is done to an image is done to its depth."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from annotated_trees import depth_of_red, drive_name, view, write_kitti

from vo.datasets.annotated import find_annotated, open_annotated
from vo.datasets.annotated_batches import AnnotatedAugment, AnnotatedBatch, AnnotatedSamples, turned
from vo.datasets.errors import InputError
from vo.datasets.frame import Sequence
from vo.datasets.recording import Recording

AS_IT_IS = AnnotatedAugment(rotation_deg=0, share=0)
SIZE = (96, 64)


@pytest.fixture(scope="module")
def drives(tmp_path_factory: pytest.TempPathFactory) -> list[Sequence]:
    """Two drives with four frames each."""
    root = tmp_path_factory.mktemp("annotated")
    for number in (1, 2):
        write_kitti(root, number, root / "2011_09_26")
    return [open_annotated(place) for place in find_annotated(root).places]


def equal(a: AnnotatedBatch, b: AnnotatedBatch) -> bool:
    return a.names == b.names and torch.equal(a.images, b.images) and torch.equal(a.depth, b.depth)


def test_a_sample_is_what_the_drive_holds(drives: list[Sequence]) -> None:
    batch = AnnotatedSamples(drives, 8, SIZE, AS_IT_IS, mirror=False).at(0)
    assert (batch.images.shape, batch.images.dtype) == ((8, 3, 64, 96), torch.float32)
    assert (batch.depth.shape, batch.depth.dtype) == ((8, 1, 64, 96), torch.float32)
    assert sorted(batch.names) == [
        f"{drive_name(n)}/image_02/{i:06d}" for n in (1, 2) for i in (1, 2, 3, 4)
    ]
    for b, name in enumerate(batch.names):
        image, depth = view(10 * int(name[17:21]) + int(name[-6:]), *SIZE)
        assert torch.equal(batch.images[b], torch.from_numpy(image).permute(2, 0, 1) / 255), name
        # Counts of 1/256 m, then eleven bits.
        np.testing.assert_allclose(batch.depth[b, 0], depth, rtol=2**-11, atol=1 / 256)
    elsewhere = batch.to("meta")
    assert {elsewhere.images.device.type, elsewhere.depth.device.type} == {"meta"}


def test_images_take_the_size_of_the_network_and_depth_keeps_its_own(
    drives: list[Sequence],
) -> None:
    batch = AnnotatedSamples(drives, 2, (64, 32), AS_IT_IS).at(0)
    assert batch.images.shape == (2, 3, 32, 64)
    assert batch.depth.shape == (2, 1, 64, 96)


@pytest.mark.parametrize("size", [SIZE, (192, 64), (48, 48)])
def test_turned_and_mirrored_depth_stays_on_its_pixels(
    drives: list[Sequence], size: tuple[int, int]
) -> None:
    """Red tells the depth: also of an image that was stretched, then turned about its centre."""
    samples = AnnotatedSamples(drives, 8, size, AnnotatedAugment(rotation_deg=12, share=0))
    for step in range(3):
        batch = samples.at(step)
        big = torch.nn.functional.interpolate(batch.images, (64, 96), mode="bilinear")
        # Corners hold what was reflected there, and borders what was not interpolated.
        inner = (slice(None), 0, slice(6, -6), slice(6, -6))
        told = torch.from_numpy(depth_of_red(255 * big[:, 0].numpy()))[:, 6:-6, 6:-6]
        depth = batch.depth[inner]
        known = depth > 0
        assert known.float().mean() > 0.06, "one in twelve is known"
        off = (depth - told)[known].abs()
        # Half a pixel of the nearest neighbour, on slopes of up to 0.7 m a pixel.
        assert off.max() < 1.2, size
        assert off.mean() < 0.25, size


def test_half_of_the_samples_are_mirrored_and_all_turns_are_drawn(drives: list[Sequence]) -> None:
    samples = AnnotatedSamples(drives, 8, SIZE, AnnotatedAugment(rotation_deg=5))
    changes = [samples._changes(step) for step in range(60)]
    mirrored = np.concatenate([c.mirrored for c in changes])
    angles = np.concatenate([c.angle_deg for c in changes])
    assert 0.43 < mirrored.mean() < 0.57, "480 draws: a deviation of 0.023"
    assert -5 <= angles.min() < -4.5
    assert 4.5 < angles.max() <= 5
    assert abs(np.corrcoef(mirrored, angles)[0, 1]) < 0.15


def test_a_quarter_turn_is_that_of_numpy() -> None:
    image = np.random.default_rng(0).integers(0, 256, (31, 31, 3), np.uint8)
    depth = np.random.default_rng(1).random((31, 31)).astype(np.float16)
    image_90, depth_90 = turned(image, depth, 90.0)
    np.testing.assert_array_equal(depth_90, np.rot90(depth))
    np.testing.assert_allclose(image_90.astype(int), np.rot90(image), atol=1)
    big = np.random.default_rng(2).integers(0, 256, (62, 62, 3), np.uint8)
    np.testing.assert_allclose(turned(big, depth, 90.0)[0].astype(int), np.rot90(big), atol=1)
    same, still = turned(image, depth, 0.0)
    assert np.array_equal(same, image)
    assert np.array_equal(still, depth)


def test_what_was_not_measured_stays_unknown() -> None:
    image, depth = view(0, 60, 40)
    _, after = turned(image, np.full_like(depth, 7, np.float16), 10.0)
    assert set(np.unique(after)) == {0, 7}
    assert after[0, 0] == after[-1, -1] == 0, "the corners come from outside"
    assert after[20, 30] == 7
    assert set(np.unique(turned(image, depth.astype(np.float16), 10.0)[1])) <= set(
        np.unique(depth.astype(np.float16))
    ), "no depth is made up"


def test_light_changes_by_a_power_and_a_gain_for_each_channel(drives: list[Sequence]) -> None:
    still = AnnotatedSamples(drives, 8, SIZE, AS_IT_IS, mirror=False)
    config = AnnotatedAugment(rotation_deg=0, share=0.5, gamma=0.2, brightness=0.1, colour=0.05)
    samples = AnnotatedSamples(drives, 8, SIZE, config, mirror=False)
    found, lit = [], 0
    for step in range(12):
        before, after = still.at(step).images, samples.at(step).images
        assert 0 <= after.min() <= after.max() <= 1
        for b in range(8):
            if torch.equal(before[b], after[b]):
                continue
            lit += 1
            for channel in range(3):
                x, y = before[b, channel].flatten(), after[b, channel].flatten()
                kept = (x > 0.02) & (y < 1)
                slope, offset = np.polyfit(x[kept].log().numpy(), y[kept].log().numpy(), 1)
                line = slope * x[kept].log() + offset
                assert (line - y[kept].log()).abs().max() < 1e-4
                found.append((slope, np.exp(offset)))
    gammas, gains = np.array(found).T
    assert 0.35 < lit / 96 < 0.65
    assert 0.8 - 1e-4 < gammas.min() < 0.85 < 1.15 < gammas.max() < 1.2 + 1e-4
    assert 0.9 * 0.95 - 1e-4 < gains.min() < 0.93 < 1.07 < gains.max() < 1.1 * 1.05 + 1e-4
    triples = gammas.reshape(-1, 3)
    assert np.ptp(triples, axis=1).max() < 1e-3, "one gamma for all channels"
    assert np.ptp(gains.reshape(-1, 3), axis=1).min() > 0, "but gains of their own"


def test_a_step_depends_on_seed_and_number_alone(drives: list[Sequence]) -> None:
    samples = AnnotatedSamples(drives, 3, SIZE, AnnotatedAugment(), seed=3)
    expected = [samples.at(step) for step in range(6)]
    for workers in (1, 3):
        again = AnnotatedSamples(drives, 3, SIZE, AnnotatedAugment(), seed=3, workers=workers)
        assert all(equal(a, b) for a, b in zip(expected, again.stream(0, 6), strict=True))
        assert equal(next(again.stream(4, 6)), expected[4]), "begun anywhere"
    other = AnnotatedSamples(drives, 3, SIZE, AnnotatedAugment(), seed=4)
    assert other.at(0).names != expected[0].names
    darker = AnnotatedSamples(drives, 3, SIZE, AnnotatedAugment(brightness=0.4), seed=3)
    for step in range(6):
        assert torch.equal(darker.at(step).depth, expected[step].depth), "draws are apart"


def test_every_sample_comes_once_an_epoch(drives: list[Sequence]) -> None:
    samples = AnnotatedSamples(drives, 3, SIZE, AS_IT_IS)
    assert samples.steps_per_epoch == 2
    for epoch in range(3):
        names = [name for step in (0, 1) for name in samples.at(2 * epoch + step).names]
        assert max(Counter(names).values()) == 1


def test_frames_are_read_once_where_memory_lasts(
    drives: list[Sequence], monkeypatch: pytest.MonkeyPatch
) -> None:
    reads: Counter[int] = Counter()
    real = Recording.__getitem__

    def counted(self: Recording, index: int):
        reads[index] += 1
        return real(self, index)

    monkeypatch.setattr(Recording, "__getitem__", counted)
    frame_gb = (96 * 64 * 3 + 96 * 64 * 2) / 1e9
    for frames, expected in ((8, 8), (0, 32), (3, 3 + 5 * 4)):
        reads.clear()
        samples = AnnotatedSamples(
            drives, 4, SIZE, AnnotatedAugment(), memory_gb=frames * frame_gb * 1.001, workers=1
        )
        list(samples.stream(0, 8))
        assert reads.total() == expected


def test_what_makes_no_sense_is_refused(drives: list[Sequence], tmp_path: Path) -> None:
    assert isinstance(drives[0], Recording)
    with pytest.raises(InputError, match="--seq: names no sequence"):
        AnnotatedSamples([], 1, SIZE, AS_IT_IS)
    with pytest.raises(InputError, match=r"--data\.batch: is 9, but the drives hold 8 samples"):
        AnnotatedSamples(drives, 9, SIZE, AS_IT_IS)
    write_kitti(tmp_path, 3, tmp_path / "2011_09_26", size=(48, 32))
    other = open_annotated(find_annotated(tmp_path).places[0])
    with pytest.raises(InputError, match=r"--metric\.crop: leaves images of .* 48x32, 96x64;"):
        AnnotatedSamples([*drives, other], 1, SIZE, AS_IT_IS)
    bare = replace(drives[0], depths=None, depth_format=None)
    with pytest.raises(InputError, match=r"image_02/00000\d: has no true depth"):
        AnnotatedSamples([bare], 1, SIZE, AS_IT_IS).at(0)
    for flag, settings in (
        ("--metric.augment.rotation-deg: is -1; give a number from 0 to 45", {"rotation_deg": -1}),
        ("--metric.augment.gamma: is 1;", {"gamma": 1}),
        ("--metric.augment.share: is nan", {"share": float("nan")}),
    ):
        with pytest.raises(InputError, match=flag):
            AnnotatedAugment(**settings)  # type: ignore[arg-type]
