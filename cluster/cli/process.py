"""Prepares the process of a long-running command: logs as JSON, a directory for metrics, signals that stop it."""

from __future__ import annotations

import os
import signal
import threading


def prepare_process() -> None:
    """Log as JSON, and give prometheus_client its directory before it is first imported."""
    from cluster.logs import log_as_json

    log_as_json()
    if not os.environ.get("PROMETHEUS_MULTIPROC_DIR"):
        from cluster.metrics_directory import make_metrics_directory

        make_metrics_directory()


def stop_on_signals() -> threading.Event:
    """Return an event that is set on Ctrl-C and on SIGTERM."""
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    return stop
