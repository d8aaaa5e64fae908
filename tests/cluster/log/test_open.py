from pathlib import Path

import pytest

from cluster.errors import BadConfig, LogUnavailable
from cluster.log.kafka import connection
from cluster.log.open import open_log


@pytest.mark.parametrize(
    "url",
    ["", "frames.db", "kafka://", "kafka://host", "kafka://host:port", "kafka://host:0", "kafka://a:1,,b:2",
     "kafka://a:1/topic", "sqlite://frames.db", "sqlite:///", "sqlite:///runs/", "redis://localhost:6379"],
)  # fmt: skip
def test_a_url_of_no_known_form_is_refused_with_both_forms(url: str) -> None:
    with pytest.raises(BadConfig, match=r"kafka://HOST:PORT.*sqlite:///PATH"):
        open_log(url)


def test_a_relative_file_means_the_same_log_in_another_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert open_log("sqlite:///runs/log.db").url == f"sqlite:///{tmp_path}/runs/log.db"
    assert open_log(f"sqlite:///{tmp_path}/runs/log.db").url == f"sqlite:///{tmp_path}/runs/log.db"


def test_several_brokers_can_be_named() -> None:
    assert open_log("kafka://one:9092,[::1]:9093").url == "kafka://one:9092,[::1]:9093"


def test_building_a_log_connects_to_nothing(tmp_path: Path) -> None:
    open_log("kafka://unreachable.invalid:9092")
    open_log(f"sqlite:///{tmp_path}/log.db")
    assert list(tmp_path.iterdir()) == []


def test_kafka_without_fast_checksums_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(LogUnavailable, match=r"crc32c.*pip install"):
        open_log("kafka://localhost:9092")
