"""Training samples: what a step holds, that mirrors are true, and that threads leave nothing."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from threading import Barrier

import numpy as np
import pytest
import torch
from torch import Tensor

from vo.datasets import open_sequence
from vo.datasets.camera import Array, Camera
from vo.datasets.errors import InputError
from vo.datasets.frame import Frame, Sequence
from vo.datasets.sequence import resize, select
from vo.datasets.street import render_street
from vo.datasets.triplets import TripletBatch, Triplets
from vo.depth.warp import warp


@pytest.fixture(scope="session")
def street(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two sequences of 8 frames at 96 x 64."""
    root = tmp_path_factory.mktemp("triplet-street")
    render_street(root, ["00", "01"], size=(96, 64), frames=8)
    return root


@pytest.fixture
def drives(street: Path) -> list[Sequence]:
    return [open_sequence(street, seq) for seq in ("00", "01")]


class Watched:
    """A sequence that counts its reads, may leave truth out, and may make two readers meet."""

    def __init__(self, source: Sequence, truth: bool = True, meet: Barrier | None = None) -> None:
        self.source, self.truth, self.meet = source, truth, meet
        self.reads: Counter[int] = Counter()

    @property
    def name(self) -> str:
        return self.source.name

    @property
    def camera(self) -> Camera:
        return self.source.camera

    @property
    def timestamps(self) -> Array:
        return self.source.timestamps

    @property
    def T_w_c(self) -> Array | None:
        return self.source.T_w_c if self.truth else None

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> Frame:
        self.reads[index] += 1
        if self.meet is not None:
            self.meet.wait(timeout=20)
        frame = self.source[index]
        return frame if self.truth else replace(frame, depth=None)


def equal(a: TripletBatch, b: TripletBatch) -> bool:
    """To the last bit."""
    assert a.depth is not None
    assert b.depth is not None
    assert a.T_s_t is not None
    assert b.T_s_t is not None
    pairs = ((a.images, b.images), (a.K, b.K), (a.depth, b.depth), (a.T_s_t, b.T_s_t))
    return a.names == b.names and all(torch.equal(x, y) for x, y in pairs)


def truth(batch: TripletBatch) -> tuple[Tensor, Tensor]:
    assert batch.depth is not None
    assert batch.T_s_t is not None
    return batch.depth, batch.T_s_t


def test_a_batch_has_the_shapes_and_types_that_it_promises(drives: list[Sequence]) -> None:
    batch = Triplets(drives, 4).at(0)
    depth, T_s_t = truth(batch)
    assert (batch.images.shape, batch.images.dtype) == ((4, 3, 3, 64, 96), torch.float32)
    assert 0 <= batch.images.min() < 0.2
    assert 0.7 < batch.images.max() <= 1
    assert (batch.K.shape, batch.K.dtype) == ((4, 3, 3), torch.float32)
    assert (depth.shape, depth.dtype) == ((4, 1, 64, 96), torch.float32)
    assert (T_s_t.shape, T_s_t.dtype) == ((4, 2, 4, 4), torch.float64)
    elsewhere = batch.to("meta")
    assert elsewhere.names == batch.names
    assert {x.device.type for x in (elsewhere.images, elsewhere.K, *truth(elsewhere))} == {"meta"}


def test_a_sample_is_what_the_drive_holds(drives: list[Sequence]) -> None:
    batch = Triplets(drives, 12, gaps=(1, 2)[:1], mirror=False).at(0)
    depth, T_s_t = truth(batch)
    for b, name in enumerate(batch.names):
        drive, i = drives[int(name[:2])], int(name[3:])
        for slot, j in enumerate((i, i - 1, i + 1)):
            expected = torch.from_numpy(drive[j].image.copy()).permute(2, 0, 1) / 255
            assert torch.equal(batch.images[b, slot], expected), (name, slot)
        true_depth = drive[i].depth
        assert true_depth is not None
        # Kept in half precision: eleven bits.
        np.testing.assert_allclose(depth[b, 0].numpy(), true_depth, rtol=2**-11)
        poses = drive.T_w_c
        assert poses is not None
        for slot, j in enumerate((i - 1, i + 1)):
            expected_T = np.linalg.inv(poses[j]) @ poses[i]
            np.testing.assert_allclose(T_s_t[b, slot].numpy(), expected_T, atol=1e-12)
        assert T_s_t[b, 0, 2, 3] > 0 > T_s_t[b, 1, 2, 3], "seen from behind, the target is ahead"


def test_a_step_depends_on_seed_and_number_alone(drives: list[Sequence]) -> None:
    samples = Triplets(drives, 4, gaps=(1, 2), seed=3)
    expected = [samples.at(step) for step in range(7)]
    for workers in (1, 3):
        others = Triplets(drives, 4, gaps=(1, 2), seed=3, workers=workers)
        assert equal(others.at(6), expected[6]), "asked first"
        assert equal(others.at(1), expected[1]), "asked after a later one"
        assert [b.names for b in others.stream(0, 2)] == [b.names for b in expected[:2]]
        streamed = list(others.stream(2, 7))
        assert len(streamed) == 5
        assert all(equal(a, b) for a, b in zip(streamed, expected[2:], strict=True))
    assert [b.names for b in samples.stream(5, 5)] == []
    another = Triplets(drives, 4, gaps=(1, 2), seed=4)
    assert [another.at(s).names for s in range(7)] != [b.names for b in expected]


def test_the_draws_are_those_of_earlier_versions(drives: list[Sequence]) -> None:
    """Were they others, a training that was killed before an update would not go on exactly."""
    samples = Triplets(drives, 4, gaps=(1, 2), seed=0)
    cx = drives[0].camera.cx
    found = []
    for step in (0, 3):
        batch = samples.at(step)
        gaps = [
            round(float(T[2, 3] / S[2, 3])) for T, S in zip(*_steps(batch, drives), strict=True)
        ]
        mirrored = (batch.K[:, 0, 2] - cx).abs() > 1e-3
        found.append((batch.names, gaps, mirrored.tolist()))
    assert found == GOLDEN_DRAWS


def _steps(batch: TripletBatch, drives: list[Sequence]) -> tuple[list[Tensor], list[Tensor]]:
    """Motion from the frame before, as it is in the batch and as it is over one frame."""
    single = []
    for name in batch.names:
        poses, i = drives[int(name[:2])].T_w_c, int(name[3:])
        assert poses is not None
        single.append(torch.from_numpy(np.linalg.inv(poses[i - 1]) @ poses[i]))
    return list(truth(batch)[1][:, 0]), single


GOLDEN_DRAWS = [
    (("00/000003", "00/000005", "01/000005", "01/000004"), [2, 1, 1, 1], [False, True, True, True]),
    (("01/000004", "00/000005", "01/000003", "00/000004"), [1, 2, 2, 1], [True, True, True, True]),
]


@pytest.mark.parametrize(("batch", "steps", "left_over"), [(4, 3, 0), (5, 2, 2), (12, 1, 0)])
def test_every_sample_comes_once_an_epoch(
    drives: list[Sequence], batch: int, steps: int, left_over: int
) -> None:
    samples = Triplets(drives, batch)
    assert samples.steps_per_epoch == steps
    orders = []
    for epoch in range(2):
        first = epoch * steps
        names = [n for step in range(first, first + steps) for n in samples.at(step).names]
        assert len(set(names)) == len(names) == 12 - left_over
        assert set(names) <= {f"{seq}/{i:06d}" for seq in ("00", "01") for i in range(1, 7)}
        orders.append(names)
    assert orders[0] != orders[1], "each epoch has an order of its own"


def test_numbers_in_names_are_those_on_disk(drives: list[Sequence]) -> None:
    part = select(drives[1], start=3)
    assert set(Triplets([part], 3).at(0).names) == {"01/000004", "01/000005", "01/000006"}


@pytest.mark.parametrize("gap", [1, 2])
def test_a_mirrored_sample_is_the_world_in_a_mirror(drives: list[Sequence], gap: int) -> None:
    """Image, depth, K and pose are mirrored alike: what is warped with them is the mirror image."""
    plain = Triplets(drives, 8, gaps=(gap,), mirror=False).at(0)
    mixed = Triplets(drives, 8, gaps=(gap,), mirror=True).at(0)
    assert plain.names == mixed.names, "mirroring does not shift other draws"
    mirrored = [b for b in range(8) if not torch.equal(plain.images[b], mixed.images[b])]
    assert 1 <= len(mirrored) <= 7
    assert torch.equal(mixed.images[mirrored], plain.images[mirrored].flip(-1))
    assert torch.equal(truth(mixed)[0][mirrored], truth(plain)[0][mirrored].flip(-1))
    K = torch.from_numpy(drives[0].camera.flipped().K).float()
    assert torch.equal(mixed.K[mirrored], K.expand(len(mirrored), 3, 3))
    for source in (0, 1):
        before, after = (_warped(batch, source) for batch in (plain, mixed))
        torch.testing.assert_close(
            after.image[mirrored], before.image[mirrored].flip(-1), atol=2e-3, rtol=0
        )
        for batch, seen in ((plain, before), (mixed, after)):
            error = (seen.image - batch.images[:, 0]).abs().mean(1, keepdim=True)
            still = (batch.images[:, 1 + source] - batch.images[:, 0]).abs().mean(1, keepdim=True)
            for b in mirrored:
                valid = seen.valid[b]
                assert error[b][valid].mean() < 0.6 * still[b][valid].mean(), (b, source)


def _warped(batch: TripletBatch, source: int):
    depth, T_s_t = truth(batch)
    # The sky has no depth: as far as it takes to stand still.
    far = torch.where(depth > 0, depth, 1e4)
    return warp(batch.images[:, 1 + source], far, batch.K, T_s_t[:, source].float())


def test_about_half_of_the_samples_are_mirrored(drives: list[Sequence]) -> None:
    samples = Triplets(drives, 12)
    cx = drives[0].camera.flipped().cx
    share = np.mean([(samples.at(s).K[:, 0, 2] - cx).abs().lt(1e-3).numpy() for s in range(20)])
    assert 0.4 < share < 0.6, "240 draws: 0.5 with a deviation of 0.03"


def test_frames_are_kept_up_to_the_limit(drives: list[Sequence]) -> None:
    first = drives[0][0]
    assert first.depth is not None
    frame_gb = (first.image.nbytes + first.depth.nbytes // 2) / 1e9
    reads, batches = {}, {}
    for frames in (0, 3, 8):
        watched = Watched(drives[0])
        samples = Triplets([watched], 6, memory_gb=frames * frame_gb * 1.0001, workers=1)
        batches[frames] = [samples.at(step) for step in range(3)]
        reads[frames] = watched.reads
    assert max(reads[8].values()) == 1, "what fits is read once"
    assert reads[0].total() == 3 * 18, "what does not is read each time"
    kept = [i for i in range(8) if reads[3][i] == 1]
    assert len(kept) == 3, "three frames are kept"
    assert all(reads[3][i] == reads[0][i] for i in range(8) if i not in kept)
    for frames in (3, 8):
        assert all(equal(a, b) for a, b in zip(batches[0], batches[frames], strict=True))


def test_a_frame_read_by_two_threads_at_once_takes_its_memory_once(
    drives: list[Sequence],
) -> None:
    first = drives[0][0]
    assert first.depth is not None
    frame_gb = (first.image.nbytes + first.depth.nbytes // 2) / 1e9
    watched = Watched(drives[0], meet=Barrier(2))
    samples = Triplets([watched], 1, memory_gb=3 * frame_gb * 1.0001)
    with ThreadPoolExecutor(2) as pool:
        a, b = pool.map(samples.at, (0, 0))
    assert equal(a, b)
    assert watched.reads.total() == 6
    watched.meet = None
    assert equal(samples.at(0), a)
    assert watched.reads.total() == 6, "all three frames of the sample are kept"


def test_truth_is_none_where_a_sample_has_none(drives: list[Sequence]) -> None:
    blind = Watched(drives[0], truth=False)
    batch = Triplets([blind, drives[1]], 12).at(0)
    assert batch.depth is None
    assert batch.T_s_t is None
    assert batch.to("meta").depth is None
    assert batch.images.shape == (12, 3, 3, 64, 96)


def test_a_damaged_image_is_named_where_its_batch_would_come(street: Path, tmp_path: Path) -> None:
    root = tmp_path / "street"
    shutil.copytree(street, root)
    image = root / "sequences" / "00" / "image_2" / "000004.png"
    image.write_bytes(image.read_bytes()[:300])
    samples = Triplets([open_sequence(root, "00")], 1, workers=3)
    spoilt = [any(abs(int(n[3:]) - 4) <= 1 for n in samples_at(street, s)) for s in range(6)]
    assert spoilt.index(True) > 0, "the first batch must be whole, for this test"
    before = threading.active_count()
    arrived = []
    with pytest.raises(InputError, match=r"image_2/000004\.png"):
        arrived.extend(batch.names for batch in samples.stream(0, 6))
    assert arrived == [samples_at(street, s) for s in range(spoilt.index(True))]
    assert threading.active_count() == before, "no thread is left behind"


def samples_at(street: Path, step: int) -> tuple[str, ...]:
    """Names of a batch of one from the undamaged street."""
    return Triplets([open_sequence(street, "00")], 1).at(step).names


def test_threads_end_with_the_stream(drives: list[Sequence]) -> None:
    before = threading.active_count()
    samples = Triplets(drives, 2, workers=2)
    stream = samples.stream(0, 1000)
    next(stream)
    assert threading.active_count() > before
    stream.close()  # type: ignore[attr-defined]
    assert threading.active_count() == before
    assert len(list(samples.stream(0, 3))) == 3
    assert threading.active_count() == before


# Helpers of OpenMP live until their thread ends: what is left while the readers live is theirs.
COUNT_THREADS = """
import os, sys, cv2
from vo.datasets import open_sequence
from vo.datasets.annotated_batches import AnnotatedAugment, AnnotatedSamples
from vo.datasets.triplets import Triplets

cv2.setNumThreads(1)  # its helpers are none of OpenMP's
drives = [open_sequence(sys.argv[1], "00")]
for samples in (
    Triplets(drives, 4, workers=2),
    AnnotatedSamples(drives, 4, drives[0].camera.size, AnnotatedAugment(), workers=2),
):
    before = len(os.listdir("/proc/self/task"))
    stream = samples.stream(0, 6)
    batches = [next(stream) for _ in range(2)]
    print(len(os.listdir("/proc/self/task")) - before)
    stream.close()
"""


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="threads are counted in /proc")
def test_threads_that_read_bring_no_helpers_with_them(street: Path) -> None:
    """OpenMP would let all threads of the process sleep where they now wait for each other."""
    ran = subprocess.run(
        [sys.executable, "-c", COUNT_THREADS, str(street)],
        env=os.environ | {"OMP_NUM_THREADS": "2"}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert [int(line) <= 2 for line in ran.stdout.split()] == [True, True], ran.stdout


def test_what_makes_no_sense_is_refused(drives: list[Sequence]) -> None:
    short = select(drives[1], end=4)
    with pytest.raises(InputError, match=r"--seq: 01 has 4 frames, a sample needs 5; leave it out"):
        Triplets([drives[0], short], 2, gaps=(1, 2))
    with pytest.raises(InputError, match="is 13, but the drives hold 12 samples"):
        Triplets(drives, 13)
    with pytest.raises(InputError, match="names no sequence"):
        Triplets([], 2)
    with pytest.raises(ValueError, match=r"one image size, got \[\(48, 32\), \(96, 64\)\]"):
        Triplets([drives[0], resize(drives[1], 48, 32)], 2)
    for flag, settings in (
        ("--data.batch: is 0;", {"batch": 0}),
        ("--data.gaps: is 0;", {"gaps": (1, 0)}),
        ("--data.gaps: is 0;", {"gaps": ()}),
        ("--data.workers: is 0;", {"workers": 0}),
        ("--data.memory-gb: is nan;", {"memory_gb": float("nan")}),
    ):
        with pytest.raises(InputError, match=flag):
            Triplets(drives, **({"batch": 2} | settings))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="ahead must be at least 1, got 0"):
        next(Triplets(drives, 2).stream(0, 3, ahead=0))


@pytest.mark.real_data
def test_a_real_drive_without_depth(real_data: Path) -> None:
    drive = resize(open_sequence(real_data / "kitti_odometry", "03", end=40), 208, 64)
    batch, other = Triplets([drive], 3, gaps=(1, 3)).stream(0, 2)
    assert batch.images.shape == other.images.shape == (3, 3, 3, 64, 208)
    assert batch.depth is None
    assert batch.T_s_t is not None
    assert batch.names[0].startswith("03/0000")
    ahead = batch.T_s_t[:, 0, 2, 3]
    assert ((ahead > 0.3) & (ahead < 6)).all(), "a car at 10 Hz, over one frame or three"
