"""Teaches a running site, on real parts: Ray actors, networks, log, and video; then goes back."""

import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from cluster.announcements import Announcements
from cluster.config import CameraConfig, SiteConfig
from cluster.demo.learning import lesson_cameras
from cluster.demo.lesson import CLASS, TAUGHT, Click
from cluster.gateway.virtual import VirtualSite, stream_virtual_site
from cluster.learner_building import build_learner
from cluster.learning_config import LearningConfig
from cluster.log.open import open_log
from cluster.metrics import Metrics
from cluster.model_list import roll_back
from cluster.site import Site
from cluster.teach import Outcome, Verdict
from cluster.teacher import Teacher
from cluster.topics import Topics
from models.detector import ImageHW3
from pipeline.records import FrameResult, TaskKind, TaskRecord, decode
from pipeline.teaching import Picture, make_task
from pipeline.teaching.pictures import shrink_array

pytestmark = pytest.mark.ray

NUM_FRAMES = 60
CAMERA = lesson_cameras(768, 576)[0]


def jacket_task(video: Path) -> TaskRecord:
    """The wearer of the jacket where an operator pointed, against what is 150 pixels beside."""
    capture = cv2.VideoCapture(str(video))
    wanted = {click.frame: click for click in TAUGHT[1:7]}
    pictures = []
    for frame in range(max(wanted) + 1):
        image = np.asarray(capture.read()[1], np.uint8)
        if frame in wanted:
            for label, shift in ((CLASS, 0), ("", -150)):
                crop = shrink_array(around(image, wanted[frame], shift))
                pictures.append(Picture(place=f"{frame} {shift}", jpeg=crop, label=label))
    capture.release()
    return make_task(TaskKind.CLASS, CLASS, pictures, taught_ns=time.time_ns())


def around(image: ImageHW3, click: Click, shift: int) -> ImageHW3:
    x = click.x + shift
    return image[click.y - 40 : click.y + 40, x - 15 : x + 15]


def stream(site: Site, video: Path) -> list[FrameResult]:
    """Stream the beginning of the video once more, and return its results."""
    before = sum(site.log.end_offsets(site.topics.tracks).values())
    virtual = VirtualSite(video=video, cameras=(CAMERA,), topic=site.topics.frames, num_frames=NUM_FRAMES)
    stream_virtual_site(virtual, lambda: open_log(site.config.log))
    site.wait_until_drained(60)
    return [decode(record.value, FrameResult) for record in site.log.read(site.topics.tracks)][before:]


def names(results: list[FrameResult]) -> set[str]:
    return {name for result in results for one in result.observations for name in one.taught}


def wait_for_serial(site: Site, serial: int) -> None:
    for _ in range(100):
        if site._sample("camweave_model_serial", {}) == serial:
            return
        time.sleep(0.1)
    pytest.fail(f"no process serves change {serial}")


def test_a_running_site_learns_a_class_within_a_minute_and_goes_back_with_one_command(
    video: Path, tmp_path: Path
) -> None:
    config = SiteConfig(
        log=f"sqlite:///{tmp_path}/log.db", cameras=(CameraConfig(id=CAMERA.camera),),
        learning=LearningConfig(store=str(tmp_path / "models")), metrics_port=-1,
    )  # fmt: skip
    with Site(config, give_up_after=1) as site:
        site.wait_until_ready()
        untaught = stream(site, video)
        with Teacher(config) as teacher:
            (outcome,) = teacher.teach([jacket_task(video)], wait_s=60, waiting=lambda _: site.tend())
        assert outcome.verdict is Verdict.PROMOTED, outcome.sentence()
        wait_for_serial(site, 1)
        taught = stream(site, video)
        roll_back(config, None)
        wait_for_serial(site, 2)
        back = stream(site, video)
    assert [len(results) for results in (untaught, taught, back)] == [NUM_FRAMES] * 3
    assert [names(results) for results in (untaught, taught, back)] == [set(), {CLASS}, set()]
    version = (
        Announcements(open_log(config.log), site.topics.models).catch_up().history[0].announcement.version
    )
    assert {result.model_version.endswith(f"+{version}") for result in taught} == {True}
    assert not any(version in result.model_version for result in (*untaught, *back))
    assert (tmp_path / "models" / "reports" / f"{version.replace('@', '-')}.png").stat().st_size > 10_000


def teach_here(config: SiteConfig, task: TaskRecord) -> Outcome:
    """Teach a site before it runs, with a learner in this process: none has to be started elsewhere."""
    open_log(config.log).create_topics(Topics.with_prefix().declare())
    learner = build_learner(config, Metrics(CollectorRegistry()))

    def learn(_: float) -> None:
        learner.step(0.1)

    with Teacher(config) as teacher:
        (outcome,) = teacher.teach([task], wait_s=60, waiting=learn)
    learner.close()
    return outcome


def test_perception_in_an_actor_of_its_own_begins_with_what_was_taught_and_follows_each_change(
    video: Path, tmp_path: Path
) -> None:
    config = SiteConfig(
        log=f"sqlite:///{tmp_path}/log.db", cameras=(CameraConfig(id=CAMERA.camera),), placement="split",
        learning=LearningConfig(store=str(tmp_path / "models")), metrics_port=-1,
    )  # fmt: skip
    outcome = teach_here(config, jacket_task(video))
    assert outcome.entry is not None, outcome.sentence()
    version = outcome.entry.announcement.version
    with Site(config, give_up_after=1) as site:
        site.wait_until_ready()
        wait_for_serial(site, 1)
        taught = stream(site, video)
        roll_back(config, None)
        wait_for_serial(site, 2)
        untaught = stream(site, video)
        roll_back(config, version)
        wait_for_serial(site, 3)
        again = stream(site, video)
    assert [len(results) for results in (taught, untaught, again)] == [NUM_FRAMES] * 3
    assert [names(results) for results in (taught, untaught, again)] == [{CLASS}, set(), {CLASS}]
    assert {result.model_version.endswith(f"+{version}") for result in (*taught, *again)} == {True}
    assert not any(version in result.model_version for result in untaught)
