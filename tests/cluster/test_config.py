from pathlib import Path

import pytest

from cluster.config import SiteConfig, read_site, site_from
from cluster.errors import BadConfig


def test_defaults_make_a_whole_site() -> None:
    site = site_from({"cameras": [{"id": "door", "source": "door.mp4"}]}, {})
    assert site.camera("door").source is not None
    assert site.camera("door").gateway is not None
    assert site.detector == SiteConfig().detector


@pytest.mark.parametrize(
    ("tree", "words"),
    [
        ({"camera": []}, "did you mean 'cameras'"),
        ({"tracker": {"lost_sec": 3}}, "did you mean 'lost_s'"),
        ({"cameras": [{"id": "a", "sorce": "x"}]}, r"cameras\[0\].sorce.*did you mean 'source'"),
        ({"cameras": [{"id": "a", "gateway": {"jpeg_qualty": 3}}]}, "did you mean 'jpeg_quality'"),
        ({"placement": "fussed"}, "placement"),
        ({"num_shards": "many"}, "num_shards"),
        ({"num_shards": 0}, "at least 1"),
        ({"cameras": [{"id": "a"}, {"id": "a"}]}, "described twice"),
        ({"cameras": [{"id": "a b"}]}, "not allowed"),
        ({"cameras": [{"id": "a", "source": "rtsp://u:${PASSWORD}@h/p"}]}, "PASSWORD"),
        ({"tracker": {"high_score": 2.0}}, "high_score"),
        ({"cameras": [{"id": "a", "overload": {"policy": "newest"}}]}, "newest"),
        (
            {"cameras": [{"id": "a", "overload": {"max_lag": 2}}]},
            r"overload.max_lag.*did you mean 'max_lag_s'",
        ),
        ({"cameras": [{"id": "a", "overload": {"policy": "stride", "stride": 0}}]}, "overload.stride is 0"),
    ],
)
def test_a_mistake_is_named_with_its_place_and_remedy(tree: dict[str, object], words: str) -> None:
    with pytest.raises(BadConfig, match=words):
        site_from(tree, {})


def test_a_password_comes_from_the_environment() -> None:
    tree = {"cameras": [{"id": "a", "source": "rtsp://user:${SECRET}@host/path"}]}
    source = site_from(tree, {"SECRET": "s3cret"}).camera("a").source
    assert source is not None
    assert source.url == "rtsp://user:s3cret@host/path"
    assert "s3cret" not in repr(source)


def test_an_unknown_camera_is_answered_with_the_nearest() -> None:
    site = site_from({"cameras": [{"id": "entrance"}]}, {})
    with pytest.raises(BadConfig, match="did you mean 'entrance'"):
        site.camera("entrence")


@pytest.mark.parametrize(
    ("text", "words"), [("[1, 2]", "list"), ("a: [", "not YAML"), ("cameras: 3", "cameras")]
)
def test_a_file_that_is_no_site_is_refused_by_name(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "site.yaml"
    path.write_text(text)
    with pytest.raises(BadConfig, match=words) as caught:
        read_site(path, {})
    assert "site.yaml" in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadConfig, match=r"nowhere\.yaml"):
        read_site(tmp_path / "nowhere.yaml", {})
