"""Reads the same pictures with the same boxes from each of the formats."""

import json
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.errors import BadTask
from pipeline.records import TaskKind
from pipeline.teaching import Picture, make_task, read_coco, read_cvat, read_voc
from pipeline.teaching.pictures import PICTURE_SIDE
from tests.pipeline.teaching.examples import size_of, write

SIZE = (60, 40)
OBJECTS = {
    "a": [("raccoon", (2, 3, 20, 30)), ("dog", (30, 5, 50, 35)), ("raccoon", (21, 4, 40, 33))],
    "b": [("raccoon", (0, 0, 60, 40))],
    "c": [("dog", (10, 10, 20, 20))],
    "d": [("raccoon", (5, 6, 15, 16))],
    "e": [],
}
"""Labels and boxes by picture; pixels counted from 0."""
Objects = dict[str, list[tuple[str, tuple[float, ...]]]]
Write = Callable[..., Path]


def voc_document(
    name: str, objects: list[tuple[str, tuple[float, ...]]], size: tuple[int, int] = SIZE
) -> str:
    things = "".join(
        f"<object><name>{label}</name><difficult>0</difficult><bndbox><xmin>{x0 + 1}</xmin><ymin>{y0 + 1}</ymin>"
        f"<xmax>{x1}</xmax><ymax>{y1}</ymax></bndbox></object>"
        for label, (x0, y0, x1, y1) in objects
    )
    return (
        f"<annotation><folder>images</folder><filename>{name}.jpg</filename>"
        f"<size><width>{size[0]}</width><height>{size[1]}</height><depth>3</depth></size>{things}</annotation>"
    )


def write_voc(root: Path, objects: Objects = OBJECTS, size: tuple[int, int] = SIZE) -> Path:
    (root / "annotations").mkdir()
    for name, things in objects.items():
        (root / "annotations" / f"{name}.xml").write_text(voc_document(name, things, size))
    return root


def coco_document(objects: Objects, size: tuple[int, int] = SIZE) -> dict[str, list[dict[str, object]]]:
    categories = {"raccoon": 7, "dog": 3}
    boxes = [
        {"id": 1, "image_id": image_id, "category_id": categories[label], "bbox": [x0, y0, x1 - x0, y1 - y0]}
        for image_id, things in enumerate(objects.values())
        for label, (x0, y0, x1, y1) in things
    ]
    return {
        "images": [
            {"id": image_id, "file_name": f"{name}.jpg", "width": size[0], "height": size[1]}
            for image_id, name in enumerate(objects)
        ],
        "annotations": [{**box, "iscrowd": 0} for box in boxes],
        "categories": [{"id": number, "name": name} for name, number in categories.items()],
    }


def write_coco(root: Path, objects: Objects = OBJECTS, size: tuple[int, int] = SIZE) -> Path:
    (root / "annotations").mkdir()
    (root / "annotations" / "instances.json").write_text(json.dumps(coco_document(objects, size)))
    return root


def cvat_document(objects: Objects, size: tuple[int, int] = SIZE, **more: str) -> str:
    extra = "".join(f' {name}="{value}"' for name, value in more.items())
    images = "".join(
        f'<image id="{number}" name="images/{name}.jpg" width="{size[0]}" height="{size[1]}"{extra}>'
        + "".join(
            f'<box label="{label}" source="manual" occluded="0" xtl="{x0}.00" ytl="{y0}.00" xbr="{x1}.00" '
            f'ybr="{y1}.00" z_order="0"><attribute name="sex">unknown</attribute></box>'
            for label, (x0, y0, x1, y1) in things
        )
        + "</image>"
        for number, (name, things) in enumerate(objects.items())
    )
    return (
        '<?xml version="1.0" encoding="utf-8"?>\n<annotations><version>1.1</version><meta><task><name>zoo</name>'
        f"</task></meta>{images}</annotations>"
    )


def write_cvat(root: Path, objects: Objects = OBJECTS, size: tuple[int, int] = SIZE) -> Path:
    (root / "annotations.xml").write_text(cvat_document(objects, size))
    return root


FORMATS = [
    pytest.param(write_voc, read_voc, id="voc"),
    pytest.param(write_coco, read_coco, id="coco"),
    pytest.param(write_cvat, read_cvat, id="cvat"),
]
Read = Callable[..., list[Picture]]


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """The folder that holds `images`; annotations are written beside them."""
    for seed, name in enumerate(OBJECTS):
        write(tmp_path / "zoo" / "images" / f"{name}.jpg", seed, *SIZE)
    return tmp_path / "zoo"


def zipped(folder: Path) -> Path:
    with zipfile.ZipFile(folder.with_suffix(".zip"), "w") as archive:
        for path in sorted(folder.rglob("*")):
            archive.write(path, path.relative_to(folder))
    return folder.with_suffix(".zip")


def boxes_of(found: list[Picture]) -> dict[str, tuple[tuple[float, ...], ...]]:
    return {Path(one.place.split()[0]).stem: one.boxes for one in found}


@pytest.mark.parametrize(("write_format", "read"), FORMATS)
@pytest.mark.parametrize("form", ["folder", "zip"])
def test_every_format_gives_the_pictures_with_the_boxes_of_the_class(
    pictures: Path, write_format: Write, read: Read, form: str
) -> None:
    path = write_format(pictures)
    found = read(path if form == "folder" else zipped(path), "raccoon")
    assert boxes_of(found) == {
        "a": ((2, 3, 20, 30), (21, 4, 40, 33)), "b": ((0, 0, 60, 40),), "c": (), "d": ((5, 6, 15, 16),), "e": (),
    }  # fmt: skip
    task = make_task(TaskKind.DETECTION, "raccoon", found, taught_ns=1)
    assert Counter(bool(one.boxes) for one in task.examples if one.query) == {True: 1, False: 1}


@pytest.mark.parametrize(("write_format", "read"), FORMATS)
def test_boxes_shrink_with_their_picture(tmp_path: Path, write_format: Write, read: Read) -> None:
    write(tmp_path / "images" / "big.jpg", 1, 2 * PICTURE_SIDE, 100)
    write_format(tmp_path, {"big": [("raccoon", (10, 20, 600, 80))]}, (2 * PICTURE_SIDE, 100))
    (found,) = read(tmp_path, "raccoon")
    assert size_of(found.jpeg) == (PICTURE_SIDE, 50)
    assert found.boxes == (pytest.approx((5, 10, 300, 40)),)


@pytest.mark.parametrize(("write_format", "read"), FORMATS)
def test_a_class_that_no_box_has_is_named_with_the_nearest(
    pictures: Path, write_format: Write, read: Read
) -> None:
    with pytest.raises(BadTask, match=r"is of 'racoon'; did you mean 'raccoon'\?.*--label"):
        read(write_format(pictures), "racoon")


@pytest.mark.parametrize(("write_format", "read"), FORMATS)
def test_a_box_outside_its_picture_is_refused_by_the_picture_s_name(
    pictures: Path, write_format: Write, read: Read
) -> None:
    path = write_format(pictures, {**OBJECTS, "c": [("raccoon", (10, 10, 90, 20))]})
    with pytest.raises(BadTask, match=r"images/c\.jpg in .* has a box .* no box inside its 60 x 40 pixels"):
        read(path, "raccoon")


@pytest.mark.parametrize(("write_format", "read"), FORMATS)
def test_a_picture_that_is_not_the_one_that_was_annotated_is_refused(
    pictures: Path, write_format: Write, read: Read
) -> None:
    write(pictures / "images" / "d.jpg", 3, 30, 20)
    with pytest.raises(
        BadTask, match=r"images/d\.jpg in .* has 30 x 20 pixels, its annotations are for 60 x 40"
    ):
        read(write_format(pictures), "raccoon")


@pytest.mark.parametrize(("write_format", "read"), FORMATS)
def test_a_missing_picture_is_named(pictures: Path, write_format: Write, read: Read) -> None:
    (pictures / "images" / "d.jpg").unlink()
    with pytest.raises(
        BadTask, match=r"speaks of a picture '(images/)?d\.jpg', and .* does not hold it; .*--images"
    ):
        read(write_format(pictures), "raccoon")


@pytest.mark.parametrize(("write_format", "read"), FORMATS)
def test_pictures_may_lie_elsewhere(pictures: Path, tmp_path: Path, write_format: Write, read: Read) -> None:
    (pictures / "images").rename(tmp_path / "elsewhere")
    assert len(read(write_format(pictures), "raccoon", tmp_path / "elsewhere")) == len(OBJECTS)


@pytest.mark.parametrize(("write_format", "read"), FORMATS)
def test_without_a_size_in_the_annotations_the_picture_s_own_counts(
    pictures: Path, write_format: Write, read: Read
) -> None:
    assert len(read(write_format(pictures, OBJECTS, (0, 0)), "raccoon")) == len(OBJECTS)


@pytest.mark.parametrize(("write_format", "read"), FORMATS)
@pytest.mark.parametrize("content", ["", "hello", "{}", "[]", "<a/>", "<annotation>", '{"images": 3}'])
def test_a_file_that_is_no_annotation_is_named(
    pictures: Path, write_format: Write, read: Read, content: str
) -> None:
    path = write_format(pictures)
    document = next(one for one in sorted(path.rglob("*")) if one.suffix in (".xml", ".json"))
    document.write_text(content)
    with pytest.raises(BadTask, match=f"{document.name}"):
        read(path, "raccoon")


@pytest.mark.parametrize(("write_format", "read"), FORMATS)
def test_a_folder_without_annotations_is_named(pictures: Path, write_format: Write, read: Read) -> None:
    with pytest.raises(BadTask, match=r"zoo holds no annotations, expected files that end in \.(xml|json)"):
        read(pictures, "raccoon")


@pytest.mark.parametrize(("write_format", "read"), FORMATS)
def test_too_many_pictures_are_refused_before_any_is_decoded(
    tmp_path: Path, write_format: Write, read: Read
) -> None:
    many = {f"p{number}": [("raccoon", (1, 1, 9, 9))] for number in range(201)}
    (tmp_path / "images").mkdir()
    for name in many:
        (tmp_path / "images" / f"{name}.jpg").write_bytes(b"no picture")
    with pytest.raises(BadTask, match="201 examples are more than the 200"):
        read(write_format(tmp_path, many), "raccoon")


@pytest.mark.parametrize(
    ("write_format", "read", "document"),
    [
        (write_voc, read_voc, "annotations/a.xml"),
        (write_coco, read_coco, "annotations/instances.json"),
        (write_cvat, read_cvat, "annotations.xml"),
    ],
)
def test_a_single_file_of_annotations_finds_its_pictures(
    pictures: Path, write_format: Write, read: Read, document: str
) -> None:
    found = read(write_format(pictures) / document, "raccoon")
    assert boxes_of(found)["a"] == ((2, 3, 20, 30), (21, 4, 40, 33))


def test_voc_files_renamed_with_their_pictures_find_them_all_the_same(pictures: Path) -> None:
    path = write_voc(pictures)
    (path / "annotations" / "d.xml").rename(path / "annotations" / "z.xml")
    (path / "images" / "d.jpg").rename(path / "images" / "z.jpg")
    assert boxes_of(read_voc(path, "raccoon"))["z"] == ((5, 6, 15, 16),)


def test_voc_pictures_in_a_folder_val_are_held_out(pictures: Path) -> None:
    path = write_voc(pictures)
    (path / "val").mkdir()
    (path / "annotations" / "b.xml").rename(path / "val" / "b.xml")
    assert [Path(one.place.split()[0]).stem for one in read_voc(path, "raccoon") if one.query] == ["b"]


def test_coco_pictures_of_a_file_called_val_are_held_out(pictures: Path) -> None:
    (pictures / "annotations").mkdir()
    for split, names in (("train", "ace"), ("val", "bd")):
        document = coco_document({name: OBJECTS[name] for name in names})
        (pictures / "annotations" / f"instances_{split}2017.json").write_text(json.dumps(document))
    held_out = [Path(one.place.split()[0]).stem for one in read_coco(pictures, "raccoon") if one.query]
    assert held_out == ["b", "d"]


def test_coco_crowds_are_left_out_and_strangers_are_refused(pictures: Path) -> None:
    path = write_coco(pictures)
    document = coco_document(OBJECTS)
    document["annotations"][0]["iscrowd"] = 1
    (path / "annotations" / "instances.json").write_text(json.dumps(document))
    assert boxes_of(read_coco(path, "raccoon"))["a"] == ((21, 4, 40, 33),)
    document["annotations"][0]["image_id"] = 99
    (path / "annotations" / "instances.json").write_text(json.dumps(document))
    with pytest.raises(BadTask, match="an annotation of image 99 and category 7, which it does not list"):
        read_coco(path, "raccoon")


def test_cvat_pictures_of_a_subset_for_validation_are_held_out(pictures: Path) -> None:
    (pictures / "annotations.xml").write_text(cvat_document(OBJECTS, subset="Validation"))
    assert all(one.query for one in read_cvat(pictures, "raccoon"))
    (pictures / "annotations.xml").write_text(cvat_document(OBJECTS, subset="Train"))
    assert not any(one.query for one in read_cvat(pictures, "raccoon"))


def test_a_cvat_box_that_is_turned_is_widened_to_the_upright_box_around_it(pictures: Path) -> None:
    document = cvat_document({"a": [("raccoon", (20, 10, 40, 20))]}).replace(
        "z_order", 'rotation="90.0" z_order'
    )
    (pictures / "annotations.xml").write_text(document)
    assert boxes_of(read_cvat(pictures, "raccoon"))["a"] == (pytest.approx((25, 5, 35, 25)),)


@pytest.mark.parametrize("value", ["nan", "inf", "", "1,5", "x"])
def test_a_coordinate_that_is_no_number_is_named(pictures: Path, value: str) -> None:
    (pictures / "annotations.xml").write_text(cvat_document(OBJECTS).replace('xtl="2.00"', f'xtl="{value}"'))
    with pytest.raises(
        BadTask, match=r"picture 'images/a\.jpg' of annotations\.xml .*: xtl of a box is .*, expected a"
    ):
        read_cvat(pictures, "raccoon")


def test_cvat_outlines_and_tracks_are_refused_with_what_to_do(pictures: Path) -> None:
    document = cvat_document(OBJECTS)
    outline = '<polygon label="raccoon" points="1,1;2,2;3,1"/></image>'
    (pictures / "annotations.xml").write_text(document.replace("</image>", outline, 1))
    with pytest.raises(BadTask, match="marks 'raccoon' by a polygon, expected boxes"):
        read_cvat(pictures, "raccoon")
    (pictures / "annotations.xml").write_text('<annotations><track id="0" label="raccoon"/></annotations>')
    with pytest.raises(
        BadTask, match=r"holds tracks of a video.*export the task from CVAT as `CVAT for images 1\.1`"
    ):
        read_cvat(pictures, "raccoon")


def test_two_pictures_of_one_name_are_told_apart_by_their_folder_or_refused(pictures: Path) -> None:
    (pictures / "annotations.xml").write_text(cvat_document(OBJECTS))
    write(pictures / "old" / "a.jpg", 77, *SIZE)
    assert boxes_of(read_cvat(pictures, "raccoon"))["a"]
    (pictures / "annotations.xml").write_text(cvat_document(OBJECTS).replace("images/a.jpg", "a.jpg"))
    with pytest.raises(BadTask, match=r"holds images/a\.jpg, old/a\.jpg, which could all be it"):
        read_cvat(pictures, "raccoon")
