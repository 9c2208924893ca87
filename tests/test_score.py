"""`Score`: whose example a point is, decides its target and arguments."""

from collections import namedtuple

import numpy as np
import pytest
import torch

from captum_ext._memory import default_chunk
from captum_ext._tensors import format_inputs, fresh
from captum_ext.attr import GuidedIG
from captum_ext.score import Score


def weighted(x, weight):
    return x * weight


@pytest.fixture
def inputs():
    return (torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]),)


@pytest.mark.parametrize("chunk", [1, 2, 100])
def test_rows_choose_target_and_arguments(chunk, inputs):
    weight = torch.tensor([[1.0], [10.0], [100.0]])
    score = Score(weighted, inputs, [0, 1, 0], weight, chunk=chunk)
    rows = torch.tensor([2, 2, 0, 1])
    points = (torch.tensor([[1.0, 2.0]] * 4),)
    assert score(points, rows).tolist() == [100, 100, 1, 20]
    value, (gradient,) = score.with_gradient(points, rows)
    assert value.tolist() == [100, 100, 1, 20]
    assert gradient.tolist() == [[100, 0], [100, 0], [1, 0], [0, 10]]


def test_points_of_another_type_meet_the_model_in_the_inputs_type(inputs):
    seen = []

    def model(x):
        seen.append(x.dtype)
        return x.square()

    score = Score(model, inputs, target=0)
    _, (gradient,) = score.with_gradient((inputs[0].double(),))
    assert seen == [torch.float32]
    assert gradient.dtype == torch.float64


def test_arguments_that_are_not_per_example_stay_as_they_are(inputs):
    def model(x, scale, shift, word):
        assert word == "w"
        return x * scale.sum() + shift

    score = Score(model, inputs, 0, (torch.ones(2), torch.tensor(1.0), "w"))
    assert score(inputs, torch.tensor([0, 1, 2])).tolist() == [3, 7, 11]


def test_a_model_that_drops_rows_is_refused(inputs):
    with pytest.raises(ValueError, match="`forward_func` must return one row per example"):
        Score(lambda x: x[:1], inputs, 0)(inputs)


def test_a_model_that_returns_no_tensor_is_refused(inputs):
    with pytest.raises(TypeError, match=r"`forward_func`.*dict with the keys \['logits'\]"):
        Score(lambda x: {"logits": x}, inputs, 0)(inputs)


def test_the_default_chunk_bounds_a_call_whatever_the_batch():
    assert default_chunk((torch.zeros(1, 3, 224, 224),)) == 8
    assert default_chunk((torch.zeros(20, 3, 224, 224),)) == 8
    assert default_chunk((torch.zeros(1, 3, 4096, 4096),)) == 1
    assert default_chunk((torch.zeros(2, 5),)) == 1024


def test_neither_value_nor_gradient_may_be_nan_unless_the_caller_counts_them(inputs):
    def model(x):
        return torch.where(x[:, :1] > 2, x, torch.nan)

    with pytest.raises(ValueError, match=r"nan or infinite.*examples \[0\]"):
        Score(model, inputs, 0)(inputs)
    with pytest.raises(ValueError, match=r"nan or infinite.*examples \[0\]"):
        Score(model, inputs, 0, chunk=1).with_gradient(inputs, torch.tensor([0, 1, 2]))
    assert Score(model, inputs, 0, keep_undefined=True)(inputs).isnan().tolist() == [1, 0, 0]
    with pytest.raises(ValueError, match=r"gradients for the examples \[0\]"):
        Score(lambda x: (x - 1).sqrt(), inputs, 0).with_gradient(inputs)


def test_no_tensor_is_handed_out_twice(inputs):
    seen = []

    def model(x, y):
        seen.extend([x, y])
        return x + y

    score = Score(model, inputs, 0, inputs[0])
    score(inputs)
    score.with_gradient(inputs)
    score.through(lambda x: (x,)).with_gradient(inputs)
    places = [x.data_ptr() for x in (*inputs, *seen)]
    assert len(set(places)) == 7


def test_values_outlive_an_output_that_the_next_call_writes_over(inputs):
    output = torch.empty(1, dtype=torch.float64)
    wide = tuple(x.double() for x in inputs)
    score = Score(lambda x: output.copy_(x[:, 0]), wide, chunk=1)
    assert score(wide).tolist() == [1, 3, 5]


def test_inputs_of_inference_mode_are_copied_out_of_it():
    with torch.inference_mode():
        (copied,) = format_inputs(torch.ones(1, 2))
    assert not copied.is_inference()


def test_arrays_and_tensors_in_arguments_are_copied_however_deep():
    Named = namedtuple("Named", ["a"])
    given = {"a": [torch.ones(1), (np.ones(1), Named(torch.ones(1)))], "b": "word"}
    copied = fresh(given)
    copied["a"][0].zero_()
    copied["a"][1][0][:] = 0
    copied["a"][1][1].a.zero_()
    copied["a"].pop()
    assert given["a"][0] == given["a"][1][0] == given["a"][1][1].a == 1
    assert copied["b"] is given["b"]


def test_messages_speak_of_the_examples_that_were_given():
    """Not of the rows of a model call, which holds an example at many points."""
    method = GuidedIG(torch.nn.Linear(4, 3))
    with pytest.raises(AssertionError, match=r"of shape \(N, 3\), but got 7"):
        method.attribute(torch.rand(2, 4), target=7, n_steps=20)
    with pytest.raises(AssertionError, match=r"None leaves shape \(N, 3\)"):
        method.attribute(torch.rand(2, 4), n_steps=20)
