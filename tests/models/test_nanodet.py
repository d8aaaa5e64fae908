import numpy as np
import pytest
import torch

from models.errors import WeightsCorrupt
from models.nanodet import (
    COCO_CLASSES,
    MEAN_BGR,
    NUM_BINS,
    STRIDES,
    NanoDet,
    NanoDetPredictor,
    cell_grid,
    load_tfjs,
)
from models.tfjs import read_tfjs_weights


def test_every_number_of_the_published_file_is_loaded(network, weight_files):
    tensors = read_tfjs_weights(weight_files["nanodet.json"], weight_files["nanodet.bin"])
    published = np.concatenate([values.ravel() for values in tensors.values() if values.ndim])
    loaded = np.concatenate([parameter.detach().numpy().ravel() for parameter in network.parameters()])
    np.testing.assert_array_equal(np.sort(loaded), np.sort(published))


def test_all_parameters_learn(network):
    images = torch.randint(0, 256, (2, 3, 64, 96)).float()
    logits, bins = network.train()(images)
    (logits.square().mean() + bins.square().mean()).backward()
    assert all(
        parameter.grad is not None and parameter.grad.abs().sum() > 0 for parameter in network.parameters()
    )


def test_outputs_cover_the_cells_of_all_strides_at_any_size():
    logits, bins = NanoDet(num_classes=5)(torch.zeros(3, 3, 64, 96))
    num_cells = sum((64 // stride) * (96 // stride) for stride in STRIDES)
    assert logits.shape == (3, 5, num_cells)
    assert bins.shape == (3, 4 * NUM_BINS, num_cells)
    assert cell_grid(64, 96).shape == (num_cells, 3)


def test_channels_last_gives_the_same_numbers(network):
    images = torch.randint(0, 256, (2, 3, 96, 96)).float()
    expected = network.eval()(images)[0]
    last = network.to(memory_format=torch.channels_last)(
        images.contiguous(memory_format=torch.channels_last)
    )[0]
    torch.testing.assert_close(last, expected, rtol=1e-3, atol=1e-3)


def test_the_padding_of_the_picture_is_the_mean_colour(network):
    mean = torch.tensor(MEAN_BGR).view(1, 3, 1, 1).expand(1, 3, 64, 64)
    captured = []
    network.stem[0].register_forward_pre_hook(lambda module, inputs: captured.append(inputs[0]))
    network(mean)
    assert captured[0].abs().max() == 0


def test_boxes_are_decoded_as_the_obvious_loop_decodes_them(network):
    predictor = NanoDetPredictor(network.eval(), 64, 96)
    pixels = torch.randint(0, 256, (1, 64, 96, 3), dtype=torch.uint8)
    with torch.inference_mode():
        boxes, scores = predictor(pixels, torch.tensor([2, 0]))
        logits, bins = network(pixels.permute(0, 3, 1, 2).float())
    grid = cell_grid(64, 96)
    for cell in (0, 37, 95, 100, 119, 125):
        x, y, stride = grid[cell]
        side = [
            sum(
                k * p
                for k, p in enumerate(
                    torch.softmax(bins[0, s * NUM_BINS : (s + 1) * NUM_BINS, cell], 0).tolist()
                )
            )
            for s in range(4)
        ]
        expected = [x - side[0] * stride, y - side[1] * stride, x + side[2] * stride, y + side[3] * stride]
        np.testing.assert_allclose(
            boxes[0, :, cell] * torch.tensor([96, 64, 96, 64]), expected, rtol=1e-4, atol=1e-3
        )
        assert scores[0, 0, cell] == pytest.approx(float(torch.sigmoid(logits[0, 2, cell])))


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("unknown_66", None, "unknown_66"),
        ("unknown_66", np.zeros(127, np.float32), "expected"),
        ("PartitionedCall/split_3", np.full((3, 3, 16, 16), np.nan, np.float32), "not finite"),
        ("PartitionedCall/split_3", np.zeros(16, np.float32), "not NanoDet's weights"),
    ],
)
def test_weights_of_another_network_are_refused(weight_files, name, value, message):
    tensors = read_tfjs_weights(weight_files["nanodet.json"], weight_files["nanodet.bin"])
    tensors.pop(name)
    if value is not None:
        tensors[name] = value
    with pytest.raises(WeightsCorrupt, match=message):
        load_tfjs(NanoDet(), tensors)


def test_there_are_eighty_classes_in_coco_s_order():
    assert len(set(COCO_CLASSES)) == 80
    assert [COCO_CLASSES[i] for i in (0, 2, 9, 12, 39, 79)] == [
        "person", "car", "traffic light", "parking meter", "bottle", "toothbrush",
    ]  # fmt: skip
