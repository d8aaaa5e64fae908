"""Declares what the commands have in common: their form, and options that several of them take.

Commands import what they need when they run: Ray and torch take seconds, and prometheus_client must find its
directory in the environment when it is first imported.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any


def add_command(
    commands: Any,
    name: str,
    run: Callable[[argparse.Namespace], int],
    summary: str,
    description: str = "",
    examples: str = "",
) -> argparse.ArgumentParser:
    """Add a command that prints results, and so takes --json."""
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=summary,
        description=description or summary,
        epilog=f"examples:\n{examples}" if examples else None,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(command=run)
    parser.add_argument(
        "--json", action="store_true", help="print results as one JSON object, and nothing else"
    )
    return parser


def add_site_file(parser: argparse.ArgumentParser) -> None:
    """Add the options that name a site."""
    parser.add_argument("--config", type=Path, required=True, metavar="FILE", help="the site file (YAML)")
    add_kafka(parser)


def add_kafka(parser: argparse.ArgumentParser) -> None:
    """Add the option that chooses Kafka."""
    parser.add_argument(
        "--kafka",
        metavar="HOST:PORT",
        help="use this Kafka instead of the embedded SQLite log; several: h1:p1,h2:p2. CAMWEAVE_KAFKA_SECURITY, "
        "_CA_FILE, _CERTIFICATE_FILE, _KEY_FILE, _USER, _PASSWORD_FILE and _PASSWORD say how it is reached, or "
        "`kafka:` in the site file",
    )


def site_of(options: argparse.Namespace) -> Any:
    """Read the site file that --config names, with --kafka in place of its log where that is given."""
    import dataclasses

    from cluster.config import read_site

    site = read_site(options.config)
    kafka = getattr(options, "kafka", None)
    return dataclasses.replace(site, log=f"kafka://{kafka}") if kafka else site


def kafka_url(servers: str) -> str:
    """Return the URL of the Kafka that --kafka names, reached as the environment says."""
    import os

    from cluster.log.security import KafkaSecurity, environment_settings

    security = KafkaSecurity.from_settings(environment_settings(os.environ))
    return security.secure(f"kafka://{servers}")
