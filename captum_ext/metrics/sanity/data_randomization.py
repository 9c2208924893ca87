"""Data randomization: maps under a model that learned permuted labels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn
from typing_extensions import Unpack

from captum_ext._torchmetrics import MetricOptions
from captum_ext._typing import Inputs, Target
from captum_ext.classifier import require_unit_images
from captum_ext.metrics.sanity.checks import DEFAULT_SIMILARITY, _SanityCheck
from captum_ext.metrics.sanity.made_method import MakeMethod
from captum_ext.metrics.sanity.twin import twin_of


class DataRandomization(_SanityCheck):
    """Similarity of maps under a model and one trained on permuted labels.

    The data randomization test of Adebayo et al. (NeurIPS 2018): a map that stays similar
    does not depend on what labels mean, so lower is better. See `train_on_permuted_labels`.

    Args:
        make_method: from a model to a Captum method.
        similarity: as of `ParameterRandomization`.
        kwargs: of `torchmetrics.Metric`.

    >>> import torch
    >>> from captum.attr import Saliency
    >>> one, two = nn.Linear(4, 2), nn.Linear(4, 2)
    >>> check = DataRandomization(Saliency, similarity=["abs_spearman"])
    >>> check.update(one, two, torch.rand(3, 4), target=1)
    >>> check.per_example["abs_spearman"].shape
    torch.Size([3, 1])
    """

    def __init__(
        self,
        make_method: MakeMethod,
        similarity: Sequence[str] = DEFAULT_SIMILARITY,
        **kwargs: Unpack[MetricOptions],
    ) -> None:
        super().__init__(make_method, similarity, **kwargs)

    def update(
        self,
        model: nn.Module,
        randomized_model: nn.Module,
        inputs: Inputs,
        target: Target = None,
        additional_forward_args: Any = None,
    ) -> None:
        """Adds examples, explained under copies of both models.

        Arguments and errors as of `ParameterRandomization.update`.
        """
        twins = [twin_of(m) if isinstance(m, nn.Module) else m for m in (model, randomized_model)]
        require_unit_images(twins[0], inputs)
        original, other = (
            self._explain(twin, inputs, target, additional_forward_args) for twin in twins
        )
        self._add(original, [other])

    @property
    def protocol(self) -> dict[str, Any]:
        """Everything that decides the numbers."""
        return {**super().protocol, "similarity": list(self.similarity)}
