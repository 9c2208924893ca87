"""`Borrowed`: a model that a metric uses but does not own."""

from __future__ import annotations

from typing import Any

from captum_ext._typing import Forward


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
        if model is not None and not callable(model):
            raise TypeError(f"`forward_func` must be callable, but got {type(model).__name__}.")
        self.model = model

    def __copy__(self) -> Borrowed:
        return self

    def __deepcopy__(self, memo: Any) -> Borrowed:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return (Borrowed, ())
