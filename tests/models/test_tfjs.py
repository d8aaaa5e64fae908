import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.errors import WeightsCorrupt
from models.tfjs import read_tfjs_weights


def manifest(*tensors: dict) -> bytes:
    return json.dumps({"weightsManifest": [{"paths": ["w.bin"], "weights": list(tensors)}]}).encode()


def half(name: str, shape: list[int]) -> dict:
    return {"name": name, "shape": shape, "dtype": "float32", "quantization": {"dtype": "float16"}}


@given(
    st.lists(
        st.tuples(st.sampled_from(["float16", "float32", "int32"]), st.lists(st.integers(0, 4), max_size=4)),
        min_size=1,
        max_size=6,
    ),
    st.randoms(use_true_random=False),
)
def test_float_tensors_come_back_as_they_were_stored(tensors, random):
    entries, expected, stored = [], {}, b""
    for index, (dtype, shape) in enumerate(tensors):
        values = np.array([random.randint(-100, 100) for _ in range(int(np.prod(shape)))]).reshape(shape)
        stored += values.astype({"float16": "<f2", "float32": "<f4", "int32": "<i4"}[dtype]).tobytes()
        plain = {"name": f"t{index}", "shape": shape, "dtype": dtype}
        entries.append(half(f"t{index}", shape) if dtype == "float16" else plain)
        if dtype != "int32":
            expected[f"t{index}"] = values
    read = read_tfjs_weights(manifest(*entries), stored)
    assert read.keys() == expected.keys()
    for name, values in expected.items():
        assert read[name].dtype == np.float32
        np.testing.assert_array_equal(read[name], values)


@pytest.mark.parametrize(
    ("text", "stored", "message"),
    [
        (b"\x80\x04pickle", b"", "not a tfjs graph model"),
        (b'{"weightsManifest": 3}', b"", "not a tfjs graph model"),
        (b"[" * 100_000, b"", "not a tfjs graph model"),
        (manifest(), b"", "names 0 tensors"),
        (manifest(half("a", [2])), b"\0" * 3, "ends at byte 4, but there are only 3"),
        (manifest(half("a", [2])), b"\0" * 5, "accounts for 4 bytes of weights, got 5"),
        (manifest(half("a", [1]), half("a", [1])), b"\0" * 4, "stands twice"),
        (manifest(half("a", [-1])), b"", "impossible shape"),
        (manifest(half("a", [1] * 7)), b"", "impossible shape"),
        (manifest(half("a", [2**20, 2**20, 2**20, 2**20])), b"", "ends at byte"),
        (manifest({"name": "a", "shape": [1], "dtype": "string"}), b"", "'string', expected one of"),
        (manifest({"name": "a", "dtype": "float32"}), b"", "needs name, shape and dtype"),
        (manifest({"name": "a", "shape": [1], "dtype": ["x"]}), b"", "needs name, shape and dtype"),
    ],
)
def test_what_does_not_add_up_is_corrupt(text, stored, message):
    with pytest.raises(WeightsCorrupt, match=message):
        read_tfjs_weights(text, stored)
