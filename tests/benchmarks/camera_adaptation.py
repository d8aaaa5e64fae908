"""Measures what a few pairs teach a camera: one never seen before, the second of a kind, and what is forgotten.

The embedder should not have seen the new camera either: give weights of `camweave train embedder --without-camera N`.
With the shipped ones, which have, there is next to nothing to adapt.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np

from models.embedders import EmbedderConfig, build_embedder
from models.fewshot.camera import CameraAdapter, CameraPairs
from models.fewshot.camera_folding import update_initialization
from models.fewshot.camera_methods import METHODS, fit_camera_adapter
from models.fewshot.camera_prior import CameraInitialization
from models.fewshot.camera_simulation import ANY_LIGHT, DAYLIGHT, CameraRange, Pixels, VirtualCamera, taken_by
from models.fewshot.camera_training import CameraTrainingConfig, Embed, SeenPeople, train_initialization
from models.reid.training_data import load_crops
from pipeline.evaluation.camera_adaptation import (
    Episode,
    Fit,
    LabelledEmbeddings,
    Measured,
    centred,
    draw_episodes,
    pairs_needed,
    score_fits,
)
from pipeline.pictures.learning_curves import LearningCurve, draw_learning_curves
from tests.benchmarks.bench_lines import write_line

MARKET: Final = "market1501-train-ids-0002-0954.zip"
NUM_HELD_OUT: Final = 100
NUM_PAIRS: Final = (1, 2, 5, 10, 20)
NUM_STRANGERS: Final = 40
"""People on either side of whom the camera is told that nobody knows who they are."""
CURVE: Final = (1, 2, 3, 5, 8, 12, 20, 40)
KINDS: Final[Mapping[str, tuple[VirtualCamera, VirtualCamera]]] = {
    "night": (
        VirtualCamera(gain=0.22, noise=5, saturation=0.35, cast=(1.25, 1, 0.75)),
        VirtualCamera(gain=0.15, noise=7, saturation=0.35, cast=(1.35, 1, 0.65)),
    ),
    "lamplight": (
        VirtualCamera(cast=(0.35, 0.8, 1.15), haze=10),
        VirtualCamera(cast=(0.25, 0.7, 1.05), haze=25),
    ),
}
"""Two cameras of each kind."""
PLACES: Final = ("1", "3", "5")
"""Cameras in whose place they stand, the first two of these that are not the new one."""
NUM_SEQUENCE: Final = 20
REPLAY: Final = 8
"""Tasks of the sequence that are remembered."""
PICTURE: Final = Path("runs/second-camera-of-a-kind.png")


@dataclass(frozen=True, slots=True)
class Setting:
    """Holds people for meta-training, people held out, and how crops are embedded."""

    training: SeenPeople
    held_out: SeenPeople
    embed: Embed
    new_camera: str
    """That meta-training never sees."""

    @property
    def places(self) -> tuple[str, ...]:
        """Return the cameras in whose place those of a kind stand."""
        return tuple(camera for camera in PLACES if camera != self.new_camera)[:2]

    def initialization(self, spread: CameraRange) -> CameraInitialization:
        """Meta-train without the new camera."""
        seen = self.training.where(self.training.cameras_N != self.new_camera)
        return train_initialization(
            seen, self.embed, CameraTrainingConfig(spread=spread), np.random.default_rng(0)
        )


def bench_camera_adaptation(weights: str = "", new_camera: str = "6", data: Path | None = None) -> None:
    """Print the tables, draw the picture, and write the lines; takes some minutes."""
    data = data or Path(os.environ["CAMWEAVE_DATA"])
    embedder = build_embedder(EmbedderConfig(weights=weights, threads=1, device="cpu"))
    setting = prepare(data, lambda pixels_NHW3: embedder.embed(list(pixels_NHW3)), new_camera)
    bench_new_camera(setting, setting.initialization(ANY_LIGHT))
    daylight = setting.initialization(DAYLIGHT)
    bench_second_of_a_kind(setting, daylight)
    bench_forgetting(setting, daylight)


def prepare(data: Path, embed: Embed, new_camera: str) -> Setting:
    """Embed all crops, and hold the last people out."""
    crops = load_crops(data / MARKET)
    identities = np.array([crop.identity for crop in crops.crops])
    cameras = np.array([crop.camera for crop in crops.crops])
    people = SeenPeople(crops.pixels_NHW3, embed(crops.pixels_NHW3), identities, cameras)
    held_out_N = np.isin(identities, sorted(set(identities.tolist()), key=int)[-NUM_HELD_OUT:])
    return Setting(people.where(~held_out_N), people.where(held_out_N), embed, new_camera)


def bench_new_camera(setting: Setting, initialization: CameraInitialization) -> None:
    """Score every method on a camera that meta-training never saw."""
    scored = labelled(setting.held_out)
    episodes = draw_episodes(scored, setting.new_camera, num_pairs=max(NUM_PAIRS))
    scores = score_fits(episodes, fits(initialization), NUM_PAIRS)
    _table("new camera, rank-1", scores)
    others = draw_episodes(labelled(setting.training), setting.new_camera, num_pairs=max(NUM_PAIRS))
    # By whom the embedder was trained, but not by what this camera saw of them.
    _table("the same, other people", score_fits(others, fits(initialization), NUM_PAIRS))
    site = draw_episodes(centred(scored), setting.new_camera, num_pairs=max(NUM_PAIRS))
    _table("the same, all cameras' means subtracted", score_fits(site, fits(initialization), NUM_PAIRS))
    crowd = [
        with_strangers(one, setting, np.random.default_rng(number)) for number, one in enumerate(episodes)
    ]
    # The strangers are one row, the first.
    _table(
        f"{NUM_STRANGERS} strangers a side: 1 for them alone, 6 with 5 pairs",
        score_fits(crowd, fits(initialization), (1, 6)),
    )
    for peer in ("none", "fine-tune", "prototypes"):
        ours, other = scores["meta"][5], scores[peer][5]
        _say(
            f"meta - {peer}, 5 pairs: {100 * (ours.mean - other.mean):+.1f} +- {100 * ours.confidence(other):.1f} points"
        )
        write_line(
            f"new camera, 5 pairs, against {peer}",
            ours.mean,
            other.mean,
            ours.mean / other.mean,
            1.0,
            "rank-1",
        )


def bench_second_of_a_kind(setting: Setting, initialization: CameraInitialization) -> None:
    """Score the first and the second camera of each kind, either camera in either part, and draw it."""
    curves: list[LearningCurve] = []
    for kind in KINDS:
        places = [episodes_of_kind(setting, kind, place) for place in (0, 1)]
        first, second = [], []
        for place, episodes in enumerate(places):
            taught = [one.pairs for one in places[1 - place][:1]]
            folded = folded_in(initialization, taught)
            first.append(score_fits(episodes, {"": partial(fit, initialization)}, CURVE)[""])
            second.append(score_fits(episodes, {"": partial(fit, folded)}, CURVE)[""])
        first_curve, second_curve = (
            {num: float(np.mean([one[num].mean for one in part])) for num in CURVE}
            for part in (first, second)
        )
        curves += [
            LearningCurve(f"{kind}, first", kind, first_curve),
            LearningCurve(f"{kind}, second", kind, second_curve),
        ]
        for num in (5, 20, 40):
            needed = pairs_needed(second_curve, first_curve[num])
            _say(
                f"{kind}: first {100 * first_curve[num]:.1f} with {num} pairs; second needs {needed:.1f}, "
                f"and has {100 * second_curve[num]:.1f} with as many"
            )
        for num in (5, 20):
            needed = pairs_needed(second_curve, first_curve[num])
            ratio = num / needed if np.isfinite(needed) else 0.0
            write_line(
                f"second camera, {kind}, as {num}", second_curve[num], first_curve[num], ratio, 2.0, "rank-1"
            )
    draw_learning_curves(curves, PICTURE, title="rank-1 of held-out people", x_label="confirmed pairs")


def bench_forgetting(setting: Setting, initialization: CameraInitialization) -> None:
    """Fold 20 cameras in, one after the other, and score the first one again."""
    episodes = episodes_of_kind(setting, "night", 0)
    rng = np.random.default_rng(3)
    tasks = [episodes[0].pairs, *sequence(setting, rng)]
    replay: list[CameraPairs] = []
    scores = []
    for task in tasks:
        replay = [*replay, task] if len(replay) < REPLAY else [*_all_but_one(replay, rng), task]
        initialization = folded_in(initialization, replay)
        scores.append(score_fits(episodes, {"": partial(fit, initialization)}, (5,))[""][5])
    loss = scores[0].mean - scores[-1].mean
    _say("first task after each: " + " ".join(f"{100 * one.mean:.1f}" for one in scores))
    _say(
        f"forgetting after {len(tasks)} tasks: {100 * loss:.1f} +- {100 * scores[0].confidence(scores[-1]):.1f} points"
    )
    write_line(
        "first task after 20",
        scores[-1].mean,
        scores[0].mean,
        scores[-1].mean / scores[0].mean,
        0.99,
        "rank-1",
    )


def sequence(setting: Setting, rng: np.random.Generator) -> Iterator[CameraPairs]:
    """Yield tasks of 20 pairs: the other cameras of the kinds, and virtual ones of any light."""
    from models.fewshot.camera_training import virtual_task

    people = setting.training.where(setting.training.cameras_N != setting.new_camera)
    config = CameraTrainingConfig(spread=ANY_LIGHT)
    for _ in range(NUM_SEQUENCE - 1):
        task = virtual_task(people, setting.embed, config, rng)
        camera = str(task.seen.cameras_N[0])
        crops = labelled(people).with_camera(
            camera, LabelledEmbeddings(task.embeddings_ND, task.seen.people_N, task.seen.cameras_N)
        )
        yield draw_episodes(crops, camera, num_pairs=20, num_draws=1)[0].pairs


def episodes_of_kind(setting: Setting, kind: str, place: int, num_draws: int = 20) -> list[Episode]:
    """Draw episodes of a camera of a kind: every other person teaches the first camera, the rest the second."""
    camera, rng = setting.places[place], np.random.default_rng(place)
    sides = []
    for people in (setting.training, setting.held_out):
        is_own_N = people.cameras_N == camera
        others_N = ~is_own_N & (people.cameras_N != setting.new_camera)
        chosen = people.where(is_own_N)
        if people is setting.training:
            parity = np.unique(people.people_N, return_inverse=True)[1] % 2 == place
            chosen = people.where(is_own_N & parity)
        seen = embedded(setting.embed, KINDS[kind][place], chosen, rng)
        sides.append(labelled(people.where(others_N)).with_camera(camera, seen))
    return draw_episodes(sides[1], camera, num_pairs=max(CURVE), teachers=sides[0], num_draws=num_draws)


def embedded(
    embed: Embed, camera: VirtualCamera, people: SeenPeople, rng: np.random.Generator
) -> LabelledEmbeddings:
    """Embed crops as a virtual camera takes them."""
    pixels_NHW3: Pixels = taken_by(camera, people.pixels_NHW3, rng)
    return LabelledEmbeddings(embed(pixels_NHW3), people.people_N, people.cameras_N)


def with_strangers(episode: Episode, setting: Setting, rng: np.random.Generator) -> Episode:
    """Add crops of unknown people to a support set, of whom the two sides have seen different ones."""
    people, camera = setting.training, setting.new_camera
    whos = rng.permutation(np.unique(people.people_N[people.cameras_N == camera]))[:NUM_STRANGERS]
    own = [
        rng.choice(np.flatnonzero((people.cameras_N == camera) & (people.people_N == who))) for who in whos
    ]
    rest = np.setdiff1d(np.unique(people.people_N), whos)
    others_N = np.flatnonzero(
        (people.cameras_N != camera) & np.isin(people.people_N, rng.permutation(rest)[:NUM_STRANGERS])
    )
    chosen = np.concatenate([np.array(own), others_N])
    crowd = CameraPairs.of(
        people.embeddings_ND[chosen],
        people.people_N[chosen].tolist(),
        people.cameras_N[chosen].tolist(),
        camera,
    )
    pairs = episode.first(5)
    both = CameraPairs(
        *(
            np.concatenate([getattr(crowd, name), getattr(pairs, name)])
            for name in ("own_PD", "others_PD", "weight_P")
        )
    )
    return Episode(both, episode.queries)


def fits(initialization: CameraInitialization) -> dict[str, Fit]:
    """Return all methods, with this initialization."""
    return {method: partial(fit, initialization, method=method) for method in METHODS}


def fit(initialization: CameraInitialization, pairs: CameraPairs, method: str = "meta") -> CameraAdapter:
    """Make a map."""
    return fit_camera_adapter(pairs, initialization, method)


def folded_in(initialization: CameraInitialization, tasks: Sequence[CameraPairs]) -> CameraInitialization:
    """Run the outer loop to its end."""
    for folded in update_initialization(initialization, tasks, np.random.default_rng(0)):
        initialization = folded
    return initialization


def labelled(people: SeenPeople) -> LabelledEmbeddings:
    """Return what is scored of people."""
    return LabelledEmbeddings(people.embeddings_ND, people.people_N, people.cameras_N)


def _all_but_one(tasks: list[CameraPairs], rng: np.random.Generator) -> list[CameraPairs]:
    dropped = int(rng.integers(len(tasks)))
    return [task for number, task in enumerate(tasks) if number != dropped]


def _table(title: str, scores: Mapping[str, Mapping[int, Measured]]) -> None:
    for method, by_num in scores.items():
        row = "  ".join(
            f"{num}: {100 * one.mean:.1f} +- {100 * one.confidence():.1f}" for num, one in by_num.items()
        )
        _say(f"{title}: {method:<11} {row}")


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()
