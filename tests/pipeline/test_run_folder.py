import pytest

from pipeline import run_folder
from pipeline.errors import BadInput
from pipeline.records import FrameRef, FrameResult, IdentityDecision, encode
from pipeline.run_folder import read_records

RESULT = FrameResult(
    frame=FrameRef(topic="frames", partition=0, offset=7), camera="gate", sequence=7, captured_ns=1, width=8, height=8,
    model_version="m",
)  # fmt: skip


def test_records_are_read_a_line_each_and_empty_lines_passed_over(tmp_path):
    path = tmp_path / "tracks.jsonl"
    path.write_bytes(encode(RESULT) + b"\n\n" + encode(RESULT))
    assert list(read_records(path, FrameResult)) == [RESULT, RESULT]


@pytest.mark.parametrize(
    ("content", "kind", "what"),
    [
        (b"\n{}", FrameResult, "line 2: not a FrameResult"),
        (encode(RESULT), IdentityDecision, "line 1: not a IdentityDecision"),
        (b"\xff\xfe", FrameResult, "line 1"),
    ],
)
def test_a_line_that_is_no_such_record_is_named(tmp_path, content, kind, what):
    (tmp_path / "tracks.jsonl").write_bytes(content)
    with pytest.raises(BadInput, match=f"tracks.jsonl, {what}"):
        list(read_records(tmp_path / "tracks.jsonl", kind))


def test_an_endless_line_is_not_read_into_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(run_folder, "MAX_LINE_BYTES", 64)
    (tmp_path / "tracks.jsonl").write_bytes(b"x" * 1000)
    with pytest.raises(BadInput, match="line 1: longer than 64 bytes"):
        list(read_records(tmp_path / "tracks.jsonl", FrameResult))


def test_a_missing_file_asks_for_the_folder_of_a_run(tmp_path):
    with pytest.raises(BadInput, match="expected the folder of a finished run"):
        list(read_records(tmp_path / "tracks.jsonl", FrameResult))
