"""What ``vo-train`` trains on, frame by frame, and whether its test list holds any of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from vo.datasets.errors import InputError

if TYPE_CHECKING:
    from vo.datasets.leakage import Sample
    from vo.datasets.split_list import ListedFrame
    from vo.tools.training.flags import Flags
    from vo.tools.training.samples import Samples


def frames_of_test(flags: Flags) -> tuple[ListedFrame, ...]:
    """Frames of ``--test``; none without it, and where a checked training goes on.

    Raises:
        InputError: when the list cannot be read, and when --allow-leakage has nothing to allow.
    """
    from vo.datasets.split_list import read_split_list

    if flags.test is None and flags.allow_leakage:
        problem = "has nothing to allow without --test"
        raise InputError("--allow-leakage", problem, "leave it out, or name the test list")
    return () if flags.test is None or flags.resume else read_split_list(flags.test)


def check_leakage(
    flags: Flags, samples: Samples, test: tuple[ListedFrame, ...], warn: Callable[[str], None]
) -> None:
    """Warn of everything that training and test have in common.

    Args:
        flags: of the command.
        samples: of the training.
        test: from `frames_of_test`.
        warn: told one line for each kind of leakage.

    Raises:
        InputError: when a test frame itself is trained on and the flags do not allow it.
    """
    from vo.datasets.leakage import find_leakage
    from vo.tools.leakage import said

    if not test:
        return
    found = find_leakage(training_samples(samples), test, street=flags.data is None)
    refused = None
    for finding in found.findings:
        if finding.pairs and finding.kind == "same frame" and not flags.allow_leakage:
            refused = said(finding, found)
        elif finding.pairs:
            warn(f"--test {flags.test}: {said(finding, found)}")
    if refused is not None:
        remedy = "leave them out of the training, or add --allow-leakage"
        raise InputError(f"--test {flags.test}", refused, remedy)


def training_samples(samples: Samples) -> list[Sample]:
    """The frames of every sample: with video those before and after, and with stereo the other's.

    ``gaps`` of several distances give sources at all of them.
    """
    from vo.datasets.leakage import Sample
    from vo.datasets.listing import listed_frames
    from vo.datasets.triplets import Triplets

    frames = [listed_frames(drive) for drive in samples.drives]
    steps: list[int] = []
    others: list[list[ListedFrame]] = []
    if isinstance(samples, Triplets):
        steps = [step for gap in samples.gaps for step in (-gap, gap)]
        others = [listed_frames(drive) for drive in samples.others]
    return [
        Sample(
            frames[d][i],
            (*(frames[d][i + step] for step in steps), *(o[i] for o in others[d : d + 1])),
        )
        for d, i in samples.samples
    ]


def frames_hash(samples: Samples) -> str:
    """Hash of the training targets as a list of them has it (`split_list.split_hash`)."""
    from vo.datasets.split_list import split_hash

    return split_hash(sample.target for sample in training_samples(samples))
