"""Measures how a class is learned from a few crops: colours of clothes, of people who are not those of meta-training.

A person's colour is the median over their crops of torso or legs, so that no label is needed. Each colour is left out in
turn: it is asked for of the last people, while the outer loop folds the other colours, of the others.

Legend of shape suffixes: N crops, P people, D embedding.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from models.embedders import EmbedderConfig, build_embedder
from models.fewshot.class_learning import (
    ClassExamples,
    balanced_accuracy,
    first_initialization,
    fold_classes,
    learn_class,
)
from models.reid.dataset import open_crops
from tests.benchmarks.bench_lines import write_line

MARKET: Final = "market1501-train-ids-0002-0954.zip"
PARTS: Final = {"top": slice(28, 58), "legs": slice(70, 105)}
"""Rows of a crop of 128."""
NUM_HELD_OUT: Final = 200
MIN_PEOPLE: Final = 9
NUM_DRAWS: Final = 20
NUM_SHOTS: Final = (1, 5)
NUM_QUERIES: Final = 40


@dataclass(frozen=True, slots=True)
class Colour:
    """Says whose clothes have one colour, and which people are asked for."""

    has_P: NDArray[np.bool_]
    held_out_P: NDArray[np.bool_]


def bench_class_teaching() -> None:
    """Print balanced accuracy by method and number of examples."""
    embeddings_ND, crops_of, colours = prepare(Path(os.environ["CAMWEAVE_DATA"], MARKET))
    scores: dict[tuple[str, int], list[float]] = {}
    for name, colour in colours.items():
        rng = np.random.default_rng(0)
        others = [other for key, other in colours.items() if key != name]
        tasks = [draw(embeddings_ND, crops_of, other, ~other.held_out_P, 10, rng)[0] for other in others]
        *_, folded = fold_classes(first_initialization(), tasks, rng)
        for shots in NUM_SHOTS:
            for number in range(NUM_DRAWS):
                rng = np.random.default_rng((number, shots))
                support, query = draw(embeddings_ND, crops_of, colour, colour.held_out_P, shots, rng)
                for method, start in (
                    ("prototypes", None), ("fine-tune", None), ("meta", first_initialization()), ("folded", folded)
                ):  # fmt: skip
                    rule = "meta" if method == "folded" else method
                    head = learn_class(support, rule, start or first_initialization())
                    scores.setdefault((method, shots), []).append(balanced_accuracy(head, query))
    for (method, shots), values in scores.items():
        sys.stdout.write(f"{method:<12} {shots} examples: {np.mean(values):.3f}\n")
    for shots in NUM_SHOTS:
        ours = float(np.mean(scores["meta", shots]))
        peer = max(float(np.mean(scores[method, shots])) for method in ("prototypes", "fine-tune"))
        write_line(f"taught class, {shots} examples, best baseline", ours, peer, ours / peer, 1.0, "accuracy")


def prepare(market: Path) -> tuple[NDArray[np.float32], list[NDArray[np.intp]], Mapping[str, Colour]]:
    """Return embeddings of all crops, the crops of each person, and the colours that enough people wear."""
    embedder = build_embedder(EmbedderConfig())
    with open_crops(market) as crops:
        images = [crops.read(index) for index in range(len(crops))]
        people = np.array([crop.identity for crop in crops.crops])
    embeddings_ND = np.concatenate(
        [embedder.embed(images[at : at + 256]) for at in range(0, len(images), 256)]
    )
    crops_of = [np.flatnonzero(people == who) for who in np.unique(people)]
    held_out_P = np.arange(len(crops_of)) >= len(crops_of) - NUM_HELD_OUT
    colours = {
        f"{part} {name}": Colour(has_P, held_out_P)
        for part, rows in PARTS.items()
        for name, has_P in _colours(np.array([_median(images, crops, rows) for crops in crops_of]))
        if min(has_P[held_out_P].sum(), has_P[~held_out_P].sum()) >= MIN_PEOPLE
    }
    return embeddings_ND, crops_of, colours


def draw(
    embeddings_ND: NDArray[np.float32], crops_of: list[NDArray[np.intp]], colour: Colour,
    people_P: NDArray[np.bool_], shots: int, rng: np.random.Generator,
) -> tuple[ClassExamples, ClassExamples]:  # fmt: skip
    """Draw examples of a colour, twice as many of others, and queries of other people; one crop a person."""
    own, others = (
        rng.permutation(np.flatnonzero(has_P & people_P)) for has_P in (colour.has_P, ~colour.has_P)
    )
    num = min(shots, len(own) // 2)
    support = (own[:num], others[: 2 * num])
    query = (rng.choice(own[num:], NUM_QUERIES), others[2 * num : 2 * num + NUM_QUERIES])
    one, other = (_examples(embeddings_ND, crops_of, *sides, rng) for sides in (support, query))
    return one, other


def _examples(
    embeddings_ND: NDArray[np.float32], crops_of: list[NDArray[np.intp]],
    own: NDArray[np.intp], others: NDArray[np.intp], rng: np.random.Generator,
) -> ClassExamples:  # fmt: skip
    rows = [rng.choice(crops_of[who]) for who in (*own, *others)]
    return ClassExamples(embeddings_ND[rows], np.arange(len(rows)) < len(own))


def _median(images: list[NDArray[np.uint8]], crops: NDArray[np.intp], rows: slice) -> NDArray[np.float64]:
    hsv = [
        np.median(cv2.cvtColor(cv2.resize(images[n], (64, 128))[rows, 20:44], cv2.COLOR_BGR2HSV).reshape(-1, 3), axis=0)
        for n in crops
    ]  # fmt: skip
    return np.asarray(np.median(hsv, axis=0))


def _colours(median_P3: NDArray[np.float64]) -> Iterator[tuple[str, NDArray[np.bool_]]]:
    hue, saturation, value = median_P3.T
    yield "red", ((hue < 10) | (hue > 165)) & (saturation > 90) & (value > 60)
    yield "black", value < 55
    yield "white", (saturation < 45) & (value > 140)
    yield "grey", (saturation < 50) & (value > 70) & (value < 130)
    yield "pink", (hue > 140) & (hue < 172) & (saturation > 50)
