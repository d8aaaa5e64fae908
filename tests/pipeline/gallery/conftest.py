"""Compiles the kernels before the first test, so that no test is charged for it."""

import pytest

from tests.pipeline.gallery.galleries import filled, unit


@pytest.fixture(scope="session", autouse=True)
def _compiled_kernels() -> None:
    filled([unit(0)]).search(unit(0), 1)
