import numpy as np
import pytest
import simplejpeg

from models.detector import RawDetections
from models.fewshot.camera import CameraAdapter
from models.fewshot.classes import ClassHead
from models.fewshot.parts import NOTHING_LEARNED, ClassScores, LearnedParts
from pipeline.detections import Detections
from pipeline.errors import BadInput
from pipeline.looks import Looks
from pipeline.perception import CropRequest, EncodedFrame, Perception, PerceptionConfig, Refusal, Seen, cut
from tests.cluster.squares import BLUE, RED, ColourEmbedder, SquareDetector, jpeg


def frame(offset: int, data: bytes) -> EncodedFrame:
    return EncodedFrame(("frames", 0, offset), data, 320, 240, "door")


def test_a_batch_gives_one_result_a_frame_in_order_with_boxes_in_pixels_of_the_frame() -> None:
    perception = Perception(SquareDetector(), ColourEmbedder(), PerceptionConfig())
    found = perception.detect([frame(0, jpeg((20, 60, RED))), frame(1, jpeg((200, 100, BLUE)))])
    assert [type(result) for result in found] == [Seen, Seen]
    np.testing.assert_allclose(found[0].detections.boxes_N4, [[20, 60, 61, 141]], atol=3)  # type: ignore[union-attr]
    np.testing.assert_allclose(found[1].detections.boxes_N4, [[200, 100, 241, 181]], atol=3)  # type: ignore[union-attr]
    perception.close()


def test_a_frame_that_does_not_decode_is_refused_and_the_others_are_detected() -> None:
    perception = Perception(SquareDetector(), ColourEmbedder(), PerceptionConfig())
    good = jpeg((20, 60, RED))
    results = perception.detect([frame(0, good[: len(good) // 2]), frame(1, good)])
    assert isinstance(results[0], Refusal)
    assert results[0].cause == "truncated"
    assert isinstance(results[1], Seen)
    perception.close()


def test_an_embedding_is_the_same_whether_the_frame_was_kept_or_not() -> None:
    request = CropRequest(frame(0, jpeg((20, 60, RED))), np.array([[20, 60, 60, 140]], np.float32))
    keeps = Perception(SquareDetector(), ColourEmbedder(), PerceptionConfig())
    forgets = Perception(SquareDetector(), ColourEmbedder(), PerceptionConfig(kept_frames=0))
    for perception in (keeps, forgets):
        perception.detect([request.frame])
    np.testing.assert_array_equal(
        keeps.embed([request])[0].embeddings_ND, forgets.embed([request])[0].embeddings_ND
    )


def test_each_request_gets_its_own_rows() -> None:
    perception = Perception(SquareDetector(), ColourEmbedder(), PerceptionConfig())
    two = jpeg((20, 60, RED), (200, 60, BLUE))
    requests = [
        CropRequest(frame(0, two), np.array([[20, 60, 60, 140], [200, 60, 240, 140]], np.float32)),
        CropRequest(frame(1, jpeg((20, 60, BLUE))), np.array([[20, 60, 60, 140]], np.float32)),
    ]
    rows = [looks.embeddings_ND for looks in perception.embed(requests)]
    assert [len(row) for row in rows] == [2, 1]
    assert rows[0][1] @ rows[1][0] > 0.99
    assert rows[0][0] @ rows[1][0] < 0.6


@pytest.mark.parametrize(
    "box", [(-50, -50, -10, -10), (310, 230, 400, 300), (5, 5, 5, 5), (9, 9, 3, 3)], ids=str
)
def test_a_crop_is_never_empty(box: tuple[float, float, float, float]) -> None:
    (crop,) = cut(np.zeros((240, 320, 3), np.uint8), np.array([box], np.float32))
    assert min(crop.shape[:2]) >= 1


def test_detections_of_other_classes_are_left_out() -> None:
    raw = RawDetections(np.eye(3, 4, dtype=np.float32), np.ones(3, np.float32), np.array([0, 2, 0]))
    assert len(Detections.from_raw(raw, 10, 10, frozenset({0}))) == 2


@pytest.mark.parametrize(
    ("boxes", "scores"),
    [
        (np.zeros((2, 4)), np.zeros(3)),
        (np.full((1, 4), np.nan), np.zeros(1)),
        (np.zeros((1, 5)), np.zeros(1)),
    ],
)
def test_detections_that_disagree_or_are_not_finite_cannot_be_built(
    boxes: np.ndarray, scores: np.ndarray
) -> None:
    with pytest.raises(BadInput):
        Detections(boxes.astype(np.float32), scores.astype(np.float32), np.zeros(len(scores), np.int64))


def test_an_image_is_scaled_down_while_decoding_when_the_network_needs_less() -> None:
    class Recording(SquareDetector):
        input_size = (100, 100)
        shapes: tuple[tuple[int, ...], ...] = ()

        def detect(self, images):  # type: ignore[no-untyped-def]
            self.shapes = tuple(image.shape for image in images)
            return super().detect(images)

    detector = Recording()
    big = simplejpeg.encode_jpeg(np.zeros((800, 1200, 3), np.uint8), 80, "BGR")
    Perception(detector, ColourEmbedder(), PerceptionConfig()).detect(
        [EncodedFrame(("f", 0, 0), big, 1200, 800, "door")]
    )
    ((height, width, _),) = detector.shapes
    assert 100 <= height < 400
    assert width < 600


REDNESS = ClassHead(np.array([0, 0, 8], np.float32), -4.0)
ALL_GREEN = CameraAdapter(
    np.zeros((3, 0), np.float32), np.zeros((3, 0), np.float32), np.array([0, 100, 0], np.float32)
)


def looks_of(perception: Perception, *cameras: str) -> list[Looks]:
    boxes = np.array([[20, 60, 60, 140]], np.float32)
    return perception.embed([
        CropRequest(frame(number, jpeg((20, 60, RED)))._replace(camera=camera), boxes)
        for number, camera in enumerate(cameras)
    ])  # fmt: skip


def test_what_was_taught_is_applied_from_the_next_batch_on_and_named_in_the_version() -> None:
    perception = Perception(SquareDetector(), ColourEmbedder(), PerceptionConfig())
    (before,) = perception.detect([frame(0, jpeg((20, 60, RED)))])
    assert isinstance(before, Seen)
    assert before.models.version == "squares@1+colour@1"
    assert looks_of(perception, "door")[0].taught is None
    perception.use(LearnedParts(version="learned@1", classes=ClassScores({"red": REDNESS})))
    (after,) = perception.detect([frame(1, jpeg((20, 60, RED)))])
    assert isinstance(after, Seen)
    assert after.models.version == "squares@1+colour@1+learned@1"
    taught = looks_of(perception, "door")[0].taught
    assert taught is not None
    assert (taught.version, taught.classes) == ("learned@1", ("red",))
    assert taught.logits_NC[0, 0] > 2
    perception.use(NOTHING_LEARNED)
    assert looks_of(perception, "door")[0].taught is None


def test_a_camera_s_map_changes_its_own_embeddings_and_no_others_and_no_class() -> None:
    perception = Perception(SquareDetector(), ColourEmbedder(), PerceptionConfig())
    plain = looks_of(perception, "yard")[0].embeddings_ND
    perception.use(
        LearnedParts(version="l", classes=ClassScores({"red": REDNESS}), cameras={"door": ALL_GREEN})
    )
    door, yard = looks_of(perception, "door", "yard")
    assert door.embeddings_ND[0, 1] > 0.99
    np.testing.assert_array_equal(yard.embeddings_ND, plain)
    assert door.taught is not None
    assert yard.taught is not None
    np.testing.assert_array_equal(door.taught.logits_NC, yard.taught.logits_NC)
