import json
from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import BadTask
from pipeline.records import TaskKind
from pipeline.teaching import TrackCrop, make_task, read_corrections
from tests.pipeline.teaching.examples import image


def written(path: Path, *lines: object) -> Path:
    path.write_text("\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines))
    return path


def crops_of(track: str, num: int = 3) -> list[TrackCrop]:
    seed = sum(map(ord, track))
    return [TrackCrop(track.split(":")[0], np.asarray(image(100 * seed + number))) for number in range(num)]


def test_lines_name_classes_and_who_is_the_same(tmp_path: Path) -> None:
    path = written(
        tmp_path / "fixed.jsonl",
        {"track": "door:0", "class": "courier"}, "", {"same": ["door:0", "yard:1"]},
        {"class": "", "track": "door:2"}, {"same": ["door:5", "yard:6"]}, {"same": ["gate:7", "yard:1"]},
        {"track": "door:0", "class": "courier"},
    )  # fmt: skip
    corrections = read_corrections(path)
    assert corrections.class_of == {"door:0": "courier", "door:2": ""}
    assert set(corrections.somebodies) == {
        frozenset({"door:0", "yard:1", "gate:7"}),
        frozenset({"door:5", "yard:6"}),
    }
    assert corrections.classes == ("courier",)
    assert corrections.tracks == {"door:0", "door:2", "yard:1", "gate:7", "door:5", "yard:6"}


def test_lines_that_share_tracks_in_any_order_speak_of_one_somebody(tmp_path: Path) -> None:
    lines = [{"same": ["a:1", "b:1"]}, {"same": ["c:1", "d:1"]}, {"same": ["d:1", "e:1", "a:1"]}]
    for order in ((0, 1, 2), (2, 1, 0), (1, 2, 0)):
        corrections = read_corrections(written(tmp_path / "same.jsonl", *(lines[number] for number in order)))
        assert corrections.somebodies == (frozenset({"a:1", "b:1", "c:1", "d:1", "e:1"}),)


@pytest.mark.parametrize(
    "line",
    [
        "hello", "[]", "{}", '{"track": "a"}', '{"class": "a"}', '{"same": ["a"]}', '{"same": ["a", "a"]}',
        '{"same": []}', '{"track": 1, "class": "a"}', '{"track": "a", "class": null}', '{"same": "ab"}',
        '{"track": "a", "class": "b", "same": ["a", "b"]}', '{"track": "a", "klass": "b"}', '{"track": "\\ud800"}',
    ],
)  # fmt: skip
def test_a_line_that_is_something_else_is_named(tmp_path: Path, line: str) -> None:
    path = written(tmp_path / "fixed.jsonl", {"track": "a", "class": "b"}, line)
    with pytest.raises(BadTask, match=r"fixed.jsonl, line 2.*expected \{\"track\""):
        read_corrections(path)


def test_a_track_of_two_classes_is_refused_and_both_lines_are_named(tmp_path: Path) -> None:
    path = written(tmp_path / "f.jsonl", {"track": "a", "class": "b"}, {"track": "a", "class": ""})
    with pytest.raises(
        BadTask, match=r"f\.jsonl, lines 1 and 2: track 'a' is 'b' in one and '' in the other"
    ):
        read_corrections(path)


def test_a_file_that_is_missing_empty_or_huge_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadTask, match=r"cannot read .*no\.jsonl"):
        read_corrections(tmp_path / "no.jsonl")
    with pytest.raises(BadTask, match="holds no correction, expected lines such as"):
        read_corrections(written(tmp_path / "empty.jsonl", "", ""))
    with pytest.raises(BadTask, match="more than 10000 lines"):
        read_corrections(written(tmp_path / "long.jsonl", *[""] * 10_002))


def test_classes_are_learned_from_whole_tracks_and_held_out_by_whole_tracks(tmp_path: Path) -> None:
    tracks = {
        "door:0": "courier",
        "yard:1": "courier",
        "yard:2": "guard",
        "door:3": "",
        "door:4": "",
        "door:5": "",
    }
    path = written(tmp_path / "f.jsonl", *({"track": track, "class": name} for track, name in tracks.items()))
    corrections = read_corrections(path)
    pictures = corrections.class_pictures({track: crops_of(track) for track in tracks})
    task = make_task(TaskKind.CLASS, "courier", pictures, taught_ns=1)
    sides = {(one.label, one.camera, one.query) for one in task.examples}
    assert sides == {
        ("courier", "door", False), ("courier", "yard", True), ("", "door", False), ("", "door", True),
        ("guard", "yard", False), ("guard", "yard", True),
    }  # fmt: skip
    assert sum(one.query for one in task.examples) == 3 + 3 + 1
    assert len(task.examples) == 18


def test_a_camera_is_taught_by_those_seen_in_it_and_elsewhere(tmp_path: Path) -> None:
    same = [["door:0", "yard:1"], ["door:2", "gate:3", "door:4"], ["yard:5", "gate:6"], ["door:7", "door:8"]]
    corrections = read_corrections(written(tmp_path / "f.jsonl", *({"same": tracks} for tracks in same)))
    pictures = corrections.camera_pictures("door", {track: crops_of(track) for track in corrections.tracks})
    assert {(one.label, one.camera) for one in pictures} == {
        ("door:0", "door"), ("door:0", "yard"), ("door:2", "door"), ("door:2", "gate"),
    }  # fmt: skip
    task = make_task(TaskKind.CAMERA, "door", pictures, taught_ns=1)
    assert {one.label for one in task.examples if one.query} == {"door:2"}
    assert (
        corrections.camera_pictures("attic", {track: crops_of(track) for track in corrections.tracks}) == []
    )
