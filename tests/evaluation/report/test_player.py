"""The report's pages of single images: of those that are shown, with frames and answers asked."""

import json
import re
import sqlite3
from pathlib import Path
from urllib.parse import unquote, urljoin, urlparse

import pytest
import torch
from captum.attr import InputXGradient, Saliency

from captum_ext import ImageClassifier
from captum_ext.curve import GaussianBlur, Interpolated, rank
from captum_ext.curve.frames import even_counts
from captum_ext.evaluation import evaluate, write_report
from captum_ext.evaluation.report.pages import write_pages
from captum_ext.evaluation.report.pictures import shown_positions
from captum_ext.evaluation.report.player import Player, best_first, differing, still_shown
from captum_ext.evaluation.store.folder import ForeignFileError
from captum_ext.metrics import Deletion, Insertion, deletion_curve, insertion_curve
from tests.browser import PLAYER, asked, needs_browser

N_STEPS = 4
BLUR = GaussianBlur(5, 2.0)


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(3)
    pooled = [torch.nn.AdaptiveAvgPool2d(4), torch.nn.Flatten(), torch.nn.Linear(48, 3)]
    return torch.nn.Sequential(*pooled, torch.nn.Softmax(1)).eval()


def images(n):
    generator = torch.Generator().manual_seed(n)
    return [(torch.randint(256, (3, 8, 12), generator=generator) / 255, k % 3) for k in range(n)]


def run(model, n, methods=None, **more):
    # As RISE's: insertion into a blurred image, deletion to black.
    absent = {Insertion: BLUR, Deletion: 0.0}
    metrics = {
        f"{kind.__name__.lower()}{suffix}": kind(model, N_STEPS, reduction=how, reference=base)
        for suffix, how in {"": "sum", "_abs": "abs_sum"}.items()
        for kind, base in absent.items()
    }
    methods = methods or {"size": Saliency(model), "signed": InputXGradient(model)}
    return evaluate(model, images(n), methods, metrics, batch_size=2, seed=0, **more)


def files_of(found, folder):
    """The pages of all images of which enough is kept, by position."""
    names = {m: m for m in found.methods}
    pages = write_pages(found, names, folder, range(len(found.seen)))
    return {position: folder / name for position, name in pages.items()}


def written(found, folder):
    """What stands in the pages of the images that a report shows, by position."""
    names = {m: m for m in found.methods}
    pages = write_pages(found, names, folder, shown_positions(found, "insertion_abs"))
    return {position: (folder / name).read_text("utf-8") for position, name in pages.items()}


N = 17


@pytest.fixture(scope="module")
def reported(model, tmp_path_factory):
    """A run, its report, and the pages that the report links to, by position."""
    found, folder = run(model, N), tmp_path_factory.mktemp("report")
    write_report(found, folder / "report.html", pages=folder / "own pages")
    report = (folder / "report.html").read_text("utf-8")
    links = {*re.findall(r'href="([^"]+)"', report)}
    addresses = [urljoin((folder / "report.html").as_uri(), link) for link in links]
    files = [Path(unquote(urlparse(address).path)) for address in addresses]
    return found, report, {int(file.stem): file for file in files}


def test_every_image_that_is_shown_has_a_page_and_no_other_is_kept(reported):
    found, report, pages = reported
    assert report.count("<figure") == report.count("reveal pixels</a></figcaption>") == 16
    assert {position for position, _ in found.pieces} == {*pages}
    assert len(pages) < N
    assert f"({len(pages)} pages, 0." in report


def test_a_run_that_was_stopped_gives_the_same_pages(model, tmp_path):
    def stop(name, done, total):
        # In the middle of a group of images.
        if done == 6:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(model, 6, out=tmp_path / "stopped", progress=stop)
    again = run(model, 6, out=tmp_path / "stopped")
    whole = run(model, 6, out=tmp_path / "whole")
    assert written(again, tmp_path / "a") == written(whole, tmp_path / "b")
    # And a piece that was damaged since is made again.
    with sqlite3.connect(tmp_path / "stopped" / "part-00000.sqlite") as part:
        part.execute("UPDATE piece SET held = '{}' WHERE rowid IN (SELECT max(rowid) FROM piece)")
    with pytest.warns(UserWarning, match="computed again"):
        mended = run(model, 6, out=tmp_path / "stopped")
    assert written(mended, tmp_path / "c") == written(whole, tmp_path / "d")


def test_images_without_a_page_are_named_beside_those_that_have_one(model, tmp_path):
    found = run(model, 3)
    write_report(found, tmp_path / "all.html", pages=tmp_path / "pages")
    assert "No page:" not in (tmp_path / "all.html").read_text("utf-8")
    # As after data changed: what an image had been dropped for is shown no more.
    del found.pieces[1, ""]
    write_report(found, tmp_path / "some.html", pages=tmp_path / "pages")
    assert f"No page: {found.name_of(1)}. An image" in (tmp_path / "some.html").read_text("utf-8")


READ = """
await until('insertion_abs 0');
const found = {};
for (const [curve, step] of [['insertion', 1], ['deletion', 3]]) {
  document.querySelector(`input[name=curve][value=${curve}]`).click();
  slider.value = step;
  slider.dispatchEvent(new Event('input', {bubbles: true}));
  await until(`${curve}_abs ${step}`);
  found[curve] = [...document.querySelectorAll('.card')].map((card) => [
    [...card.querySelector('canvas').getContext('2d').getImageData(0, 0, 12, 8).data],
    card.querySelector('.score').textContent]);
}
answer(found);
"""


@needs_browser
def test_the_slider_of_the_reports_page_shows_what_was_asked(model, reported, tmp_path):
    _, _, pages = reported
    position = max(pages)
    told = asked(pages[position], PLAYER + READ, tmp_path)
    (image, target) = images(N)[position]
    maps = [
        kind(model).attribute(image[None], target=target) for kind in (Saliency, InputXGradient)
    ]
    for name, curve, step, absent in (
        ("insertion", insertion_curve, 1, BLUR(image[None])[0]),
        ("deletion", deletion_curve, 3, image * 0),
    ):
        for (pixels, score), credit in zip(told[name], maps, strict=True):
            order = rank((credit,), reduction="abs_sum")
            strongest = order.positions[0][0] < even_counts(order.n_features, N_STEPS)[0, step]
            shown = strongest if name == "insertion" else ~strongest
            expected = (torch.where(shown, image, absent) * 255).round().int()
            made = torch.tensor(pixels).view(8, 12, 4)[..., :3].permute(2, 0, 1)
            assert torch.equal(made.int(), expected)
            base = BLUR if name == "insertion" else 0.0
            y = curve(model, image[None], credit, target=target, n_steps=N_STEPS,
                      reduction="abs_sum", reference=base).y[0]  # fmt: skip
            assert score.startswith(f"{float(y[step]):.3f} with {25 * step} % of pixels")


def test_nothing_is_kept_of_images_that_no_method_explains(model):
    class Failing(Saliency):
        def attribute(self, *args, **kwargs):
            raise RuntimeError("no map")

    assert run(model, 3, {"none": Failing(model)}).pieces == {}


def test_a_page_says_what_is_hidden_and_which_method_is_missing(model, tmp_path):
    class Failing(Saliency):
        def attribute(self, *args, **kwargs):
            raise RuntimeError("<no> map")

    found = run(model, 2, {"size": Saliency(model), "none": Failing(model)})
    page = written(found, tmp_path / "a")[0]
    assert "Hidden pixels are blurred in insertion and black in deletion." in page
    assert "none is missing: RuntimeError: &lt;no&gt; map." in page or "&lt;no&gt; map" in page


def test_files_of_the_user_stay_and_pages_of_earlier_reports_go(model, tmp_path):
    found = run(model, 2)
    written(found, tmp_path / "a")
    own = tmp_path / "a"
    (own / "mine.html").write_text("mine")
    del found.pieces[0, ""]
    written(found, own)
    assert sorted(file.name for file in own.glob("*.html")) == ["000001.html", "mine.html"]
    (own / "000001.html").write_text("mine")
    with pytest.raises(ForeignFileError, match=r"000001.html was changed"):
        written(found, own)


def test_curves_that_are_not_read_alike_or_change_what_is_hidden_have_no_page(model, tmp_path):
    other = {"insertion": Insertion(model, 4), "deletion": Deletion(model, 5)}
    assert Player.of(other) is None
    assert Player.of({"x": Deletion(model), "insertion": Insertion(model, 20)}) is not None
    metrics = {
        kind.__name__.lower(): kind(model, 4, base=Interpolated()) for kind in (Insertion, Deletion)
    }
    found = evaluate(model, images(3), {"size": Saliency(model)}, metrics, batch_size=2, seed=0)
    assert written(found, tmp_path / "a") == {}
    assert not (tmp_path / "a").exists()


def test_what_may_be_shown_is_chosen_alike_of_all_and_of_a_part():
    generator = torch.Generator().manual_seed(0)
    # Many ties.
    values = torch.randint(6, (2, 60), generator=generator) / 5
    scores, kept = {}, set()
    for k in range(60):
        scores |= {(k, m): float(values[j, k]) for j, m in enumerate("ab")}
        kept = still_shown(scores, ["a", "b"])
        scores = {key: v for key, v in scores.items() if key[0] in kept}
    expected = {*differing(values)}
    for row in values:
        order = best_first(row)
        expected |= {*order[:4], *order[-4:]}
    assert kept == expected


def test_pieces_are_plain_json(model):
    found = run(model, 2)
    (held,) = json.loads(found.pieces[0, "size"].held)
    assert {*held["curves"]} == {"insertion", "insertion_abs", "deletion", "deletion_abs"}
    assert held["overlay"].startswith("data:image/jpeg;base64,")


def several(model, classes, methods=None):
    """A run on images of several classes, of which two are named."""
    labeled = ImageClassifier(model, [0.0] * 3, [1.0] * 3, activation=None)
    data = [(x, list(of)) for (x, _), of in zip(images(len(classes)), classes, strict=True)]
    metrics = {kind.__name__.lower(): kind(labeled, N_STEPS) for kind in (Insertion, Deletion)}
    methods = methods or {"size": Saliency(labeled), "signed": InputXGradient(labeled)}
    found = evaluate(labeled, data, methods, metrics, batch_size=2, seed=0)
    found.class_names = {0: "cat", 2: "<dog>"}
    return found, labeled


def test_a_page_has_the_maps_of_each_class_under_its_name(model, tmp_path):
    found, labeled = several(model, [(0, 2), (1,)])
    pages = {k: file.read_text("utf-8") for k, file in files_of(found, tmp_path / "a").items()}
    assert "Why these 2 classes in 0?" in pages[0]
    x, _ = images(2)[0]
    p = labeled(x[None])[0]
    told = re.findall(r'class="of">(.*?)<', pages[0])
    assert told == [f"cat (p = {p[0]:.3f})", f"&lt;dog&gt; (p = {p[2]:.3f})"]
    assert re.findall(r"<h3>(.*?)<", pages[0]) == ["size", "signed"] * 2
    (held,) = re.findall(r'id="held">(.*)</script>', pages[0])
    maps = json.loads(held)["maps"]
    credit = [kind(labeled).attribute(x[None], target=k) for k in (0, 2)
              for kind in (Saliency, InputXGradient)]  # fmt: skip
    for one, target, own in zip(maps, (0, 0, 2, 2), credit, strict=True):
        curve = insertion_curve(labeled, x[None], own, target=target, n_steps=N_STEPS)
        assert one["curves"]["insertion"]["y"] == pytest.approx(curve.y[0].tolist(), abs=1e-6)
    score = found.pieces[0, "size"].score
    assert score == pytest.approx(float(found.values["insertion"]["size"][0]))
    assert 'class="of"' not in pages[1]


def test_a_method_that_fails_for_one_class_is_missing_on_the_page(model, tmp_path):
    class OfOne(Saliency):
        def attribute(self, inputs, target, **more):
            if (target == 2).any():
                raise RuntimeError("not of this one")
            return super().attribute(inputs, target=target, **more)

    found, _ = several(model, [(0, 2)], {"size": Saliency(model), "half": OfOne(model)})
    page = files_of(found, tmp_path / "a")[0].read_text("utf-8")
    assert "half is missing: not of this one" in page
    assert re.findall(r"<h3>(.*?)<", page) == ["size"] * 2
