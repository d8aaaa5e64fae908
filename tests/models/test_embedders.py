import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.embedders import EmbedderConfig, build_embedder, embedding_space
from models.errors import ModelError
from models.stripes import StripesConfig
from tests.models.conftest import noise

STRIPES = build_embedder(EmbedderConfig(name="stripes"))
OSNET = build_embedder(EmbedderConfig())
EMBEDDERS = [
    pytest.param(STRIPES, id="stripes"),
    pytest.param(OSNET, id="osnet"),
    pytest.param(build_embedder(EmbedderConfig(execution="torch")), id="osnet in torch"),
]
sizes = st.tuples(st.integers(1, 90), st.integers(1, 60))


@pytest.mark.parametrize("embedder", EMBEDDERS)
@settings(max_examples=15, deadline=None)
@given(shapes=st.lists(sizes, min_size=1, max_size=6), random=st.randoms(use_true_random=False))
def test_embeddings_have_unit_length_and_follow_their_crops(embedder, shapes, random):
    crops = [noise(*shape, seed) for seed, shape in enumerate(shapes)]
    embeddings = embedder.embed(crops)
    assert embeddings.dtype == np.float32
    assert embeddings.shape == (len(crops), embedder.dimension)
    np.testing.assert_allclose(np.linalg.norm(embeddings, axis=1), 1, rtol=1e-5)
    order = random.sample(range(len(crops)), len(crops))
    np.testing.assert_allclose(embedder.embed([crops[i] for i in order]), embeddings[order], atol=1e-5)


@pytest.mark.parametrize("embedder", [STRIPES, OSNET], ids=["stripes", "osnet"])
def test_an_embedding_does_not_depend_on_the_other_crops_to_the_bit(embedder):
    crops = [noise(80, 40, seed) for seed in range(5)]
    np.testing.assert_array_equal(
        np.concatenate([embedder.embed([crop]) for crop in crops]), embedder.embed(crops)
    )


@pytest.mark.parametrize("embedder", EMBEDDERS)
@pytest.mark.parametrize("level", [0, 1, 128, 255])
def test_a_crop_of_one_colour_is_embedded_however_dark_or_bright(embedder, level):
    embedding = embedder.embed([np.full((1, 1, 3), level, np.uint8)])
    assert np.isfinite(embedding).all()
    assert np.linalg.norm(embedding) == pytest.approx(1, rel=1e-5)


@pytest.mark.parametrize("embedder", EMBEDDERS)
def test_no_crops_give_no_rows(embedder):
    assert embedder.embed([]).shape == (0, embedder.dimension)


@pytest.mark.parametrize("embedder", EMBEDDERS)
@pytest.mark.parametrize(
    "bad", [np.zeros((0, 5, 3), np.uint8), np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3), np.float32)]
)
def test_a_crop_that_is_no_image_is_named_by_its_index(embedder, bad):
    with pytest.raises(ModelError, match="image 1 is"):
        embedder.embed([noise(8, 8), bad])


def people(frame: np.ndarray, detector) -> list[np.ndarray]:
    (raw,) = detector("onnxruntime").detect([frame])
    height, width = frame.shape[:2]
    boxes = (raw.boxes_N4[raw.scores_N > 0.5] * [width, height, width, height]).round().astype(int)
    return [frame[top:bottom, left:right] for left, top, right, bottom in boxes]


@pytest.mark.parametrize(("embedder", "least"), [(STRIPES, 0.85), (OSNET, 0.7)], ids=["stripes", "osnet"])
def test_people_stay_recognisable_under_another_camera_s_gain_white_balance_and_compression(
    frames, detector, embedder, least
):
    crops = people(frames[8], detector)
    gains = np.array([0.9, 1.0, 1.1]) * 0.85
    seen = [np.clip(crop * gains, 0, 255).astype(np.uint8) for crop in crops]
    seen = [cv2.imdecode(cv2.imencode(".jpg", crop, [cv2.IMWRITE_JPEG_QUALITY, 75])[1], 1) for crop in seen]
    similarity = embedder.embed(seen) @ embedder.embed(crops).T
    assert len(crops) >= 4
    assert similarity.argmax(axis=1).tolist() == list(range(len(crops)))
    assert similarity.diagonal().min() > least


def test_the_version_changes_with_the_settings():
    other = build_embedder(EmbedderConfig(name="stripes", stripes=StripesConfig(num_stripes=6)))
    assert STRIPES.version.startswith("stripes@")
    assert OSNET.version.startswith("osnet@")
    assert other.version != STRIPES.version
    assert other.embed([noise(20, 10)]).shape == (1, other.dimension)


@pytest.mark.parametrize(
    "config",
    [
        pytest.param(EmbedderConfig(name="stripes"), id="stripes"),
        pytest.param(EmbedderConfig(name="stripes", stripes=StripesConfig(num_stripes=6)), id="six stripes"),
        pytest.param(EmbedderConfig(), id="osnet"),
        pytest.param(EmbedderConfig(execution="torch", flip_averaging=False), id="osnet without mirroring"),
    ],
)
def test_the_embedding_space_is_what_the_built_embedder_says(config):
    embedder = build_embedder(config)
    assert embedding_space(config) == (embedder.version, embedder.dimension)
    assert embedder.embed([noise(20, 10)]).shape == (1, embedding_space(config).dimension)


def test_asking_for_the_embedding_space_exports_nothing_and_needs_no_device(tmp_path):
    config = EmbedderConfig(cache_dir=str(tmp_path), device="cuda:99")
    assert embedding_space(config) == (OSNET.version, OSNET.dimension)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_stripes": 0}, "num_stripes"),
        ({"hue_bins": 65}, "hue_bins"),
        ({"ignored_width": 0.5}, "ignored_width"),
    ],
)
def test_settings_out_of_range_are_refused(changes, message):
    with pytest.raises(ModelError, match=message):
        StripesConfig(**changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "resnet"}, "embedder name is 'resnet', expected osnet, transfer or stripes"),
        ({"execution": "tensorflow"}, "execution is 'tensorflow', expected onnxruntime or torch"),
        ({"threads": -1}, "threads is -1"),
    ],
)
def test_an_unknown_embedder_or_execution_is_refused(changes, message):
    with pytest.raises(ModelError, match=message):
        EmbedderConfig(**changes)
