"""Annotations: every fault is its own image's, and nothing is lost without a word."""

import json
import random
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from captum_ext.cli.errors import CallError
from captum_ext.cli.inputs.annotation import Annotation
from captum_ext.cli.inputs.annotations import read_annotations
from captum_ext.cli.inputs.coco import _decompressed
from captum_ext.cli.inputs.labels import Classes

CLASSES = Classes(["ant", "bee", "cat", "dog"])
WIDTH, HEIGHT = 12, 8


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("images").mkdir()
    return tmp_path


def read(content, several=False):
    Path("a.json").write_text(json.dumps(content))
    return read_annotations(Path("a.json"), Path("images"), CLASSES, several)


def listed(*entries):
    return read({"images": [*entries]})


def coco(*objects, categories=(), **image):
    return {
        "images": [{"id": 1, "file_name": "x.png", "width": WIDTH, "height": HEIGHT, **image}],
        "annotations": [{"image_id": 1, "category_id": 1, **one} for one in objects],
        "categories": [{"id": 1, "name": "bee"}, *categories],
    }


def region(annotation):
    drawn = annotation.region((WIDTH, HEIGHT))
    return None if drawn is None else np.asarray(drawn) > 0


def box(left, top, right, bottom):
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[top:bottom, left:right] = True
    return mask


def run_lengths(mask):
    """By the definition: columns, first the length outside."""
    lengths, current = [0], False
    for value in mask.T.flatten().tolist():
        if value != current:
            lengths.append(0)
            current = value
        lengths[-1] += 1
    return lengths


def compressed(lengths):
    """As the COCO API's rleToString, in plain loops."""
    text = ""
    for k, length in enumerate(lengths):
        left = length - lengths[k - 2] if k > 2 else length
        while True:
            bits = left & 31
            left >>= 5
            more = left != (-1 if bits & 16 else 0)
            text += chr((bits | 32 if more else bits) + 48)
            if not more:
                break
    return text


def test_run_lengths_are_read_as_numbers_and_as_text():
    rng = np.random.default_rng(0)
    for density in (0.0, 0.02, 0.3, 1.0):
        mask = rng.random((HEIGHT, WIDTH)) < density
        lengths = run_lengths(mask)
        for counts in (lengths, compressed(lengths)):
            shape = {"size": [HEIGHT, WIDTH], "counts": counts}
            made = read(coco({"segmentation": shape})).of["x.png"]
            assert np.array_equal(region(made), mask)
    # Of the COCO API: a mask of 640 x 480 with one box.
    long = [100_000, 50, 430, 50, 430, 50, 206_190 - 60]
    assert _decompressed(compressed(long)) == long


def test_objects_are_joined_and_their_class_is_the_images_where_they_agree():
    content = coco({"bbox": [1, 1, 2, 3]}, {"segmentation": [[5, 2, 9, 2, 9, 5, 5, 5]]})
    made = read(content).of["x.png"]
    assert made.label == 1
    assert np.array_equal(region(made), box(1, 1, 3, 4) | box(5, 2, 10, 6))
    mixed = coco({"bbox": [1, 1, 2, 3]}, {"bbox": [1, 1, 2, 3], "category_id": 2},
                 categories=[{"id": 2, "name": "cat"}])  # fmt: skip
    assert read(mixed).of["x.png"].label is None


def test_entries_of_one_image_are_joined():
    Image.fromarray(box(0, 0, 3, 3).astype(np.uint8)).save("m.png")
    made = listed(
        {"file": "x.png", "boxes_xyxy": [[1, 1, 3, 4]], "class": 2},
        {"file": "./x.png", "boxes_xyxy": [[5, 2, 10, 6], [1, 1, 3, 4]]},
        {"file": "x.png", "mask": "m.png", "expected_class": "cat"},
    ).of["x.png"]
    assert made.label == 2
    assert len(made.boxes) == 2
    assert np.array_equal(region(made), box(1, 1, 3, 4) | box(5, 2, 10, 6) | box(0, 0, 3, 3))
    twice = coco({"bbox": [1, 1, 2, 3]}, {"bbox": [5, 2, 5, 4], "image_id": 2})
    twice["images"].append({"id": 2, "file_name": "x.png"})
    assert np.array_equal(region(read(twice).of["x.png"]), box(1, 1, 3, 4) | box(5, 2, 10, 6))


def regions(annotation, label):
    return [np.asarray(one) > 0 for one in annotation.regions((WIDTH, HEIGHT), label)]


def test_each_class_has_the_region_of_its_objects():
    content = coco(
        {"bbox": [1, 1, 2, 3]},
        {"bbox": [5, 2, 5, 4], "category_id": 2},
        {"bbox": [0, 6, 3, 2], "category_id": 7},
        {"segmentation": [[7, 0, 9, 0, 9, 1, 7, 1]], "category_id": 2},
        categories=[{"id": 2, "name": "ant"}, {"id": 7, "name": "emu"}],
    )
    bee, ant, emu = box(1, 1, 3, 4), box(5, 2, 10, 6) | box(7, 0, 10, 2), box(0, 6, 3, 8)
    made = read(content, several=True)
    one = made.of["x.png"]
    assert one.label == (0, 1)
    assert "1 category that is no class of the model" in made.notes[0]
    # Of a class without an object, as --labels may name it, there is no region.
    assert [*map(np.array_equal, regions(one, (0, 1, 3)), [ant, bee, bee & ant])] == [True] * 3
    single = read(content).of["x.png"]
    assert single.label is None
    for label, whole in [(1, bee), (0, ant), (3, ant | bee | emu), (None, ant | bee | emu)]:
        assert np.array_equal(*regions(single, label), whole)


def test_entries_of_one_image_name_several_classes():
    entries = [
        {"file": "x.png", "boxes_xyxy": [[1, 1, 3, 4]], "class": "bee"},
        {"file": "x.png", "boxes_xyxy": [[5, 2, 10, 6]], "class": 3},
        {"file": "x.png", "boxes_xyxy": [[0, 0, 1, 1]], "class": "bee"},
        {"file": "y.png", "boxes_xyxy": [[1, 1, 3, 4]], "class": ["cat", 0]},
        {"file": "z.png", "boxes_xyxy": [[1, 1, 3, 4]], "class": "bee"},
        {"file": "z.png", "boxes_xyxy": [[5, 2, 10, 6]]},
    ]
    made = read({"images": entries}, several=True).of
    assert [made[f"{name}.png"].label for name in "xyz"] == [(1, 3), (0, 2), 1]
    bee, dog = regions(made["x.png"], (1, 3))
    assert np.array_equal(bee, box(1, 1, 3, 4) | box(0, 0, 1, 1))
    assert np.array_equal(dog, box(5, 2, 10, 6))
    # One region for both; and of one box nothing says whose it is.
    assert np.array_equal(*regions(made["y.png"], (0, 2)), box(1, 1, 3, 4))
    assert np.array_equal(*regions(made["z.png"], 1), box(1, 1, 3, 4) | box(5, 2, 10, 6))
    with pytest.raises(CallError, match="class 1 and 3; keep one of them"):
        listed(*entries[:2])
    wrong = read({"images": [{"file": "x.png", "class": ["cat", "emu"]}]}, several=True)
    assert 'has the class "emu"' in wrong.of["x.png"].problem


VOC = """<annotation><filename>x.png</filename>
<size><width>12</width><height>8</height><depth>3</depth></size>
<object><name>bee</name><bndbox><xmin>2</xmin><ymin>2</ymin><xmax>3</xmax><ymax>4</ymax></bndbox>
</object><object><name>emu</name><bndbox><ymax>8</ymax><xmin>1</xmin><ymin>7</ymin><xmax>3</xmax>
</bndbox></object><object><name>ant</name><bndbox><xmin>6</xmin><ymin>3.0</ymin><xmax>10</xmax>
<ymax>6</ymax></bndbox></object></annotation>"""


def test_objects_of_voc_files_are_told_by_their_names():
    Path("voc/sub").mkdir(parents=True)
    texts = {
        "x": VOC,
        "sub/y": VOC.replace("<xmax>10", "<xmax>five"),
        "z": VOC[:-9],
        "none": "<annotation></annotation>",
        "half": VOC.replace("<ymin>2</ymin>", ""),
    }
    for name, text in texts.items():
        Path(f"voc/{name}.xml").write_text(text)
    made = read_annotations(Path("voc"), Path("images"), CLASSES, several=True)
    one = made.of["x"]
    assert (one.label, one.size, one.problem) == ((0, 1), (12, 8), None)
    ant, bee = regions(one, (0, 1))
    assert np.array_equal(bee, box(1, 1, 3, 4))
    assert np.array_equal(ant, box(5, 2, 10, 6))
    assert "1 category that is no class" in made.notes[0]
    problems = [made.of[name].problem for name in ("sub/y", "z", "half")]
    for problem, words in zip(problems, ("could not convert", "no element|no end|unclosed|mismatch",
                                         "without a whole bndbox"), strict=True):  # fmt: skip
        assert problem.startswith("its annotation ")
        assert re.search(words, problem)
    assert made.of["none"].region((WIDTH, HEIGHT)) is None
    single = read_annotations(Path("voc"), Path("images"), CLASSES).of["x"]
    assert single.label is None
    assert np.array_equal(*regions(single, 1), bee)


def test_contradictions_are_refused_and_name_both_entries():
    with pytest.raises(CallError, match=r"entries 1 and 3.*'x.png'.*class 1 and 2"):
        listed({"file": "x.png", "class": 1}, {"file": "y.png"}, {"file": "x.png", "class": 2})
    content = coco()
    content["images"].append({"id": 2, "file_name": "x.png", "width": 9, "height": 9})
    with pytest.raises(CallError, match=r"entries 1 and 2.*size \(12, 8\) and \(9, 9\)"):
        read(content)
    with pytest.raises(CallError, match="two categories of the id 1"):
        read(coco(categories=[{"id": 1, "name": "ant"}]))
    Path("masks").mkdir()
    for name in ("x.png", "x_mask.png"):
        Image.new("L", (4, 4)).save(f"masks/{name}")
    with pytest.raises(CallError, match=r"two masks of 'x', masks/x.png and masks/x_mask.png"):
        read_annotations(Path("masks"), Path("images"), CLASSES)


def test_entries_of_no_image_are_said():
    made = listed({"file": "x.png"}, {"name": "y.png"}, 3, {"file": 7})
    assert made.notes == [
        """--annotations has 3 entries of no image, such as {"name": "y.png"}"""
    ]  # fmt: skip
    assert "2 entries of no image" in read(coco({"image_id": 5}, {"image_id": None})).notes[0]


HUGE = 10**30
FAULTS = {
    "class": ({"class": HUGE}, "class 1000000000"),
    "negative class": ({"class": -1}, "class -1, not one of 4"),
    "fractional class": ({"class": 1.5}, "class 1.5"),
    "boolean class": ({"class": True}, "class true"),
    "unknown class": ({"class": "bird"}, 'class "bird"'),
    "3 numbers": ({"boxes_xyxy": [[1, 2, 3]]}, "box of 3 numbers, not 4"),
    "nan": ({"boxes_xyxy": [[1, 2, float("nan"), 4]]}, "box that is not of numbers"),
    "far": ({"boxes_xyxy": [[1, 2, 10**400, 4]]}, "box that is not of numbers"),
    "null": ({"boxes_xyxy": [[1, 2, None, 4]]}, "box that is not of numbers"),
    "flat": ({"boxes_xyxy": [1, 2, 3, 4]}, "box that is not of numbers"),
    "no list": ({"boxes_xyxy": "1234"}, "boxes that are no list"),
    "width and height": ({"boxes_xyxy": [[50, 60, 20, 30]]}, "end is before its start"),
    "no mask": ({"mask": "gone.png"}, "mask that does not exist"),
    "odd mask": ({"mask": 5}, "mask that is no file's name"),
    "zero byte": ({"mask": "a\0b"}, "mask that does not exist"),
}
COCO_FAULTS = {
    "empty polygon": ({"segmentation": [[]]}, "polygon of 0 numbers"),
    "odd polygon": ({"segmentation": [[1, 2, 3, 4, 5, 6, 7]]}, "polygon of 7 numbers"),
    "two points": ({"segmentation": [[1, 2, 3, 4]]}, "polygon of 4 numbers"),
    "far polygon": ({"segmentation": [[1, 2, 3, 1e30, 5, 6]]}, "polygon that is not of numbers"),
    "flat polygon": ({"segmentation": [1, 2, 3, 4, 5, 6]}, "polygon that is not of numbers"),
    "text": ({"segmentation": "abc"}, "segmentation"),
    "box": ({"bbox": [1, 2, 3]}, "box of 3 numbers"),
    "negative box": ({"bbox": [5, 2, -3, 2]}, "end is before its start"),
    **{
        f"counts {counts!r:.20}": (
            {"segmentation": {"size": [HEIGHT, WIDTH], "counts": counts}}, "do not add up"
        )
        for counts in (None, [], [HUGE], [-1, 97], [96, True], [None], "x", "", "\x01", "ü" * 99,
                       {"a": 1}, [96.0], "o" * 9999)
    },
    "no counts": ({"segmentation": {"size": [HEIGHT, WIDTH]}}, "do not add up"),
    "no size": ({"segmentation": {"counts": [96]}}, "has a size"),
    "other size": ({"segmentation": {"size": [2, 3], "counts": [6]}}, "of 3 x 2 pixels"),
}  # fmt: skip


@pytest.mark.parametrize("fault", [*FAULTS, *COCO_FAULTS])
def test_a_fault_is_a_reason_of_its_own_image_alone(fault):
    if fault in FAULTS:
        entry, words = FAULTS[fault]
        good = {"file": "good.png", "boxes_xyxy": [[1, 1, 3, 4]], "class": 0}
        made = listed({"file": "x.png", **entry}, good)
    else:
        entry, words = COCO_FAULTS[fault]
        content = coco(entry, {"bbox": [1, 1, 2, 3], "image_id": 2})
        content["images"].append({"id": 2, "file_name": "good.png"})
        made = read(content)
    assert np.array_equal(region(made.of["good.png"]), box(1, 1, 3, 4))
    with pytest.raises(ValueError, match=r"^its annotation ") as reason:
        region(made.of["x.png"])
    assert words in str(reason.value)


MASKS = {
    "grey": np.array([[0, 1], [200, 0]], np.uint8),
    "16 bits": np.array([[0, 1], [60_000, 0]], np.uint16),
    "32 bits": np.array([[0, 1], [70_000, -1]], np.int32),
    "color": np.array([[[0, 0, 0], [0, 0, 1]], [[1, 0, 0], [0, 0, 0]]], np.uint8),
    "opaque": np.array([[[0, 255], [1, 255]], [[9, 0], [0, 255]]], np.uint8),
}


@pytest.mark.parametrize("kind", MASKS)
def test_pixels_above_0_of_a_mask_are_the_object(kind):
    Image.fromarray(MASKS[kind]).save("m.tif")
    drawn = np.asarray(Annotation(masks=(Path("m.tif"),)).region((2, 2))) > 0
    assert drawn.tolist() == [[False, True], [True, False]]


@pytest.mark.parametrize(
    ("save", "words"),
    [
        (lambda: Image.new("L", (4, 4)).save("m.png", "JPEG"), "its mask is not an image that"),
        (lambda: Image.new("L", (4, 4)).save("m.png", "EPS"), "its mask is not an image that"),
        (lambda: Image.new("L", (40, 40)).save("m.png"), "its mask has too many pixels"),
        (lambda: Image.new("L", (5, 4)).save("m.png"), "of 5 x 4 pixels, the image of 4 x 4"),
        (lambda: Path("m.png").write_bytes(b""), "its mask is not an image that"),
        (lambda: Path("m.png").mkdir(), "its mask does not exist or is not a file"),
    ],
)
def test_a_mask_that_can_not_be_read_is_a_reason(save, words, monkeypatch):
    save()
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 500)
    with pytest.raises(ValueError, match=words):
        Annotation(masks=(Path("m.png"),)).region((4, 4))


def mutated(value, draw):
    """The value with one part of it, anywhere, replaced by something strange."""
    strange = [None, True, -1, 0, 1.5, HUGE, -HUGE, float("nan"), float("inf"), "", "x", "0" * 50,
               [], [[]], {}, [None], "\udcff", "\0"]  # fmt: skip
    if isinstance(value, dict) and value and draw.random() < 0.9:
        key = draw.choice([*value])
        return {**value, key: mutated(value[key], draw)}
    if isinstance(value, list) and value and draw.random() < 0.9:
        k = draw.randrange(len(value))
        return [*value[:k], mutated(value[k], draw), *value[k + 1 :]]
    return draw.choice(strange)


def test_no_mutated_annotation_stops_more_than_its_image():
    draw = random.Random(0)
    mask = run_lengths(box(2, 2, 5, 6))
    shape = {"size": [HEIGHT, WIDTH], "counts": mask}
    contents = [
        coco({"bbox": [1, 1, 2, 3]}, {"segmentation": [[1, 1, 5, 1, 5, 5]]}),
        coco({"segmentation": shape}),
        coco({"segmentation": {**shape, "counts": compressed(mask)}}),
        {"images": [{"file": "x.png", "boxes_xyxy": [[1, 1, 3, 4]], "class": 1, "mask": None}]},
    ]
    reasons, drawn = set(), 0
    for k in range(600):
        try:
            made = read(mutated(contents[k % len(contents)], draw))
        except CallError as error:
            reasons.add(str(error)[:40])
            continue
        for annotation in made.of.values():
            try:
                region(annotation)
                drawn += 1
            except ValueError as error:
                reasons.add(str(error)[:30])
    assert drawn > 80
    assert len(reasons) > 15
    assert all(reason.startswith(("its ", "--annotations")) for reason in reasons)


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, "null", "[]", '{"images": 3}', "\udcff"])
def test_what_is_no_annotations_file_is_named(text):
    Path("a.json").write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(CallError, match=r"--annotations a\.json (can't be read|needs a list)"):
        read_annotations(Path("a.json"), Path("images"), CLASSES)


@pytest.mark.parametrize(
    "content", [{"images": []}, {"images": [3]}, {"images": [], "annotations": []}]
)
def test_a_file_that_names_no_image_is_refused(content):
    with pytest.raises(CallError, match=r'a\.json names no image in its list "images"\.'):
        read(content)


def test_a_mark_of_the_encoding_is_no_fault_and_another_encoding_is_said():
    text = json.dumps({"images": [{"file": "x.png", "boxes_xyxy": [[1, 1, 3, 3]]}]})
    Path("b.json").write_bytes(b"\xef\xbb\xbf" + text.encode())
    assert [*read_annotations(Path("b.json"), Path("images"), CLASSES).of] == ["x.png"]
    Path("b.json").write_bytes(text.encode("utf-16"))
    with pytest.raises(CallError, match=r"b\.json can't be read: it is not in UTF-8; save it so\."):
        read_annotations(Path("b.json"), Path("images"), CLASSES)
