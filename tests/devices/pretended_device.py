"""A second device with real values where there is none: what CUDA and MPS refuse is refused here.

Tensors of the pretended device hold CPU tensors. Two devices in one operation, a CPU generator for
a draw on the device, and (on "mps") float64 raise as they do there; host-device synchronisations
are counted in ``syncs``. Python's ``x.device`` shows the pretended device; torch sees the device
type "lazy", for which autograd needs neither a driver nor a thread of its own.
"""

from collections import Counter
from typing import Any
from unittest import mock

import torch
from torch import nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.weak import WeakIdKeyDictionary

_STANDS_FOR, aten = torch.device("lazy:0"), torch.ops.aten
_INDEXING = (aten.index.Tensor, aten.index_put.default, aten.index_put_.default)
_SYNCHRONISING = {"nonzero", "masked_select", "_unique2", "equal", "_local_scalar_dense"}


def _is_wide(dtype: torch.dtype) -> bool:
    return dtype in (torch.float64, torch.complex128)


class There(torch.Tensor):
    """A tensor that claims to be on the pretended device."""

    @staticmethod
    def __new__(cls, held: torch.Tensor, device: torch.device) -> "There":
        there = torch.Tensor._make_wrapper_subclass(
            cls, held.size(), strides=held.stride(), storage_offset=held.storage_offset(),
            dtype=held.dtype, device=_STANDS_FOR)  # fmt: skip
        there.held, there.shown = held, device
        return there

    device = property(lambda self: self.shown)
    __torch_function__ = torch._C._disabled_torch_function_impl

    def __repr__(self) -> str:
        return f"There({self.held}, {self.shown})"

    def __format__(self, spec: str) -> str:
        return format(self.item(), spec)

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        raise RuntimeError(f"{func} outside of `PretendedDevice`")


class PretendedDevice(TorchDispatchMode):
    def __init__(self, name: str) -> None:
        super().__init__()
        self.device, self.syncs = torch.device(name), Counter[str]()
        self._names = _Names(self.device.type)
        self.sent: list[int] = []
        """Elements of each copy from the host, also of those that nobody waits for."""
        self.free_bytes = 80 * 2**30
        self._pinned: WeakIdKeyDictionary = WeakIdKeyDictionary()

    def __enter__(self) -> "PretendedDevice":
        self._before = torch._C._only_lift_cpu_tensors(), torch.backends.cudnn.enabled
        named: dict[str, Any] = {
            "get_rng_state": lambda *_: torch.get_rng_state(),
            "set_rng_state": lambda *_: None,
        }
        if self.device.type == "cuda":
            named |= {
                "mem_get_info": lambda *_: (self.free_bytes, 80 * 2**30),
                "memory_reserved": lambda *_: 0,
                "memory_allocated": lambda *_: 0,
            }
        self._driver = mock.patch.multiple(getattr(torch, self.device.type), **named)
        self._driver.start()
        torch._C._set_only_lift_cpu_tensors(True)
        torch.backends.cudnn.enabled = False
        self._names.__enter__()
        return super().__enter__()

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        self._names.__exit__(*error)
        self._driver.stop()
        torch._C._set_only_lift_cpu_tensors(self._before[0])
        torch.backends.cudnn.enabled = self._before[1]

    def put(self, thing: Any) -> Any:
        """Tensors, or a module's, on the device."""
        if isinstance(thing, nn.Module):
            return thing.to(self.device)
        return tree_map(lambda t: There(t.detach().clone(), self.device), thing)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs, name = dict(kwargs or {}), func._schema.name.removeprefix("aten::")
        tensors = [t for t in tree_leaves((args, kwargs)) if isinstance(t, torch.Tensor)]
        there = [t for t in tensors if isinstance(t, There)]
        here = [t for t in tensors if not isinstance(t, There)]
        asked = kwargs.get("device")
        to_there = bool(there) if asked is None else asked.type in ("lazy", self.device.type)
        if asked is not None:
            kwargs["device"] = torch.device("cpu")
        if name == "is_pinned":
            return args[0] in self._pinned
        if name == "_pin_memory":
            self._pinned[args[0]] = True
            return args[0]
        if name in ("_to_copy", "copy_"):
            written = name == "copy_"
            waits = not (kwargs.get("non_blocking") or (written and len(args) > 2 and args[2]))
            self._copied(
                args[1 if written else 0],
                args[0].dtype if written else kwargs.get("dtype"),
                isinstance(args[0], There) if written else to_there,
                waits,
            )
        elif there and here:
            self._refuse_mixed(func, name, args, here)
        if to_there and kwargs.get("generator") is not None:
            raise RuntimeError(f"Expected a {self.device.type!r} generator but found 'cpu': {name}")
        if there and name in _SYNCHRONISING:
            self.syncs[name] += 1
        if there and func in _INDEXING:
            for index in (i for i in args[1] if i is not None):
                self.syncs["mask as index"] += index.dtype == torch.bool
                self.syncs["index from the host"] += not isinstance(index, There)
        known = {id(t.held): t for t in there}
        bare = tree_map(lambda a: a.held if isinstance(a, There) else a, (args, kwargs))
        out = func(*bare[0], **bare[1])
        if name == "copy_":
            return args[0]
        return tree_map(lambda o: self._shown(o, known, here, to_there, name), out)

    def _copied(
        self, source: torch.Tensor, dtype: torch.dtype | None, to_there: bool, waits: bool
    ) -> None:
        """Counts copies between the devices; MPS has no float64 to copy from or to."""
        from_there = isinstance(source, There)
        if from_there and not to_there:
            self.syncs["copy to the host"] += 1
        if to_there and not from_there:
            self.sent.append(source.numel())
        # From pinned memory alone a copy to the device does not keep the host waiting.
        if to_there and not from_there and (waits or source not in self._pinned):
            self.syncs["copy to the device"] += 1
        if self.device.type != "mps" or from_there == to_there:
            return
        if _is_wide(source.dtype if to_there else dtype or source.dtype):
            raise TypeError("MPS has no float64: change type where it exists, then device")

    def _refuse_mixed(self, func: Any, name: str, args: Any, here: list[torch.Tensor]) -> None:
        own_is_here = isinstance(args[0], torch.Tensor) and not isinstance(args[0], There)
        if func in _INDEXING:
            values = [t for t in args[2:3] if isinstance(t, torch.Tensor) and t.dim() > 0]
            bad = own_is_here or any(not isinstance(t, There) for t in values)
        else:
            scalars = torch.Tag.pointwise in func.tags or name.startswith(("masked_fill", "fill_"))
            bad = any(t.dim() > 0 or not scalars for t in here)
            bad = bad or (func._schema.is_mutable and own_is_here)
        if bad:
            raise RuntimeError(
                f"Expected all tensors to be on the same device, but found at least two devices, "
                f"{self.device} and cpu: {name}")  # fmt: skip

    def _shown(self, out: Any, known: Any, here: Any, to_there: bool, name: str) -> Any:
        if not isinstance(out, torch.Tensor) or not to_there or any(out is t for t in here):
            return out
        if self.device.type == "mps" and _is_wide(out.dtype):
            raise TypeError(f"the MPS framework doesn't support float64: {name}")
        return known.get(id(out)) if id(out) in known else There(out, self.device)


class _Names(TorchFunctionMode):
    """The device's name becomes the type that stands for it before torch looks for a driver."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind

    def _meant(self, a: Any) -> Any:
        named = a.type if isinstance(a, torch.device) else a if isinstance(a, str) else ""
        return _STANDS_FOR if named.split(":")[0] == self.kind else a

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.device:
            return func(*args, **(kwargs or {}))
        if func is torch.Tensor.tolist:
            return func(args[0].cpu())
        named = {k: self._meant(v) for k, v in (kwargs or {}).items()}
        return func(*[self._meant(a) for a in args], **named)
