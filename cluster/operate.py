"""Operates a site from one process: gateways beside Ray, until told to stop or until all is done."""

from __future__ import annotations

import logging
import multiprocessing
import time
from typing import Any

from prometheus_client import CollectorRegistry

from cluster.config import CameraConfig, SiteConfig
from cluster.gateway import Stop
from cluster.gateways import cameras_with_source, run_gateways, summarise
from cluster.logs import log_as_json
from cluster.metrics import Metrics
from cluster.site import Site

_logger = logging.getLogger(__name__)
GATEWAY_RESTART_S = 5.0


def operate_site(config: SiteConfig, *, gateways: bool, until_done: bool, stop: Stop) -> dict[str, Any]:
    """Run a site until `stop` is set, or with `until_done` until all recordings are processed; return its counts.

    Raises:
        LogUnavailable: the log does not answer at the start.
        BadConfig: there is nothing to read although gateways are wanted.
    """
    cameras = cameras_with_source(config) if gateways else []
    with Site(config) as site:
        if site.metrics_port is not None:
            _logger.info(
                "serving metrics", extra={"url": f"http://{config.metrics_host}:{site.metrics_port}/metrics"}
            )
        site.wait_until_ready()
        gateway = GatewayProcess(config, cameras) if cameras else None
        try:
            while not stop.is_set():
                site.tend()
                if gateway is not None:
                    gateway.tend()
                if until_done and (gateway is None or gateway.done) and site.drained():
                    break
                stop.wait(0.25)
        finally:
            if gateway is not None:
                gateway.stop()
        return site.summary()


class GatewayProcess:
    """Runs the gateways in a process of their own: a video library that crashes takes no identity with it."""

    def __init__(self, config: SiteConfig, cameras: list[CameraConfig]) -> None:
        self._config = config
        self._cameras = cameras
        self._context = multiprocessing.get_context("spawn")
        self._stop = self._context.Event()
        self._again_s: float | None = None
        self._process = self._start()

    @property
    def done(self) -> bool:
        """Tell whether every source has ended."""
        return self._process.exitcode == 0

    def tend(self) -> None:
        """Start the process again some seconds after it has crashed."""
        if self._process.exitcode in (None, 0):
            return
        now_s = time.monotonic()
        if self._again_s is None:
            _logger.error("gateway process died", extra={"exit_code": self._process.exitcode})
            self._again_s = now_s + GATEWAY_RESTART_S
        elif now_s >= self._again_s:
            self._again_s = None
            self._process = self._start()

    def stop(self) -> None:
        """Let the gateways send what they hold, then end the process."""
        self._stop.set()
        self._process.join(10)
        self._process.kill()

    def _start(self) -> multiprocessing.process.BaseProcess:
        process = self._context.Process(
            target=_gateway_main, args=(self._config, self._cameras, self._stop), daemon=True
        )
        process.start()
        return process


def _gateway_main(config: SiteConfig, cameras: list[CameraConfig], stop: Stop) -> None:
    log_as_json()
    outcomes = run_gateways(config, cameras, Metrics(CollectorRegistry()), stop)
    _logger.info("gateways ended", extra={"outcomes": summarise(outcomes)})
