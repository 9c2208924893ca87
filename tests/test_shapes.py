"""Signatures of mask/ and curve/ are checked while tests run; a wrong shape does not pass."""

from typing import Annotated as Shaped

import pytest
import torch
from torch import Tensor

from captum_ext.curve import frames
from captum_ext.mask.advanced import MaskState
from tests.shapes import checked


def scale(values: Shaped[Tensor, "M cells"], by: Shaped[Tensor, "M"] | None) -> Tensor:
    return values if by is None else values * by


def pair(values: Shaped[Tensor, "M cells"]) -> tuple[Shaped[Tensor, "M"], Shaped[Tensor, "cells"]]:
    return values.sum(1), values.sum(1)


def test_what_broadcasts_by_chance_is_no_right_shape():
    checked(scale)(torch.ones(3, 4), None)
    checked(scale)(torch.ones(3, 3), by=torch.ones(3))
    with pytest.raises(AssertionError, match=r"scale: by is \(4,\), not \(M\)"):
        checked(scale)(torch.ones(3, 4), torch.ones(4))


def test_each_part_of_what_is_returned_is_checked():
    checked(pair)(torch.ones(3, 3))
    with pytest.raises(AssertionError, match=r"return is \(3,\), not \(cells\)"):
        checked(pair)(torch.ones(3, 4))


def test_records_and_functions_of_the_package_are_checked():
    with pytest.raises(AssertionError, match=r"gradient is \(2, 1, 4\), not \(M masks cells\)"):
        MaskState(torch.ones(3, 1, 4), torch.ones(2, 1, 4))
    with pytest.raises(AssertionError, match=r"n_features is \(1, 1\), not \(N\)"):
        frames.even_counts(torch.tensor([[5]]), 2)
