"""`Borrowed`: a model that a metric uses but does not own."""

from __future__ import annotations

from typing import Any

from typing_extensions import Self

from captum_ext._typing import Forward
from captum_ext.score import require_model


class Borrowed:
    """Holds a model so that its holder's copies share it and its holder's pickles leave it out.

    As a plain attribute of a metric the model would become a submodule: in its ``state_dict``,
    moved by ``.to``, copied by ``clone``.

    >>> import copy, pickle
    >>> held = Borrowed(print)
    >>> copy.deepcopy(held) is held, pickle.loads(pickle.dumps(held)).model is None
    (True, True)
    """

    def __init__(self, model: Forward | None = None) -> None:
        self.model = model

    def __copy__(self) -> Borrowed:
        return self

    def __deepcopy__(self, memo: Any) -> Borrowed:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return (Borrowed, ())


class BorrowsModel:
    """A metric that asks a model: it is neither moved nor saved nor copied with the metric.

    A metric that was pickled needs `bind` before its next ``update``.
    """

    _borrowed: Borrowed

    def bind(self, forward_func: Forward) -> Self:
        """Gives the metric its model, as after unpickling, and returns the metric."""
        require_model(forward_func)
        self._borrowed = Borrowed(forward_func)
        return self

    @property
    def is_bound(self) -> bool:
        """Whether it has its model, which a pickled metric leaves out."""
        return self._borrowed.model is not None

    @property
    def forward_func(self) -> Forward:
        """The model, as it was given."""
        if self._borrowed.model is None:
            raise ValueError(
                "`forward_func` is missing: a pickled metric leaves its model out, so give it "
                "again with `metric.bind(model)`."
            )
        return self._borrowed.model
