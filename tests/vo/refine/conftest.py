"""One thread for all tests of the refinement."""

import pytest


@pytest.fixture(autouse=True, scope="module")
def small_tensors(one_thread: None) -> None:
    """Tensors are tiny in every module."""
