"""Training the second model of the data randomization test."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from captum_ext._progress import Work
from captum_ext._random import stream
from captum_ext.metrics.sanity.randomize import forget_casts
from captum_ext.metrics.sanity.twin import require_parameters, twin_of


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
    """A copy of the model, without wrappers, trained on permuted labels, and its accuracy.

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
        show_progress: a bar on stderr, lines where that is a file.

    Raises:
        TypeError: if the model can't be copied or gives no tensor, or labels are no classes.
        ValueError: if inputs and labels don't fit, or a count is below 1.

    >>> net, x, y = nn.Linear(4, 2), torch.rand(8, 4), torch.arange(8) % 2
    >>> twin, accuracy = train_on_permuted_labels(net, x, y, n_epochs=2, show_progress=False)
    >>> twin is not net and 0 <= accuracy <= 1
    True
    """
    require_parameters(model)
    if labels.dim() != 1 or labels.is_floating_point() or labels.is_complex():
        raise TypeError(
            f"`labels` are numbers of classes (N,), but got {labels.dtype} of shape "
            f"{tuple(labels.shape)}."
        )
    if len(inputs) != len(labels) or len(labels) == 0:
        raise ValueError(
            f"`inputs` and `labels` need one row per example, but got {len(inputs)} and "
            f"{len(labels)}."
        )
    if n_epochs < 1 or batch_size < 1:
        raise ValueError(
            f"`n_epochs` and `batch_size` are at least 1, but got {n_epochs} and {batch_size}."
        )
    generator = stream(seed)
    wrong = labels[torch.randperm(len(labels), generator=generator)].to(inputs.device)
    accuracy = 0.0
    with (
        # Tensors made in inference mode never have gradients.
        torch.inference_mode(False),
        torch.enable_grad(),
        torch.random.fork_rng(),
        Work(n_epochs, "epoch", "permuted labels", shown=show_progress) as work,
    ):
        twin = twin_of(model).requires_grad_(True)
        optimizer = torch.optim.Adam(twin.parameters(), lr=lr)
        torch.manual_seed(seed)
        for _ in range(n_epochs):
            twin.train()
            for rows in torch.split(torch.randperm(len(wrong), generator=generator), batch_size):
                optimizer.zero_grad()
                loss: Tensor = functional.cross_entropy(_logits(twin, inputs[rows]), wrong[rows])
                torch.autograd.backward(loss)
                optimizer.step()
                forget_casts()
            accuracy = _accuracy(twin.eval(), inputs, wrong, batch_size)
            # Casts made without gradients have none.
            forget_casts()
            work.tell(f"accuracy {accuracy:.3f}")
            work.update()
            if accuracy >= until:
                break
        twin.zero_grad(set_to_none=True)
    return twin.train(model.training), accuracy


@torch.no_grad()
def _accuracy(model: nn.Module, inputs: Tensor, labels: Tensor, batch_size: int) -> float:
    pairs = zip(torch.split(inputs, batch_size), torch.split(labels, batch_size), strict=True)
    # A model may write into what it is given.
    right = sum(int((_logits(model, x.clone()).argmax(1) == y).sum()) for x, y in pairs)
    return right / len(labels)


def _logits(model: nn.Module, inputs: Tensor) -> Tensor:
    logits = model(inputs)
    if not isinstance(logits, Tensor) or logits.dim() != 2:
        got = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        raise TypeError(f"`model` must return logits (N, classes), but gave {got}.")
    return logits
