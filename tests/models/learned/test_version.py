import numpy as np
import pytest

from models.errors import ModelError
from models.learned import Backbones
from tests.models.learned.examples import BACKBONES, learned


def test_the_arrays_of_a_part_are_found_by_its_kind_and_name_also_with_a_slash_in_it() -> None:
    version = learned(2.0)
    assert version.parts("class").keys() == {"courier"}
    assert version.parts("class")["courier"]["weight"].tolist() == [2.0] * 4
    assert version.parts("detection")["fork/lift"]["anchors"].tolist() == [3, 1, 2]
    assert version.initialization("camera")["scale"].shape == (4, 4)
    assert version.parts("camera").keys() == {"c6"}  # what cameras start from is not a camera
    assert version.initialization("class") == {}


def test_a_version_does_not_change_when_what_it_was_made_of_does() -> None:
    weight = np.ones(4, np.float32)
    version = learned(arrays={"class/courier/weight": weight})
    weight[:] = 7
    assert version.arrays["class/courier/weight"].tolist() == [1.0] * 4
    with pytest.raises(ValueError, match="read-only"):
        version.arrays["class/courier/weight"][:] = 7
    with pytest.raises(TypeError):
        version.arrays["class/other/weight"] = weight  # type: ignore[index]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_numbers_that_are_not_finite_are_refused_with_the_array_s_name(bad: float, dtype: type) -> None:
    with pytest.raises(ModelError, match="class/courier/weight holds a number that is not finite"):
        learned(arrays={"class/courier/weight": np.array([0, bad], dtype)})


@pytest.mark.parametrize(
    "dtype", [np.float64, np.int32, np.uint8, np.bool_, np.complex64, ">f4", "U3", object]
)
def test_other_types_of_arrays_are_refused(dtype: type | str) -> None:
    with pytest.raises(ModelError, match="expected float32, float16 or int64"):
        learned(arrays={"class/courier/weight": np.zeros(3, dtype)})


@pytest.mark.parametrize(
    "name", ["", "weight", "class/weight", "class//weight", "/a/b", "a/b/", "a/" * 300 + "b"]
)
def test_a_name_without_kind_name_and_array_is_refused(name: str) -> None:
    with pytest.raises(ModelError, match="KIND/NAME/ARRAY"):
        learned(arrays={name: np.zeros(3, np.float32)})


@pytest.mark.parametrize(
    ("backbones", "kinds"),
    [
        (BACKBONES, {"class", "camera", "detection"}),
        (Backbones(detector="other@1", embedder=BACKBONES.embedder), {"class", "camera"}),
        (Backbones(detector=BACKBONES.detector, embedder="other@1"), {"detection"}),
        (Backbones(detector="other@1", embedder="other@1"), set()),
    ],
)
def test_parts_are_usable_only_on_the_network_that_they_were_made_on(
    backbones: Backbones, kinds: set[str]
) -> None:
    assert learned().usable_kinds(backbones) == kinds
