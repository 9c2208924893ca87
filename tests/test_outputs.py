"""Where a model's logits are is said or found; what is no logit is never squashed again."""

from collections import namedtuple

import pytest
import torch
from captum.attr import IntegratedGradients
from torch import nn

from captum_ext import ImageClassifier
from captum_ext.attr import IDGI, RISE, BlurIG, GuidedIG
from captum_ext.metrics import (
    Deletion,
    Insertion,
    accuracy_information_curve,
    insertion,
    insertion_curve,
)

MEAN, STD = [0.5] * 3, [0.25] * 3
Pair = namedtuple("Pair", "features scores")


class Ending(nn.Module):
    """A small network, and what becomes of its logits."""

    def __init__(self, end=lambda y: y, classes=3):
        super().__init__()
        torch.manual_seed(0)
        self.net = nn.Sequential(
            nn.Conv2d(3, 4, 3), nn.SiLU(), nn.Flatten(), nn.Linear(144, classes)
        )
        self.gate = nn.Sigmoid()
        self.end = end

    def forward(self, x):
        return self.end(self.net(x * self.gate(x)))


def images(n=2):
    return torch.rand(n, 3, 8, 8, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(
    ("pack", "output"),
    [
        (lambda y: (y * 0, y), 1),
        (lambda y: [y, y * 0], -2),
        (lambda y: {"features": y * 0, "scores": y}, "scores"),
        (lambda y: Pair(y * 0, y), "scores"),
        (lambda y: Pair(y * 0, y), 1),
        (lambda y: {"logits": y * 0, "scores": y}, "scores"),
    ],
)
def test_the_part_that_is_named_is_taken(pack, output):
    made = ImageClassifier(Ending(pack), MEAN, STD, output=output)
    assert torch.equal(made(images()), ImageClassifier(Ending(), MEAN, STD)(images()))
    assert f"output={output!r}" in repr(made)


@pytest.mark.parametrize("output", ["gone", 5])
@pytest.mark.parametrize("pack", [lambda y: (y, y), lambda y: {"a": y}, lambda y: y])
def test_a_part_that_is_not_there_is_named(pack, output):
    with pytest.raises(ValueError, match=f"`output` {output!r} is no part of what `model` returns"):
        ImageClassifier(Ending(pack), MEAN, STD, output=output)(images())


PROBABLE = {
    "sigmoid": lambda y: y.sigmoid(),
    "in place": lambda y: y.sigmoid_(),
    "module": nn.Sigmoid(),
    "a view": lambda y: y.sigmoid()[:, :2],
    "a copy": lambda y: y.sigmoid().clone().float(),
    "softmax": lambda y: y.softmax(1),
    "softmax in float64": lambda y: y.double().softmax(1).float(),
    "within": lambda y: {"logits": y.softmax(1)},
}


@pytest.mark.parametrize("end", PROBABLE.values(), ids=PROBABLE)
@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
@pytest.mark.parametrize("gradients", [True, False])
def test_probabilities_are_not_squashed_again(end, activation, gradients):
    classifier = ImageClassifier(Ending(end), MEAN, STD, activation=activation)
    for _ in range(2):
        words = r"ends with a s\w+ itself: give activation=None"
        with torch.set_grad_enabled(gradients), pytest.raises(ValueError, match=words):
            classifier(images())
    right = ImageClassifier(Ending(end), MEAN, STD, activation=None)
    assert right(images()).max() <= 1


def test_rows_that_sum_to_one_are_not_squashed_again():
    shares = Ending(lambda y: y.exp() / y.exp().sum(1, keepdim=True))
    with pytest.raises(ValueError, match="gives rows that sum to 1: give activation=None"):
        ImageClassifier(shares, MEAN, STD)(images())


LOGITS = {
    "plain": lambda y: y,
    "scaled": lambda y: y.sigmoid() * 4 - 2,
    # Of the same memory as the sigmoid that was made and freed before it.
    "freed": lambda y: torch.zeros_like(y).sigmoid().sum() * 0 + y,
    "logarithms": lambda y: y.log_softmax(1),
}


@pytest.mark.parametrize("end", LOGITS.values(), ids=LOGITS)
def test_logits_are(end):
    made = ImageClassifier(Ending(end), MEAN, STD)(images())
    given = (images() - 0.5) / 0.25
    torch.testing.assert_close(made, Ending(end)(given).softmax(1))


def test_only_the_first_answer_is_watched(monkeypatch):
    classifier = ImageClassifier(Ending(), MEAN, STD)
    classifier(images())
    monkeypatch.setattr("captum_ext.classifier.watched", None)
    classifier(images())
    with pytest.raises(TypeError):
        ImageClassifier(Ending(), MEAN, STD)(images())


def regression():
    return ImageClassifier(Ending(lambda y: 40 * y - 7, 1), MEAN, STD, activation=None)


def test_scores_are_read_as_they_are():
    model, x = regression(), images()
    maps = GuidedIG(model).attribute(x, target=0, n_steps=4)
    with pytest.raises(ValueError, match='reading="score"'):
        Insertion(model).update(x, maps, target=0)
    for kind in (Insertion, Deletion):
        metric = kind(model, n_steps=3, reading="score")
        metric.update(x, maps, target=0)
        whole = -1 if kind is Insertion else 0
        torch.testing.assert_close(metric.curve().y[0, whole].float(), model(x).mean())
        assert metric.protocol["reading"] == "score"
        assert metric.plot_lower_bound is None
        assert metric.axes_labels[1] == "score"


def test_scores_have_no_ratio_and_no_information_curve():
    with pytest.raises(ValueError, match="`relative` divides by the answer to the original"):
        Insertion(regression(), relative=True, reading="score")
    with pytest.raises(ValueError, match=r"`reading` is one of \['probability', 'score'\]"):
        insertion_curve(regression(), images(), images(), target=0, reading="logit")
    with pytest.raises(ValueError, match="must return probabilities"):
        accuracy_information_curve(regression(), images(), images(), target=0, level="entropy")


@pytest.mark.parametrize("method", [GuidedIG, BlurIG])
def test_several_labels_are_explained_each_by_itself(method):
    classifier = ImageClassifier(Ending(), MEAN, STD, activation="sigmoid")
    maps = method(classifier).attribute(images(), target=[0, 2], n_steps=4)
    each = [
        method(classifier).attribute(images()[k : k + 1], target=target, n_steps=4)
        for k, target in enumerate((0, 2))
    ]
    torch.testing.assert_close(maps, torch.cat(each))
    metric = Insertion(classifier, n_steps=2)
    metric.update(images(), maps, target=torch.tensor([0, 2]))
    assert metric.per_example.isfinite().all()


def small():
    layers = [nn.Conv2d(3, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(72, 3)]
    return nn.Sequential(*layers).eval()


def ways(model, images):
    """What asks a model, each in its own way."""
    classifier = ImageClassifier(model, [0.5] * 3, [0.5] * 3)
    return {
        "classifier": lambda: classifier(images),
        "path": lambda: IDGI(IntegratedGradients(model)).attribute(images, target=1, n_steps=4),
        "masks": lambda: RISE(classifier, 2).attribute(
            images, n_masks=4, target=1, perturbations_per_eval=2
        ),
        "metric": lambda: insertion(classifier, images, images, target=1, n_steps=3),
    }


@pytest.mark.parametrize("way", ["classifier", "path", "masks", "metric"])
def test_weights_of_another_type_than_the_inputs_are_told(way):
    images = torch.rand(2, 3, 8, 8)
    with pytest.raises(
        ValueError, match=r"parameters are torch.bfloat16 and its .*model.to\(torch"
    ):
        ways(small().bfloat16(), images)[way]()


@pytest.mark.parametrize("way", ["classifier", "path", "masks", "metric"])
def test_a_program_of_one_batch_size_says_how_it_can_be_asked(way):
    images = torch.rand(1, 3, 8, 8)
    program = torch.export.export(small(), (images,)).module()
    with pytest.raises(ValueError, match="was exported for inputs of one shape") as raised:
        ways(program, images if way != "classifier" else torch.rand(2, 3, 8, 8))[way]()
    assert "\n" not in str(raised.value)
    method = IDGI(IntegratedGradients(program))
    method.attribute(images, target=1, n_steps=4, internal_batch_size=1)
    RISE(program, 2).attribute(images, n_masks=4, target=1, perturbations_per_eval=1)


def test_other_failures_are_the_models_own():
    class Failing(nn.Module):
        def forward(self, x):
            raise RuntimeError("a type of my own")

    with pytest.raises(RuntimeError, match=r"^a type of my own$"):
        ImageClassifier(Failing().eval(), [0.5] * 3, [0.5] * 3)(torch.rand(1, 3, 8, 8))
