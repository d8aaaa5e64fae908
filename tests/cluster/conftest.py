"""Runs the command line as a user would, and finds the sample video."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
VIDEO = ROOT / ".cache" / "video" / "vtest.avi"


@pytest.fixture(scope="session")
def video() -> Path:
    """The sample video that `make setup` fetches."""
    assert VIDEO.exists(), "the sample video is missing; run `make setup`"
    return VIDEO


@pytest.fixture(scope="session")
def kafka() -> str:
    """HOST:PORT of a running Apache Kafka."""
    address = os.environ.get("CAMWEAVE_TEST_KAFKA")
    if not address:
        pytest.skip("no Kafka: set CAMWEAVE_TEST_KAFKA=host:port, or run `make test-kafka`")
    return address


Camweave = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def camweave() -> Camweave:
    """Runs `camweave ARGUMENTS` and returns what it printed."""

    def run(
        *arguments: object, timeout_s: float = 180, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "cluster.cli", *map(str, arguments)], cwd=ROOT, timeout=timeout_s, check=False,
            capture_output=True, text=True, env={**os.environ, **environment},
        )  # fmt: skip

    return run


def report_of(result: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    """Parse the JSON that a command printed, after checking that it went well."""
    assert result.returncode == 0, result.stderr[-3000:]
    report: dict[str, Any] = json.loads(result.stdout)
    return report
