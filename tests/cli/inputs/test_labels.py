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


@pytest.mark.parametrize("several", [False, True])
@pytest.mark.parametrize(
    "table",
    [
        "file,ant,bee,cat,dog\na.png,1,0,0,1\nb.png,0,1,0,0\n",  # of every class
        "file,dog,cat\na.png,1,0\n",  # of some
        "file,Ant,Bee\na.png,1,0\nb.png,0,1\n",  # by names that the model has not
        "a.png,1,0,0,1\nb.png,0,1,0,0\n",  # without a head
        "file,dog\na.png,1\nb.png,0\n",  # of one class
    ],
)
def test_columns_for_classes_are_no_numbers_of_classes(table, several, tmp_path):
    with pytest.raises(CallError, match=r"columns of 0 and 1 for classes.*write a line for each"):
        labels(table, tmp_path, several=several)


@pytest.mark.parametrize(
    "text", ["file,class,fold\na.png,1,0\nb.png,0,1\n", "a.png,1\nb.png,0\n", "a.png,ant\nb,1\n"]
)
def test_classes_0_and_1_are_read_where_they_are_said_to_be_classes(text, tmp_path):
    assert {*labels(text, tmp_path).values()} == {0, 1}


def test_a_class_in_a_column_that_is_not_read_is_not_lost_without_a_word(tmp_path):
    text = "file,class,class\na.png,ant,bee\n"
    with pytest.raises(CallError, match="line 2: has the class 'bee' in a column that is not read"):
        labels(text, tmp_path, several=True)
    assert labels(text, tmp_path) == {"a.png": 0}


def test_numbers_of_another_column_are_no_classes(tmp_path):
    with pytest.raises(CallError, match=r"'Class' in column 3, but .* the second, 'age'"):
        labels("file,age,Class\na.png,3,ant\n", tmp_path)


@pytest.mark.parametrize("text", ["", "\n\n", "file,class\n"])
def test_a_file_that_labels_nothing_is_refused(text, tmp_path):
    with pytest.raises(CallError, match=r"labels.csv has no line of an image's path"):
        labels(text, tmp_path)


@pytest.mark.parametrize("mark", [";", "\t"])
def test_other_separators_than_commas_are_named(mark, tmp_path):
    with pytest.raises(CallError, match=r"separated by commas, not by '(;|\\t)'\."):
        labels(f"file{mark}class\na.png{mark}ant\n", tmp_path)


def test_another_encoding_and_a_missing_file_are_said_in_words(tmp_path):
    with pytest.raises(CallError, match=r"can't be read: it is not in UTF-8; save it so\.$"):
        labels("file,class\na.png,ant\n".encode("utf-16"), tmp_path)
    with pytest.raises(CallError, match=r"gone\.csv can't be read: No such file or directory\.$"):
        from_csv(tmp_path / "gone.csv", CLASSES, IMAGES)


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
