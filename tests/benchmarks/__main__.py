"""Runs the benchmarks: `python -m tests.benchmarks [PART ...]`, or `make bench ARGS="tracker gallery"`.

Ratios are taken in one run on one machine, and each is written as a line of runs/bench.jsonl.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

from tests.benchmarks.bench_lines import write_header

# Each part imports what it needs when it runs: the peers are installed for benchmarks alone.


def main() -> None:
    """Run the parts asked for, all of them by default."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)} (default: all but {', '.join(LONG)})"
    )
    parser.add_argument(
        "--frames", type=int, default=100, help="end-to-end: video frames, four views of each"
    )
    parser.add_argument("--kafka", metavar="HOST:PORT", help="end-to-end: also through this Kafka")
    parser.add_argument(
        "--rounds", type=int, default=3, help="end-to-end: so many, of which the median counts"
    )
    parser.add_argument(
        "--weights",
        default="",
        metavar="FILE",
        help="camera-adaptation: of an embedder that never saw the new camera",
    )
    parser.add_argument(
        "--camera", default="6", metavar="N", help="camera-adaptation: the new camera, of Market-1501's six"
    )
    parser.add_argument("--iterations", type=int, help="omniglot: meta-iterations of every learner")
    parser.add_argument("--folds", nargs="+", default=[], metavar="ALPHABET", help="omniglot: held-out ones")
    options = parser.parse_args()
    unknown = sorted(set(options.parts) - set(PARTS))
    if unknown:
        parser.error(f"no part {', '.join(unknown)}; there are {', '.join(PARTS)}")
    write_header()
    for name in options.parts or [part for part in PARTS if part not in LONG]:
        PARTS[name](options)


def _end_to_end(options: argparse.Namespace) -> None:
    from tests.benchmarks.end_to_end import bench_end_to_end

    bench_end_to_end(options.frames, options.rounds, options.kafka)


def _tracker(_options: argparse.Namespace) -> None:
    from tests.benchmarks.tracker import bench_tracker, bench_tracker_accuracy

    bench_tracker()
    bench_tracker_accuracy()


def _embedder(_options: argparse.Namespace) -> None:
    from tests.benchmarks.embedder import bench_embedder

    bench_embedder()


def _gallery(_options: argparse.Namespace) -> None:
    from tests.benchmarks.gallery import bench_gallery

    bench_gallery()


def _sites(_options: argparse.Namespace) -> None:
    from tests.benchmarks.sites import bench_sites

    bench_sites()


def _learning_latency(_options: argparse.Namespace) -> None:
    from tests.benchmarks.learning_latency import bench_learning_latency

    bench_learning_latency()


def _meta(_options: argparse.Namespace) -> None:
    from tests.benchmarks.meta import bench_meta

    bench_meta()


def _omniglot(options: argparse.Namespace) -> None:
    from tests.benchmarks.omniglot import bench_omniglot

    bench_omniglot(options.iterations, options.folds)


def _camera_adaptation(options: argparse.Namespace) -> None:
    from tests.benchmarks.camera_adaptation import bench_camera_adaptation

    bench_camera_adaptation(options.weights, options.camera)


def _class_teaching(_options: argparse.Namespace) -> None:
    from tests.benchmarks.class_teaching import bench_class_teaching

    bench_class_teaching()


def _few_shot_detection(_options: argparse.Namespace) -> None:
    from tests.benchmarks.few_shot_detection import bench_few_shot_detection

    bench_few_shot_detection()


PARTS: dict[str, Callable[[argparse.Namespace], None]] = {
    "end-to-end": _end_to_end,
    "tracker": _tracker,
    "embedder": _embedder,
    "gallery": _gallery,
    "sites": _sites,
    "class-teaching": _class_teaching,
    "few-shot-detection": _few_shot_detection,
    "camera-adaptation": _camera_adaptation,
    "learning-latency": _learning_latency,
    "meta": _meta,
    "omniglot": _omniglot,
}
LONG = {"omniglot", "camera-adaptation"}
"""Take the better part of an hour, and run only when they are asked for."""

if __name__ == "__main__":
    main()
