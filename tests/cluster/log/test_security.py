import pickle
from pathlib import Path

import pytest

from cluster.cli.declaring import kafka_url
from cluster.config import site_from
from cluster.errors import BadConfig
from cluster.log.kafka.securing import read_password, security_options, tls_context
from cluster.log.open import open_log
from cluster.log.security import KafkaSecurity, split_kafka_url
from scripts.kafka_secrets import Authority

PASSWORD = "s3cret"


@pytest.fixture
def password_file(tmp_path: Path) -> Path:
    path = tmp_path / "password"
    path.write_text(f"{PASSWORD}\n")
    path.chmod(0o600)
    return path


@pytest.fixture
def security(password_file: Path) -> KafkaSecurity:
    return KafkaSecurity(security="sasl_tls", user="cam", password_file=str(password_file))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"user": "cam"}, "user would not be used with security 'plain': set `security: sasl_tls`"),
        ({"ca_file": "ca.pem"}, "ca_file would not be used with security 'plain': set `security: tls or sasl_tls`"),
        ({"security": "tls", "password_file": "p"}, "password_file would not be used with security 'tls'"),
        ({"security": "tls", "key_file": "k"}, "key_file is given without certificate_file"),
        ({"security": "sasl_tls"}, "needs a `user`.*CAMWEAVE_KAFKA_USER.*password_file"),
        ({"security": "sasl_tls", "user": "a,b"}, "SCRAM"),
        ({"security": "ssl"}, "'ssl'.*kafka.security"),
        ({"securty": "tls"}, "did you mean 'security'"),
        ({"password": "s3cret"}, "did you mean 'password_file'"),
    ],
)  # fmt: skip
def test_settings_that_make_no_sense_are_refused_with_what_would(
    settings: dict[str, str], words: str
) -> None:
    with pytest.raises(BadConfig, match=words):
        site_from({"kafka": settings}, {})


@pytest.mark.parametrize(
    "url",
    ["kafka://cam:s3cret@host:9092", "kafka://host:9092?security=sasl_tls&user=cam&password=s3cret",
     "kafka://host:9092?sasl_password=s3cret"],
)  # fmt: skip
def test_a_password_in_a_url_is_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(BadConfig, match=r"no place in a log's URL.*CAMWEAVE_KAFKA_PASSWORD") as raised:
        open_log(url)
    assert "s3cret" not in str(raised.value)


def test_an_unknown_setting_in_a_url_is_named_with_those_known() -> None:
    with pytest.raises(BadConfig, match=r"unknown setting 'verify'.*ca_file"):
        open_log("kafka://host:9092?verify=no")


def test_what_a_site_file_says_arrives_in_every_process_by_the_url_without_the_password(
    password_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    section = {"security": "sasl_tls", "ca_file": "ca & more.pem", "user": "cam", "password_file": "password"}
    site = site_from({"log": "kafka://one:9092,two:9092", "kafka": section}, {})
    log = pickle.loads(pickle.dumps(site)).log
    servers, security = split_kafka_url(log)
    assert servers == "one:9092,two:9092"
    assert security == KafkaSecurity(
        security="sasl_tls", ca_file=f"{tmp_path}/ca & more.pem", user="cam", password_file=str(password_file)
    )
    assert PASSWORD not in log + repr(site)


def test_the_environment_comes_before_the_site_file() -> None:
    section = {"security": "sasl_tls", "user": "cam", "ca_file": "/file.pem"}
    environment = {"CAMWEAVE_KAFKA_CA_FILE": "/environment.pem", "CAMWEAVE_KAFKA_PASSWORD": PASSWORD}
    site = site_from({"log": "kafka://host:9092", "kafka": section}, environment)
    assert split_kafka_url(site.log)[1].ca_file == "/environment.pem"
    assert split_kafka_url(site.log)[1].user == "cam"
    assert PASSWORD not in repr(site)


def test_the_kafka_of_the_command_line_is_reached_as_the_environment_says(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CAMWEAVE_KAFKA_SECURITY", "tls")
    monkeypatch.setenv("CAMWEAVE_KAFKA_CA_FILE", "/ca.pem")
    assert kafka_url("host:9092") == "kafka://host:9092?security=tls&ca_file=/ca.pem"


def test_an_embedded_log_is_left_as_it_is() -> None:
    assert site_from({}, {"CAMWEAVE_KAFKA_SECURITY": "tls"}).log == "sqlite:///runs/site.db"


def test_two_places_that_say_different_things_are_refused() -> None:
    with pytest.raises(BadConfig, match="differently: write it in one place"):
        site_from({"log": "kafka://h:1?security=tls", "kafka": {"security": "tls", "ca_file": "/ca.pem"}}, {})


def test_the_password_is_one_line_of_a_file_or_of_the_environment(security: KafkaSecurity) -> None:
    from_environment = KafkaSecurity(security="sasl_tls", user="cam")
    assert read_password(security, {}) == PASSWORD
    assert read_password(from_environment, {"CAMWEAVE_KAFKA_PASSWORD": "other"}) == "other"
    with pytest.raises(BadConfig, match="no password for user 'cam': set `password_file`, or CAMWEAVE_KAFKA_PASSWORD"):  # fmt: skip
        read_password(from_environment, {})


def test_the_password_does_not_show_where_options_are_logged(security: KafkaSecurity) -> None:
    options = security_options(security)
    assert options["sasl_plain_password"].encode() == PASSWORD.encode()
    assert PASSWORD not in f"{options} {options!r}" + "%s" % options  # noqa: UP031 (as kafka-python does)


@pytest.mark.parametrize(
    ("content", "mode", "words"),
    [
        (b"s3cret", 0o644, "open to others .mode 0644.: chmod 600"),
        (b"s3cret", 0o660, "open to others .mode 0660."),
        (b"", 0o600, "one line of UTF-8"),
        (b"s3cret\nsecond", 0o600, "one line of UTF-8"),
        (b"s3cret\xff", 0o600, "one line of UTF-8"),
        (b"s3cret" * 1000, 0o600, "larger than 4096 bytes"),
    ],
)  # fmt: skip
def test_a_bad_password_file_is_refused_without_showing_it(
    security: KafkaSecurity, password_file: Path, content: bytes, mode: int, words: str
) -> None:
    password_file.write_bytes(content)
    password_file.chmod(mode)
    with pytest.raises(BadConfig, match=words) as raised:
        security_options(security)
    assert str(password_file) in str(raised.value)
    assert PASSWORD not in str(raised.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadConfig, match=r"cannot read ca_file /nowhere/ca.pem \(No such file"):
        tls_context(KafkaSecurity(security="tls", ca_file="/nowhere/ca.pem"))


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("ca_file", b"hello", "ca_file .* holds no certificate"),
        ("ca_file", b"\xff", "ca_file .* holds no certificate"),
        ("key_file", b"-----BEGIN ENCRYPTED PRIVATE KEY-----", "is encrypted: decrypt it"),
        ("key_file", b"hello", "are not a certificate and its private key"),
        ("certificate_file", b"hello", "are not a certificate and its private key"),
    ],
)
def test_a_file_that_does_not_hold_what_it_should_is_named(
    name: str, content: bytes, words: str, tmp_path: Path
) -> None:
    certificate, key = Authority("authority").sign("camera")
    files = {"certificate_file": certificate, "key_file": key, name: content}
    for file, pem in files.items():
        (tmp_path / file).write_bytes(pem)
        (tmp_path / file).chmod(0o600)
    with pytest.raises(BadConfig, match=words):
        tls_context(KafkaSecurity(security="tls", **{file: str(tmp_path / file) for file in files}))
