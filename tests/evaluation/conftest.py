"""A small run: few images, quick methods and metrics."""

import pytest
import torch
from captum.attr import IntegratedGradients, Saliency

from captum_ext.attr import Configured
from captum_ext.evaluation.export import plain
from captum_ext.metrics import Deletion, Insertion
from tests.conftest import small_net


def data(n=5):
    generator = torch.Generator().manual_seed(2)
    return [(torch.rand(3, 20, 16, generator=generator), k % 5) for k in range(n)]


def methods(model):
    return {
        "gradient": Saliency(model),
        "ig": Configured(IntegratedGradients(model), n_steps=4),
    }


def metrics(model):
    return {
        "insertion": Insertion(model, n_steps=5),
        "deletion": Deletion(model, n_steps=5, reduction="abs_sum"),
    }


def without_time(records):
    return plain([{k: v for k, v in record.items() if k != "seconds"} for record in records])


@pytest.fixture
def net():
    return small_net()
