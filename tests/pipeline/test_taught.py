import numpy as np
import pytest

from pipeline.looks import TaughtLogits
from pipeline.taught import TaughtBelief


def logits(*row: float, version: str = "learned@1") -> TaughtLogits:
    return TaughtLogits(version, ("courier", "guard"), np.array([row], np.float32))


def test_a_track_without_samples_is_of_no_taught_class() -> None:
    assert TaughtBelief().probable() == {}


def test_samples_count_by_their_weight() -> None:
    belief = TaughtBelief()
    belief.add(logits(3.0, -3.0), 0, 3.0)
    belief.add(logits(-1.0, 1.0), 0, 1.0)
    assert belief.probable() == {"courier": pytest.approx(1 / (1 + np.exp(-2.0)), abs=1e-3)}


def test_what_an_earlier_version_said_is_forgotten() -> None:
    belief = TaughtBelief()
    belief.add(logits(9.0, 9.0), 0, 100.0)
    belief.add(logits(-1.0, 1.0, version="learned@2"), 0, 1.0)
    assert set(belief.probable()) == {"guard"}


def test_a_logit_beyond_all_bounds_is_a_probability_still() -> None:
    belief = TaughtBelief()
    belief.add(logits(1e30, -1e30), 0, 1.0)
    assert belief.probable() == {"courier": 1.0}
