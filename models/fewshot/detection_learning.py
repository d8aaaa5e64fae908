"""Learns a detection head from a few images: from the shared initialization, by plain fine-tuning, or from means.

Legend of shape suffixes: N proposals, E examples, F features of all strides, R coordinates that examples reach.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.errors import ModelError
from models.fewshot.detection import DetectionHead, sigmoid
from models.fewshot.detection_calibration import calibrate
from models.fewshot.detection_examples import Examples, LabelledProposals, examples_of
from models.fewshot.detection_prior import DetectionInitialization
from models.nanodet import HIDDEN_CHANNELS

META: Final = "meta"
OBJECTNESS_WEIGHT: Final = 0.5
"""Of the log odds that the detector sees any object it knows, for a class that it always takes for one of those. What the
known classes have learned of whole and cut objects then holds for the new one; for a class like none of them (a person,
to a detector that never learned people) it would rank the background first."""
PRIOR_STRENGTH: Final = 0.2
"""What the prior weighs against one image."""
NUM_NEGATIVES: Final = 100
"""Of an image."""
MINING_IMAGES: Final = 3
"""From so many images on, a second round looks at the first one's mistakes; with fewer those mistakes mislead."""
NEWTON_STEPS: Final = 30
TOLERANCE: Final = 1e-4
"""A step that lowers the loss by a smaller share is the last."""
FINE_TUNE_STEPS: Final = 30
"""More lose accuracy: the best of 30, 100, 500 and 2,000."""
FINE_TUNE_RATE: Final = 0.01
FINE_TUNE_MOMENTUM: Final = 0.9
FINE_TUNE_DECAY: Final = 1e-4

Floats = NDArray[np.float64]
Solver = Callable[[Examples, DetectionInitialization], Floats]
"""Returns the F weights and biases of a head."""


def fit_detection_head(
    images: Sequence[LabelledProposals], method: str, initialization: DetectionInitialization
) -> DetectionHead:
    """Fit a head to images with boxes, and to background images without any.

    Args:
        images: the support set.
        method: of `METHODS`.
        initialization: what `meta` starts from; the other methods are there to be compared with it.

    Raises:
        ModelError: when the method is unknown, no image shows the class or all of them only that, or no proposal of the
            detector meets any box.
    """
    if method not in METHODS:
        raise ModelError(f"method is {method!r}, expected one of {', '.join(METHODS)}")
    if not any(len(image.truth_M4) for image in images):
        raise ModelError(
            f"none of {len(images)} images has a box, expected one of the class at least; draw boxes around it"
        )
    weight = OBJECTNESS_WEIGHT * _share_standing_out(images) if method == META else 0.0
    return calibrate(
        images,
        lambda support: replace(_fitted(support, METHODS[method], initialization), objectness=weight),
    )


def _fitted(
    images: Sequence[LabelledProposals], solve: Solver, initialization: DetectionInitialization
) -> DetectionHead:
    examples = examples_of(images, NUM_NEGATIVES)
    if not 0 < examples.target_E.sum() < len(examples.target_E):
        raise ModelError(
            f"of {len(images)} images with {sum(len(one.truth_M4) for one in images)} boxes the detector proposes "
            f"{int(examples.target_E.sum())} places of the class and "
            f"{int((1 - examples.target_E).sum())} others, expected some of both; give larger or clearer pictures"
        )
    head = _head(solve(examples, initialization))
    if len(images) < MINING_IMAGES:
        return head
    return _head(solve(examples_of(images, NUM_NEGATIVES, hardest_for=head), initialization))


def _share_standing_out(images: Sequence[LabelledProposals]) -> float:
    """Return the share of boxes that the detector takes for some object it knows: how far its word is to be trusted."""
    return sum(one.num_standing_out() for one in images) / sum(len(one.truth_M4) for one in images)


def _head(theta_F: Floats) -> DetectionHead:
    rows = theta_F.reshape(-1, HIDDEN_CHANNELS + 1).astype(np.float32)
    return DetectionHead(rows[:, :-1].copy(), rows[:, -1].copy(), objectness=0.0, threshold=0.0)


def _meta(examples: Examples, initialization: DetectionInitialization) -> Floats:
    """Maximise the posterior of logistic regression under the prior, in coordinates in which that is round.

    Only the directions that examples reach can leave 0, so the problem is solved among those where they are fewer.
    """
    factor_FF = initialization.factor()
    even_EF = examples.features_EF @ factor_FF
    if len(even_EF) >= even_EF.shape[1]:
        return np.asarray(factor_FF @ _newton(even_EF, examples.target_E, examples.weight_E))
    basis_FR, reached_RE = np.linalg.qr(even_EF.T)
    found_R = _newton(reached_RE.T, examples.target_E, examples.weight_E)
    return np.asarray(factor_FF @ (basis_FR @ found_R))


def _newton(features_ER: Floats, target_E: Floats, weight_E: Floats) -> Floats:
    """Minimise the weighted logistic loss and PRIOR_STRENGTH / 2 x |w|^2 by Newton's method, halving steps that overshoot."""

    def loss(w_R: Floats) -> float:
        logits_E = features_ER @ w_R
        fit = weight_E @ (np.logaddexp(0, logits_E) - target_E * logits_E)
        return float(fit + PRIOR_STRENGTH / 2 * w_R @ w_R)

    w_R = np.zeros(features_ER.shape[1])
    now = loss(w_R)
    for _ in range(NEWTON_STEPS):
        p_E = sigmoid(features_ER @ w_R)
        gradient_R = features_ER.T @ (weight_E * (p_E - target_E)) + PRIOR_STRENGTH * w_R
        hessian_RR = (features_ER * (weight_E * p_E * (1 - p_E))[:, None]).T @ features_ER
        hessian_RR[np.diag_indices(len(w_R))] += PRIOR_STRENGTH
        step_R = np.linalg.solve(hessian_RR, gradient_R)
        size = 1.0
        while (then := loss(w_R - size * step_R)) > now and size > 1e-4:
            size /= 2
        w_R = w_R - size * step_R
        if now - then < TOLERANCE * now:
            break
        now = then
    return w_R


def _fine_tune(examples: Examples, _initialization: DetectionInitialization) -> Floats:
    """Train a new last layer from 0 by gradient descent with momentum, as TFA does (Wang et al., ICML 2020)."""
    theta_F = np.zeros(examples.features_EF.shape[1])
    velocity_F = np.zeros_like(theta_F)
    for _ in range(FINE_TUNE_STEPS):
        error_E = examples.weight_E * (sigmoid(examples.features_EF @ theta_F) - examples.target_E)
        gradient_F = examples.features_EF.T @ error_E / examples.num_images + FINE_TUNE_DECAY * theta_F
        velocity_F = FINE_TUNE_MOMENTUM * velocity_F + gradient_F
        theta_F = theta_F - FINE_TUNE_RATE * velocity_F
    return theta_F


def _prototypes(examples: Examples, _initialization: DetectionInitialization) -> Floats:
    """Ask which mean is nearer, that of the class or that of all else: affine in the features (Snell et al., 2017).

    Strides share their means; a class is seldom shown at all of them.
    """
    table = examples.features_EF.reshape(len(examples.target_E), -1, HIDDEN_CHANNELS + 1)
    hidden_ED = table.sum(axis=1)[:, :-1]
    is_class_E = examples.target_E > 0
    own_D, other_D = (
        np.average(hidden_ED[side_E], axis=0, weights=examples.weight_E[side_E])
        for side_E in (is_class_E, ~is_class_E)
    )
    row = np.append(own_D - other_D, (other_D @ other_D - own_D @ own_D) / 2)
    return np.tile(row, table.shape[1])


METHODS: Final[Mapping[str, Solver]] = MappingProxyType(
    {META: _meta, "fine-tune": _fine_tune, "prototypes": _prototypes}
)
"""Ways to learn, the one to prefer among equals first."""
