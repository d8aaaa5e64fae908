"""Declares and runs `camweave run` and `camweave gateway`: a site of one's own."""

from __future__ import annotations

import argparse
from typing import Any

from cluster.cli.declaring import add_command, add_site_file, site_of
from cluster.cli.output import print_result, stdout_kept_for_results
from cluster.cli.process import prepare_process, stop_on_signals


def add_commands(commands: Any) -> None:
    """Add `run` and `gateway`."""
    _add_run(commands)
    _add_gateway(commands)


def _add_run(commands: Any) -> None:
    parser = add_command(
        commands, "run", _run, "run a site: gateways, shards, gallery, metrics",
        "Runs the site of a site file until interrupted; Ctrl-C lets every batch finish first.",
    )  # fmt: skip
    add_site_file(parser)
    parser.add_argument(
        "--no-gateways", action="store_true", help="do not read cameras here; gateways run elsewhere"
    )
    parser.add_argument("--until-done", action="store_true",
                        help="end when every source has ended and all is processed (for recordings)")  # fmt: skip


def _add_gateway(commands: Any) -> None:
    parser = add_command(
        commands, "gateway", _gateway, "send cameras' frames to the log",
        "Reads the cameras of a site file (video file, image folder, rtsp://, usb:0) and sends their frames to the\n"
        "log, until every recording has ended or it is interrupted.",
    )  # fmt: skip
    add_site_file(parser)
    parser.add_argument("--camera", action="append", default=[], metavar="ID",
                        help="only this camera; may be given several times (default: all that have a source)")  # fmt: skip
    parser.add_argument(
        "--metrics-port", type=int, default=-1, help="serve /metrics on this port (default: not)"
    )


def _run(options: argparse.Namespace) -> int:
    prepare_process()
    from cluster.operate import operate_site

    with stdout_kept_for_results():
        summary = operate_site(
            site_of(options),
            gateways=not options.no_gateways,
            until_done=options.until_done,
            stop=stop_on_signals(),
        )
    print_result(summary, options.json)
    return 0


def _gateway(options: argparse.Namespace) -> int:
    prepare_process()
    from prometheus_client import CollectorRegistry, start_http_server

    from cluster.gateways import cameras_with_source, run_gateways, summarise
    from cluster.metrics import Metrics

    site = site_of(options)
    cameras = cameras_with_source(site, options.camera)
    registry = CollectorRegistry()
    if options.metrics_port >= 0:
        start_http_server(options.metrics_port, site.metrics_host, registry)
    outcomes = run_gateways(site, cameras, Metrics(registry), stop_on_signals())
    print_result(summarise(outcomes), options.json)
    return 0 if all(outcome.error is None for outcome in outcomes.values()) else 1
