"""What a published file may name, and what we make of it.

Every name is answered by a function of this module, which takes plain data and gives plain data or
an inert stand-in. Nothing is imported or called because a file says so.

Sources: numpy's `ndarray.__reduce__` (its modules moved from numpy.core to numpy._core in numpy 2),
Haiku's `FlatMapping.__reduce__`, ml_collections' `ConfigDict.__setstate__`, the `__reduce__` of
JAX's arrays, and dill's `_create_array`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import attrs
import numpy as np


class Refused(Exception):
    """The file holds or asks for something that no published file needs; says what."""


@attrs.frozen(eq=False)
class Known:
    """A name that a file may use.

    Attributes:
        label: as the file calls it.
        make: what stands in for calling it, given the tuple of arguments.
    """

    label: str
    make: Callable[[tuple[Any, ...]], Any]


@attrs.define(eq=False)
class Dtype:
    """numpy's description of one number: of which kind, how wide and in which byte order."""

    dtype: np.dtype[Any]

    def build(self, state: Any) -> None:
        """Take the byte order, and refuse whatever makes a dtype more than one number."""
        if not (isinstance(state, tuple) and len(state) >= 7 and state[2:5] == (None, None, None)):
            raise Refused("a dtype that is not one plain number")
        if state[1] not in ("<", ">", "|", "="):
            raise Refused(f"byte order {short(state[1])}")
        self.dtype = self.dtype.newbyteorder(state[1])


@attrs.define(eq=False)
class Array:
    """An array that is named first and filled afterwards."""

    value: np.ndarray | None = None

    def build(self, state: Any) -> None:
        """Take (version, shape, dtype, whether Fortran order, bytes); the version may be absent."""
        if not isinstance(state, tuple) or len(state) not in (4, 5):
            raise Refused("an array whose state is not numpy's")
        shape, dtype, fortran, data = state[-4:]
        self.value = view(data, dtype, shape, "F" if fortran else "C")


@attrs.define(eq=False)
class ConfigDict:
    """A configuration of ml_collections."""

    fields: dict[str, Any] = attrs.Factory(dict)

    def build(self, state: Any) -> None:
        """Take the fields; locks and type checks have no meaning here."""
        fields = state.get("_fields") if isinstance(state, dict) else None
        if not isinstance(fields, dict):
            raise Refused("a ConfigDict without fields")
        self.fields = fields


def view(data: Any, dtype: Any, shape: Any, order: str) -> np.ndarray:
    """The bytes as an array, without a copy; exactly as many as shape and dtype say."""
    if not isinstance(dtype, Dtype):
        raise Refused("an array without a dtype")
    sizes = shape if isinstance(shape, tuple) else (shape,)
    if len(sizes) > 8 or not all(type(size) is int and size >= 0 for size in sizes):
        raise Refused(f"an array of shape {short(shape)}")
    if not isinstance(data, bytes):
        raise Refused("an array that is not made of bytes")
    wanted = math.prod(sizes) * dtype.dtype.itemsize
    if wanted != len(data):
        raise Refused(f"an array of shape {sizes} and {len(data)} bytes, where {wanted} are needed")
    return np.frombuffer(data, dtype.dtype).reshape(sizes, order="F" if order == "F" else "C")


def to_float32(array: np.ndarray) -> np.ndarray:
    """As PyTorch takes it: native byte order; what is too large for float32 becomes infinite."""
    with np.errstate(over="ignore"):
        return np.asarray(array, dtype=np.float32)


def short(value: Any) -> str:
    """A number, a text or a shape in at most 60 printable characters, of all else its type.

    What a file holds can refer to itself, or be endless when written out.
    """
    if isinstance(value, str | bytes):
        text = ascii(value[:60])
        return text if len(text) <= 60 else text[:57] + "..."
    if value is None or isinstance(value, bool | int | float):
        return repr(value)
    if isinstance(value, tuple | list) and len(value) <= 8:
        parts = [short(v) if isinstance(v, int | float) else type(v).__name__ for v in value]
        return f"({', '.join(parts)})"
    return f"a {type(value).__name__}"


def _dtype(args: tuple[Any, ...]) -> Dtype:
    """numpy.dtype('f4', align, copy): one boolean, integer or floating-point number."""
    code = args[0] if args else None
    codes = {f"{kind}{size}" for kind in "iu" for size in (1, 2, 4, 8)} | {"b1", "f2", "f4", "f8"}
    if not isinstance(code, str) or code not in codes:
        raise Refused(f"numbers of type {short(code)}")
    return Dtype(np.dtype(code))


def _reconstruct(args: tuple[Any, ...]) -> Array:
    """numpy's _reconstruct(ndarray, (0,), b'b'), which makes an array to be filled."""
    if not args or not isinstance(args[0], Known) or args[0].label != "numpy.ndarray":
        raise Refused("an array of a class of its own")
    return Array()


def _scalar(args: tuple[Any, ...]) -> bool | int | float:
    """numpy's scalar(dtype, bytes)."""
    if len(args) != 2:
        raise Refused("a number without its bytes")
    value: bool | int | float = view(args[1], args[0], (), "C").item()
    return value


def _frombuffer(args: tuple[Any, ...]) -> Array:
    """numpy's _frombuffer(bytes, dtype, shape, order), of pickles of protocol 5."""
    if len(args) != 4:
        raise Refused("a buffer without a shape")
    data, dtype, shape, order = args
    return Array(view(data, dtype, shape, "F" if order == "F" else "C"))


def _filled(args: tuple[Any, ...]) -> Array:
    """(reconstruct, its arguments, state[, attributes]): how dill and JAX write an array."""
    named = args[0] if len(args) in (3, 4) else None
    if not isinstance(named, Known) or named.make is not _reconstruct:
        raise Refused("an array that is not made as numpy makes its arrays")
    if not isinstance(args[1], tuple):
        raise Refused("an array that is made from nothing")
    array = _reconstruct(args[1])
    array.build(args[2])
    return array  # JAX's weak types and attributes of dill's have no meaning for weights


def _mapping(args: tuple[Any, ...]) -> dict[str, Any]:
    """Haiku's mappings of a dict."""
    if len(args) != 1 or type(args[0]) is not dict:
        raise Refused("a mapping that is not made of a dict")
    content: dict[str, Any] = args[0]
    return content


def _config_dict(args: tuple[Any, ...]) -> ConfigDict:
    if args:
        raise Refused("a ConfigDict made of something")
    return ConfigDict()


def _ordered_dict(args: tuple[Any, ...]) -> dict[str, Any]:
    if args:
        raise Refused("an OrderedDict made of something")
    return {}


def _encode(args: tuple[Any, ...]) -> bytes:
    """_codecs.encode(text, 'latin1'): how bytes are written below protocol 3."""
    if len(args) != 2 or not isinstance(args[0], str) or args[1] not in ("latin1", "latin-1"):
        raise Refused("bytes in another encoding than latin1")
    try:
        return args[0].encode("latin1")
    except UnicodeEncodeError:
        raise Refused("bytes that are none") from None


def _never(args: tuple[Any, ...]) -> Any:
    raise Refused("an array made by calling its class")


_MAKERS: dict[str, Callable[[tuple[Any, ...]], Any]] = {
    "numpy.ndarray": _never,
    "numpy.dtype": _dtype,
    **{
        f"{core}.{name}": maker
        for core in ("numpy.core", "numpy._core")
        for name, maker in {
            "multiarray._reconstruct": _reconstruct,
            "multiarray.scalar": _scalar,
            "numeric._frombuffer": _frombuffer,
        }.items()
    },
    **{
        f"haiku._src.data_structures.{name}": _mapping
        for name in ("FlatMapping", "FlatMap", "frozendict")
    },
    "ml_collections.config_dict.config_dict.ConfigDict": _config_dict,
    "ml_collections.config_dict.config_dict.FrozenConfigDict": _config_dict,
    "jax._src.array._reconstruct_array": _filled,  # since JAX 0.4
    "jax._src.device_array.reconstruct_device_array": _filled,  # before it
    "jax.interpreters.xla.reconstruct_device_array": _filled,  # and before that
    "dill._dill._create_array": _filled,
    "dill.dill._create_array": _filled,  # before dill 0.2.8
    "collections.OrderedDict": _ordered_dict,
    "_codecs.encode": _encode,
}
NAMES = {tuple(label.rsplit(".", 1)): Known(label, make) for label, make in _MAKERS.items()}
"""(module, name) → what stands in for it."""
