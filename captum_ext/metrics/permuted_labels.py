"""Training the second model of the data randomization test."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.nn import functional
from tqdm import tqdm


def train_on_permuted_labels(
    model: nn.Module,
    inputs: Tensor,
    labels: Tensor,
    n_epochs: int = 100,
    batch_size: int = 64,
    lr: float = 1e-3,
    until: float = 0.95,
    seed: int = 0,
    show_progress: bool = True,
) -> tuple[nn.Module, float]:
    """A copy of the model trained on permuted labels, and its training accuracy.

    Adebayo et al. (NeurIPS 2018) train until the network has memorized the labels; a low
    accuracy says that it has not, and that the test means little.

    Args:
        model: gives logits (N, classes); start from a fresh one, or continue a trained one.
        inputs, labels: the training data, (N, ...) and (N,).
        n_epochs: at most so many.
        batch_size: examples per step of Adam.
        lr: its learning rate.
        until: training accuracy at which to stop.
        seed: of the permutation and the order; the global random state stays as it is.
        show_progress: a progress bar on stderr.

    >>> net, x, y = nn.Linear(4, 2), torch.rand(8, 4), torch.arange(8) % 2
    >>> twin, accuracy = train_on_permuted_labels(net, x, y, n_epochs=2, show_progress=False)
    >>> twin is not net and 0 <= accuracy <= 1
    True
    """
    if len(inputs) != len(labels) or len(labels) == 0:
        raise ValueError(
            f"`inputs` and `labels` need one row per example, but got {len(inputs)} and "
            f"{len(labels)}."
        )
    generator = torch.Generator().manual_seed(seed)
    wrong = labels[torch.randperm(len(labels), generator=generator)]
    twin = copy.deepcopy(model)
    for parameter in twin.parameters():
        parameter.requires_grad_(True)
    optimizer = torch.optim.Adam(twin.parameters(), lr=lr)
    accuracy = 0.0
    with (
        torch.enable_grad(),
        torch.random.fork_rng(),
        tqdm(total=n_epochs, desc="permuted labels", disable=not show_progress) as bar,
    ):
        torch.manual_seed(seed)
        for _ in range(n_epochs):
            twin.train()
            for rows in torch.split(torch.randperm(len(wrong), generator=generator), batch_size):
                optimizer.zero_grad()
                loss: Tensor = functional.cross_entropy(twin(inputs[rows]), wrong[rows])
                torch.autograd.backward(loss)
                optimizer.step()
            accuracy = _accuracy(twin.eval(), inputs, wrong, batch_size)
            bar.update()
            bar.set_postfix(accuracy=f"{accuracy:.3f}")
            if accuracy >= until:
                break
    twin.zero_grad(set_to_none=True)
    return twin.train(model.training), accuracy


@torch.no_grad()
def _accuracy(model: nn.Module, inputs: Tensor, labels: Tensor, batch_size: int) -> float:
    pairs = zip(torch.split(inputs, batch_size), torch.split(labels, batch_size), strict=True)
    right = sum(int((model(x).argmax(1) == y).sum()) for x, y in pairs)
    return right / len(labels)
