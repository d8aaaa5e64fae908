from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from cluster.progress import CountProgress, DemoProgress, Show, Standing, choose_show, print_report

REPORT = {
    "cameras": 4, "frames_produced": 3180, "frames_processed": 3178, "frames_lost": 2, "dead_letters": 0,
    "detections": 8123, "tracks": 81, "identities": 22, "cross_camera_identities": 17, "fps": 41.24,
    "bare_detector_fps": 50.1, "pipeline_efficiency": 0.823, "latency_s": {"p50": 0.21, "p99": 0.9},
    "stage_seconds": {"decode": 3.2, "detect": 60.1}, "detector": "nanodet@1f0c2a7b9d3e",
    "embedder": "osnet@77c1d3a9e0b4",
    "detection": {"ap50": 0.904}, "tracking": {"hota": 0.61, "idf1": 0.82, "mota": 0.73}, "site": {"idf1": 0.811},
}  # fmt: skip


class Clock:
    def __init__(self):
        self.now_s = 0.0

    def __call__(self):
        return self.now_s


def console(terminal=False):
    return Console(file=StringIO(), force_terminal=terminal, width=120)


def text_of(screen):
    return screen.file.getvalue()


def test_progress_is_live_on_a_terminal_plain_without_one_and_silent_beside_json():
    assert choose_show(console(terminal=True), as_json=False) is Show.LIVE
    assert choose_show(console(), as_json=False) is Show.PLAIN
    assert choose_show(console(terminal=True), as_json=True) is Show.SILENT


def test_progress_goes_to_stderr(capsys):
    with DemoProgress({"gate": 10}, show=Show.PLAIN) as progress:
        progress.stage("starting")
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "starting\n")


def test_silent_progress_prints_nothing(capsys):
    with DemoProgress({"gate": 10}, show=Show.SILENT) as progress:
        progress.stage("starting")
        progress.update(Standing(produced={"gate": 5}, processed={"gate": 3}))
        progress.rendering(1, 2)
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "")


def test_plain_progress_prints_a_line_now_and_then_with_rate_lag_and_identities():
    clock, screen = Clock(), console()
    with DemoProgress({"gate": 500}, show=Show.PLAIN, console=screen, clock=clock) as progress:
        for second in range(21):
            clock.now_s = float(second)
            progress.update(
                Standing(
                    produced={"gate": second * 20 + 7}, processed={"gate": second * 20}, num_identities=3
                )
            )
    lines = text_of(screen).splitlines()
    assert lines == [
        "200 frames processed, 20.0 frames/s, lag 7, 3 identities",
        "400 frames processed, 20.0 frames/s, lag 7, 3 identities",
    ]


def test_a_count_that_begins_anew_does_not_give_a_negative_rate():
    clock, screen = Clock(), console()
    progress = DemoProgress({"gate": 4000}, show=Show.PLAIN, console=screen, clock=clock)
    for second, num_processed in enumerate((*range(0, 400, 20), *range(0, 200, 10))):
        clock.now_s = second
        progress.update(Standing(produced={"gate": num_processed}, processed={"gate": num_processed}))
    assert "-" not in text_of(screen)
    assert progress.summary().startswith("190 frames processed, 10.0 frames/s")


def test_live_progress_shows_a_bar_for_each_camera_and_for_the_mosaic():
    screen = console(terminal=True)
    with DemoProgress({"gate": 500, "lobby": None}, show=Show.LIVE, console=screen) as progress:
        progress.update(Standing(produced={"gate": 120, "lobby": 30}, processed={"gate": 100, "lobby": 30}))
        progress.rendering(7, 9)
    shown = text_of(screen)
    assert "gate" in shown
    assert "20 waiting" in shown
    assert "100/500" in shown
    assert "30/?" in shown
    assert "7/9" in shown


def test_a_count_is_a_bar_on_a_terminal():
    screen = console(terminal=True)
    with CountProgress("embedding crops", show=Show.LIVE, console=screen) as progress:
        progress.update(64, 200, "loss 1.5")
    shown = text_of(screen)
    for words in ("embedding crops", "64/200", "loss 1.5"):
        assert words in shown


def test_a_count_is_a_line_now_and_then_without_a_terminal_and_one_at_the_end():
    clock, screen = Clock(), console()
    with CountProgress("embedding crops", show=Show.PLAIN, console=screen, clock=clock) as progress:
        for second in range(13):
            clock.now_s = float(second)
            progress.update(second, 12)
    lines = text_of(screen).splitlines()
    assert lines == [f"embedding crops: {done} of 12" for done in (0, 10, 12)]


def test_a_count_beside_json_prints_nothing(capsys):
    with CountProgress("embedding crops", show=Show.SILENT) as progress:
        progress.update(12, 12)
    assert capsys.readouterr() == ("", "")


def test_the_report_shows_every_number_and_where_the_pictures_are():
    screen = console()
    print_report(REPORT, screen, {"mosaic": Path("runs/demo/mosaic.mp4")})
    shown = text_of(screen)
    for words in ("3,180", "8,123", "41.2", "50.1", "0.82", "0.210 s", "0.904", "0.610", "0.811", "60.10",
                  "nanodet@1f0c2a7b9d3e", "osnet@77c1d3a9e0b4", "runs/demo/mosaic.mp4"):  # fmt: skip
        assert words in shown


def test_lost_frames_stand_out():
    screen = console(terminal=True)
    print_report(REPORT, screen)
    row = next(line for line in text_of(screen).splitlines() if "frames lost" in line)
    assert "\x1b[1;31m" in row


@pytest.mark.parametrize(
    "without", [["detection", "tracking", "site"], ["latency_s", "stage_seconds"], list(REPORT)]
)
def test_what_a_report_lacks_is_not_shown(without):
    screen = console()
    print_report({name: value for name, value in REPORT.items() if name not in without}, screen)
    shown = text_of(screen)
    assert "None" not in shown
    assert ("detection AP50" in shown) == ("detection" not in without)
