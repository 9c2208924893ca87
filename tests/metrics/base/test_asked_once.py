import pickle

import pytest
import torch
from captum.attr import Saliency
from torch import nn

from captum_ext import ImageClassifier
from captum_ext._memory import module_of
from captum_ext.evaluation import evaluate
from captum_ext.metrics import AIC, Deletion, Insertion, deletion_curve, insertion_curve
from captum_ext.metrics.base.asked_once import AskedOnce, asked_once


class Watched(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.inner = nn.Sequential(nn.Flatten(), nn.Linear(48, 3), nn.Softmax(1))
        self.frames = []

    def forward(self, x):
        self.frames += [frame.numpy().tobytes() for frame in x.detach()]
        return self.inner(x)


def four_curves(model, image, credit):
    return [
        curve(model, image, credit, target=1, n_steps=6, reduction=reduction).y
        for curve in (insertion_curve, deletion_curve)
        for reduction in ("sum", "abs_sum")
    ]


def test_no_frame_is_asked_for_twice_and_curves_stay_what_they_are():
    image, maps = torch.rand(1, 3, 4, 4), torch.randn(3, 1, 3, 4, 4)
    plain, once = Watched().eval(), Watched().eval()
    asked = AskedOnce(once)
    for credit in (*maps, maps[0].abs()):
        for ours, theirs in zip(
            four_curves(asked, image, credit), four_curves(plain, image, credit), strict=True
        ):
            torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=0)
    assert sorted(once.frames) == sorted(set(plain.frames))
    # Of a positive map signed and absolute order are one; both ends are all curves' own.
    assert len(once.frames) <= 2 + 3 * 4 * 5 + 2 * 5 < len(plain.frames)


def test_evaluate_asks_for_no_frame_of_a_map_twice():
    model = Watched().eval()
    metrics = {
        f"{kind.__name__} {reduction}": kind(model, n_steps=6, reduction=reduction)
        for kind in (Insertion, Deletion)
        for reduction in ("sum", "abs_sum")
    }
    data = [(torch.rand(3, 4, 4), 1)]
    found = evaluate(model, data, {"saliency": Saliency(model)}, metrics, batch_size=1, seed=0)
    # The example as it is read, its gradient, both ends, and what lies between.
    assert len(model.frames) <= 1 + 1 + 2 + 2 * 5
    for metric in metrics.values():
        assert metric.forward_func is model
    (row,) = found.records
    alone = Insertion(model, n_steps=6)
    image = data[0][0][None]
    alone.update(image, Saliency(model).attribute(image, target=1), target=1)
    assert abs(row["Insertion sum"] - float(alone.compute())) < 1e-6


def test_a_wrapped_classifier_still_refuses_what_it_would_refuse():
    net = nn.Sequential(nn.Flatten(), nn.Linear(48, 3))
    model = ImageClassifier(net, mean=[0.5] * 3, std=[0.5] * 3).eval()
    metric = AIC(model)
    with asked_once([metric]), pytest.raises(ValueError, match=r"\[0, 1\]"):
        metric.update(torch.full((1, 3, 4, 4), -1.5), torch.rand(1, 3, 4, 4), target=0)


def test_gradients_and_further_arguments_go_to_the_model():
    model = AskedOnce(lambda x, y=0.0: (x + y).sum(1, keepdim=True))
    x = torch.ones(1, 2, requires_grad=True)
    model(x).sum().backward()
    assert x.grad.tolist() == [[1.0, 1.0]]
    with torch.no_grad():
        assert model(x).item() == 2.0
        assert model(x, 1.0).item() == 4.0


def test_rows_that_differ_in_one_bit_are_told_apart():
    asked = AskedOnce(lambda x: x.sum(1, keepdim=True))
    with torch.no_grad():
        for dtype in (torch.float64, torch.float32, torch.bfloat16, torch.int8):
            rows = torch.zeros(4, 3, dtype=dtype)
            rows[1, 0], rows[2, 1], rows[3, 2] = 1, 1, -1
            assert asked(rows).flatten().tolist() == [0, 1, 1, -1]


def test_a_metric_without_its_model_is_an_exclusion_and_others_are_read():
    model = Watched().eval()
    metrics = {
        "unbound": pickle.loads(pickle.dumps(Insertion(model, n_steps=2))),
        "bound": Insertion(model, n_steps=2),
    }
    data = [(torch.rand(3, 4, 4), 1)]
    found = evaluate(model, data, {"s": Saliency(model)}, metrics, batch_size=1, seed=0)
    (row,) = found.records
    assert (row["unbound_n"], row["bound_n"]) == (0, 1)


def test_buffers_of_a_model_whose_method_is_asked_stay_what_they_are():
    class Counting(Watched):
        def __init__(self):
            super().__init__()
            self.register_buffer("calls", torch.zeros(()))

        def forward(self, x):
            self.calls += 1
            return super().forward(x)

    model = Counting().eval()
    metric = Insertion(model.forward, n_steps=2)
    with asked_once([metric]):
        metric.update(torch.rand(1, 3, 4, 4), torch.rand(1, 3, 4, 4), target=1)
    assert model.calls == 0


def test_what_memory_held_is_remembered_of_the_model_inside():
    model = Watched()
    for given in (model, model.forward, AskedOnce(model), AskedOnce(model.forward)):
        assert module_of(given) is model


def test_what_was_answered_to_someone_else_is_not_asked_for():
    asked = AskedOnce(lambda x: x.sum(1, keepdim=True))
    asked.remember(torch.ones(1, 2), torch.tensor([[5.0]]))
    with torch.no_grad():
        assert asked(torch.tensor([[1.0, 1.0], [1.0, 2.0]])).tolist() == [[5.0], [3.0]]


def test_one_pattern_of_bits_in_two_types_is_two_questions():
    asked = AskedOnce(lambda x: x.sum(1, keepdim=True).double())
    bits = torch.tensor([[1, 2]], dtype=torch.int32)
    with torch.no_grad():
        assert asked(bits).item() == 3
        assert asked(bits.view(torch.float32)).item() < 1
