"""What objects are by content: what is equal here is equal in any other process.

`Identity` reads a value into plain data that JSON can hold: types, settings, the bytes of tensors,
the bytecode of functions with what they close over. No address, order of creation or device
number takes part. What has no content that could be read is listed as unknown, since two of its
kind can't be told to be equal.
"""

from __future__ import annotations

import dis
import functools
import hashlib
import io
import json
import logging
import pickletools
import random
import re
import site
import sys
import sysconfig
import threading
import weakref
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence, Set, ValuesView
from enum import Enum
from importlib import metadata
from pathlib import Path, PurePath
from types import (
    BuiltinFunctionType,
    ClassMethodDescriptorType,
    CodeType,
    FunctionType,
    GetSetDescriptorType,
    MemberDescriptorType,
    MethodType,
    ModuleType,
    UnionType,
)
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx, nn
from torchmetrics import Metric

from captum_ext._text import number_of
from captum_ext._torchmetrics import state_names

# How a result is computed, never what it is.
_NEUTRAL = {
    "internal_batch_size", "perturbations_per_eval", "show_progress", "device_ids",
    "output_device", "src_device_obj", "_backend", "_is_full_backward_hook",
}  # fmt: skip
_OF_ANY_MODULE = {*vars(nn.Module())} - {"training"}
_HOOKS = ("_forward_pre_hooks", "_forward_hooks", "_backward_pre_hooks", "_backward_hooks")
_OF_ANY_CLASS = {
    "__module__", "__qualname__", "__doc__", "__dict__", "__weakref__", "__annotations__",
    "__annotate__", "__annotate_func__", "__annotations_cache__", "__firstlineno__",
    "__static_attributes__", "__parameters__", "__orig_bases__", "__abstractmethods__",
    "_abc_impl", "__dataclass_fields__", "__dataclass_params__", "__match_args__", "__slots__",
    "__jit_unused_properties__",
}  # fmt: skip
_WITHOUT_CONTENT = (logging.Logger, weakref.ref, type(threading.Lock()), type(threading.RLock()))
_RANDOM = (random.Random, np.random.Generator, np.random.RandomState, torch.Generator)
# A model that is scripted twice has other numbers in the names of its classes.
_MANGLED = re.compile(r"___torch_mangle_\d+\.?")
_SLOT_KINDS = (MemberDescriptorType, GetSetDescriptorType)
_LONG = 200
_WRITTEN_IN_PYTHON = 1 << 9


_NEEDED = ("captum_ext", "captum", "torch", "torchvision", "torchmetrics", "numpy", "scipy", "PIL")


class Identity:
    """Reads values into plain data by their content.

    Args:
        named: objects that are told by a name instead, as the model and its layers.

    >>> def close(a):
    ...     return lambda x: x * a
    >>> Identity().of(close(2)) == Identity().of(close(2)) != Identity().of(close(3))
    True
    >>> identity = Identity()
    >>> _ = identity.of({"data": iter([1])}, "settings")
    >>> identity.unknown
    {'settings.data': 'a list_iterator, which has no content to compare'}
    """

    def __init__(self, named: Sequence[tuple[Any, str]] = ()) -> None:
        self._named = {id(value): name for value, name in named}
        self._kept: list[Any] = [value for value, _ in named]
        self._done: dict[int, Any] = {}
        self._open: set[int] = set()
        self.unknown: dict[str, str] = {}
        """Where something has no content that could be compared, and what it is."""
        self.libraries: set[str] = set()
        """Installed packages whose code takes part, told by their versions."""

    def of(self, value: Any, path: str = "") -> Any:
        """The value as plain data; ``path`` says where it stands."""
        if value is None or isinstance(value, bool | int | str | float | complex | bytes):
            return _plain(value)
        if id(value) in self._named:
            return self._named[id(value)]
        if id(value) in self._open:
            return "itself"
        if id(value) in self._done:
            return self._done[id(value)]
        self._open.add(id(value))
        n_unknown = len(self.unknown)
        try:
            found = self._read(value, path)
        finally:
            self._open.discard(id(value))
        if n_unknown == len(self.unknown):
            # Kept alive, so that no other object gets its number.
            self._kept.append(value)
            self._done[id(value)] = found
        return found

    def _read(self, value: Any, path: str) -> Any:
        for kinds, read in _READERS:
            if isinstance(value, kinds):
                return read(self, value, path)
        return self._instance(value, path)

    def _unknown(self, value: Any, path: str, why: str = "has no content to compare") -> str:
        self.unknown[path] = f"a {type(value).__name__}, which {why}"
        return f"unknown {type(value).__name__}"

    def content(self, value: Any, path: str) -> Any:
        """As `of`, but the value itself has no name yet."""
        return self._read(value, path)

    def model(self, module: nn.Module, path: str = "model") -> dict[str, Any]:
        """Every module of a model by name: type, settings, weights, buffers, hooks and mode."""
        # An exported model checks its inputs there; no number comes of it.
        modules = {n: m for n, m in module.named_modules() if not n.endswith("_guards_fn")}
        found = {
            name or "(itself)": self._module(one, f"{path}.{name}" if name else path)
            for name, one in modules.items()
        }
        scripts = {n: m for n, m in modules.items() if isinstance(m, torch.jit.ScriptModule)}
        for name, script in scripts.items():
            if name.rpartition(".")[0] not in scripts or not name:
                found[name or "(itself)"]["script"] = digest_of_script(script)
        return found

    def _module(self, module: nn.Module, path: str) -> dict[str, Any]:
        held = vars(module)
        parts: dict[str, Any] = {"type": self._type(type(module), path)}
        settings = {k: v for k, v in held.items()
                    if k not in _OF_ANY_MODULE and k not in _NEUTRAL}  # fmt: skip
        if isinstance(module, torch.jit.ScriptModule):
            parts["type"] = f"script {getattr(module, 'original_name', '')}"
            settings = {"training": module.training}
        elif isinstance(module, fx.GraphModule):
            parts["type"] = "graph"
            parts["code"] = _digest(module.code)
            settings = {k: v for k, v in held.items() if isinstance(v, Tensor)}
        elif type(module).__module__.startswith("torch._dynamo"):
            settings = {}
        elif "_compiled_call_impl" in settings:
            settings["_compiled_call_impl"] = settings["_compiled_call_impl"] is not None
        parts["settings"] = self._items(settings, path)
        parts["describes itself"] = module.extra_repr() if _is_library(type(module)) else ""
        parts["parameters"] = self._items(dict(module.named_parameters(recurse=False)), path)
        # Also those that are not in the state dict.
        parts["buffers"] = self._items(dict(module.named_buffers(recurse=False)), path)
        parts["hooks"] = {name: [self.of(h, f"{path}.{name}") for h in held[name].values()]
                          for name in _HOOKS if held.get(name)}  # fmt: skip
        return {key: part for key, part in parts.items() if part not in ({}, "")}

    def _items(self, items: Mapping[str, Any], path: str) -> dict[str, Any]:
        return {key: self.of(items[key], f"{path}.{key}") for key in sorted(items)}

    def _type(self, kind: type, path: str) -> str:
        """An installed class by its name, a user's, or what replaces a part, by its code."""
        if _is_library(kind):
            self.libraries.add(kind.__module__.split(".")[0])
            name = f"{kind.__module__}.{kind.__qualname__}"
            replaced = {k: f for base in reversed(kind.__mro__) for k, f in _replaced_in(base)}
            held = self._items(replaced, name)
            return f"{name} with another {', '.join(held)} {_digest(held)}" if held else name
        bases = [self.of(base, f"{path}.{base.__name__}") for base in kind.__bases__]
        members = {k: v for k, v in vars(kind).items()
                   if k not in _OF_ANY_CLASS and not isinstance(v, _SLOT_KINDS)}  # fmt: skip
        held = self._items(members, f"{path}.{kind.__qualname__}")
        return f"{kind.__qualname__} {_digest([bases, held])}"

    def replaced(self) -> dict[str, Any]:
        """Functions of torch that someone put others in the place of."""
        return {
            f"{place.__name__}.{name}": self.of(function, name)
            for place in (torch, nn.functional, Tensor)
            for name, function in _replaced_in(place)
        }

    def _class(self, kind: type, path: str) -> str:
        return self._type(kind, path)

    def _tensor(self, tensor: Tensor, path: str) -> Any:
        try:
            return f"{tensor.dtype} {list(tensor.shape)} {digest_of_tensor(tensor)}"
        except (RuntimeError, TypeError):
            return self._unknown(tensor, path, "does not show its numbers")

    def _array(self, array: np.ndarray[Any, Any], path: str) -> Any:
        if array.dtype.hasobject:
            return [str(array.dtype), list(array.shape), self.of(array.tolist(), path)]
        content = np.ascontiguousarray(array).tobytes()
        return f"{array.dtype} {list(array.shape)} {_digest(content)}"

    def _mapping(self, value: Mapping[Any, Any], path: str) -> Any:
        items = [[self.of(k, path), self.of(v, f"{path}.{k}" if isinstance(k, str) else path)]
                 for k, v in value.items()]  # fmt: skip
        if all(isinstance(k, str) for k in value):
            plain: Any = {k: v for k, (_, v) in zip(value, items, strict=True)}
        else:
            plain = items
        return plain if type(value) is dict else self._with_state(value, {"items": plain}, path)

    def _list(self, value: Sequence[Any], path: str) -> Any:
        items = [self.of(v, f"{path}[{k}]") for k, v in enumerate(value)]
        if type(value) in (list, tuple, torch.Size):
            return items
        return self._with_state(value, {"items": items}, path)

    def _set(self, value: Set[Any], path: str) -> Any:
        return {"set": sorted((self.of(v, path) for v in value), key=json.dumps)}

    def _function(self, function: FunctionType, path: str) -> str:
        """An installed function by its name, a user's, and any without one, by its bytecode."""
        name = function.__qualname__
        if _is_library(function):
            self.libraries.add(str(function.__module__).split(".")[0])
            if "<" not in name:
                return f"{function.__module__}.{name}"
        code = function.__code__
        cells = zip(code.co_freevars, function.__closure__ or (), strict=True)
        parts = [
            self._code(code, path),
            self.of(function.__defaults__, f"{path}.defaults"),
            self.of(function.__kwdefaults__, f"{path}.defaults"),
            {name: self._cell(cell, f"{path}.{name}") for name, cell in cells},
            {name: self.of(value, f"{path}.{name}") for name, value in _globals_of(function)},
        ]
        return f"{name} {_digest(parts)}"

    def _cell(self, cell: Any, path: str) -> Any:
        try:
            return self.of(cell.cell_contents, path)
        except ValueError:
            return "empty"

    def _code(self, code: CodeType, path: str) -> Any:
        constants = [self._code(c, path) if isinstance(c, CodeType) else self.of(c, path)
                     for c in code.co_consts]  # fmt: skip
        return [code.co_code.hex(), [*code.co_names], code.co_argcount, code.co_flags, constants]

    def _method(self, method: MethodType, path: str) -> Any:
        return {"method": self.of(method.__func__, path), "of": self.of(method.__self__, path)}

    def _builtin(self, function: BuiltinFunctionType, path: str) -> Any:
        owner = function.__self__
        if owner is None or isinstance(owner, ModuleType):
            return f"{function.__module__}.{function.__qualname__}"
        return {"method": function.__qualname__, "of": self.of(owner, path)}

    def _partial(self, value: functools.partial[Any], path: str) -> Any:
        return {"partial": [self.of(v, path) for v in (value.func, value.args, value.keywords)]}

    def _wrapped(self, value: Any, path: str) -> Any:
        inner = [value.fget, value.fset] if isinstance(value, property) else [
            getattr(value, "__func__", None) or getattr(value, "func", None)]  # fmt: skip
        return {type(value).__name__: [self.of(f, path) for f in inner]}

    def _metric(self, metric: Metric, path: str) -> Any:
        """A metric's settings, without what it has seen and what torchmetrics keeps in any."""
        states = {*state_names(metric), *_of_any_metric()}
        held = {k: v for k, v in vars(metric).items() if k not in states and k not in _NEUTRAL}
        modules = {k: self.of(m, f"{path}.{k}") for k, m in metric.named_children()}
        return {"type": self._type(type(metric), path), **self._items(held, path), **modules}

    def _instance(self, value: Any, path: str) -> Any:
        return self._with_state(value, {}, path)

    def _with_state(self, value: Any, parts: dict[str, Any], path: str) -> Any:
        kind = type(value)
        held = dict(getattr(value, "__dict__", {}))
        for slot in _slots(kind):
            if hasattr(value, slot):
                held[slot] = getattr(value, slot)
        if not parts and (not held or _is_compiled(kind)):
            return self._reduced(value, path)
        held = {k: v for k, v in held.items() if k not in _NEUTRAL}
        return {"type": self._type(kind, path), **parts, **self._items(held, path)}

    def _reduced(self, value: Any, path: str) -> Any:
        """An object of a compiled class, by what it is pickled as."""
        try:
            reduced = value.__reduce_ex__(2)
        except Exception:
            return self._unknown(value, path)
        if isinstance(reduced, str):
            return f"{type(value).__module__}.{reduced}"
        # A deque or a subclass of dict gives what it holds as iterators.
        parts = [part if k < 3 or part is None else [*part] for k, part in enumerate(reduced)]
        return [self.of(part, path) for part in parts]


def _plain(value: Any) -> Any:
    if isinstance(value, Enum):
        return str(value)
    if isinstance(value, float | complex) and not (isinstance(value, float) and value == value):
        return str(value)
    if isinstance(value, bytes):
        return f"{number_of(len(value), 'byte')} {_digest(value)}"
    if isinstance(value, str) and len(value) > _LONG:
        return f"{value[:40]}... {_digest(value)}"
    return value


_Reader = Callable[[Identity, Any, str], Any]
_READERS: tuple[tuple[Any, _Reader], ...] = (
    (_WITHOUT_CONTENT, lambda identity, value, path: type(value).__name__),
    (ModuleType, lambda identity, value, path: value.__name__ if _is_library(value)
        else identity._unknown(value, path, "may hold anything")),
    (_RANDOM, lambda identity, value, path: identity._unknown(
        value, path, "draws numbers from where it stands")),
    ((io.IOBase, Iterator), Identity._unknown),
    (Enum, lambda identity, value, path: str(value)),
    (torch.device, lambda identity, value, path: value.type),
    ((torch.dtype, torch.layout, torch.memory_format, torch.finfo, torch.iinfo, np.dtype, PurePath,
      range, slice, ClassMethodDescriptorType,
      re.Pattern, type(Ellipsis), type(NotImplemented)),
        lambda identity, value, path: str(value)),
    (np.generic, lambda identity, value, path: [str(value.dtype), _plain(value.item())]),
    (torch.ScriptObject, lambda identity, value, path: identity.of(value.__getstate__(), path)
        if hasattr(value, "__getstate__") else identity._unknown(value, path)),
    (Tensor, Identity._tensor),
    (np.ndarray, Identity._array),
    (Metric, Identity._metric),
    (nn.Module, Identity.model),
    (type, Identity._class),
    (torch.jit.ScriptFunction, lambda identity, value, path: _digest(
        _MANGLED.sub("", value.code))),
    (FunctionType, Identity._function),
    (MethodType, Identity._method),
    (BuiltinFunctionType, Identity._builtin),
    (functools.partial, Identity._partial),
    ((property, staticmethod, classmethod, functools.cached_property), Identity._wrapped),
    (Mapping, Identity._mapping),
    ((list, tuple), Identity._list),
    (Set, Identity._set),
    (ValuesView, lambda identity, value, path: identity._list([*value], path)),
    (UnionType, lambda identity, value, path: identity._set({*value.__args__}, path)),
    (memoryview, lambda identity, value, path: [value.format, [*value.shape],
        _plain(value.tobytes())]),
)  # fmt: skip


def digest_of_tensor(tensor: Tensor) -> str:
    """Of a tensor's numbers, wherever they lie.

    >>> digest_of_tensor(torch.eye(2)) == digest_of_tensor(torch.eye(2).t().clone())
    True
    """
    tensor = tensor.detach()
    if tensor.is_meta:
        raise TypeError("a tensor on `meta` has no numbers")
    if tensor.is_quantized:
        return _digest([digest_of_tensor(tensor.int_repr()), str(tensor.qscheme()),
                        digest_of_tensor(tensor.dequantize())])  # fmt: skip
    if tensor.layout != torch.strided:
        tensor = tensor.to_dense()
    flat = tensor.cpu().resolve_conj().resolve_neg().contiguous().reshape(-1)
    return _digest(flat.view(torch.uint8).numpy().data) if flat.numel() else "empty"


def digest_of_script(module: torch.jit.ScriptModule) -> str:
    """Of the code, constants and attributes of a scripted or traced module, as it is saved."""
    buffer = io.BytesIO()
    torch.jit.save(module, buffer)
    found = []
    with zipfile.ZipFile(buffer) as saved:
        for entry in saved.namelist():
            name, content = _MANGLED.sub("", entry.partition("/")[2]), saved.read(entry)
            if name.endswith(".py"):
                lines = _MANGLED.sub("", content.decode()).splitlines()
                # Constants of a class are saved in the order of their hashes.
                found.append([name, *sorted(lines, key=lambda x: x if ": Final[" in x else "~")])
            elif name.endswith(".pkl") and "debug" not in name:
                steps = pickletools.genops(content)
                found.append([name, *(_MANGLED.sub("", f"{s.name} {v}") for s, v, _ in steps)])
            elif name.startswith(("data/", "constants/")):
                found.append([name, _digest(content)])
    return _digest(sorted(found))


def version_of(library: str) -> str:
    """The installed version of a package, as far as it says."""
    said = getattr(sys.modules.get(library), "__version__", None)
    if isinstance(said, str):
        return said
    try:
        return metadata.version(library)
    except metadata.PackageNotFoundError:
        return "unknown"


def digest_of_source(package: str) -> str:
    """Of the Python files of a package: its version says little while it is being changed."""
    folder = Path(sys.modules[package].__file__ or "").parent
    return _digest([[p.relative_to(folder).as_posix(), p.read_text("utf-8", "replace")]
                    for p in sorted(folder.rglob("*.py"))])  # fmt: skip


def _digest(value: Any) -> str:
    raw = value if isinstance(value, bytes | memoryview) else json.dumps(value).encode()
    return hashlib.sha256(raw).hexdigest()[:16]


def _globals_of(function: FunctionType) -> list[tuple[str, Any]]:
    """What a function's code names outside of it, in the order of the names."""
    found: dict[str, Any] = {}

    def look(code: CodeType) -> None:
        instructions = [*dis.get_instructions(code)]
        for k, one in enumerate(instructions):
            if one.opname in ("LOAD_GLOBAL", "LOAD_NAME") and one.argval in function.__globals__:
                name, value = str(one.argval), function.__globals__[one.argval]
                for after in instructions[k + 1 :]:
                    # Of a module only what is taken from it can decide anything.
                    taken = after.opname in ("LOAD_ATTR", "LOAD_METHOD")
                    if not (isinstance(value, ModuleType) and taken and not _is_library(value)):
                        break
                    name, value = f"{name}.{after.argval}", getattr(value, after.argval, None)
                found[name] = value
        for constant in code.co_consts:
            if isinstance(constant, CodeType):
                look(constant)

    look(function.__code__)
    return sorted(found.items())


def _slots(kind: type) -> list[str]:
    found: list[str] = []
    for base in kind.__mro__:
        slots = base.__dict__.get("__slots__", ())
        found += [slots] if isinstance(slots, str) else [*slots]
    return [slot for slot in found if slot not in ("__dict__", "__weakref__")]


def _is_compiled(kind: type) -> bool:
    """Whether an instance may hold more than its attributes: a class written in C is a base."""
    return any(base is not object and not base.__flags__ & _WRITTEN_IN_PYTHON
               for base in kind.__mro__)  # fmt: skip


def _is_pythons_own(kind: type) -> bool:
    """Whether a class is one of the interpreter's, which need not stand under its name."""
    return kind.__module__ == "builtins" and not kind.__flags__ & _WRITTEN_IN_PYTHON


@functools.cache
def _library_folders() -> tuple[Path, ...]:
    names = ("stdlib", "platstdlib", "purelib", "platlib")
    folders = {*(sysconfig.get_path(name) for name in names), *site.getsitepackages(),
               site.getusersitepackages()}  # fmt: skip
    return tuple(Path(folder).resolve() for folder in folders if folder)


@functools.cache
def _needed_folders() -> tuple[Path, ...]:
    """Where this package lies, and what it needs: by links or PYTHONPATH also elsewhere.

    Their versions are compared; read as a user's code, torch would take minutes.
    """
    files = [getattr(sys.modules.get(name), "__file__", None) for name in _NEEDED]
    return tuple(Path(file).resolve().parent for file in files if file)


@functools.cache
def _is_installed(file: str) -> bool:
    place = Path(file).resolve()
    return any(place.is_relative_to(f) for f in (*_needed_folders(), *_library_folders()))


def _replaced_in(place: Any) -> list[tuple[str, FunctionType]]:
    """The functions of an installed class or module whose code stands in a user's file."""
    return [
        (name, value) for name, value in vars(place).items()
        if isinstance(value, FunctionType) and (
            value.__module__ == "__main__"
            or not _is_installed(value.__globals__.get("__file__", __file__))
        )
    ]  # fmt: skip


def _is_library(value: Any) -> bool:
    """Whether something is told by its name and the version of an installed package.

    What counts is where its code stands: a user's file may be called as a library is.
    """
    if isinstance(value, ModuleType):
        module: Any = value
    elif isinstance(value, FunctionType):
        file = value.__globals__.get("__file__")
        return bool(file) and _is_installed(file)
    elif isinstance(value, type) and _is_pythons_own(value):
        return True
    else:
        module = sys.modules.get(str(value.__module__))
        if module is None or not hasattr(module, value.__qualname__.split(".")[0]):
            return False
    file = getattr(module, "__file__", None)
    if file is None:
        places = [*getattr(module, "__path__", [])]
        return all(map(_is_installed, places)) and module.__name__ != "__main__"
    return _is_installed(file)


@functools.cache
def _of_any_metric() -> frozenset[str]:
    class Plain(Metric):
        def update(self) -> None:
            """Takes nothing."""

        def compute(self) -> None:
            """Gives nothing."""

    return frozenset(vars(Plain())) | frozenset(_OF_ANY_MODULE)
