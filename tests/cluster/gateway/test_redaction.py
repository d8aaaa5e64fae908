import pytest

from cluster.gateway import SourceConfig
from cluster.gateway.redaction import redact


@pytest.mark.parametrize(
    ("text", "safe"),
    [
        ("rtsp://user:secret@host/cam", "rtsp://***@host/cam"),
        ("rtsp://user:s@cr/et:x@host:554/cam", "rtsp://***@host:554/cam"),
        (
            "rtsp://host/cam?user=admin&password=secret&channel=1",
            "rtsp://host/cam?user=***&password=***&channel=1",
        ),
        (
            "'rtsp://u:secret@host/a' and 'rtsp://host/b?PWD=secret'",
            "'rtsp://***@host/a' and 'rtsp://host/b?PWD=***'",
        ),
        ("rtsp://host/cam", "rtsp://host/cam"),
        ("/videos/user:me@home.mp4", "/videos/user:me@home.mp4"),
    ],
)
def test_credentials_are_taken_out_of_text(text: str, safe: str) -> None:
    assert redact(text) == safe


def test_a_source_shows_no_password_when_it_is_printed() -> None:
    config = SourceConfig(url="rtsp://user:se cret@host/cam")
    assert "cret" not in repr(config) + str(config) + config.name
    assert config.name == "rtsp://***@host/cam"
