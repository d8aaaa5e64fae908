"""Declares and runs `camweave explain`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from cluster.cli.declaring import add_command, add_kafka, site_of
from cluster.cli.output import print_json, print_table


def add_commands(commands: Any) -> None:
    """Add `explain`."""
    parser = add_command(
        commands, "explain", _explain, "say and draw why several tracks are one identity",
        "Prints, track by track, what made an identity one: when and in which camera, what was decided and by\n"
        "which evidence, who came second, and who was ruled out and why. Draws the same as a PNG: a timeline by\n"
        "camera, and a card a track with cut-outs from the frames that the log still keeps. Evidence is in natural\n"
        "logs of likelihood ratios: 0 is even, +3 is twenty to one for it, -3 against.\n\n"
        "IDENTITY is an id, its beginning, the name of one of its tracks, or a name from the demo's pictures (P3).\n"
        "Without one, the identities are listed.",
        "  camweave explain --run runs/demo                       who there is to explain\n"
        "  camweave explain P3 --run runs/demo                    what the demo found; leaves explain-P3.png there\n"
        "  camweave explain north-east:3-0-0 --run runs/demo --json\n"
        "  camweave explain id-door:7 --config site.yaml --picture why.png    from the log of a running site\n",
    )  # fmt: skip
    parser.add_argument("identity", metavar="IDENTITY", nargs="?", help="whom to explain (default: list all)")
    place = parser.add_mutually_exclusive_group(required=True)
    place.add_argument("--run", type=Path, metavar="DIR", help="folder that a run left, such as runs/demo")
    place.add_argument("--config", type=Path, metavar="FILE", help="site file: read the log that it names")
    parser.add_argument("--picture", type=Path, metavar="FILE",
                        help="where to write the PNG (default: explain-IDENTITY.png in the run's folder, or here)")  # fmt: skip
    add_kafka(parser)


def _explain(options: argparse.Namespace) -> int:
    from cluster.explain import explain_identity, list_identities, records_of_run, records_of_site

    records = records_of_run(options.run) if options.run else records_of_site(site_of(options))
    if options.identity is None:
        return _print_list(list_identities(records), options)
    explained = explain_identity(options.identity, records, options.picture, options.run or Path())
    if options.json:
        print_json(explained.result)
        return 0
    print("\n".join([*explained.lines, "", f"picture: {explained.picture}"]))  # noqa: T201
    if explained.result["crops_no_longer_kept"]:
        print(f"{explained.result['crops_no_longer_kept']} frames are no longer kept in the log")  # noqa: T201
    return 0


def _print_list(identities: dict[str, dict[str, Any]], options: argparse.Namespace) -> int:
    if options.json:
        print_json(identities)
    else:
        print_table(
            identities, {"name": "name", "tracks": "tracks", "cameras": "cameras", "from": "from", "to": "to"}
        )
    return 0
