from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest
import torch
from torchvision.models import get_model

from models.errors import WeightsCorrupt, WeightsUnavailable
from models.reid.trunk import IMAGENET_SHA256, installed_imagenet
from models.transfer import starting
from models.transfer.backbones import build_backbone
from models.transfer.classifier import TrainedClasses, TransferNetwork, pack, read_trained
from models.transfer.embedder import FeaturePredictor
from models.transfer.starting import choose_backbone, load_start
from tests.models.conftest import noise


@pytest.fixture
def no_hub(monkeypatch):
    def fail(*_, **__):
        raise URLError("no route to host")

    monkeypatch.setattr(torch.hub, "download_url_to_file", fail)


def test_a_hub_out_of_reach_says_how_to_go_on(no_hub, tmp_path):
    with pytest.raises(
        WeightsUnavailable, match=r"no route to host.*--weights FILE.*efficientnet-lite0"
    ) as told:
        load_start(build_backbone("resnet18"), None, tmp_path)
    assert "resnet18-f37072fd.pth" in str(told.value)


def test_a_weight_file_that_is_absent_does_not_fall_back_to_the_hub(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "download_url_to_file", lambda *_, **__: pytest.fail("it was fetched"))
    for name in ("mine.pth", "resnet18-f37072fd.pth"):
        with pytest.raises(WeightsUnavailable, match=f"No such file.*{name}"):
            load_start(build_backbone("resnet18"), tmp_path / name, tmp_path)


def test_a_state_dict_of_the_whole_network_is_taken_without_its_last_layer(tmp_path):
    published = get_model("resnet18", weights=None)
    torch.save(published.state_dict(), tmp_path / "mine.pth")
    backbone = build_backbone("resnet18")
    digest = load_start(backbone, tmp_path / "mine.pth", None)
    assert backbone.body.conv1.weight.equal(published.conv1.weight)
    assert backbone.body.layer4[1].bn2.running_var.equal(published.layer4[1].bn2.running_var)
    assert len(digest) == 64


def test_a_file_by_the_published_name_must_have_the_published_checksum(tmp_path):
    torch.save(get_model("resnet18", weights=None).state_dict(), tmp_path / "resnet18-f37072fd.pth")
    with pytest.raises(WeightsCorrupt, match="is not the published file"):
        load_start(build_backbone("resnet18"), tmp_path / "resnet18-f37072fd.pth", None)


def test_weights_of_another_network_are_refused(tmp_path):
    torch.save(get_model("resnet34", weights=None).state_dict(), tmp_path / "other.pth")
    with pytest.raises(WeightsCorrupt, match=r"does not fit resnet18.*give resnet18-f37072fd.pth"):
        load_start(build_backbone("resnet18"), tmp_path / "other.pth", None)


def test_lite0_without_its_package_says_where_its_weights_come_from(monkeypatch):
    monkeypatch.setattr(starting, "installed_imagenet", lambda: None)
    with pytest.raises(WeightsUnavailable, match=r"camweave\[train\].*--weights FILE.*--weights random"):
        load_start(build_backbone("efficientnet-lite0"), None, None)


def test_resnet18_is_chosen_where_its_weights_are_at_hand_else_lite0(tmp_path, monkeypatch):
    monkeypatch.setattr(starting, "installed_imagenet", lambda: Path("lite0.pth"))
    assert choose_backbone(tmp_path) == "efficientnet-lite0"
    (tmp_path / "torchvision").mkdir()
    (tmp_path / "torchvision" / "resnet18-f37072fd.pth").touch()
    assert choose_backbone(tmp_path) == "resnet18"
    monkeypatch.setattr(starting, "installed_imagenet", lambda: None)
    assert choose_backbone(tmp_path / "empty") == "resnet18"


def test_what_a_training_wrote_is_where_the_next_one_starts(tmp_path):
    path = tmp_path / "transfer.safetensors"
    torch.manual_seed(3)
    network = TransferNetwork(build_backbone("resnet18"), 2)
    path.write_bytes(pack(network, TrainedClasses(("a", "b"), 48, "", "")))
    backbone = build_backbone("resnet18")
    assert load_start(backbone, path, None) == read_trained(path).sha256
    assert backbone.body.conv1.weight.equal(network.backbone.body.conv1.weight)
    with pytest.raises(WeightsCorrupt, match="add --backbone resnet18"):
        load_start(build_backbone("efficientnet-lite0"), path, None)


@pytest.mark.skipif(installed_imagenet() is None, reason="needs the package of the ImageNet weights")
@torch.inference_mode()
def test_a_pretrained_backbone_tells_a_fine_texture_from_flat_colours():
    backbone = build_backbone("efficientnet-lite0")
    assert load_start(backbone, None, None) == IMAGENET_SHA256
    flat = [np.full((64, 64, 3), grey, np.uint8) for grey in (100, 140)]
    crops_3HW3 = torch.from_numpy(np.stack([*flat, noise(64, 64)]))
    rows_3D = FeaturePredictor(backbone.eval())(crops_3HW3).numpy()
    likeness = rows_3D @ rows_3D.T
    assert likeness[0, 1] > 0.9
    assert likeness[0, 2] < 0.7
