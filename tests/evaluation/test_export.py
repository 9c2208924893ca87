"""Records as files that a spreadsheet and every reader can open."""

import csv

import pytest

from captum_ext.evaluation.export import write_csv


def read(file):
    with file.open(newline="", encoding="utf-8") as stream:
        return list(csv.reader(stream))


@pytest.mark.parametrize("first", ["=", "+", "-", "@", "\t", "\r", " =", "  @"])
def test_no_text_is_a_formula_and_numbers_stay_numbers(first, tmp_path):
    name = f"{first}cmd|'/C calc'!A0.png"
    records = [{"example": name, name: -1.5}, {"example": "a=b.png", name: float("nan")}]
    write_csv(tmp_path / "x.csv", records)
    rows = [["example", f"'{name}"], [f"'{name}", "-1.5"], ["a=b.png", ""]]
    assert read(tmp_path / "x.csv") == rows


def test_names_that_are_not_utf_8_are_spelled_out(tmp_path):
    write_csv(tmp_path / "x.csv", [{"example": "\udcff.png"}])
    assert read(tmp_path / "x.csv")[1] == ["\\udcff.png"]


def test_no_record_is_an_empty_table(tmp_path):
    write_csv(tmp_path / "x.csv", [])
    assert read(tmp_path / "x.csv") == [[]]
