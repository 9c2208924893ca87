"""Classes from a CSV and from sub-folders: nothing is guessed, and nothing lost without a word."""

import pytest

from captum_ext.cli.errors import CallError
from captum_ext.cli.inputs.labels import Classes, from_csv, from_folders

CLASSES = Classes(["ant", "bee", "cat", "dog"])
IMAGES = ["a.png", "b.png", "sub/c.jpg"]


def labels(text, tmp_path, classes=CLASSES, several=False):
    file = tmp_path / "labels.csv"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return from_csv(file, classes, IMAGES, several)


@pytest.mark.parametrize("head", ["", "file,class\n", "image,label,split\n", "\ufeffpath,class\n"])
def test_a_head_is_told_from_a_first_image(head, tmp_path):
    body = "a.png,ant\n./b.png, 3\n\nsub/c.jpg,bee,train\n"
    assert labels(head + body, tmp_path) == {"a.png": 0, "b.png": 3, "sub/c.jpg": 1}


@pytest.mark.parametrize(
    "first", ["a.png,brid", "a,brid", "sub/c.jpg,", "gone.png,brid", "X.JPEG,9", "a.png"]
)
def test_a_first_line_of_an_image_and_no_class_is_an_error_and_no_head(first, tmp_path):
    with pytest.raises(CallError, match=r"line 1: needs an image's path and one of"):
        labels(f"{first}\nb.png,ant\n", tmp_path)


def test_the_same_twice_is_once_and_a_contradiction_names_both_lines(tmp_path):
    assert labels("a.png,ant\na.png,0\n", tmp_path) == {"a.png": 0}
    with pytest.raises(CallError, match=r"lines 2 and 5: 'a.png' has the classes 0 and 1"):
        labels("file,class\na.png,ant\n\nb.png,cat\n./a.png,bee\n", tmp_path)


def test_several_classes_stand_in_lines_or_with_semicolons_between_them(tmp_path):
    text = "file,class\na.png,cat\nb.png,dog;ant; dog\na.png,1\nsub/c.jpg,bee\n./a.png,cat\n"
    found = {"a.png": (1, 2), "b.png": (0, 3), "sub/c.jpg": 1}
    assert labels(text, tmp_path, several=True) == found
    with pytest.raises(CallError, match=r"line 3: 'b.png' has the classes 3 and 0; keep one"):
        labels(text, tmp_path)
    for wrong in ("ant;brid", "ant;", ";"):
        with pytest.raises(CallError, match="line 1: needs an image's path"):
            labels(f"a.png,{wrong}\n", tmp_path, several=True)


def test_a_semicolon_in_the_name_of_a_class_is_its_own(tmp_path):
    assert labels("a.png,x;y\n", tmp_path, Classes(["x", "y", "x;y"]), True) == {"a.png": 2}


def test_names_that_are_not_utf_8_are_paths_as_the_system_has_them(tmp_path):
    assert labels(b"\xff.png,ant\n", tmp_path) == {"\udcff.png": 0}


@pytest.mark.parametrize("text", ["cranes", "4", "-1", "1.5", "1" * 5000, "", "²"])
def test_what_is_no_class_is_none(text):
    assert CLASSES.number(text) is None


def test_a_name_of_two_classes_or_of_another_number_means_none():
    assert Classes(["crane", "crane"]).number("crane") is None
    assert Classes(["crane", "crane"]).number("1") == 1
    digits = Classes(["1", "0", "2"])
    assert digits.number("0") is None
    assert digits.number("2") == 2


def test_sub_folders_are_counted_only_where_none_is_a_class():
    ordered = [f"n{k}/x.png" for k in range(4)]
    assert [*from_folders(ordered, CLASSES).values()] == [0, 1, 2, 3]
    with pytest.raises(CallError, match="such as 'n1'"):
        from_folders(["bee/x.png", "n1/x.png", "n2/x.png", "n3/x.png"], CLASSES)
    with pytest.raises(CallError, match="such as '4'"):
        from_folders([f"{k}/x.png" for k in (1, 2, 3, 4)], CLASSES)
