"""Runs the gallery's writer on a real log, with squares for people (`tests.cluster.test_shard.Bench`)."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster.gallery import GalleryWriter
from pipeline.identity import identities_of_tracks
from pipeline.records import DecisionKind
from tests.cluster.squares import BLUE, RED, header
from tests.cluster.test_shard import TOPICS, Bench


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    one = Bench(tmp_path)
    yield one
    one.close()


def run(gallery: GalleryWriter) -> None:
    while gallery.step(0.3):
        pass
    gallery.close()


def walk_in_two_parts(bench: Bench) -> None:
    for camera, colour in (("door", RED), ("yard", BLUE)):
        bench.walk(camera, colour, 12, end=False)
    bench.run()


def test_what_is_in_doubt_is_in_the_log_and_outlives_the_writer(bench: Bench) -> None:
    walk_in_two_parts(bench)
    run(bench.new_gallery())
    assert {d.kind for d in bench.decisions()} == {DecisionKind.WAIT}
    again = bench.new_gallery()
    assert again._book.num_identities == 2
    for camera in ("door", "yard"):
        bench.send(header(camera, 12, ended=True), b"")
    bench.producer.flush()
    bench.run()
    run(again)
    assert len(set(identities_of_tracks(bench.decisions()).values())) == 2
    decided = [d.track for d in bench.decisions() if d.kind is DecisionKind.NEW]
    assert len(decided) == len(set(decided)) == 2


def test_a_record_of_the_identity_log_that_cannot_be_read_is_counted_and_the_rest_rebuilds(
    bench: Bench,
) -> None:
    bench.producer.produce(TOPICS.identities, b"nonsense")
    walk_in_two_parts(bench)
    run(bench.new_gallery())
    again = bench.new_gallery()
    assert again._book.num_identities == 2
    assert bench.metrics.registry.get_sample_value("camweave_gallery_rejected_total") == 2.0
    again.close()
