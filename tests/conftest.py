"""Fixtures that every test may use."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder with real recordings, named by VO_TEST_DATA; the test is skipped without it."""
    folder = os.environ.get("VO_TEST_DATA")
    if not folder:
        pytest.skip("VO_TEST_DATA is not set: no real recordings to test on")
    path = Path(folder).resolve()
    if not path.is_dir():
        pytest.fail(f"VO_TEST_DATA names {path}, which is not a folder")
    return path


@pytest.fixture(scope="session")
def fixtures() -> Path:
    """Folder with parity fixtures, named by VO_TEST_FIXTURES; the test is skipped without it."""
    folder = os.environ.get("VO_TEST_FIXTURES")
    if not folder:
        pytest.skip("VO_TEST_FIXTURES is not set: no published outputs to compare with")
    path = Path(folder).resolve()
    if not path.is_dir():
        pytest.fail(f"VO_TEST_FIXTURES names {path}, which is not a folder")
    return path
