"""Declares and runs `camweave demo`."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

from cluster.cli.declaring import add_command, add_kafka, kafka_url
from cluster.cli.output import print_json, stdout_kept_for_results
from cluster.cli.process import prepare_process
from cluster.sample_video import SAMPLE_VIDEO


def add_commands(commands: Any) -> None:
    """Add `demo`."""
    parser = add_command(
        commands, "demo", _demo, "stream a video as four virtual cameras, end to end",
        "Streams a video as four overlapping virtual cameras through gateway, log and Ray at once, and leaves\n"
        "report.json, mosaic.mp4, journeys.png and the result topics as JSON lines in the output folder. In a second\n"
        "chapter a running site is taught a class and a new camera; learning.png shows what that changes.",
        "  camweave demo                              the sample video, with pictures, into runs/demo\n"
        "  camweave demo --frames 200 --json          the report alone\n"
        "  camweave explain P1 --run runs/demo        afterwards: why the first person is one person\n",
    )  # fmt: skip
    parser.add_argument(
        "--video", type=Path, default=SAMPLE_VIDEO, help="source video (default: %(default)s)"
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
    parser.add_argument(
        "--no-learning", action="store_true",
        help="skip the second chapter, in which a class and a camera are taught (it needs the whole sample video)",
    )  # fmt: skip
    parser.add_argument("--no-pictures", action="store_true", help="skip mosaic.mp4 and journeys.png")
    add_kafka(parser)


def _demo(options: argparse.Namespace) -> int:
    prepare_process()
    from rich.console import Console

    from cluster.demo import DemoOptions, run_demo
    from cluster.progress import DemoProgress, choose_show, print_report

    messages = Console(stderr=True)
    demo = DemoOptions(
        video=options.video, out=options.out, num_frames=options.frames, minutes=options.minutes,
        placement=options.placement,
        log=kafka_url(options.kafka) if options.kafka else "", num_shards=options.shards,
        truth=options.truth or _default_truth(options.video), pictures=not options.no_pictures,
        learning=not options.no_learning,
    )  # fmt: skip
    show = choose_show(messages, as_json=options.json)
    with stdout_kept_for_results(), DemoProgress({}, show=show, console=messages) as progress:
        report = run_demo(demo, progress)
    if options.json:
        print_json(report)
    else:
        from cluster.demo.learning import PICTURE as LESSON
        from cluster.demo.pictures import JOURNEYS, MOSAIC

        pictures = {name: options.out / name for name in (MOSAIC, JOURNEYS) if demo.pictures}
        if "learning" in report:
            pictures[LESSON] = options.out / LESSON
        print_report(report, Console(), {**pictures, "report.json": options.out / "report.json"})
    return 0 if report["frames_lost"] == 0 else 1


def _default_truth(video: Path) -> Path | None:
    data = os.environ.get("CAMWEAVE_DATA")
    truth = Path(data, "mot15-four-sequences.zip") if data else None
    return truth if truth is not None and truth.exists() and video.name == SAMPLE_VIDEO.name else None
