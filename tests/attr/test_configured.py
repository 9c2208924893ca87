"""`Configured`: arguments already chosen, and nothing of the caller's handed out."""

import pytest
import torch
from captum.attr import Attribution, Occlusion, Saliency

from captum_ext.attr import Configured


class Careless(Attribution):
    """Writes over everything that it is given."""

    def attribute(self, inputs, baselines, extra):
        with torch.no_grad():
            return inputs.mul_(2.0) + baselines.add_(1.0) + extra["x"].zero_()


def test_a_method_that_writes_over_its_arguments_reaches_none_of_the_callers(images):
    inputs, chosen, extra = images.clone().requires_grad_(), torch.ones(1), torch.ones(1)
    method = Configured(Careless(lambda x: x), baselines=chosen)
    for _ in range(2):
        torch.testing.assert_close(method.attribute(inputs, extra={"x": extra}), 2 * images + 2)
    assert torch.equal(inputs, images)
    assert (chosen, extra) == (1, 1)
    assert inputs.requires_grad


def test_a_model_that_writes_over_its_input_leaves_the_callers_alone(model, images):
    before = images.clone()
    method = Configured(Occlusion(lambda x: model(x.mul_(0.5))), sliding_window_shapes=(3, 5, 4))
    method.attribute(images, target=1)
    assert torch.equal(images, before)


def test_captums_methods_say_that_there_is_no_gradient_in_the_words_of_ours(model, images):
    for forward_func in (torch.no_grad()(model), lambda x: torch.from_numpy(x.numpy())):
        with pytest.raises(ValueError, match="no gradient reaches the inputs"):
            Configured(Saliency(forward_func)).attribute(images, target=1)


def test_captums_methods_work_in_inference_mode(model, images):
    expected = Configured(Saliency(model)).attribute(images, target=1)
    with torch.inference_mode():
        found = Configured(Saliency(model)).attribute(images.clone(), target=1)
    torch.testing.assert_close(found, expected)
