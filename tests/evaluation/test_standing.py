"""Who is best by a score, and when nobody is."""

import pytest
import torch
from captum.attr import InputXGradient, Saliency

from captum_ext.cli.tables import as_text
from captum_ext.evaluation import evaluate, write_report
from captum_ext.metrics import AIC, SIC, Insertion
from captum_ext.metrics.base.compare import n_needed
from tests.evaluation.conftest import data


class Given(Saliency):
    """Maps that say whose they are, for `Chosen`."""

    def __init__(self, model, values):
        super().__init__(model)
        self.values = values

    def attribute(self, inputs, target=None):
        places = (inputs[:, 0, 0, 0] * 1000).round().long()
        return self.values[places].view(-1, 1, 1, 1).expand_as(inputs).clone()


class Chosen(Insertion):
    """A score that is the map's number."""

    def update(self, inputs, attributions, target=None):
        y = attributions.flatten(1)[:, :1].expand(-1, 2)
        x = torch.tensor([[0.0, 1.0]]).expand(len(y), 2)
        codes = torch.zeros(len(y), dtype=torch.int64)
        self._append(x=x, y=y, codes=codes)


def found_of(net, **values):
    """Methods whose values of each image are these."""
    n = len(next(iter(values.values())))
    items = [(image, target) for image, target in data(n)]
    for k, (image, _) in enumerate(items):
        image[0, 0, 0] = k / 1000
    methods = {m: Given(net, torch.as_tensor(v)) for m, v in values.items()}
    score = {"score": Chosen(net, n_steps=1)}
    return evaluate(net, items, methods, score, batch_size=4, seed=0)


def scores(n, seed, shift=0.0):
    return 0.4 + shift + 0.1 * torch.rand(n, generator=torch.Generator().manual_seed(seed))


def page_of(found, tmp_path):
    write_report(found, tmp_path / "page.html")
    return (tmp_path / "page.html").read_text()


def test_one_that_beats_all_is_best(net):
    found = found_of(net, a=scores(12, 0), b=scores(12, 1, 0.3), c=scores(12, 2))
    one = found.standings["score"]
    assert (one.best, one.behind, one.apart) == ("b", one.behind, True)
    assert set(one.behind) == {"a", "c"}
    assert one.sentence({"b": "B"}).startswith("B, better than")


def test_where_all_are_equal_nobody_is_crowned(net, tmp_path):
    base = scores(12, 0)
    found = found_of(net, a=base, b=base + 1e-6 * (1 + torch.rand(12)), c=base - 1e-6)
    assert found.significance("a")["score"]["b"].verdict == "tied"
    one = found.standings["score"]
    assert (one.best, one.apart, one.open) == (None, False, ())
    text = as_text(found, {m: m for m in found.methods}, "a")
    assert "all tied, within 0.005: this score cannot tell these methods apart" in text
    assert "*" not in text.split("Costs are")[0]
    assert "=" in text.split("Costs are")[0]
    page = page_of(found, tmp_path)
    assert "cannot tell these methods apart" in page
    cells = page.split("<tbody>")[1].split("</tbody>")[0]
    assert "class=up" not in cells
    assert "class=down" not in cells
    assert cells.count("tied") == 2


def test_ties_and_open_questions_are_named(net):
    best = scores(12, 0, 0.3)
    found = found_of(net, a=best, b=best - 1e-4, c=scores(12, 1, 0.29), d=scores(12, 2))
    one = found.standings["score"]
    assert (one.first, one.best, one.tied, one.behind) == (one.first, None, one.tied, ("d",))
    assert set(one.tied + one.open + (one.first,)) == {"a", "b", "c"}
    assert "tied with" in one.sentence({})


@pytest.mark.parametrize("n_methods", [2, 4])
def test_too_few_images_are_said_to_be_too_few(n_methods, net, tmp_path):
    needed = n_needed(n_methods - 1)
    for n in (needed - 1, needed):
        methods = {f"m{k}": scores(n, k, 0.2 if k else 0) for k in range(n_methods)}
        found = found_of(net, **methods)
        text = as_text(found, {m: m for m in found.methods}, "m0")
        sentence = f"No difference can reach p < 0.05 with {n} images"
        assert (sentence in text) is (n < needed)
        assert (sentence.replace("<", "&lt;") in page_of(found, tmp_path)) is (n < needed)
        assert found.as_dict()["significance"]["limits"]["score"].startswith("No") is (n < needed)


def test_mean_against_most_images_is_mixed_everywhere(net, tmp_path):
    base = scores(30, 0)
    gaps = torch.tensor([-0.02 - 0.001 * k for k in range(27)] + [0.45] * 3)
    found = found_of(net, a=base, b=base + gaps)
    difference = found.significance("a")["score"]["b"]
    assert difference.mean > 0 > difference.effect
    assert difference.p_value < 0.05
    assert found.as_dict("a")["significance"]["columns"]["score"]["b"]["verdict"] == "mixed"
    assert found.standings["score"].best is None
    assert "~" in as_text(found, {m: m for m in found.methods}, "a").split("Costs are")[0]
    cells = page_of(found, tmp_path).split("<tbody>")[1].split("</tbody>")[0]
    assert "mixed" in cells
    assert "class=up" not in cells


def test_the_smallest_difference_that_counts_can_be_set(net):
    found = found_of(net, a=scores(12, 0), b=scores(12, 0, 0.01))
    assert found.significance("a")["score"]["b"].verdict == "higher"
    found.smallest = 0.05
    assert found.significance("a")["score"]["b"].verdict == "tied"
    assert found.as_dict()["significance"]["smallest"] == {"score": 0.05}


def test_a_score_without_values_per_image_is_not_tested(net):
    methods = {"a": Saliency(net), "b": Saliency(net)}
    found = evaluate(net, data(6), methods, {"aic": AIC(net)}, batch_size=2, seed=0)
    assert "not tested" in found.standings["aic"].sentence({})
    assert found.standings["aic"].best is None


def test_one_method_is_the_only_one(net):
    assert found_of(net, a=scores(6, 0)).standings["score"].sentence({}) == "a, the only method"


class Detail(torch.nn.Module):
    """Two classes, by how much an image varies."""

    def forward(self, x):
        p = (3 * x.std((1, 2, 3))).clamp(0, 1)
        return torch.stack([p, 1 - p], 1)


def test_a_value_that_is_no_mean_is_said_to_be_none(tmp_path):
    model = Detail().eval()
    items = [(image, 0) for image, _ in data(9)]
    scores = {k: SIC.from_preset(model, k, level="ms_ssim", min_score=0) for k in ("xrai", "tmlr")}
    found = evaluate(model, items, {"a": Saliency(model), "b": InputXGradient(model)}, scores,
                     batch_size=3, seed=0)  # fmt: skip
    sentence = "xrai: a value of the median curve"
    assert sentence in as_text(found, {"a": "a", "b": "b"}, "a")
    assert sentence in page_of(found, tmp_path)
