"""Is the command line: `camweave COMMAND`. Results go to standard output, everything else to standard error."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from models.errors import CamweaveError

# Commands import what they need when they run: Ray and torch take seconds, and prometheus_client must find
# its directory in the environment when it is first imported.

DEFAULT_VIDEO = Path(".cache/video/vtest.avi")
EXAMPLES = """\
examples:
  camweave demo                                  four virtual cameras from one video, end to end
  camweave demo --frames 100 --json              the report alone, as JSON
  camweave run --config site.yaml                a site of your own: cameras, tracks, identities, /metrics
  camweave gateway --config site.yaml --camera door    one camera's frames into the log, on another machine
  camweave eval detect truth.zip --video video.avi     detector against truth (AP50)
  camweave eval site runs/demo                   a run against its truth (AP50, HOTA, IDF1)
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
    _add_demo(commands)
    _add_run(commands)
    _add_gateway(commands)
    _add_eval(commands)
    _add_weights(commands)
    _add_schema(commands)
    return parser


def _command(
    commands: Any, name: str, run: Callable[[argparse.Namespace], int], summary: str, description: str = ""
) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=summary,
        description=description or summary,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(command=run)
    parser.add_argument(
        "--json", action="store_true", help="print results as one JSON object, and nothing else"
    )
    return parser


def _add_kafka(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--kafka",
        metavar="HOST:PORT",
        help="use this Kafka instead of the embedded SQLite log; several: h1:p1,h2:p2",
    )


def _add_demo(commands: Any) -> None:
    parser = _command(
        commands, "demo", _demo, "stream a video as four virtual cameras, end to end",
        "Streams a video as four overlapping virtual cameras through gateway, log and Ray at once, and leaves\n"
        "report.json, mosaic.mp4, journeys.png and the result topics as JSON lines in the output folder.",
    )  # fmt: skip
    parser.add_argument(
        "--video", type=Path, default=DEFAULT_VIDEO, help="source video (default: %(default)s)"
    )
    parser.add_argument("--frames", type=int, metavar="N", help="stream only the first N frames of the video")
    parser.add_argument(
        "--minutes", type=float, metavar="M", help="loop the video for M minutes instead; draws no film"
    )
    parser.add_argument(
        "--out", type=Path, default=Path("runs/demo"), help="output folder (default: %(default)s)"
    )
    parser.add_argument("--placement", choices=["fused", "split"], default="fused",
                        help="networks inside the shard, or in actors of their own (default: %(default)s)")  # fmt: skip
    parser.add_argument(
        "--shards", type=int, default=1, metavar="N", help="shard actors (default: %(default)s)"
    )
    parser.add_argument("--truth", type=Path,
                        help="MOTChallenge folder or zip with the video's truth, to score against "
                             "(default for the sample video: the one in $CAMWEAVE_DATA)")  # fmt: skip
    parser.add_argument("--no-pictures", action="store_true", help="skip mosaic.mp4 and journeys.png")
    _add_kafka(parser)


def _add_run(commands: Any) -> None:
    parser = _command(
        commands, "run", _run, "run a site: gateways, shards, gallery, metrics",
        "Runs the site of a site file until interrupted; Ctrl-C lets every batch finish first.",
    )  # fmt: skip
    parser.add_argument("--config", type=Path, required=True, metavar="FILE", help="the site file (YAML)")
    parser.add_argument(
        "--no-gateways", action="store_true", help="do not read cameras here; gateways run elsewhere"
    )
    parser.add_argument("--until-done", action="store_true",
                        help="end when every source has ended and all is processed (for recordings)")  # fmt: skip
    _add_kafka(parser)


def _add_gateway(commands: Any) -> None:
    parser = _command(
        commands, "gateway", _gateway, "send cameras' frames to the log",
        "Reads the cameras of a site file (video file, image folder, rtsp://, usb:0) and sends their frames to the\n"
        "log, until every recording has ended or it is interrupted.",
    )  # fmt: skip
    parser.add_argument("--config", type=Path, required=True, metavar="FILE", help="the site file (YAML)")
    parser.add_argument("--camera", action="append", default=[], metavar="ID",
                        help="only this camera; may be given several times (default: all that have a source)")  # fmt: skip
    parser.add_argument(
        "--metrics-port", type=int, default=-1, help="serve /metrics on this port (default: not)"
    )
    _add_kafka(parser)


def _add_eval(commands: Any) -> None:
    parser = commands.add_parser(
        "eval", help="score against truth", description="Scores results against truth."
    )
    kinds = parser.add_subparsers(required=True, metavar="KIND")
    detect = _command(
        kinds, "detect", _eval_detect, "score a detector on a video with MOTChallenge truth (AP50)"
    )
    detect.add_argument(
        "path", type=Path, metavar="PATH", help="MOTChallenge sequence, folder of them, or zip"
    )
    detect.add_argument("--sequence", default="PETS09-S2L1", help="which sequence (default: %(default)s)")
    detect.add_argument("--video", type=Path, default=DEFAULT_VIDEO, help="its video (default: %(default)s)")
    detect.add_argument(
        "--config", type=Path, metavar="FILE", help="take the detector's settings from this site file"
    )
    detect.add_argument("--frames", type=int, metavar="N", help="only the first N frames")
    site = _command(
        kinds, "site", _eval_site, "score a run: detection AP50, tracking HOTA/IDF1/MOTA, site IDF1"
    )
    site.add_argument(
        "path", type=Path, metavar="PATH", help="run folder with tracks.jsonl and identities.jsonl"
    )
    site.add_argument("--truth", type=Path, metavar="DIR",
                      help="folder with <camera>/gt/gt.txt, ids global (default: PATH/truth)")  # fmt: skip


def _add_weights(commands: Any) -> None:
    parser = commands.add_parser("weights", help="fetch model weights", description="Fetches model weights.")
    kinds = parser.add_subparsers(required=True, metavar="ACTION")
    fetch = _command(kinds, "fetch", _weights_fetch, "fetch, verify and cache the detector's weights")
    fetch.add_argument("--cache", type=Path, metavar="DIR", help="cache folder (default: ~/.cache/camweave)")


def _add_schema(commands: Any) -> None:
    parser = _command(commands, "schema", _schema, "export the JSON Schema of every record")
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="write <topic>.json files there instead of printing"
    )


def _demo(options: argparse.Namespace) -> int:
    _prepare_process()
    from rich.console import Console

    from cluster.demo import DemoOptions, run_demo
    from cluster.progress import DemoProgress, choose_show, print_report

    messages = Console(stderr=True)
    demo = DemoOptions(
        video=options.video, out=options.out, num_frames=options.frames, minutes=options.minutes,
        placement=options.placement,
        log=f"kafka://{options.kafka}" if options.kafka else "", num_shards=options.shards,
        truth=options.truth or _default_truth(options.video), pictures=not options.no_pictures,
    )  # fmt: skip
    show = choose_show(messages, as_json=options.json)
    with stdout_kept_for_results(), DemoProgress({}, show=show, console=messages) as progress:
        report = run_demo(demo, progress)
    if options.json:
        _print_json(report)
    else:
        from cluster.demo.pictures import JOURNEYS, MOSAIC

        pictures = {name: options.out / name for name in (MOSAIC, JOURNEYS) if demo.pictures}
        print_report(report, Console(), {**pictures, "report.json": options.out / "report.json"})
    return 0 if report["frames_lost"] == 0 else 1


def _run(options: argparse.Namespace) -> int:
    _prepare_process()
    from cluster.operate import operate_site

    with stdout_kept_for_results():
        summary = operate_site(
            _site_of(options),
            gateways=not options.no_gateways,
            until_done=options.until_done,
            stop=_stop_on_signals(),
        )
    _print_result(summary, options.json)
    return 0


def _gateway(options: argparse.Namespace) -> int:
    _prepare_process()
    from prometheus_client import CollectorRegistry, start_http_server

    from cluster.gateways import cameras_with_source, run_gateways, summarise
    from cluster.metrics import Metrics

    site = _site_of(options)
    cameras = cameras_with_source(site, options.camera)
    registry = CollectorRegistry()
    if options.metrics_port >= 0:
        start_http_server(options.metrics_port, site.metrics_host, registry)
    outcomes = run_gateways(site, cameras, Metrics(registry), _stop_on_signals())
    _print_result(summarise(outcomes), options.json)
    return 0 if all(outcome.error is None for outcome in outcomes.values()) else 1


def _eval_detect(options: argparse.Namespace) -> int:
    from cluster.config import SiteConfig, read_site
    from cluster.evaluate import evaluate_detector

    detector = (read_site(options.config) if options.config else SiteConfig()).detector
    scores = evaluate_detector(options.path, options.sequence, options.video, detector, options.frames)
    _print_result(scores, options.json)
    return 0


def _eval_site(options: argparse.Namespace) -> int:
    from cluster.evaluate import score_run

    _print_result(score_run(options.path, options.truth or options.path / "truth"), options.json)
    return 0


def _weights_fetch(options: argparse.Namespace) -> int:
    from cluster.evaluate import fetch_weights

    _print_result(fetch_weights(options.cache), options.json)
    return 0


def _schema(options: argparse.Namespace) -> int:
    from models.files import write_atomically
    from pipeline.records import json_schemas

    schemas = json_schemas()
    if options.out is None:
        _print_json(schemas)
        return 0
    for topic, schema in schemas.items():
        write_atomically(options.out / f"{topic}.json", (json.dumps(schema, indent=2) + "\n").encode())
    _print_result({"written": [str(options.out / f"{topic}.json") for topic in schemas]}, options.json)
    return 0


def _site_of(options: argparse.Namespace) -> Any:
    import dataclasses

    from cluster.config import read_site

    site = read_site(options.config)
    return dataclasses.replace(site, log=f"kafka://{options.kafka}") if options.kafka else site


def _default_truth(video: Path) -> Path | None:
    data = os.environ.get("CAMWEAVE_DATA")
    truth = Path(data, "mot15-four-sequences.zip") if data else None
    return truth if truth is not None and truth.exists() and video.name == "vtest.avi" else None


def _prepare_process() -> None:
    from cluster.logs import log_as_json

    log_as_json()
    if not os.environ.get("PROMETHEUS_MULTIPROC_DIR"):
        from cluster.metrics_directory import make_metrics_directory

        make_metrics_directory()


@contextlib.contextmanager
def stdout_kept_for_results() -> Iterator[None]:
    """Send to standard error whatever libraries and child processes print meanwhile (Ray prints to both)."""
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(2, 1)
    try:
        yield
    finally:
        sys.stdout.flush()
        os.dup2(kept, 1)
        os.close(kept)


def _stop_on_signals() -> threading.Event:
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    return stop


def _print_result(result: dict[str, Any], as_json: bool) -> None:
    if as_json:
        _print_json(result)
        return
    from rich.console import Console
    from rich.table import Table

    table = Table.grid(padding=(0, 3))
    for name, value in _flat(result):
        table.add_row(name, f"{value:.4f}" if isinstance(value, float) else str(value))
    Console().print(table)


def _flat(tree: dict[str, Any], above: str = "") -> list[tuple[str, Any]]:
    rows: list[tuple[str, Any]] = []
    for name, value in tree.items():
        rows += _flat(value, f"{above}{name}.") if isinstance(value, dict) else [(f"{above}{name}", value)]
    return rows


def _print_json(result: Any) -> None:
    print(json.dumps(result, indent=2))  # noqa: T201


if __name__ == "__main__":
    sys.exit(main())
