"""Declares and runs `camweave weights` and `camweave schema`."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from cluster.cli.declaring import add_command
from cluster.cli.output import print_json, print_result


def add_commands(commands: Any) -> None:
    """Add `weights fetch` and `schema`."""
    parser = commands.add_parser("weights", help="fetch model weights", description="Fetches model weights.")
    kinds = parser.add_subparsers(required=True, metavar="ACTION")
    fetch = add_command(
        kinds, "fetch", _fetch, "fetch, verify and cache what the detector and the embedder need"
    )
    fetch.add_argument("--cache", type=Path, metavar="DIR", help="cache folder (default: ~/.cache/camweave)")
    schema = add_command(commands, "schema", _schema, "export the JSON Schema of every record")
    schema.add_argument(
        "--out", type=Path, metavar="DIR", help="write <topic>.json files there instead of printing"
    )


def _fetch(options: argparse.Namespace) -> int:
    from cluster.evaluate import fetch_weights

    print_result(fetch_weights(options.cache), options.json)
    return 0


def _schema(options: argparse.Namespace) -> int:
    from models.files import write_atomically
    from pipeline.records import json_schemas

    schemas = json_schemas()
    if options.out is None:
        print_json(schemas)
        return 0
    for topic, schema in schemas.items():
        write_atomically(options.out / f"{topic}.json", (json.dumps(schema, indent=2) + "\n").encode())
    print_result({"written": [str(options.out / f"{topic}.json") for topic in schemas]}, options.json)
    return 0
