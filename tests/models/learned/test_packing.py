import json
import os
import struct
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of

import models.learned.packing as packing
from models.errors import ModelError, VersionCorrupt
from models.learned import LearnedVersion, pack, unpack
from tests.models.learned.examples import BACKBONES, learned

SHAPES = arrays_of.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4)
FLOATS = arrays_of.arrays(
    st.sampled_from([np.float32, np.float16]), SHAPES, elements=st.floats(-100, 100, width=16)
)
ARRAYS = FLOATS | arrays_of.arrays(np.int64, SHAPES)
WORDS = st.text(st.characters(exclude_characters="/", exclude_categories=["Cs"]), min_size=1, max_size=6)
NAMES = st.tuples(WORDS, WORDS, WORDS).map("/".join)


def equal(a: LearnedVersion, b: LearnedVersion) -> bool:
    same = all(
        np.array_equal(a.arrays[n], b.arrays[n]) and a.arrays[n].dtype == b.arrays[n].dtype for n in a.arrays
    )
    fields = ("backbones", "created_ns", "parent", "tasks", "data_digest", "scores", "reason")
    return same and a.arrays.keys() == b.arrays.keys() and all(getattr(a, f) == getattr(b, f) for f in fields)


@settings(max_examples=40, deadline=None)
@given(
    st.dictionaries(NAMES, ARRAYS, max_size=5), st.text(max_size=9), st.lists(st.text(max_size=9), max_size=3)
)
def test_what_is_packed_is_unpacked_the_same(arrays: dict[str, Any], reason: str, tasks: list[str]) -> None:
    version = learned(arrays=arrays, reason=reason, tasks=tuple(tasks))
    content = pack(version)
    assert equal(unpack(content), version)
    assert pack(unpack(content)) == content


def test_equal_versions_give_equal_bytes_whatever_the_order_they_were_built_in() -> None:
    version = learned()
    turned = learned(
        arrays=dict(reversed(list(version.arrays.items()))),
        scores={"class courier": dict(reversed(version.scores["class courier"].items()))},
    )
    assert pack(turned) == pack(version)
    assert pack(learned(1.5)) != pack(version)
    # Also for who goes through the arrays, as when the weights of all classes are stacked.
    assert list(turned.arrays) == list(version.arrays) == list(unpack(pack(turned)).arrays)


def test_equal_versions_give_equal_bytes_in_every_process() -> None:
    code = (
        "import hashlib; from models.learned import pack; from tests.models.learned.examples import learned; "
        "print(hashlib.sha256(pack(learned())).hexdigest())"
    )
    digests = {
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True,
            env={**os.environ, "PYTHONHASHSEED": seed},
        ).stdout
        for seed in ("1", "2")
    }  # fmt: skip
    assert len(digests) == 1


def test_arrays_keep_their_order_of_numbers_however_they_lie_in_memory() -> None:
    grid = np.arange(6, dtype=np.float32).reshape(2, 3)
    version = unpack(pack(learned(arrays={"a/b/turned": grid.T, "a/b/fortran": np.asfortranarray(grid)})))
    assert version.arrays["a/b/turned"].tolist() == grid.T.tolist()
    assert version.arrays["a/b/fortran"].tolist() == grid.tolist()


@settings(max_examples=80, deadline=None)
@given(st.data())
def test_a_file_cut_off_or_with_a_flipped_bit_never_raises_anything_but_that_it_is_corrupt(
    data: st.DataObject,
) -> None:
    content = bytearray(pack(learned()))
    if data.draw(st.booleans()):
        del content[data.draw(st.integers(0, len(content) - 1)) :]
    else:
        content[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    try:
        version = unpack(bytes(content))
    except VersionCorrupt:
        return
    assert isinstance(version, LearnedVersion)  # flipped in a number or a text: the checksum's to find


def with_header(header: object, body: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + body


def with_metadata(**changes: Any) -> bytes:
    content = pack(learned(arrays={}))
    length = struct.unpack("<Q", content[:8])[0]
    metadata = json.loads(json.loads(content[8 : 8 + length])["__metadata__"]["camweave"])
    return with_header({"__metadata__": {"camweave": json.dumps(metadata | changes)}})


F64 = {"dtype": "F64", "shape": [1], "data_offsets": [0, 8]}
NAN = {"a/b/c": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}
OURS = json.loads(with_metadata()[8:])
CORRUPT = {
    "empty": (b"", "cut off or no safetensors file"),
    "shorter than the length": (b"\x01\x00", "cut off or no safetensors file"),
    "no header": (struct.pack("<Q", 0), "cut off or no safetensors file"),
    "header cut off": (pack(learned())[:100], "cut off or no safetensors file"),
    "header of 2^63 bytes": (struct.pack("<Q", 1 << 63) + b"{}", "cut off or no safetensors file"),
    "header of all the file and one": (struct.pack("<Q", 3) + b"{}", "cut off or no safetensors file"),
    "header above the cap": (struct.pack("<Q", 9 << 20) + bytes(9 << 20), "8388608"),
    "data cut off": (pack(learned())[:-1], "cannot be read"),
    "data too long": (pack(learned()) + b"\0", "cannot be read"),
    "not JSON": (with_header(b"{nonsense"), "not JSON"),
    "not text": (with_header(b"\xff\xfe\xfd"), "not JSON"),
    "a list": (with_header([1]), "expected an object"),
    "nested without end": (with_header(b"[" * 100_000), "not JSON"),
    "of something else": (safetensors.numpy.save({"w": np.ones(3, np.float32)}), "of something else"),
    "of something else with metadata": (
        safetensors.numpy.save({"w": np.ones(3, np.float32)}, metadata={"format": "pt"}), "of something else"
    ),
    "a pickle": (b"\x80\x04\x95\x1c\x00\x00\x00\x00\x00\x00\x00\x8c\x05posix\x94\x8c\x06system", "cut off or no"),
    "a later format": (with_metadata(format=2), "update camweave"),
    "metadata nested without end": (
        with_header({"__metadata__": {"camweave": "[" * 100_000}}), "not JSON"
    ),
    "tasks of another type": (with_metadata(tasks=[1]), "tasks"),
    "no parent": (with_metadata(parent=None), "parent"),
    "a time that is none": (with_metadata(created_ns="now"), "created_ns"),
    "another type of array": (with_header({**OURS, "a/b/c": F64}, bytes(8)), "F64"),
    "an array that is no object": (with_header({**OURS, "a/b/c": [1]}), "list"),
    "not a number": (with_header({**OURS, **NAN}, np.array([np.nan], np.float32).tobytes()), "finite"),
    "a name without a form": (with_header({**OURS, "w": NAN["a/b/c"]}, bytes(4)), "KIND/NAME/ARRAY"),
    "arrays outside the file": (
        with_header({**OURS, "a/b/c": {"dtype": "F32", "shape": [9], "data_offsets": [0, 36]}}, bytes(4)),
        "cannot be read",
    ),
    "a shape above all memory": (
        with_header({**OURS, "a/b/c": {"dtype": "F32", "shape": [1 << 40, 1 << 40], "data_offsets": [0, 4]}}, bytes(4)),
        "cannot be read",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("content", "words"), CORRUPT.values(), ids=CORRUPT)
def test_whatever_is_no_version_is_named_as_corrupt(content: bytes, words: str) -> None:
    with pytest.raises(VersionCorrupt, match=r"store/x\.safetensors") as caught:
        unpack(content, "store/x.safetensors")
    assert words in str(caught.value)
    assert len(str(caught.value)) < 600


def test_a_version_above_the_cap_is_neither_written_nor_read(monkeypatch: pytest.MonkeyPatch) -> None:
    content = pack(learned())
    monkeypatch.setattr(packing, "MAX_VERSION_BYTES", len(content) - 1)
    with pytest.raises(ModelError, match=f"size of a version is {len(content)}"):
        pack(learned())
    with pytest.raises(VersionCorrupt, match="expected at most"):
        unpack(content)


@pytest.mark.parametrize("scores", [{"a": float("nan")}, {"a": object()}, {"a": np.float32(1)}])
def test_scores_that_json_cannot_hold_are_refused(scores: dict[str, Any]) -> None:
    with pytest.raises(ModelError, match="JSON"):
        pack(LearnedVersion(arrays={}, backbones=BACKBONES, created_ns=0, scores=scores))
