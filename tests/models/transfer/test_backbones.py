import pytest
import torch
from torch import nn
from torchvision.models import get_model

from models.errors import ModelError
from models.transfer.backbones import (
    backbone_names,
    build_backbone,
    check_backbone,
    load_published,
    parse_freeze,
    published_size,
)


def test_the_backbones_are_those_that_end_in_one_linear_layer():
    names = backbone_names()
    assert names[0] == "efficientnet-lite0"
    assert {"resnet18", "vgg11", "mobilenet_v3_small", "vit_b_16"} < set(names)
    assert not {name for name in names if name.startswith(("googlenet", "inception", "squeezenet"))}


@pytest.mark.parametrize(
    ("name", "dimension", "first", "last", "num_stages"),
    [
        ("efficientnet-lite0", 1280, "stem", "widen", 9),
        ("resnet18", 512, "conv1", "layer4", 5),
        ("vgg11", 4096, "features.0", "classifier.3", 10),
        ("mobilenet_v3_small", 1024, "features.0", "classifier.0", 14),
        ("vit_b_16", 768, "conv_proj", "encoder.layers.encoder_layer_11", 13),
        ("swin_t", 768, "features.0", "features.7", 8),
    ],
)
def test_stages_run_from_the_pixels_to_the_features(name, dimension, first, last, num_stages):
    with torch.device("meta"):
        backbone = build_backbone(name)
    stages = backbone.stage_names
    assert (backbone.dimension, stages[0], stages[-1], len(stages)) == (dimension, first, last, num_stages)
    assert published_size(name) == 224


@pytest.mark.parametrize("name", ["efficientnet-lite0", "resnet18", "mobilenet_v3_small"])
def test_pixels_become_rows_of_features(name):
    backbone = build_backbone(name).eval()
    with torch.inference_mode():
        assert backbone(torch.rand(2, 3, 48, 48) * 255).shape == (2, backbone.dimension)


def test_published_weights_give_the_features_that_their_own_network_classifies():
    published = get_model("resnet18", weights=None).eval()
    backbone = build_backbone("resnet18").eval()
    load_published(backbone, published.state_dict())
    image = torch.rand(1, 3, 64, 64) * 255
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    with torch.inference_mode():
        normal = (image / 255 - mean.view(3, 1, 1)) / std.view(3, 1, 1)
        torch.testing.assert_close(published.fc(backbone(image)), published(normal), atol=1e-4, rtol=1e-3)


def test_frozen_stages_keep_weights_and_statistics_and_the_others_learn():
    backbone = build_backbone("resnet18")
    backbone.freeze(2)
    before = {name: value.clone() for name, value in backbone.body.state_dict().items()}
    optimiser = torch.optim.SGD([p for p in backbone.parameters() if p.requires_grad], lr=0.1)
    backbone.train()
    backbone(torch.rand(4, 3, 32, 32) * 255).square().mean().backward()
    optimiser.step()
    changed = {
        name.split(".")[0]
        for name, value in backbone.body.state_dict().items()
        if not value.equal(before[name])
    }
    assert changed == {"layer2", "layer3", "layer4"}


def test_freezing_all_rests_every_part_and_freezing_none_wakes_them_again():
    with torch.device("meta"):
        backbone = build_backbone("vgg11")
    backbone.train()
    backbone.freeze(len(backbone.stage_names))
    assert not any(parameter.requires_grad for parameter in backbone.parameters())
    assert not any(module.training for module in backbone.modules() if isinstance(module, nn.Dropout))
    backbone.train()
    assert not any(module.training for module in backbone.modules() if isinstance(module, nn.Dropout))
    backbone.freeze(0)
    backbone.train()
    assert all(parameter.requires_grad for parameter in backbone.parameters())
    assert all(module.training for module in backbone.modules())


def test_what_stands_before_the_first_stage_is_frozen_with_it():
    with torch.device("meta"):
        backbone = build_backbone("vit_b_16")
    backbone.freeze(1)
    named = dict(backbone.body.named_parameters())
    assert not named["class_token"].requires_grad
    assert not named["encoder.pos_embedding"].requires_grad
    assert named["encoder.layers.encoder_layer_0.ln_1.weight"].requires_grad


@pytest.mark.parametrize(
    ("freeze", "number"), [("none", 0), ("all", 3), ("0", 0), ("2", 2), ("3", 3), ("stem", 1), ("widen", 3)]
)
def test_stages_to_freeze_are_named_or_counted(freeze, number):
    assert parse_freeze(freeze, ("stem", "stage1", "widen")) == number


@pytest.mark.parametrize(
    ("freeze", "hint"),
    [("stag1", "did you mean 'stage1'"), ("4", "0 to 3"), ("-1", "known: stem, stage1, widen")],
)
def test_a_stage_that_is_not_there_is_refused_with_the_nearest(freeze, hint):
    with pytest.raises(ModelError, match=hint):
        parse_freeze(freeze, ("stem", "stage1", "widen"))


def test_an_unknown_backbone_is_refused_with_the_nearest():
    with pytest.raises(ModelError, match="unknown backbone 'resnet19'; did you mean 'resnet18'"):
        check_backbone("resnet19")
