"""The report for an audit: names, numbers of images, copies, checksums, and nothing unnamed."""

import csv
import hashlib
import io
import re
from html.parser import HTMLParser

import pytest
import torch

from captum_ext.evaluation import evaluate, write_report
from captum_ext.evaluation.report.checksums import checksums
from captum_ext.evaluation.report.copies import FORMATS
from captum_ext.evaluation.report.page import _levels
from captum_ext.evaluation.report.shares import shares
from captum_ext.metrics import AIC
from captum_ext.viz.scores import level_figure
from tests.evaluation.conftest import data, methods, metrics


class Tags(HTMLParser):
    """All tags with their attributes."""

    def __init__(self, text):
        super().__init__()
        self.found = []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))


@pytest.fixture
def found(net):
    net = torch.nn.Sequential(*net, torch.nn.Softmax(1)).eval()
    made = evaluate(net, data(4), methods(net), metrics(net), batch_size=2, seed=0)
    made.class_names = {k: f"<name {k}>" for k in range(5)}
    made.targets_from = "the class of each image by --labels"
    row = {"method": "ig", "stage": "fc", "ssim": 0.25, "ssim_chance": 0.125}
    made.sanity = {
        "table": [row, row | {"ssim": 0.75}],
        "protocol": {"model": "net", "targets": [1, 2]},
    }
    return made


def test_the_page_says_what_an_audit_asks(found, tmp_path):
    write_report(found, tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    for said in (
        "&lt;name 0&gt;, p = ", "n = 4</small>", "by --labels.", "0.50 (chance 0.12)",
        "images (4, by position and pixels)", "source of captum_ext", "as LaTeX", "as Markdown",
    ):  # fmt: skip
        assert said in page
    assert "prefers-color-scheme: dark" in page
    assert "@media print" in page


def test_files_of_the_model_have_checksums_and_a_missing_one_none(found, tmp_path):
    (tmp_path / "net.pth").write_bytes(b"weights")
    found.files = {"--weights": tmp_path / "net.pth", "--model": tmp_path / "gone.py"}
    made = checksums(found)
    assert made["file of --weights, net.pth"] == hashlib.sha256(b"weights").hexdigest()
    assert made["file of --model, gone.py"] == "not read: No such file or directory"


def test_pictures_tables_and_scrolled_parts_have_names(found, tmp_path):
    write_report(found, tmp_path / "page.html")
    tags = Tags((tmp_path / "page.html").read_text()).found
    assert all(held.get("alt") for tag, held in tags if tag == "img")
    assert all(held.get("scope") for tag, held in tags if tag == "th")
    assert all(held.get("aria-label") for _, held in tags if "tabindex" in held)
    assert not any(tag == "script" for tag, _ in tags)


def test_ratios_are_areas_over_the_images_own_probability(found):
    (table,) = shares(found, {m: m for m in found.methods})
    column = table["heads"].index("insertion ↑")
    for row in table["rows"]:
        values = found.values["insertion"][row["name"]].tolist()
        expected = [v / one.probability for v, one in zip(values, found.kept, strict=True)]
        assert float(row["cells"][column]) == pytest.approx(sum(expected) / 4, abs=6e-4)


def test_frames_per_level_are_shown_where_information_was_measured(found, net):
    net = torch.nn.Sequential(*net, torch.nn.Softmax(1)).eval()
    one = {"ig": methods(net)["ig"]}
    told = evaluate(net, data(1), one, {"aic": AIC(net)}, batch_size=1, seed=0)
    assert _levels(told, {"ig": "IG"}).startswith("data:image/png")
    assert _levels(found, {m: m for m in found.methods}) == ""
    figure = level_figure(
        {"MS-SSIM": {"ig": told.metrics["aic"]["ig"].frame_shares().tolist()}}, {"ig": "IG"}
    )
    (steps,) = figure.axes[0].patches
    assert sum(steps.get_data().values) == pytest.approx(1)


def test_copies_hold_every_cell():
    rows = [["method", "a_b ↑"], ["IG & co, 50 %", "0.5 [0.4, 0.6]"]]
    made = {kind: write(rows) for kind, write in FORMATS.items()}
    assert [*csv.reader(io.StringIO(made["CSV"]))] == rows
    assert r"IG \& co, 50 \% & 0.5 [0.4, 0.6] \\" in made["LaTeX"]
    assert re.findall(r"\| IG & co, 50 % \| 0.5 \[0.4, 0.6\] \|", made["Markdown"])


def test_each_sentence_on_the_best_stands_once_before_all_its_scores(net, tmp_path):
    net = torch.nn.Sequential(*net, torch.nn.Softmax(1)).eval()
    asked = {f"{name} {k}": m for k in (1, 2) for name, m in metrics(net).items()}
    found = evaluate(net, data(4), methods(net), asked, batch_size=2, seed=0)
    write_report(found, tmp_path / "page.html")
    best = (tmp_path / "page.html").read_text().split("<section class=best")[1].split("</ul>")[0]
    said = [" ".join(line.split("</li>")[0].split()) for line in best.split("<li>")[1:]]
    sentences = [one.rsplit("</b>", 1)[1].split(": ", 1)[1] for one in said]
    assert len({*sentences}) == len(sentences) <= len(found.standings) / 2
    told = [column for one in said for column in re.findall("<b>(.*?)</b>", one)]
    assert sorted(told) == sorted(found.standings)
