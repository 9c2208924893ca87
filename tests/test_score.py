"""`Score`: whose example a point is, decides its target and arguments."""

import pytest
import torch

from captum_ext._captum import Score, default_chunk


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
    with pytest.raises(TypeError, match="`forward_func` must return a tensor, but gave dict"):
        Score(lambda x: {"logits": x}, inputs, 0)(inputs)


def test_the_default_chunk_never_splits_the_callers_batch_but_bounds_steps():
    assert default_chunk((torch.zeros(1, 3, 224, 224),)) == 8
    assert default_chunk((torch.zeros(20, 3, 224, 224),)) == 20
    assert default_chunk((torch.zeros(2, 5),)) == 1024
