import json
from pathlib import Path

import jsonschema
import pytest

from pipeline.errors import BadInput
from pipeline.records import FrameRef, FrameResult, Observation, decode, encode, json_schemas

RESULT = FrameResult(
    frame=FrameRef(topic="frames", partition=3, offset=17), camera="door", sequence=17, captured_ns=1, width=640,
    height=480, model_version="m@1", observations=(Observation(box=(1, 2, 3, 4), score=0.5, label="person"),),
)  # fmt: skip


def test_a_record_survives_the_round_trip() -> None:
    assert decode(encode(RESULT), FrameResult) == RESULT


def test_a_record_satisfies_its_published_schema() -> None:
    jsonschema.validate(json.loads(encode(RESULT)), json_schemas()["tracks"])


def test_a_record_with_a_score_above_one_is_refused_with_the_field_named() -> None:
    bad = json.loads(encode(RESULT))
    bad["observations"][0]["score"] = 1.5
    with pytest.raises(BadInput, match="score"):
        decode(json.dumps(bad).encode(), FrameResult)


@pytest.mark.parametrize("data", [b"", b"hello", b"[]", b"\xff\xfe", b'{"camera": 1}'])
def test_what_is_no_record_is_refused(data: bytes) -> None:
    with pytest.raises(BadInput, match="FrameResult"):
        decode(data, FrameResult)


def test_the_schemas_in_the_docs_are_those_of_the_code() -> None:
    folder = Path(__file__).parents[2] / "docs" / "schemas"
    exported = json.loads(json.dumps(json_schemas()))
    for topic, schema in exported.items():
        assert json.loads((folder / f"{topic}.json").read_text()) == schema, f"run `make schemas` for {topic}"
