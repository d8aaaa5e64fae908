"""Gives the processes of one run a common directory for their metrics.

prometheus_client looks for the directory in the environment once, when it is first imported, so this module
imports nothing of it.
"""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile

VARIABLE = "PROMETHEUS_MULTIPROC_DIR"


def make_metrics_directory() -> str:
    """Make a fresh directory, point this process and its children at it, and remove it when this process ends."""
    directory = tempfile.mkdtemp(prefix="camweave-metrics-")
    os.environ[VARIABLE] = directory
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    return directory
