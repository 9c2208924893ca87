"""``--seed`` decides all that is random, and nothing else does."""

import csv
import json
from pathlib import Path

import pytest
import torch

from tests.cli.conftest import evaluate, explain, sanity

RANDOM = ("--methods", "smoothgrad,gradient-shap,rise,igos", "--n-masks", "9", "--n-iter", "2")


def table(file):
    def numbers(row):
        return {k: v for k, v in row.items() if k != "seconds" and not k.startswith("chance")}

    return {row["method"]: numbers(row) for row in json.loads(Path(file).read_text())["table"]}


def explained(seed):
    assert explain(*RANDOM, "--json", "t.json", "--seed", seed) == 0
    return table("t.json")


def checked(seed):
    options = ("--methods", "smoothgrad,gradient-shap,rise", "--n-masks", "9", "--limit", "1")
    assert sanity(*options, "--stages", "layer", "--json", "t.json", "--seed", seed) == 0
    return table("t.json")


def evaluated(seed, *more):
    options = ("--methods", "smoothgrad,rise", "--n-masks", "9", "--metrics", "insertion")
    assert evaluate(*options, "--restart", "--seed", seed, *more) == 0
    return table("out/results.json")


@pytest.mark.parametrize("command", [explained, checked, evaluated])
def test_one_seed_gives_one_result_and_another_seed_another(command, folder):
    one = command("3")
    torch.rand(7)
    before = torch.get_rng_state()
    assert command("3") == one
    assert torch.equal(torch.get_rng_state(), before)
    other = command("4")
    for method, row in one.items():
        if method not in ("igos", "image edges"):
            assert row != other[method], method


def test_images_beside_it_do_not_change_what_an_image_gets(folder):
    rows = []
    for group in ("1", "2"):
        evaluated("0", "--group", group, "--limit", "2")
        with open("out/per_example.csv", newline="") as stream:
            rows.append([(r["method"], r["example"], float(r["insertion_abs"]))
                         for r in csv.DictReader(stream)])  # fmt: skip
    for (*one, score), (*other, again) in zip(*rows, strict=True):
        assert one == other
        assert score == pytest.approx(again, abs=1e-5), one
