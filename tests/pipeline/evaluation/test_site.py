import pytest

from pipeline.errors import BadInput
from pipeline.evaluation.site import score_site
from pipeline.records import DecisionKind, FrameRef, FrameResult, IdentityDecision, Observation, encode

NUM_FRAMES = 10


def box(x):
    return (float(x), 0.0, x + 10.0, 20.0)


def seen(x, track=None, confirmed=True, score=0.9):
    return Observation(
        box=box(x), score=score, label="person", track=track, confirmed=confirmed and track is not None
    )


def result(camera, sequence, *observations):
    return FrameResult(
        frame=FrameRef(topic="frames", partition=0, offset=sequence),
        camera=camera, sequence=sequence, captured_ns=sequence, width=768, height=576, model_version="none@0",
        observations=observations,
    )  # fmt: skip


def decided(track, identity, camera):
    return IdentityDecision(
        track=track,
        camera=camera,
        identity=identity,
        kind=DecisionKind.NEW,
        at_ns=0,
        start_ns=0,
        label="person",
        threshold=0.5,
    )


class Site:
    """Writes a run and its truth: by default one person stands in view of both cameras, and all goes well."""

    def __init__(self, root):
        self.run, self.truth = root / "run", root / "truth"
        self.run.mkdir()
        self.results = [
            result(camera, sequence, seen(100, f"{camera}:a"))
            for camera in ("east", "west")
            for sequence in range(NUM_FRAMES)
        ]
        self.decisions = [decided("east:a", "anna", "east"), decided("west:a", "anna", "west")]
        self.rows = {"east": self.standing(1, 100), "west": self.standing(1, 100)}

    @staticmethod
    def standing(identity, x, confidence=1):
        return [f"{frame},{identity},{x},0,10,20,{confidence},-1,-1,-1" for frame in range(1, NUM_FRAMES + 1)]

    def scores(self):
        (self.run / "tracks.jsonl").write_bytes(b"".join(encode(one) + b"\n" for one in self.results))
        (self.run / "identities.jsonl").write_bytes(b"".join(encode(one) + b"\n" for one in self.decisions))
        for camera, rows in self.rows.items():
            (self.truth / camera / "gt").mkdir(parents=True)
            (self.truth / camera / "gt" / "gt.txt").write_text("\n".join(rows))
        return score_site(self.run, self.truth)


@pytest.fixture
def site(tmp_path):
    return Site(tmp_path)


def test_a_person_known_in_both_cameras_scores_one(site):
    scores = site.scores()
    assert (scores.ap50, scores.tracking.hota, scores.tracking.mota, scores.idf1) == (1.0, 1.0, 1.0, 1.0)
    assert (scores.num_identities, scores.num_cross_camera_identities) == (1, 1)
    assert scores.cameras["west"].tracking.idf1 == scores.cameras["west"].ap50 == 1.0


def test_a_person_who_is_another_in_the_second_camera_halves_site_idf1_alone(site):
    site.decisions[1] = decided("west:a", "bert", "west")
    scores = site.scores()
    assert scores.tracking.idf1 == 1.0
    assert (scores.idf1, scores.num_identities, scores.num_cross_camera_identities) == (0.5, 2, 0)


def test_a_track_without_a_decision_is_an_identity_of_its_own(site):
    site.decisions = [decided("east:a", "west:a", "east")]  # named like the other track, and yet not the same
    assert site.scores().idf1 == 0.5


def test_the_latest_decision_on_a_track_holds(site):
    site.decisions = [decided("west:a", "bert", "west"), *site.decisions]
    scores = site.scores()
    assert (scores.idf1, scores.num_identities) == (1.0, 1)


def test_a_frame_written_twice_counts_once_and_the_last_one_holds(site):
    site.results = [result("east", 4, seen(500, "east:ghost")), *site.results, result("west", 4)]
    scores = site.scores()
    assert scores.tracking.num_predicted_boxes == 2 * NUM_FRAMES - 1
    assert scores.tracking.num_false_positives == 0


def test_tracks_count_once_confirmed_but_detections_always_do(site):
    site.results[0] = result("east", 0, seen(100, "east:a", confirmed=False))
    site.results[1] = result("east", 1, seen(100))
    scores = site.scores()
    assert scores.ap50 == 1.0
    assert scores.tracking.num_misses == 2


def test_what_stands_on_an_ignored_box_counts_neither_way(site):
    site.rows["east"] += site.standing(2, 300, confidence=0)
    for sequence in range(5):
        site.results[sequence] = result(
            "east", sequence, seen(100, "east:a"), seen(300, "east:half", score=1.0)
        )
    scores = site.scores()
    assert (scores.ap50, scores.tracking.mota, scores.idf1) == (1.0, 1.0, 1.0)
    assert scores.tracking.num_truth_ids == 2


def test_a_false_track_costs_precision_and_mota_and_identity(site):
    for sequence in range(NUM_FRAMES):
        site.results[sequence] = result(
            "east", sequence, seen(100, "east:a"), seen(300, "east:ghost", score=1.0)
        )
    scores = site.scores()
    assert scores.ap50 < 1.0
    assert scores.tracking.mota == pytest.approx(0.5)
    assert scores.idp == pytest.approx(2 / 3)


def test_two_tracks_of_one_identity_in_one_frame_count_one_of_them_as_false(site):
    for sequence in range(NUM_FRAMES):
        site.results[sequence] = result("east", sequence, seen(100, "east:a"), seen(300, "east:b", score=0.5))
    site.decisions.append(decided("east:b", "anna", "east"))
    scores = site.scores()
    assert scores.idr == 1.0
    assert scores.idp == pytest.approx(2 / 3)


def test_a_lost_frame_counts_as_missed_and_a_shorter_run_is_scored_as_far_as_it_went(site):
    site.results = [
        one for one in site.results if one.sequence < 6 and (one.camera, one.sequence) != ("east", 2)
    ]
    scores = site.scores()
    assert scores.tracking.num_truth_boxes == 12
    assert scores.tracking.num_misses == 1
    assert (scores.cameras["east"].num_frames, scores.cameras["east"].num_missing_frames) == (6, 1)


def test_a_camera_without_truth_is_left_out_and_named(site):
    site.results.append(result("roof", 0, seen(7, "roof:a")))
    scores = site.scores()
    assert scores.cameras_without_truth == ("roof",)
    assert scores.tracking.num_false_positives == 0


def test_a_camera_that_saw_nothing_counts_as_missed(site):
    site.results = [one for one in site.results if one.camera == "east"]
    assert site.scores().tracking.num_misses == NUM_FRAMES


def test_truth_of_other_cameras_is_an_error(site):
    site.rows = {"attic": site.rows["east"]}
    with pytest.raises(BadInput, match="none in common"):
        site.scores()


def test_a_broken_line_is_named_with_file_and_number(site):
    site.scores()
    tracks = site.run / "tracks.jsonl"
    tracks.write_bytes(tracks.read_bytes() + b'{"camera": 7}\n')
    with pytest.raises(BadInput, match=rf"tracks\.jsonl, line {2 * NUM_FRAMES + 1}: not a FrameResult"):
        score_site(site.run, site.truth)


def test_a_run_or_a_truth_that_is_not_there_is_an_error(site, tmp_path):
    site.scores()
    with pytest.raises(BadInput, match="holds no truth"):
        score_site(site.run, tmp_path)
    (site.run / "identities.jsonl").unlink()
    with pytest.raises(BadInput, match=r"cannot read .*identities\.jsonl"):
        score_site(site.run, site.truth)
    (site.run / "tracks.jsonl").write_text("\n")
    with pytest.raises(BadInput, match="is empty"):
        score_site(site.run, site.truth)
