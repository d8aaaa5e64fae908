"""Declares and runs `camweave eval`."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path
from typing import Any

from cluster.cli.declaring import add_command
from cluster.cli.output import counting, print_json, print_result, print_table
from cluster.sample_video import SAMPLE_SEQUENCE

EXAMPLES = """\
examples:
  camweave eval detect mot15.zip --video video.avi    a detector on a video (AP50)
  camweave eval mot MOT15/train                       our tracker on public detections (HOTA, IDF1, MOTA)
  camweave eval reid market.zip --ids last:100        the embedder on crops of people (rank-1, mAP)
  camweave eval identity market.zip --ids last:100    identity decisions on crops as they were seen (IDF1)
  camweave eval site runs/demo                        a run of several cameras (AP50, HOTA, IDF1)
"""
MOT_COLUMNS = {
    "hota": "HOTA", "idf1": "IDF1", "mota": "MOTA", "id_switches": "switches", "num_false_positives": "false",
    "num_misses": "missed", "num_truth_boxes": "boxes",
}  # fmt: skip
"""Of the table: name in the result, heading."""


def add_commands(commands: Any) -> None:
    """Add `eval detect`, `eval mot`, `eval reid`, `eval identity` and `eval site`."""
    parser = commands.add_parser(
        "eval", help="score against truth", epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Scores detector, tracker, embedder, identity decisions or a whole run against truth.",
    )  # fmt: skip
    kinds = parser.add_subparsers(required=True, metavar="KIND")
    _add_detect(kinds)
    _add_mot(kinds)
    _add_reid(kinds)
    _add_identity(kinds)
    _add_site(kinds)


def _add_detect(kinds: Any) -> None:
    parser = add_command(
        kinds, "detect", _detect, "score a detector on a video with MOTChallenge truth (AP50)",
        "Detects in every frame of a video and scores against MOTChallenge truth over the full frame: average\n"
        "precision at an overlap of 0.5, and the best F1. All are ratios, 1 is best.",
        "  camweave eval detect mot15.zip                                the sample video\n"
        "  camweave eval detect MOT17/train --sequence MOT17-04-SDP      the sequence's own pictures\n"
        "  camweave eval detect truth/street --video street.mp4 --json\n",
    )  # fmt: skip
    parser.add_argument(
        "path", type=Path, metavar="PATH", help="MOTChallenge sequence, folder of them, or zip"
    )
    parser.add_argument(
        "--sequence", metavar="NAME", help=f"which sequence (default: the only one, or {SAMPLE_SEQUENCE})"
    )
    parser.add_argument("--video", type=Path, metavar="FILE",
                        help="its video, or the folder of its pictures (default: its own img1, or the sample video)")  # fmt: skip
    _add_config(parser, "the detector's settings")
    parser.add_argument("--frames", type=int, metavar="N", help="only the first N frames")


def _add_mot(kinds: Any) -> None:
    parser = add_command(
        kinds, "mot", _mot, "score tracks on MOTChallenge sequences (HOTA, IDF1, MOTA, identity switches)",
        "Runs our tracker over the public detections of MOTChallenge sequences (NAME/det/det.txt) and scores its\n"
        "tracks against their truth (NAME/gt/gt.txt) with TrackEval; or scores the result files of any tracker.\n"
        "Scores stand for each sequence, and for all pooled: counts are added up before ratios are taken. hota,\n"
        "idf1 and mota are ratios, 1 is best (mota may be negative); id_switches and num_* are counts.",
        "  camweave eval mot MOT15/train                        every sequence in the folder, or in a zip of it\n"
        "  camweave eval mot MOT15/train/PETS09-S2L1 --json     one sequence\n"
        "  camweave eval mot MOT15/train --results out          out/NAME.txt of another tracker\n",
    )  # fmt: skip
    parser.add_argument(
        "path", type=Path, metavar="PATH", help="MOTChallenge sequence, folder of them, or zip"
    )
    parser.add_argument(
        "--results", type=Path, metavar="FOLDER", help="score NAME.txt from this folder or zip instead of our tracker"
    )  # fmt: skip
    _add_config(parser, "the tracker's settings")


def _add_reid(kinds: Any) -> None:
    parser = add_command(
        kinds, "reid", _reid, "score the embedder on crops of people (rank-1, -5, -10, mAP)",
        "Embeds crops of people and ranks them by similarity. All scores are ratios, 1 is best. The names of the\n"
        "crops choose the protocol:\n"
        "  ID_cCsS_FRAME_BB.jpg (Market-1501)  single query, the query's identity in its own camera left out; with\n"
        "      the folders query/ and bounding_box_test/ in PATH as they say, else the middle crop of each identity\n"
        "      and camera is a query and the others are the gallery\n"
        "  ID_NN.jpg (CUHK03; NN 00-04 one camera, 05-09 the other)  one crop of each identity and camera is drawn\n"
        "      and matched among all identities (100 identities: 100-way), mean of 20 seeded draws",
        "  camweave eval reid market.zip --ids last:100 --json  the 100 identities with the highest numbers\n"
        "  camweave eval reid Market-1501-v15.09.15             the standard test split\n"
        "  camweave eval reid cuhk03-val.zip\n",
    )  # fmt: skip
    parser.add_argument("path", type=Path, metavar="PATH", help="folder or zip of crops")
    _add_ids(parser)
    _add_config(parser, "the embedder's settings")
    parser.add_argument("--weights", type=Path, metavar="FILE",
                        help="a file that `camweave train embedder` left, instead of what camweave ships")  # fmt: skip


def _add_identity(kinds: Any) -> None:
    parser = add_command(
        kinds, "identity", _identity, "score identity decisions on crops as cameras saw them (IDF1 over cameras)",
        "Replays crops named as in Market-1501 (ID_cCsS_FRAME_BB.jpg) as the tracklets of a site: crops of one person\n"
        "in one camera, in the order of their frames, are a tracklet; each gets one identity decision, by the same\n"
        "code as a running site. IDF1 asks that one person be one identity in every camera; all are ratios, 1 is\n"
        "best. appearance_only_idf1 is the same without what transit times and the like add.",
        "  camweave eval identity market.zip --ids last:100 --json\n"
        "  camweave eval identity crops --config site.yaml      with a site's embedder and identity settings\n",
    )  # fmt: skip
    parser.add_argument("path", type=Path, metavar="PATH", help="folder or zip of crops")
    _add_ids(parser)
    _add_config(parser, "the settings of embedder and identities")


def _add_ids(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--ids", default="all", metavar="WHICH", help="all, or first:N or last:N by number (default: %(default)s)"
    )  # fmt: skip


def _add_site(kinds: Any) -> None:
    parser = add_command(
        kinds, "site", _site, "score a run: detection AP50, tracking HOTA/IDF1/MOTA, site IDF1",
        "Scores a run of several cameras: detections and tracks within each camera, and identities over all.\n"
        "`site.idf1` asks that one person be one identity in every camera. All are ratios, 1 is best.",
        "  camweave eval site runs/demo --json                  a demo that found its truth in $CAMWEAVE_DATA\n"
        "  camweave eval site runs/square --truth truth         truth/<camera>/gt/gt.txt, ids over all cameras\n",
    )  # fmt: skip
    parser.add_argument(
        "path", type=Path, metavar="PATH", help="run folder with tracks.jsonl and identities.jsonl"
    )
    parser.add_argument("--truth", type=Path, metavar="DIR",
                        help="folder with <camera>/gt/gt.txt, ids global (default: PATH/truth)")  # fmt: skip


def _add_config(parser: argparse.ArgumentParser, what: str) -> None:
    parser.add_argument("--config", type=Path, metavar="FILE", help=f"take {what} from this site file")


def _settings(options: argparse.Namespace) -> Any:
    from cluster.config import SiteConfig, read_site

    return read_site(options.config) if options.config else SiteConfig()


def _detect(options: argparse.Namespace) -> int:
    from cluster.evaluate import evaluate_detector

    detector = _settings(options).detector
    scores = evaluate_detector(options.path, options.sequence, options.video, detector, options.frames)
    print_result(scores, options.json)
    return 0


def _mot(options: argparse.Namespace) -> int:
    from cluster.evaluate import evaluate_tracking

    scores = evaluate_tracking(options.path, _settings(options).tracker, options.results)
    if options.json:
        print_json(scores)
    else:
        print_table({**scores["sequences"], "overall": scores["overall"]}, MOT_COLUMNS, total="overall")
    return 0


def _reid(options: argparse.Namespace) -> int:
    from cluster.evaluate import evaluate_embedder

    embedder = _settings(options).embedder
    if options.weights:
        embedder = dataclasses.replace(embedder, name="osnet", weights=str(options.weights))
    with counting(options, "embedding crops") as progress:
        scores = evaluate_embedder(options.path, options.ids, embedder, progress.update)
    print_result(scores, options.json)
    return 0


def _identity(options: argparse.Namespace) -> int:
    from cluster.evaluate import evaluate_identities

    with counting(options, "embedding crops") as progress:
        scores = evaluate_identities(options.path, options.ids, _settings(options), progress.update)
    print_result(scores, options.json)
    return 0


def _site(options: argparse.Namespace) -> int:
    from cluster.evaluate import score_run

    print_result(score_run(options.path, options.truth or options.path / "truth"), options.json)
    return 0
