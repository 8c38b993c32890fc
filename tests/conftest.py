"""Fixtures that every test may use."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder with real recordings, named by VO_TEST_DATA; the test is skipped without it."""
    return _folder_named_by("VO_TEST_DATA", "no real recordings to test on")


@pytest.fixture(scope="session")
def fixtures() -> Path:
    """Folder with parity fixtures, named by VO_TEST_FIXTURES; the test is skipped without it."""
    return _folder_named_by("VO_TEST_FIXTURES", "no published outputs to compare with")


def _folder_named_by(variable: str, otherwise: str) -> Path:
    folder = os.environ.get(variable)
    if not folder:
        pytest.skip(f"{variable} is not set: {otherwise}")
    path = Path(folder).resolve()
    if not path.is_dir():
        pytest.fail(f"{variable} names {path}, which is not a folder")
    return path
