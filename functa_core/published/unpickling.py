"""A pickle machine that can only hold data.

Python's own unpickler calls what a file tells it to. This one is a table of the opcodes that put
data on a stack; the few that would call something look it up in `constructors.NAMES`, where all
that can be called is ours. What is in neither table is refused by name. See
docs/design/0002-published-weights.md.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs

from functa_core.errors import UserError
from functa_core.published.constructors import (
    NAMES,
    Array,
    ConfigDict,
    Dtype,
    Known,
    Refused,
    short,
)

MOST_BYTES = 4 * 2**30
MOST_OPCODES = 10**6
"""Of one file; the largest published one has a few hundred megabytes and a few thousand opcodes."""
DEEPEST = 32
MOST_VALUES = 10**5
"""Of what the file unfolds to: references can make a small file a huge or an endless tree."""
MOST_UNFOLDING = 4
SPARE_BYTES = 10**6
"""Arrays have at most `MOST_UNFOLDING` times the file's bytes, and `SPARE_BYTES`, in all.

Each is a view of bytes in the file, but a thousand of them may be views of the same bytes, and
whoever makes weights of them copies every one.
"""


def read_inert(path: Path) -> Any:
    """The data in a pickle: dicts, lists, tuples, numbers, texts, bytes and arrays of numbers.

    Raises:
        UserError: no such file, not a pickle, or one that asks for anything else.
    """
    try:
        if path.stat().st_size > MOST_BYTES:
            raise UserError(f"{path} has more than 4 GiB, which no published file has.")
        data = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}.") from error
    if data.startswith(b"PK"):
        raise UserError(
            f"{path} is a zip archive (a true npz, say), and published files are pickles, "
            "though they are named .npz."
        )
    try:
        return unpickle(data)
    except Refused as reason:
        raise UserError(f"{path} is refused: {reason}.\nNothing in it was run.") from reason


def unpickle(data: bytes) -> Any:
    """Like `read_inert`, of bytes.

    Raises:
        Refused: not a pickle of data alone.
    """
    machine = _Machine()
    try:
        for count, (opcode, argument, _) in enumerate(pickletools.genops(data)):
            if count >= MOST_OPCODES:
                raise Refused(f"it has more than {MOST_OPCODES} opcodes")
            if opcode.name == "STOP":
                return _Settler(MOST_UNFOLDING * len(data) + SPARE_BYTES).settle(machine.pop())
            machine.step(opcode.name, argument)
    except (ValueError, OverflowError) as error:  # what pickletools makes of broken files
        raise Refused(f"it is not a whole pickle ({short(str(error))})") from error
    raise Refused("it is not a whole pickle")


@attrs.define(eq=False)
class _Machine:
    """The stack, cut into pieces by marks, and the memo."""

    stack: list[Any] = attrs.Factory(list)
    below: list[list[Any]] = attrs.Factory(list)
    memo: dict[int, Any] = attrs.Factory(dict)

    def step(self, opcode: str, argument: Any) -> None:
        """Do what one opcode says."""
        if opcode in _LITERALS:
            if isinstance(argument, int) and argument.bit_length() > 63:
                raise Refused("a whole number of more than 64 bits")
            self.stack.append(bytes(argument) if type(argument) is bytearray else argument)
        elif opcode in _CONSTANTS:
            self.stack.append(_CONSTANTS[opcode]())
        elif opcode in _ACTIONS:
            _ACTIONS[opcode](self, argument)
        else:
            raise Refused(_unwanted(opcode, argument))

    def pop(self) -> Any:
        """Take the topmost value."""
        if not self.stack:
            raise Refused("it is not a whole pickle (its stack is empty)")
        return self.stack.pop()

    def top(self, kind: type) -> Any:
        """The topmost value, left where it is, which has to be exactly of this kind."""
        if not self.stack or type(self.stack[-1]) is not kind:
            raise Refused(f"it is not a whole pickle (no {kind.__name__} to fill)")
        return self.stack[-1]

    def mark(self, _: Any) -> None:
        """Begin a new piece of the stack."""
        self.below.append(self.stack)
        self.stack = []

    def piece(self) -> list[Any]:
        """Everything above the last mark, taken."""
        if not self.below:
            raise Refused("it is not a whole pickle (a mark is missing)")
        taken, self.stack = self.stack, self.below.pop()
        return taken

    def put(self, index: Any) -> None:
        """Remember the topmost value; MEMOIZE counts for itself."""
        value = self.pop()
        self.stack.append(value)
        self.memo[len(self.memo) if index is None else index] = value

    def get(self, index: Any) -> None:
        """Recall a value."""
        if index not in self.memo:
            raise Refused("it is not a whole pickle (it recalls what it never stored)")
        self.stack.append(self.memo[index])

    def tuple_of(self, count: int) -> None:
        """The topmost values as a tuple."""
        values = [self.pop() for _ in range(count)]
        self.stack.append(tuple(reversed(values)))

    def append(self, values: list[Any]) -> None:
        """Values onto the list below them."""
        self.top(list).extend(values)

    def set_items(self, flat: list[Any]) -> None:
        """Keys and values in turn into the dict below them."""
        if len(flat) % 2:
            raise Refused("it is not a whole pickle (a key without a value)")
        for key, value in zip(flat[::2], flat[1::2], strict=True):
            if type(key) is not str:
                raise Refused(f"a dict with the key {short(key)}, which is not a text")
            self.top(dict)[key] = value

    def name(self, module: Any, name: Any) -> None:
        """What a name stands for here."""
        if not (isinstance(module, str) and isinstance(name, str)):
            raise Refused("a name that is not a text")
        if (module, name) not in NAMES:
            raise Refused(f"it asks for {_printable(f'{module}.{name}')}")
        self.stack.append(NAMES[module, name])

    def stack_global(self, _: Any) -> None:
        """A name whose two parts are on the stack."""
        name, module = self.pop(), self.pop()
        self.name(module, name)

    def make(self, _: Any) -> None:
        """What our stand-in makes of the arguments on the stack (REDUCE and NEWOBJ)."""
        args, target = self.pop(), self.pop()
        if not isinstance(target, Known) or not isinstance(args, tuple):
            raise Refused(f"it calls {short(target)}, which is data")
        self.stack.append(target.make(args))

    def build(self, _: Any) -> None:
        """Fill one of our stand-ins."""
        state, target = self.pop(), self.pop()
        if not isinstance(target, Array | ConfigDict | Dtype):
            raise Refused(f"it sets the state of {short(target)}, which has none")
        target.build(state)
        self.stack.append(target)


def _unwanted(opcode: str, argument: Any) -> str:
    if opcode == "INST":
        return f"it asks for {_printable(str(argument).replace(' ', '.', 1))} (opcode INST)"
    if "PERSID" in opcode:
        return f"it has a persistent id (opcode {opcode})"
    if opcode.startswith("EXT"):
        return f"it has extension code {argument} (opcode {opcode})"
    return f"it has opcode {opcode}, which no published file needs"


def _printable(name: str) -> str:
    return ascii(name)[1:-1][:80]


_LITERALS = {
    *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
    *("UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"),
    *("BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"),
}
_CONSTANTS: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_TUPLE": tuple,
    "EMPTY_LIST": list,
    "EMPTY_DICT": dict,
}
_ACTIONS: dict[str, Callable[[_Machine, Any], None]] = {
    "PROTO": lambda machine, _: None,
    "FRAME": lambda machine, _: None,
    "MARK": _Machine.mark,
    "PUT": _Machine.put,
    "BINPUT": _Machine.put,
    "LONG_BINPUT": _Machine.put,
    "MEMOIZE": _Machine.put,
    "GET": _Machine.get,
    "BINGET": _Machine.get,
    "LONG_BINGET": _Machine.get,
    "TUPLE1": lambda machine, _: machine.tuple_of(1),
    "TUPLE2": lambda machine, _: machine.tuple_of(2),
    "TUPLE3": lambda machine, _: machine.tuple_of(3),
    "TUPLE": lambda machine, _: _push(machine, tuple(machine.piece())),
    "LIST": lambda machine, _: _push(machine, machine.piece()),
    "DICT": lambda machine, _: _push_dict(machine),
    "APPEND": lambda machine, _: machine.append([machine.pop()]),
    "APPENDS": lambda machine, _: machine.append(machine.piece()),
    "SETITEM": lambda machine, _: machine.set_items([machine.pop(), machine.pop()][::-1]),
    "SETITEMS": lambda machine, _: machine.set_items(machine.piece()),
    "GLOBAL": lambda machine, argument: machine.name(*argument.split(" ", 1)),
    "STACK_GLOBAL": _Machine.stack_global,
    "REDUCE": _Machine.make,
    "NEWOBJ": _Machine.make,
    "BUILD": _Machine.build,
}


def _push(machine: _Machine, value: Any) -> None:
    machine.stack.append(value)


def _push_dict(machine: _Machine) -> None:
    flat = machine.piece()
    machine.stack.append({})
    machine.set_items(flat)


@attrs.define
class _Settler:
    """Stand-ins replaced by what they stand for, as a tree of bounded size.

    Attributes:
        bytes_left: that arrays may still have; one that occurs twice counts twice.
        values: seen so far.
    """

    bytes_left: int
    values: int = 0

    def settle(self, value: Any, depth: int = 0) -> Any:
        """The value as plain data."""
        self.values += 1
        if self.values > MOST_VALUES or depth > DEEPEST:
            raise Refused("it unfolds to more than any published file holds")
        if isinstance(value, Array):
            if value.value is None:
                raise Refused("an array that is never filled")
            self.bytes_left -= value.value.nbytes
            if self.bytes_left < 0:
                raise Refused("its arrays unfold to more than four times the file's size")
            return value.value
        if isinstance(value, ConfigDict):
            value = value.fields
        if isinstance(value, dict):
            return {key: self.settle(inner, depth + 1) for key, inner in value.items()}
        if isinstance(value, list | tuple):
            return type(value)(self.settle(inner, depth + 1) for inner in value)
        if value is None or isinstance(value, bool | int | float | str | bytes):
            return value
        raise Refused(f"it holds {short(getattr(value, 'label', type(value).__name__))} as data")
