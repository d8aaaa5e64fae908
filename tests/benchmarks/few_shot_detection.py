"""Measures how well a class that the detector lacks is found after 1, 5 and 10 images: 200 images of raccoons.

Usage: python -m tests.benchmarks few-shot-detection (needs CAMWEAVE_DATA)

Mean AP50 of ten draws on all images but the support set. Every method has the same proposals, features, examples and
draws. Beside the methods that the product has stand cosine prototypes, over the features and over the logits of
the detector's own classes, and the best of those classes taken for the new one, which is chosen with the answers in
view. Settings were chosen with other draws of the same images.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.detectors import DetectorConfig
from models.fewshot.detection import DetectionHead, FewShotDetector, sigmoid
from models.fewshot.detection_examples import LabelledProposals
from models.fewshot.detection_features import FeatureDetector, build_feature_detector
from models.fewshot.detection_learning import META, METHODS, OBJECTNESS_WEIGHT, fit_detection_head
from models.fewshot.detection_prior import DetectionInitialization
from models.nanodet import HIDDEN_CHANNELS
from pipeline.evaluation.few_shot_detection import (
    NUM_DRAWS,
    NUM_SHOTS,
    Images,
    Learn,
    Score,
    score_head,
    score_method,
)
from pipeline.frames import decode
from pipeline.teaching.voc import read_voc
from tests.benchmarks.bench_lines import write_header, write_line

ARCHIVE = "raccoon-200.zip"
LABEL = "raccoon"
SHARPNESS = 10.0  # of what cosines are turned into probabilities with
STRETCH = 5.0  # points
Features = Callable[[LabelledProposals], NDArray[np.float64]]


def bench_few_shot_detection(num_draws: int = NUM_DRAWS, seed: int = 0, precision: str = "auto") -> None:
    """Write a line for each K and baseline, in points of AP50, and print the whole table."""
    config = DetectorConfig(precision=precision, device="cpu", classes=("cat",))  # type: ignore[arg-type]  # argparse checks it
    detector = build_feature_detector(config)
    images = read_images(detector)
    methods = {**_served(detector), **_cosines(detector.class_rows_CLD)}
    means: dict[str, list[float]] = {name: [] for name in methods}
    started = time.process_time()
    for name, learn in methods.items():
        means[name] = [100 * score_method(learn, images, k, num_draws, seed).mean for k in NUM_SHOTS]
        _print_row(name, means[name])
    _print_row(*_best_known(detector, images))
    sys.stdout.write(f"{detector.version}, {num_draws} draws, {time.process_time() - started:.0f} s of CPU\n")
    for place, shots in enumerate(NUM_SHOTS):
        ours = means["meta"][place]
        for peer, values in means.items():
            if peer != "meta":
                name = f"few_shot_{shots}_to_{peer.replace(' + ', '_').replace(' ', '_')}"
                write_line(name, ours, values[place], ours / max(values[place], 1e-9), 1.0, "AP50")
    _bench_cost(config, detector, images)


def read_images(detector: FeatureDetector) -> list[LabelledProposals]:
    """Let the detector look at all images once."""
    labelled = []
    for picture in read_voc(Path(os.environ["CAMWEAVE_DATA"], ARCHIVE), LABEL):
        image = decode(picture.jpeg)
        (view,) = detector.views([image])
        height, width = image.shape[:2]
        truth_M4 = np.array(picture.boxes, np.float32).reshape(-1, 4) / (width, height, width, height)
        labelled.append(LabelledProposals.of(view, detector.level_starts, truth_M4.clip(0, 1)))
    return labelled


def _served(detector: FeatureDetector) -> dict[str, Learn]:
    initialization = DetectionInitialization.of_class_rows(detector.class_rows_CLD)

    def learner(method: str) -> Learn:
        return lambda support: _by_head(fit_detection_head(support, method, initialization))

    def with_objectness(method: str) -> Learn:
        """Give a baseline what the meta-learned start knows of objects; scores on the scale of calibrated ones."""

        def learn(support: Images) -> Score:
            head = fit_detection_head(support, method, initialization)
            return _by_head(replace(head, objectness=OBJECTNESS_WEIGHT))

        return learn

    others = {f"{method} + objectness": with_objectness(method) for method in METHODS if method != META}
    return {method: learner(method) for method in METHODS} | others


def _by_head(head: DetectionHead) -> Score:
    return lambda image: image.logits(head)


def _cosines(rows_CLD: NDArray[np.float32]) -> dict[str, Learn]:
    weights_FC = rows_CLD.reshape(len(rows_CLD), -1).T.astype(np.float64)

    def hidden(image: LabelledProposals) -> NDArray[np.float64]:
        return image.hidden_ND.astype(np.float64)

    def logits(image: LabelledProposals) -> NDArray[np.float64]:
        return image.features(np.arange(len(image.boxes_N4))) @ weights_FC

    return {
        "cosine": lambda support: _cosine(support, hidden, against=False),
        "nearest cosine": lambda support: _cosine(support, hidden, against=True),
        "nearest cosine logits": lambda support: _cosine(support, logits, against=True),
    }


def _cosine(support: Images, features: Features, *, against: bool) -> Score:
    """Score by the cosine to the mean of the class, less that to the mean of all else when that counts `against` it."""
    own = _direction([_unit(features(one))[one.is_positive()] for one in support])
    other = _direction([_unit(features(one))[one.is_negative()][:100] for one in support])
    direction = own - other if against else own
    return lambda image: sigmoid(SHARPNESS * _unit(features(image)) @ direction)


def _direction(parts: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    means = np.stack([rows.mean(axis=0) for rows in parts if len(rows)])
    return np.asarray(_unit(means.mean(axis=0, keepdims=True))[0])


def _unit(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12))


def _best_known(detector: FeatureDetector, images: Images) -> tuple[str, list[float]]:
    found = []
    for index, row_LD in enumerate(detector.class_rows_CLD):
        head = DetectionHead(row_LD[:, :HIDDEN_CHANNELS], row_LD[:, HIDDEN_CHANNELS], 0.0, 0.0)
        found.append((score_head(head, images[:40]).ap, index, head))
    _, index, head = max(found, key=lambda one: one[0])
    return f"known class: {detector.class_names[index]}", [100 * score_head(head, images).ap] * len(NUM_SHOTS)


def _bench_cost(config: DetectorConfig, detector: FeatureDetector, images: Images) -> None:
    """Print seconds to learn from ten images, and write the CPU time of a frame with and without a taught class."""
    from models.detectors import build_detector

    initialization = DetectionInitialization.of_class_rows(detector.class_rows_CLD)
    for method in METHODS:
        started = time.process_time()
        head = fit_detection_head(images[:10], method, initialization)
        sys.stdout.write(f"{method}: {time.process_time() - started:.2f} s of CPU to learn from 10 images\n")
    frame = np.random.default_rng(0).integers(0, 256, (576, 768, 3), np.uint8)
    plain, taught = build_detector(config), FewShotDetector(detector, {LABEL: head})
    times: dict[str, list[float]] = {"plain": [], "taught": []}
    for _ in range(30):  # by turns, so that both meet the same noise
        for name, one in (("plain", plain), ("taught", taught)):
            started = time.process_time()
            one.detect([frame])
            times[name].append(1000 * (time.process_time() - started))
    alone, both = (float(np.median(values)) for values in times.values())
    write_line("few_shot_frame_to_plain", both, alone, alone / both, 0.9, "ms CPU")


def _print_row(name: str, values: Sequence[float]) -> None:
    sys.stdout.write(f"{name:<28}" + "".join(f"{value:>8.1f}" for value in values) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--draws", type=int, default=NUM_DRAWS)
    parser.add_argument("--seed", type=int, default=0, help="of the draws")
    parser.add_argument("--precision", choices=("auto", "float32", "int8"), default="auto")
    options = parser.parse_args()
    write_header()
    bench_few_shot_detection(options.draws, options.seed, options.precision)
