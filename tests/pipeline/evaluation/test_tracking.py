import numpy as np
import pytest
import trackeval

from pipeline.errors import BadInput
from pipeline.evaluation.mot import MotRows, read_rows, read_sequences, write_rows
from pipeline.evaluation.tracking import TrackingPair, score_tracking, score_tracking_pooled


def rows(*table):
    """Rows of (frame, id, left): boxes of 10 x 20."""
    frames, ids, lefts = np.array(table, float).reshape(-1, 3).T
    boxes = np.stack([lefts, np.zeros_like(lefts), lefts + 10, np.full_like(lefts, 20)], axis=1)
    return MotRows(frames.astype(np.int64), ids.astype(np.int64), boxes, np.ones(len(lefts)))


def official(sequence_folder, trackers_folder, name, num_frames, benchmark="MOT15"):
    """Runs trackeval's own MOTChallenge pipeline on files."""
    dataset = trackeval.datasets.MotChallenge2DBox(
        {
            "GT_FOLDER": str(sequence_folder),
            "TRACKERS_FOLDER": str(trackers_folder),
            "TRACKERS_TO_EVAL": ["ours"],
            "SEQ_INFO": {name: num_frames},
            "SKIP_SPLIT_FOL": True,
            "BENCHMARK": benchmark,
            "DO_PREPROC": benchmark != "MOT15",
            "PRINT_CONFIG": False,
        }
    )
    data = dataset.get_preprocessed_seq_data(dataset.get_raw_seq_data("ours", name), "pedestrian")
    quiet = {"PRINT_CONFIG": False}
    return {
        **trackeval.metrics.HOTA().eval_sequence(data),
        **trackeval.metrics.CLEAR(quiet).eval_sequence(data),
        **trackeval.metrics.Identity(quiet).eval_sequence(data),
    }


@pytest.fixture
def scrambled():
    """A truth of four walkers with boxes not to be scored, and a prediction with all kinds of faults."""
    rng = np.random.default_rng(3)
    table = [(frame, person, 40 * person + 2 * frame) for frame in range(1, 31) for person in range(4)]
    truth = rows(*table)
    truth.confidences_R[rng.random(len(truth)) < 0.1] = 0
    predicted = rows(
        *[
            (f, p + (4 if f > 15 and p == 1 else 0), x + rng.normal(0, 2))
            for f, p, x in table
            if rng.random() < 0.85
        ],
        *[(f, 20, 300 + f) for f in range(5, 12)],
    )
    return TrackingPair(truth, predicted)


def agree(ours, theirs):
    assert ours.hota == pytest.approx(np.mean(theirs["HOTA"]), abs=1e-12)
    assert ours.deta == pytest.approx(np.mean(theirs["DetA"]), abs=1e-12)
    assert ours.assa == pytest.approx(np.mean(theirs["AssA"]), abs=1e-12)
    assert (ours.idf1, ours.idp, ours.idr) == pytest.approx((theirs["IDF1"], theirs["IDP"], theirs["IDR"]))
    assert ours.mota == pytest.approx(theirs["MOTA"], abs=1e-12)
    assert (ours.id_switches, ours.num_false_positives, ours.num_misses) == (
        theirs["IDSW"],
        theirs["CLR_FP"],
        theirs["CLR_FN"],
    )


def as_files(tmp_path, name, pair):
    (tmp_path / "gt" / name / "gt").mkdir(parents=True)
    (tmp_path / "trackers" / "ours" / "data").mkdir(parents=True)
    write_rows(tmp_path / "gt" / name / "gt" / "gt.txt", pair.truth)
    write_rows(tmp_path / "trackers" / "ours" / "data" / f"{name}.txt", pair.predicted)
    return tmp_path / "gt", tmp_path / "trackers"


def test_scores_equal_the_official_pipeline_on_files(tmp_path, scrambled):
    # Thousandths of a pixel, as the files hold them.
    pair = TrackingPair(
        *[MotRows(r.frames_R, r.ids_R, r.boxes_R4.round(3), r.confidences_R) for r in scrambled]
    )
    agree(score_tracking(*pair), official(*as_files(tmp_path, "square", pair), "square", 30))


def test_with_classes_scores_equal_the_official_protocol_of_2016_on(tmp_path, scrambled):
    rng = np.random.default_rng(8)
    truth = scrambled.truth
    lines = [
        f"{frame},{identity},{left},{top},{right - left},{bottom - top},{int(cls == 1)},{cls},1.0"
        for frame, identity, (left, top, right, bottom), cls in zip(
            truth.frames_R,
            truth.ids_R,
            truth.boxes_R4,
            rng.choice([1, 1, 1, 2, 3, 7, 8, 12], len(truth)),
            strict=True,
        )
    ]
    predicted = scrambled.predicted
    predicted = MotRows(
        predicted.frames_R, predicted.ids_R, predicted.boxes_R4.round(3), predicted.confidences_R
    )
    gt, trackers = as_files(tmp_path, "MOT17-02", TrackingPair(truth, predicted))
    (gt / "MOT17-02" / "gt" / "gt.txt").write_text("\n".join(lines))
    ours = score_tracking(read_rows(gt / "MOT17-02" / "gt" / "gt.txt"), predicted)
    agree(ours, official(gt, trackers, "MOT17-02", 30, "MOT17"))
    assert ours.num_predicted_boxes < len(predicted)


@pytest.mark.data
def test_scores_equal_the_official_pipeline_on_a_real_sequence(tmp_path, mot15_zip):
    sequence = next(one for one in read_sequences(mot15_zip) if one.name == "KITTI-13")
    found = sequence.detections
    # Tracks that change every 25 frames, so that there is something to get wrong.
    order = np.argsort(found.frames_R, kind="stable")
    found = found[order]
    starts = np.searchsorted(found.frames_R, found.frames_R)
    ids = 100 * (found.frames_R // 25) + np.arange(len(found)) - starts
    predicted = MotRows(found.frames_R, ids, found.boxes_R4.round(3), found.confidences_R)
    pair = TrackingPair(sequence.truth, predicted)
    agree(
        score_tracking(*pair),
        official(*as_files(tmp_path, "KITTI-13", pair), "KITTI-13", sequence.num_frames),
    )


def test_the_truth_itself_scores_one():
    truth = rows((1, 1, 0), (2, 1, 5), (2, 2, 100))
    scores = score_tracking(truth, truth)
    assert (scores.hota, scores.idf1, scores.mota, scores.id_switches) == (1.0, 1.0, 1.0, 0)
    assert (scores.num_truth_boxes, scores.num_truth_ids, scores.num_predicted_ids) == (3, 2, 2)


def test_a_switch_of_identity_halfway_is_seen():
    truth = rows(*[(frame, 1, 0) for frame in range(1, 11)])
    predicted = rows(*[(frame, 1 + (frame > 5), 0) for frame in range(1, 11)])
    scores = score_tracking(truth, predicted)
    assert (scores.id_switches, scores.idf1) == (1, 0.5)
    assert scores.mota == pytest.approx(0.9)


def test_ids_are_not_shared_between_pooled_sequences():
    truth = rows((1, 1, 0), (2, 1, 0))
    renamed = rows((1, 9, 0), (2, 9, 0))
    assert score_tracking_pooled([TrackingPair(truth, truth), TrackingPair(truth, renamed)]).idf1 == 1.0


def test_pooling_weighs_by_boxes_not_by_sequences():
    long_truth = rows(*[(frame, 1, 0) for frame in range(1, 10)])
    short_truth = rows((1, 1, 0))
    pooled = score_tracking_pooled(
        [TrackingPair(long_truth, long_truth), TrackingPair(short_truth, MotRows.empty())]
    )
    assert pooled.mota == pytest.approx(0.9)
    assert pooled.num_misses == 1


def test_a_sequence_without_truth_counts_its_predictions_as_false():
    scores = score_tracking(MotRows.empty(), rows((1, 1, 0), (2, 1, 0)))
    assert (scores.num_false_positives, scores.idf1) == (2, 0.0)


def test_an_id_twice_in_one_frame_is_refused():
    with pytest.raises(BadInput, match="prediction holds an id twice"):
        score_tracking(rows((1, 1, 0)), rows((1, 1, 0), (1, 1, 50)))


def test_predictions_without_ids_are_refused():
    with pytest.raises(BadInput, match="id -1"):
        score_tracking(rows((1, 1, 0)), rows((1, -1, 0)))


def test_no_sequence_is_refused():
    with pytest.raises(BadInput, match="no sequence"):
        score_tracking_pooled([])
