"""Makes pictures of classes that differ in colour, and settings that learn them in seconds."""

import cv2
import numpy as np
import pytest
import torch

from models.transfer.config import TransferTrainingConfig

COLOURS = {"cat": (40, 40, 200), "dog": (200, 60, 40), "fox": (40, 180, 60)}


def write_picture(path, colour=(128, 128, 128), *, seed=0, shape=(40, 30, 3)):
    """Write a noisy picture of one colour, and return its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).normal(0, 20, shape)
    cv2.imwrite(str(path), np.clip(noise + colour, 0, 255).astype(np.uint8))
    return path


def write_classes(folder, *, each=6, names=("cat", "dog"), first=0):
    for name in names:
        for number in range(first, first + each):
            write_picture(folder / name / f"{number}.png", COLOURS[name], seed=hash_of(name) + number)
    return folder


def hash_of(name):
    return 1000 * sorted(COLOURS).index(name)


def config(data, out, **changes):
    given = {
        "data": data, "out": out, "backbone": "efficientnet-lite0", "pretrained": False, "size": 48, "epochs": 3,
        "batch": 4, "held_out": 0.34,
    }  # fmt: skip
    return TransferTrainingConfig(**(given | changes))


@pytest.fixture(scope="session")
def classes(tmp_path_factory):
    """Six pictures each of cats and dogs."""
    return write_classes(tmp_path_factory.mktemp("classes"))


@pytest.fixture(autouse=True)
def one_thread():
    """Small networks gain nothing from more, and lose much on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
