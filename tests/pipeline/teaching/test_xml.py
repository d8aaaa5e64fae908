import pytest

from pipeline.errors import BadTask
from pipeline.teaching import xml
from pipeline.teaching.xml import parse_xml

BOMB = b"""<?xml version="1.0"?><!DOCTYPE lolz [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;">]><annotation>&b;</annotation>"""
FILE = b"""<!DOCTYPE a [<!ENTITY secret SYSTEM "file:///etc/passwd">]><annotation>&secret;</annotation>"""


@pytest.mark.parametrize("content", [BOMB, FILE, b"<!DOCTYPE annotation><annotation/>"])
def test_document_types_are_refused_before_anything_is_expanded(content: bytes) -> None:
    with pytest.raises(BadTask, match=r"a.xml declares a document type, which no annotation needs"):
        parse_xml(content, "a.xml")


def test_a_document_is_parsed_with_its_text_and_attributes() -> None:
    root = parse_xml("<a b='ü'><c>  text </c><c/>ä</a>".encode(), "a.xml")
    assert (root.tag, root.get("b"), root.findtext("c"), len(root)) == ("a", "ü", "  text ", 2)


@pytest.mark.parametrize("content", [b"", b"<a>", b"<a></b>", b"<a/><b/>", b"&amp;", b"\xff\xfe\x00", b"<a>&unknown;</a>",
                                     b"<?xml version='1.0' encoding='no-such'?><a/>"])  # fmt: skip
def test_what_is_not_well_formed_is_named(content: bytes) -> None:
    with pytest.raises(BadTask, match=r"a.xml is no XML that can be read"):
        parse_xml(content, "a.xml")


def test_depth_and_length_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BadTask, match="more than 32 levels"):
        parse_xml(b"<a>" * 100_000, "a.xml")
    monkeypatch.setattr(xml, "MAX_ELEMENTS", 100)
    with pytest.raises(BadTask, match="or 100 elements"):
        parse_xml(b"<a>" + b"<b/>" * 100 + b"</a>", "a.xml")
