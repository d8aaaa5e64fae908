"""Scores the detection of a class that the detector lacks and was taught by a few images.

Protocol: K images are drawn as support set, AP at IoU 0.5 is taken on all others, and the mean over draws counts; every
method gets the same draws, the same proposals and the same features (as TFA does: Wang et al., "Frustratingly simple
few-shot object detection", ICML 2020).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.errors import ModelError
from models.fewshot.detection import DetectionHead
from models.fewshot.detection_examples import FoundBoxes, LabelledProposals, suppressed, taught_boxes
from pipeline.errors import BadInput
from pipeline.evaluation.detection import ApResult, average_precision

NUM_DRAWS: Final = 10
NUM_SHOTS: Final = (1, 5, 10)

Images = Sequence[LabelledProposals]
Score = Callable[[LabelledProposals], NDArray[np.floating]]
"""Scores an image's proposals, N numbers."""
Learn = Callable[[Images], Score]
"""Makes that of a support set."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShotScores:
    """Holds a method's AP in each draw of so many support images."""

    num_shots: int
    ap: tuple[float, ...]

    @property
    def mean(self) -> float:
        """Over draws."""
        return float(np.mean(self.ap))


def score_head(head: DetectionHead, queries: Images, iou: float = 0.5) -> ApResult:
    """Score what a head finds in images with boxes, whatever its threshold."""
    return _average_precision(((one, taught_boxes(one, head)) for one in queries), iou)


def score_images(score: Score, queries: Images, iou: float = 0.5) -> ApResult:
    """Score any way to rank the detector's proposals."""
    return _average_precision(((one, suppressed(one, score(one))) for one in queries), iou)


def draw_support(
    num_images: int, num_shots: int, num_draws: int = NUM_DRAWS, seed: int = 0
) -> Iterator[tuple[list[int], list[int]]]:
    """Yield the indices of support and query images; smaller support sets of a seed are parts of its larger ones.

    Raises:
        BadInput: no image would be left to query.
    """
    if not 0 < num_shots < num_images:
        raise BadInput(f"got {num_images} images for {num_shots} support images, expected more of the former")
    for draw in range(num_draws):
        order = np.random.default_rng((seed, draw)).permutation(num_images).tolist()
        yield order[:num_shots], order[num_shots:]


def score_method(
    learn: Learn, images: Images, num_shots: int, num_draws: int = NUM_DRAWS, seed: int = 0
) -> ShotScores:
    """Let a method learn from each draw's support set, and score it on the draw's queries.

    A support set that it refuses to learn from scores 0.
    """
    aps = []
    for support, query in draw_support(len(images), num_shots, num_draws, seed):
        try:
            score = learn([images[index] for index in support])
        except ModelError:
            aps.append(0.0)
        else:
            aps.append(score_images(score, [images[index] for index in query]).ap)
    return ShotScores(num_shots=num_shots, ap=tuple(aps))


def _average_precision(found: Iterator[tuple[LabelledProposals, FoundBoxes]], iou: float) -> ApResult:
    return average_precision(
        ((image.truth_M4, boxes.boxes_N4, boxes.scores_N) for image, boxes in found), iou
    )
