"""Owns the command line: `camweave COMMAND`. Results go to standard output, everything else to standard error."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import version

from cluster.cli import demo, evaluate, explain, models, site, teach, train, weights
from models.errors import CamweaveError

EXAMPLES = """\
examples:
  camweave demo                                  four virtual cameras from one video, end to end
  camweave demo --frames 100 --json              the report alone, as JSON
  camweave run --config site.yaml                a site of your own: cameras, tracks, identities, /metrics
  camweave gateway --config site.yaml --camera door    one camera's frames into the log, on another machine
  camweave explain P3 --run runs/demo            why the demo's third person is one person, and a picture of it
  camweave teach class courier --crops crops --config site.yaml    a class of your own, from a few crops
  camweave models list --config site.yaml        what was learned, what is served; `models rollback` undoes it
  camweave eval mot MOT15/train                  our tracker on public detections (HOTA, IDF1, MOTA)
  camweave eval reid market.zip --ids last:100   the embedder on re-ID crops (rank-1, mAP)
  camweave eval site runs/demo                   a run against its truth (AP50, HOTA, IDF1)
  camweave train embedder --data crops --out runs/embedder    train the embedder on crops of your own
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the command line, run the command, and return the exit code: 0 well, 1 failed, 2 misused."""
    options = build_parser().parse_args(arguments)
    command: Callable[[argparse.Namespace], int] = options.command
    try:
        return command(options)
    except CamweaveError as error:
        if getattr(options, "json", False):
            print(json.dumps({"error": type(error).__name__, "message": str(error)}))  # noqa: T201
        print(f"camweave: {error}", file=sys.stderr)  # noqa: T201
        return 1
    except BrokenPipeError:  # whoever read the results has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 0
    except KeyboardInterrupt:
        print("camweave: interrupted", file=sys.stderr)  # noqa: T201
        return 130


def build_parser() -> argparse.ArgumentParser:
    """Describe all commands."""
    parser = argparse.ArgumentParser(
        prog="camweave", description="Weaves many cameras into one story: who is seen, and where they went.",
        epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("--version", action="version", version=f"camweave {version('camweave')}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for group in (demo, site, explain, teach, models, evaluate, train, weights):
        group.add_commands(commands)
    return parser
