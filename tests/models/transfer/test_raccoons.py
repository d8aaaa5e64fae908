"""Learns a class that ImageNet lacks from real pictures, in seconds."""

import os
import zipfile
from pathlib import Path
from xml.etree import ElementTree

import cv2
import numpy as np
import pytest

from models.reid.trunk import installed_imagenet
from models.transfer.training import train_transfer
from tests.models.transfer.conftest import config

NUM_PICTURES = 60


@pytest.fixture(scope="module")
def crops(tmp_path_factory):
    """Raccoons, and as large a piece of the other side of each picture."""
    path = Path(os.environ.get("CAMWEAVE_DATA", "")) / "raccoon-200.zip"
    if not path.is_file():
        pytest.skip("needs raccoon-200.zip in the folder that CAMWEAVE_DATA names")
    folder = tmp_path_factory.mktemp("raccoons")
    for name in ("raccoon", "other"):
        (folder / name).mkdir()
    with zipfile.ZipFile(path) as archive:
        for number in range(1, NUM_PICTURES + 1):
            picture = cv2.imdecode(np.frombuffer(archive.read(f"images/raccoon-{number}.jpg"), np.uint8), 1)
            box = ElementTree.fromstring(archive.read(f"annotations/raccoon-{number}.xml")).find(".//bndbox")
            left, top, right, bottom = (int(box.find(side).text) for side in ("xmin", "ymin", "xmax", "ymax"))
            beside = picture[:, :left] if left > picture.shape[1] - right else picture[:, right:]
            cv2.imwrite(str(folder / "raccoon" / f"{number}.jpg"), picture[top:bottom, left:right])
            if beside.shape[1] >= 32:
                cv2.imwrite(str(folder / "other" / f"{number}.jpg"), beside)
    return folder


@pytest.mark.data
@pytest.mark.skipif(installed_imagenet() is None, reason="needs the package of the ImageNet weights")
def test_a_frozen_backbone_tells_raccoons_from_what_stands_beside_them(crops, tmp_path):
    outcome = train_transfer(
        config(crops, tmp_path, pretrained=True, freeze="all", size=64, epochs=4, batch=8, held_out=0.3),
        lambda _: None,
    )
    assert outcome.balanced_accuracy > 0.85
