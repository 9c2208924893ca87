"""`Configured`: an attribution method with arguments of its ``attribute`` already chosen."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor

from captum_ext._captum import Attribution, log_usage
from captum_ext._tensors import fresh
from captum_ext._typing import Inputs
from captum_ext.score import no_gradient_said


class Configured(Attribution):
    """A method that brings arguments along, for callers that only know inputs and target.

    Args:
        method: any of Captum's or this package's.
        options: arguments of its ``attribute``; a function is called with the inputs. Those
            given to ``attribute`` later take precedence.

    >>> import torch
    >>> from captum.attr import Occlusion
    >>> method = Configured(Occlusion(lambda x: x), sliding_window_shapes=(1,))
    >>> method.attribute(torch.tensor([[1.0, 2.0]]), target=1)
    tensor([[0., 2.]])
    """

    def __init__(self, method: Attribution, **options: Any) -> None:
        super().__init__(method.forward_func)
        self.method = method
        self.options = options

    def get_name(self) -> str:
        """The method's own name."""
        name: str = self.method.get_name()
        return name

    @log_usage()
    def attribute(self, inputs: Inputs, *args: Any, **kwargs: Any) -> Any:
        """What the method gives, with the chosen arguments; it is handed copies of tensors."""
        with ExitStack() as stack:
            stack.enter_context(no_gradient_said())
            if torch.is_inference_mode_enabled():
                stack.enter_context(torch.inference_mode(False))
            given = tuple(map(_leaf, inputs)) if isinstance(inputs, tuple) else _leaf(inputs)
            chosen = {k: v(given) if callable(v) else v for k, v in self.options.items()}
            return self.method.attribute(given, *fresh(args), **fresh({**chosen, **kwargs}))


def unwrapped(method: Attribution) -> tuple[Attribution, dict[str, Any]]:
    """The method itself, and the arguments that it brings along.

    >>> from captum.attr import Saliency
    >>> method, options = unwrapped(Configured(Saliency(len), abs=False))
    >>> type(method).__name__, options, unwrapped(method)[1]
    ('Saliency', {'abs': False}, {})
    """
    if isinstance(method, Configured):
        return method.method, method.options
    return method, {}


def _leaf(x: Tensor) -> Tensor:
    return x.detach().clone().requires_grad_(x.requires_grad)
