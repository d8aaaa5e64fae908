import zipfile

import numpy as np
import pytest

from pipeline.errors import BadInput
from pipeline.evaluation.mot import MotRows, parse_rows, read_results, read_rows, read_sequences, write_rows

SEQINFO = (
    "[Sequence]\nname=square\nimDir=img1\nframeRate=7\nseqLength=3\nimWidth=768\nimHeight=576\nimExt=.jpg\n"
)


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "mot"
    (root / "square" / "gt").mkdir(parents=True)
    (root / "square" / "det").mkdir()
    (root / "square" / "seqinfo.ini").write_text(SEQINFO)
    (root / "square" / "gt" / "gt.txt").write_text("1,4,10,20,30,40,1,-1,-1,-1\n3,4,11,20,30,40,0,-1,-1,-1\n")
    (root / "square" / "det" / "det.txt").write_text("2,-1,10.5,20.25,30,40,0.75,-1,-1,-1\n")
    return root


def test_a_sequence_is_read_from_a_folder(folder):
    (sequence,) = read_sequences(folder)
    assert (sequence.name, sequence.num_frames, sequence.frame_rate) == ("square", 3, 7.0)
    assert (sequence.width, sequence.height) == (768, 576)
    np.testing.assert_array_equal(sequence.truth.frames_R, [1, 3])
    np.testing.assert_array_equal(sequence.truth.boxes_R4, [[10, 20, 40, 60], [11, 20, 41, 60]])
    np.testing.assert_array_equal(sequence.truth.confidences_R, [1, 0])
    np.testing.assert_array_equal(sequence.detections.boxes_R4, [[10.5, 20.25, 40.5, 60.25]])
    np.testing.assert_array_equal(sequence.detections.ids_R, [-1])


def test_a_zip_and_the_sequence_folder_itself_read_alike(folder, tmp_path):
    archive = tmp_path / "mot.zip"
    with zipfile.ZipFile(archive, "w") as file:
        for path in sorted(folder.rglob("*.*")):
            file.write(path, path.relative_to(folder))
    for source in (archive, folder / "square"):
        (sequence,) = read_sequences(source)
        assert sequence.name == "square"
        np.testing.assert_array_equal(sequence.truth.ids_R, [4, 4])


def test_what_is_written_is_read_back(tmp_path):
    rows = MotRows(
        np.array([1, 1, 9]),
        np.array([5, 6, 5]),
        np.array([[0.5, 1, 2, 3], [9, 9, 20, 20.125], [0, 0, 1, 1]]),
        np.ones(3),
    )
    write_rows(tmp_path / "out.txt", rows)
    again = read_rows(tmp_path / "out.txt")
    np.testing.assert_array_equal(again.frames_R, rows.frames_R)
    np.testing.assert_array_equal(again.ids_R, rows.ids_R)
    np.testing.assert_allclose(again.boxes_R4, rows.boxes_R4, atol=2e-3)
    assert (tmp_path / "out.txt").read_text().splitlines()[0] == "1,5,0.500,1.000,1.500,2.000,1,-1,-1,-1"


def test_an_empty_file_holds_no_rows():
    assert len(parse_rows("\n\n", "det.txt")) == 0


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("1,2,3", "3 columns"),
        ("1,2,x,4,5,6,1", "could not convert"),
        ("0,2,3,4,5,6,1", "frames from 1"),
        ("1.5,2,3,4,5,6,1", "whole numbers"),
        ("1,2,3,4,nan,6,1", "not finite"),
        ("1,2,3,4,0,6,1", "positive size"),
        ("1,7,3,4,5,6,1", "appears twice"),
        ("1e12,2,3,4,5,6,1", "at most 10000000"),
        ("1,1e300,3,4,5,6,1", "at most"),
    ],
)
def test_a_bad_line_is_named_with_file_and_number(line, what):
    with pytest.raises(BadInput, match=rf"gt\.txt, line 3: .*{what}"):
        parse_rows(f"1,7,3,4,5,6,1\n\n{line}\n", "gt.txt")


def test_a_frame_beyond_the_sequence_is_an_error(folder):
    (folder / "square" / "gt" / "gt.txt").write_text("4,4,10,20,30,40,1,-1,-1,-1\n")
    with pytest.raises(BadInput, match=r"frame 4.*seqLength=3"):
        read_sequences(folder)


def test_a_seqinfo_without_a_length_is_an_error(folder):
    (folder / "square" / "seqinfo.ini").write_text(SEQINFO.replace("seqLength=3\n", ""))
    with pytest.raises(BadInput, match=r"seqinfo\.ini.*seqLength"):
        read_sequences(folder)


def test_a_place_without_sequences_is_an_error(tmp_path):
    (tmp_path / "not.zip").write_text("no")
    with pytest.raises(BadInput, match="holds no MOTChallenge sequence"):
        read_sequences(tmp_path)
    with pytest.raises(BadInput, match="neither a folder nor a zip"):
        read_sequences(tmp_path / "not.zip")
    with pytest.raises(BadInput, match="cannot read"):
        read_rows(tmp_path / "nowhere.txt")


def test_sequences_are_found_however_deep_the_archive_nests_them(folder, tmp_path):
    archive = tmp_path / "mot.zip"
    with zipfile.ZipFile(archive, "w") as file:
        for path in sorted(folder.rglob("*.*")):
            file.write(path, "MOT15/train" / path.relative_to(folder))
        file.writestr("__MACOSX/MOT15/train/square/seqinfo.ini", "left by a file manager")
    (sequence,) = read_sequences(archive)
    assert sequence.name == "square"


def test_a_sequence_of_2015_without_a_seqinfo_is_described_by_its_boxes(folder):
    (folder / "square" / "seqinfo.ini").unlink()
    (sequence,) = read_sequences(folder)
    assert (sequence.name, sequence.num_frames, sequence.frame_rate) == ("square", 3, 30.0)
    assert (sequence.width, sequence.height) == (41, 61)


def test_two_sequences_of_one_name_are_an_error(folder):
    (folder / "again" / "gt").mkdir(parents=True)
    (folder / "again" / "seqinfo.ini").write_text(SEQINFO)
    with pytest.raises(BadInput, match="two sequences named 'square'"):
        read_sequences(folder)


def test_a_frame_rate_of_zero_is_an_error(folder):
    (folder / "square" / "seqinfo.ini").write_text(SEQINFO.replace("frameRate=7", "frameRate=0"))
    with pytest.raises(BadInput, match=r"frameRate=0, expected frames a second above 0"):
        read_sequences(folder)


def test_an_encrypted_member_is_an_error_that_says_what_to_do(folder, tmp_path):
    archive = tmp_path / "mot.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("square/gt/gt.txt", "1,4,10,20,30,40,1,-1,-1,-1\n")
    content = bytearray(archive.read_bytes())
    content[content.index(b"PK\x03\x04") + 6] |= 1  # the flag that says encrypted, in both headers
    content[content.index(b"PK\x01\x02") + 8] |= 1
    archive.write_bytes(content)
    with pytest.raises(BadInput, match=r"encrypted.*unpack the zip and give the folder"):
        read_sequences(archive)


def test_a_file_too_large_to_be_one_of_motchallenge_is_not_read(folder, monkeypatch):
    monkeypatch.setattr("pipeline.evaluation.mot.MAX_TEXT_BYTES", 16)
    with pytest.raises(BadInput, match="more than 16 bytes"):
        read_sequences(folder)


@pytest.mark.parametrize("below", ["", "data"])
def test_results_are_read_by_the_names_of_sequences(tmp_path, below):
    (tmp_path / below).mkdir(exist_ok=True)
    (tmp_path / below / "square.txt").write_text("2,9,1,1,5,5,1,-1,-1,-1\n")
    results = read_results(tmp_path, ["square"])
    np.testing.assert_array_equal(results["square"].ids_R, [9])


def test_a_missing_result_file_and_boxes_without_ids_are_errors(tmp_path):
    with pytest.raises(BadInput, match=r"no square\.txt, expected a result file for each of square, street"):
        read_results(tmp_path, ["square", "street"])
    (tmp_path / "square.txt").write_text("2,-1,1,1,5,5,1,-1,-1,-1\n")
    with pytest.raises(BadInput, match=r"square\.txt: a box of frame 2 has id -1.*are these detections"):
        read_results(tmp_path, ["square"])
