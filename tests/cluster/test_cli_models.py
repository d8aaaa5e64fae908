"""Lists, shows, rolls back and prunes versions through the command line, over a small site made here."""

import json
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from cluster.announcements import Announcements, Published, publish
from cluster.cli import build_parser, main
from cluster.config import read_site
from cluster.errors import BadConfig
from cluster.learning_config import LearningConfig
from cluster.log.sqlite import SqliteLog
from cluster.model_list import prune_versions, roll_back
from cluster.topics import Topics
from models.learned import VersionStore
from pipeline.records import TaskKind, TaskScore, VersionAction
from tests.models.learned.examples import BACKBONES, learned

Capture = pytest.CaptureFixture[str]
AT_NS = 1_763_830_000_000_000_000
SCORES = (
    TaskScore(
        kind=TaskKind.CLASS, name="courier", scores={"current": 0.5, "meta": 0.9, "prototypes": 0.75}, chosen="meta",
        num_queries=20, is_new=True,
    ),
    TaskScore(kind=TaskKind.CAMERA, name="c6", scores={"current": 0.7, "meta": 0.7}, chosen="meta", num_queries=8),
)  # fmt: skip


class Site:
    """Is a site of two served versions, one rejected and one that lost a race."""

    def __init__(self, folder: Path) -> None:
        self.config = folder / "site.yaml"
        self.config.write_text(
            f"log: sqlite:///{folder}/site.db\ntopic_prefix: east-\nlearning: {{store: {folder}/models}}\n"
        )
        self.log = SqliteLog(folder / "site.db")
        topics = Topics.with_prefix("east-")
        self.log.create_topics(topics.declare())
        self.store = VersionStore(folder / "models")
        self.announcements = Announcements(self.log, topics.models)

    def learn(self) -> dict[str, Published]:
        first = self.publish(1.0, VersionAction.PROMOTED)
        before = self.announcements.catch_up()
        second = self.publish(2.0, VersionAction.PROMOTED)
        refused = self.publish(3.0, VersionAction.REJECTED, reason="loses 3 points on camera c6")
        late = publish(
            self.announcements, self.store, learned(4.0, parent=before.current), before.promotion(at_ns=AT_NS)
        )
        return {"first": first, "second": second, "refused": refused, "late": late}

    def publish(self, value: float, action: VersionAction, reason: str = "") -> Published:
        lineage = self.announcements.catch_up()
        draft = msgspec.structs.replace(
            lineage.promotion(at_ns=AT_NS, reason=reason), action=action, scores=SCORES
        )
        return publish(self.announcements, self.store, learned(value, parent=lineage.current), draft)

    def run(self, capsys: Capture, *arguments: str) -> dict[str, Any]:
        assert main(["models", *arguments, "--config", str(self.config), "--json"]) == 0
        result: dict[str, Any] = json.loads(capsys.readouterr().out)
        return result

    def fail(self, capsys: Capture, *arguments: str) -> str:
        assert main(["models", *arguments, "--config", str(self.config)]) == 1
        return capsys.readouterr().err


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


@pytest.fixture
def names(site: Site) -> dict[str, str]:
    return {key: published.stored.name for key, published in site.learn().items()}


@pytest.mark.parametrize("command", ["models list", "models show", "models rollback", "models prune"])
def test_each_command_s_help_shows_it_in_use_and_it_takes_json(capsys: Capture, command: str) -> None:
    with pytest.raises(SystemExit):
        main([*command.split(), "--help"])
    examples = capsys.readouterr().out.partition("examples:")[2]
    assert f"camweave {command} " in examples
    for line in examples.strip().splitlines():
        words = line.strip().split("  ")[0].removeprefix("camweave ").split()
        assert build_parser().parse_args([*words, "--json"]).json is True


def test_the_list_shows_what_is_served_what_was_and_what_never_was(
    capsys: Capture, site: Site, names: dict[str, str]
) -> None:
    listed = site.run(capsys, "list")
    assert (listed["served"], listed["serial"]) == (names["second"], 2)
    assert listed["can_roll_back_to"] == [names["first"], "none"]
    rows = {row["version"]: row for row in listed["announcements"]}
    assert [rows[names[key]]["standing"] for key in ("first", "second", "refused", "late")] == [
        "promoted", "served", "rejected", "void"
    ]  # fmt: skip
    assert rows[names["second"]]["parent"] == names["first"]
    assert rows[names["second"]]["announced"] == "2025-11-22 16:46:40Z"
    assert (rows[names["second"]]["before"], rows[names["second"]]["after"]) == pytest.approx((0.6, 0.8))
    assert rows[names["refused"]]["reason"] == "loses 3 points on camera c6"
    assert rows[names["second"]]["scores"]["class courier"]["scores"]["prototypes"] == 0.75


def test_the_list_for_people_says_the_same_in_lines_that_fit_a_terminal(
    capsys: Capture, site: Site, names: dict[str, str]
) -> None:
    assert main(["models", "list", "--config", str(site.config)]) == 0
    printed = capsys.readouterr().out
    assert f"   2  2025-11-22 16:46:40Z  {names['second']:<20}  served       0.600 -> 0.800\n" in printed
    assert "      1 task, new: class courier\n" in printed
    assert "      loses 3 points on camera c6\n" in printed
    assert f"{names['late']:<20}  void\n" in printed
    assert "      it was decided while" in printed
    assert printed.endswith(f"served: {names['second']} (change 2)\n")


def test_before_anything_was_learned_the_list_is_empty(capsys: Capture, site: Site) -> None:
    listed = site.run(capsys, "list")
    assert (listed["served"], listed["announcements"], listed["can_roll_back_to"]) == ("none", [], [])
    assert main(["models", "list", "--config", str(site.config)]) == 0
    assert "served: none (change 0)" in capsys.readouterr().out


def test_a_version_is_shown_with_its_tasks_scores_and_file(
    capsys: Capture, site: Site, names: dict[str, str]
) -> None:
    shown = site.run(capsys, "show", "current")
    assert (shown["version"], shown["served"], shown["parent"]) == (names["second"], True, names["first"])
    assert (shown["file"], shown["embedder"]) == ("intact", BACKBONES.embedder)
    assert "detection/fork/lift" in shown["holds"]
    assert shown["tasks"] == ["class courier 0a1b"]
    assert shown["scores"]["class courier"] == {
        "num_queries": 20, "is_new": True, "chosen": "meta",
        "scores": {"current": 0.5, "meta": 0.9, "prototypes": 0.75},
    }  # fmt: skip
    assert main(["models", "show", names["first"], "--config", str(site.config)]) == 0
    printed = capsys.readouterr().out
    assert "camera c6" in printed
    assert "prototypes" in printed


@pytest.mark.parametrize("form", ["{}", "{:.14}"])
def test_a_version_goes_by_its_name_or_its_beginning_with_or_without_the_prefix(
    capsys: Capture, site: Site, names: dict[str, str], form: str
) -> None:
    for wanted in (form.format(names["first"]), form.format(names["first"]).removeprefix("learned@")):
        assert site.run(capsys, "show", wanted)["version"] == names["first"]


def test_a_rejected_version_is_shown_too_though_it_has_no_file(
    capsys: Capture, site: Site, names: dict[str, str]
) -> None:
    shown = site.run(capsys, "show", names["refused"])
    assert (shown["served"], shown["reason"]) == (False, "loses 3 points on camera c6")
    assert shown["file"].startswith("cannot be served: version")
    assert shown["announcements"] == ["rejected loses 3 points on camera c6"]


def test_an_unknown_version_or_an_ambiguous_beginning_names_those_there_are(
    capsys: Capture, site: Site, names: dict[str, str]
) -> None:
    assert names["first"] in site.fail(capsys, "show", "zzzz")
    assert names["first"] in site.fail(capsys, "rollback", "zzzz")
    ambiguous = site.fail(capsys, "show", "learned@")
    assert "is the beginning of" in ambiguous
    assert all(name in ambiguous for name in names.values())
    assert "unknown version ''" in site.fail(capsys, "show", "")


def test_one_command_goes_one_step_back_and_says_what_will_be_served(
    capsys: Capture, site: Site, names: dict[str, str]
) -> None:
    told = site.run(capsys, "rollback", "--reason", "false alarms")
    assert (told["serves"], told["instead_of"], told["serial"]) == (names["first"], names["second"], 3)
    lineage = site.announcements.catch_up()
    assert (lineage.current, lineage.history[-1].announcement.reason) == (names["first"], "false alarms")
    assert site.run(capsys, "rollback")["serves"] == "none"
    assert site.announcements.catch_up().current == ""
    assert "nothing to step back from" in site.fail(capsys, "rollback")
    assert site.run(capsys, "rollback", names["second"])["serves"] == names["second"]
    assert site.run(capsys, "rollback", "none")["serves"] == "none"
    assert [row["standing"] for row in site.run(capsys, "list")["announcements"]][-2:] == [
        "rolled_back",
        "served",
    ]


@pytest.mark.parametrize(
    ("which", "words"), [("second", "served already"), ("refused", "never served"), ("late", "never")]
)
def test_what_was_never_served_or_is_served_already_cannot_be_gone_back_to(
    capsys: Capture, site: Site, names: dict[str, str], which: str, words: str
) -> None:
    assert words in site.fail(capsys, "rollback", names[which])
    assert site.announcements.catch_up().current == names["second"]


@pytest.mark.parametrize("damage", ["missing", "torn"])
def test_nothing_is_rolled_back_to_a_version_whose_file_cannot_be_served(
    capsys: Capture, site: Site, names: dict[str, str], damage: str
) -> None:
    promoted = site.announcements.catch_up().promotion_of(names["first"])
    assert promoted is not None
    path = site.store.folder / f"{promoted.sha256}.safetensors"
    path.unlink() if damage == "missing" else path.write_bytes(path.read_bytes()[:50])
    assert names["first"] in site.fail(capsys, "rollback")
    assert site.announcements.catch_up().current == names["second"]
    assert "cannot be served" in site.run(capsys, "show", names["first"])["file"]


def test_a_rollback_that_comes_second_says_so(
    capsys: Capture, site: Site, names: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    announce = Announcements.announce

    def somebody_is_faster(self: Announcements, announcement: Any) -> Any:
        monkeypatch.setattr(Announcements, "announce", announce)
        site.publish(5.0, VersionAction.PROMOTED)
        return announce(self, announcement)

    monkeypatch.setattr(Announcements, "announce", somebody_is_faster)
    message = site.fail(capsys, "rollback")
    assert "nothing was rolled back" in message
    assert "somebody else was first" in message
    assert site.announcements.catch_up().serial == 3


def test_a_site_without_the_topic_is_an_error_with_a_remedy(capsys: Capture, tmp_path: Path) -> None:
    config = tmp_path / "site.yaml"
    config.write_text(f"log: sqlite:///{tmp_path}/new.db\n")
    assert main(["models", "list", "--config", str(config), "--json"]) == 1
    printed = capsys.readouterr()
    assert json.loads(printed.out)["error"] == "BadInput"
    assert "check the prefix" in printed.err


def test_a_site_file_says_where_versions_are_kept(tmp_path: Path) -> None:
    config = tmp_path / "site.yaml"
    config.write_text("learning: {store: /srv/models, enabled: false}\n")
    assert read_site(config).learning == LearningConfig(store="/srv/models", enabled=False)
    config.write_text("learning: {stroe: /srv/models}\n")
    with pytest.raises(BadConfig, match="did you mean 'store'"):
        read_site(config)
    config.write_text("learning: {store: ''}\n")
    with pytest.raises(BadConfig, match=r"learning\.store is empty"):
        read_site(config)


def age(site: Site, *published: Published, hours: float = 2.0) -> None:
    """Make files as old as if they had been written so long ago."""
    then_s = time.time() - 3600 * hours
    for one in published:
        os.utime(file_of(site, one), (then_s, then_s))


def file_of(site: Site, published: Published) -> Path:
    return site.store.folder / f"{published.stored.sha256}.safetensors"


@pytest.fixture
def served(site: Site) -> list[Published]:
    """Five versions, served one after the other, all old."""
    published = [site.publish(float(value), VersionAction.PROMOTED) for value in range(5)]
    age(site, *published)
    return published


def names_of(published: Sequence[Published]) -> list[str]:
    return sorted(one.stored.name for one in published)


def test_pruning_keeps_what_is_served_and_what_can_be_gone_back_to(
    capsys: Capture, site: Site, served: list[Published]
) -> None:
    num_bytes = sum(one.stored.num_bytes for one in served[:2])
    told = site.run(capsys, "prune", "--keep", "2")
    assert sorted(told["removed"]) == names_of(served[:2])
    assert (told["num_bytes"], told["kept"], told["served"]) == (num_bytes, 3, served[4].stored.name)
    assert site.store.names() == names_of(served[2:])
    assert site.run(capsys, "prune", "--keep", "2")["removed"] == []
    assert site.run(capsys, "rollback", served[2].stored.name)["serves"] == served[2].stored.name


def test_a_dry_run_tells_the_same_and_removes_nothing(
    capsys: Capture, site: Site, served: list[Published]
) -> None:
    told = site.run(capsys, "prune", "--keep", "2", "--dry-run")
    assert site.store.names() == names_of(served)
    assert told == site.run(capsys, "prune", "--keep", "2") | {"is_dry_run": True}


def test_pruning_tells_people_what_it_removed(capsys: Capture, site: Site, served: list[Published]) -> None:
    assert main(["models", "prune", "--keep", "3", "--config", str(site.config)]) == 0
    size = served[0].stored.num_bytes
    assert capsys.readouterr().out == (
        f"{served[0].stored.name}\n1 version removed, {size:,} bytes; 4 kept\nserved: {served[4].stored.name}\n"
    )


def test_a_rollback_to_a_pruned_version_says_that_its_file_was_pruned_and_changes_nothing(
    capsys: Capture, site: Site, served: list[Published]
) -> None:
    site.run(capsys, "prune", "--keep", "2")
    gone = served[0].stored.name
    message = site.fail(capsys, "rollback", gone)
    assert "its file was pruned" in message
    assert f"version {gone}" in message
    assert site.announcements.catch_up().current == served[4].stored.name
    assert "was pruned" in site.run(capsys, "show", gone)["file"]
    listed = site.run(capsys, "list")
    assert listed["can_roll_back_to"] == [*(one.stored.name for one in (served[3], served[2])), "none"]
    assert len(listed["announcements"]) == 5


def test_by_default_twenty_can_be_gone_back_to(capsys: Capture, site: Site, served: list[Published]) -> None:
    published = [*served, *(site.publish(float(value), VersionAction.PROMOTED) for value in range(5, 23))]
    age(site, *published)
    assert sorted(site.run(capsys, "prune")["removed"]) == names_of(published[:2])


def test_after_a_rollback_far_back_the_version_before_it_is_kept_too(
    capsys: Capture, site: Site, served: list[Published]
) -> None:
    site.run(capsys, "rollback", served[1].stored.name)
    age(site, *served)
    assert site.run(capsys, "prune", "--keep", "0")["served"] == served[1].stored.name
    assert site.store.names() == names_of(served[:2])
    assert site.run(capsys, "rollback")["serves"] == served[0].stored.name


def test_young_files_and_those_of_other_sites_stay(
    capsys: Capture, site: Site, served: list[Published]
) -> None:
    age(site, served[0], hours=0.9)
    foreign = site.store.put(learned(99.0))
    os.utime(site.store.folder / f"{foreign.sha256}.safetensors", (0, 0))
    told = site.run(capsys, "prune", "--keep", "0")
    assert (sorted(told["removed"]), told["of_others"]) == (names_of(served[1:3]), 1)
    assert {foreign.name, served[0].stored.name} <= set(site.store.names())


def test_what_was_announced_too_late_is_pruned_though_nobody_ever_served_it(
    capsys: Capture, site: Site, names: dict[str, str]
) -> None:
    for path in site.store.folder.glob("*.safetensors"):
        os.utime(path, (0, 0))
    assert site.run(capsys, "prune")["removed"] == [names["late"]]


def test_who_goes_back_while_somebody_prunes_finds_the_file(
    site: Site, served: list[Published], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = VersionStore.prunable

    def somebody_goes_back(self: VersionStore, keep: Any) -> Any:
        files = found(self, keep)
        roll_back(read_site(site.config), served[0].stored.name)
        return files

    monkeypatch.setattr(VersionStore, "prunable", somebody_goes_back)
    told = prune_versions(read_site(site.config), 0, dry_run=False)
    assert sorted(told["removed"]) == names_of(served[1:3])
    assert site.announcements.catch_up().current == served[0].stored.name
    assert file_of(site, served[0]).exists()


def test_keeping_fewer_than_none_is_refused(capsys: Capture, site: Site, served: list[Published]) -> None:
    assert "--keep is -1, expected 0 or more" in site.fail(capsys, "prune", "--keep", "-1")
    assert site.store.names() == names_of(served)
