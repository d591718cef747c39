"""A pickle read as data: nothing in it is imported, called or made.

GEO-Bench keeps the label and the description of the bands of each sample in a pickled attribute. Unpickling runs
whatever the file says, so the file is not unpickled: its opcodes are parsed by ``pickletools`` (which only parses), and
a small machine of our own turns them into plain values. An object becomes a ``Record``: the name of its class, which
must be on a list, its arguments and its state. The few that are plain values in disguise (dates, numbers and numeric
arrays of numpy) are decoded here from their bytes. Everything else is refused: names that are not listed, calls of
anything but those, persistent ids, extension codes, out-of-band buffers, object arrays. Size, number of opcodes and
depth are bounded, and a memo is a dictionary, so that an index of two thousand million costs nothing.
"""

import math
import pickletools
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any

import numpy as np

from geopretext.errors import CorruptError

LARGEST = 4_000_000
"""bytes; the metadata of one GEO-Bench sample is about 1200, and of a long series of dates about 200,000"""
_OPCODES = 100_000
_DEPTH = 32
_HINT = "the file is not what GEO-Bench publishes: do not open it with other programs, and fetch it again"

_MODULES = ("geobench", "ccb", "geobench.io", "ccb.io")
_CLASSES = {
    "dataset": "BandInfo SpectralBand Sentinel1 Sentinel2 Landsat8 Mask ElevationBand MultiBand HyperSpectralBands"
    " CloudProbability SegmentationClasses",
    "label": "LabelType Classification SemanticSegmentation MultiLabelClassification Detection",
    "task": "TaskSpecifications Accuracy MultilabelAccuracy SegmentationAccuracy CrossEntropy",
}
"""Classes of GEO-Bench whose objects stand in its files, by the file of the package that defines them."""
RECORDS = frozenset(
    {
        *(
            (f"{module}.{file}", name)
            for file, names in _CLASSES.items()
            for name in names.split()
            for module in _MODULES
        ),
        ("affine", "Affine"),
        ("rasterio.crs", "CRS"),
    }
)
"""What may become a ``Record``, by module and name."""
_NUMPY = ("numpy.core.multiarray", "numpy._core.multiarray")
_BUFFERS = ("numpy.core.numeric", "numpy._core.numeric")
_DTYPES = frozenset({"b1", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8"})


@dataclass(frozen=True)
class _Name:
    """A global that the pickle names; never looked up."""

    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"


@dataclass
class Record:
    """An object that was not made."""

    kind: str
    """name of its class"""
    arguments: tuple[Any, ...]
    state: Any = None

    def get(self, name: str, default: Any = None) -> Any:
        """A field of its state, if the state is a dictionary that has it."""
        return self.state.get(name, default) if isinstance(self.state, dict) else default


@dataclass
class _Array:
    """A numpy array whose content comes by a later opcode."""

    value: Any = None


@dataclass
class _Dtype:
    """A numeric dtype."""

    code: str
    order: str = "="

    def numpy(self) -> np.dtype[Any]:
        return np.dtype(("<" if self.order == "|" else self.order) + self.code)


class _Refusal(Exception):  # noqa: N818  # becomes a CorruptError that names the file
    """Why a pickle is not read."""


@dataclass
class _Machine:
    """The stack and memo of a pickle while its opcodes are gone through."""

    stack: list[Any] = field(default_factory=list)
    marks: list[int] = field(default_factory=list)
    memo: dict[int, Any] = field(default_factory=dict)

    def pop(self) -> Any:
        if not self.stack or (self.marks and len(self.stack) <= self.marks[-1]):
            raise _Refusal("its stack runs empty")
        return self.stack.pop()

    def pop_mark(self) -> list[Any]:
        if not self.marks:
            raise _Refusal("its stack runs empty")
        start = self.marks.pop()
        items = self.stack[start:]
        del self.stack[start:]
        return items

    def top(self) -> Any:
        if not self.stack:
            raise _Refusal("its stack runs empty")
        return self.stack[-1]

    def recall(self, index: int) -> Any:
        if index not in self.memo:
            raise _Refusal("it refers to nothing")
        return self.memo[index]


def read_pickle(content: bytes, *, where: str) -> Any:
    """The values of a pickle: None, bool, int, float, str, bytes, list, tuple, dict, set, dates, arrays, ``Record``.

    Args:
        content: the pickle.
        where: the file, for messages.

    Raises:
        CorruptError: it is no pickle, too large or too deep, or holds anything else.
    """
    if len(content) > LARGEST:
        raise CorruptError(f"its metadata are {len(content)} bytes, more than {LARGEST}", where=where, hint=_HINT)
    machine = _Machine()
    try:
        for count, (opcode, argument, _) in enumerate(pickletools.genops(content)):
            if count > _OPCODES:
                raise _Refusal(f"it has more than {_OPCODES} opcodes")
            _step(machine, opcode.name, argument)
        if len(machine.stack) != 1 or machine.marks:
            raise _Refusal("it does not end with one value")
        return _finished(machine.stack[0])
    except _Refusal as refusal:
        raise CorruptError(f"its pickled metadata are not read: {refusal}", where=where, hint=_HINT) from refusal
    except (ValueError, TypeError, IndexError, OverflowError, MemoryError, RecursionError) as error:
        raise CorruptError(f"its metadata are no sound pickle: {error}", where=where, hint=_HINT) from error


_LITERALS = frozenset(
    (
        *("INT", "BININT", "BININT1", "BININT2", "LONG1", "LONG4", "FLOAT", "BINFLOAT", "UNICODE", "BINUNICODE"),
        *("SHORT_BINUNICODE", "BINUNICODE8", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"),
    )
)
_CONSTANTS: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_LIST": list,
    "EMPTY_TUPLE": tuple,
    "EMPTY_DICT": dict,
    "EMPTY_SET": set,
}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


def _step(machine: _Machine, opcode: str, argument: Any) -> None:
    """Do what one opcode says, to plain values."""
    if opcode in _LITERALS:
        machine.stack.append(argument)
    elif opcode in _CONSTANTS:
        machine.stack.append(_CONSTANTS[opcode]())
    elif opcode in _TUPLES:
        items = [machine.pop() for _ in range(_TUPLES[opcode])]
        machine.stack.append(tuple(reversed(items)))
    elif opcode in _ACTIONS:
        _ACTIONS[opcode](machine, argument)
    elif opcode not in ("PROTO", "FRAME", "STOP"):
        raise _Refusal(f"opcode {opcode} is not allowed")


def _append(machine: _Machine, items: list[Any]) -> None:
    target = machine.top()
    if not isinstance(target, list):
        raise _Refusal("it appends to what is no list")
    target.extend(items)


def _set_items(machine: _Machine, items: list[Any]) -> None:
    target = machine.top()
    if not isinstance(target, dict) or len(items) % 2:
        raise _Refusal("it sets items of what is no dictionary")
    for key, value in zip(items[::2], items[1::2], strict=True):
        if not isinstance(key, str | int | float | bytes | date | None):
            raise _Refusal(f"a {type(key).__name__} is no key")
        target[key] = value


def _add(machine: _Machine, items: list[Any]) -> None:
    target = machine.top()
    if not isinstance(target, set) or not all(isinstance(item, str | int | float | None) for item in items):
        raise _Refusal("it adds to what is no set")
    target.update(items)


def _pair(machine: _Machine) -> list[Any]:
    value, key = machine.pop(), machine.pop()
    return [key, value]


def _name(module: Any, name: Any) -> _Name:
    if not isinstance(module, str) or not isinstance(name, str):
        raise _Refusal("it names a global by something else than text")
    found = _Name(module, name)
    known = (module, name) in RECORDS or str(found) in _VALUES
    if not known:
        raise _Refusal(f"it wants {str(found)[:80]!r}, which is no part of GEO-Bench's metadata and could run anything")
    return found


def _global(machine: _Machine, argument: Any) -> None:
    module, _, name = argument.partition(" ")
    machine.stack.append(_name(module, name))


def _stack_global(machine: _Machine, _: Any) -> None:
    name, module = machine.pop(), machine.pop()
    machine.stack.append(_name(module, name))


def _call(machine: _Machine, _: Any) -> None:
    """NEWOBJ and REDUCE: a record, or one of the values that are decoded here."""
    arguments, called = machine.pop(), machine.pop()
    if not isinstance(called, _Name) or not isinstance(arguments, tuple):
        raise _Refusal(f"it calls a {type(called).__name__}")
    maker = _VALUES.get(str(called))
    machine.stack.append(Record(called.name, arguments) if maker is None else maker(arguments))


def _new_object_with_keywords(machine: _Machine, _: Any) -> None:
    keywords, arguments, called = machine.pop(), machine.pop(), machine.pop()
    if not isinstance(called, _Name) or str(called) in _VALUES or not isinstance(arguments, tuple):
        raise _Refusal(f"it calls a {type(called).__name__}")
    machine.stack.append(Record(called.name, arguments, keywords))


def _build(machine: _Machine, _: Any) -> None:
    """Give an object its state."""
    state, target = machine.pop(), machine.top()
    if isinstance(target, Record):
        if isinstance(state, tuple) and len(state) == 2 and state[0] is None:
            state = state[1]
        target.state = state
    elif isinstance(target, _Dtype):
        _set_order(target, state)
    elif isinstance(target, _Array):
        target.value = _array_of_state(state)
    else:
        raise _Refusal(f"it gives a {type(target).__name__} a state")


def _memoize(machine: _Machine, _: Any) -> None:
    machine.memo[len(machine.memo)] = machine.top()


def _put(machine: _Machine, index: Any) -> None:
    machine.memo[int(index)] = machine.top()


_ACTIONS: dict[str, Callable[[_Machine, Any], None]] = {
    "MARK": lambda machine, _: machine.marks.append(len(machine.stack)),
    "POP": lambda machine, _: _discard(machine),
    "TUPLE": lambda machine, _: machine.stack.append(tuple(machine.pop_mark())),
    "APPEND": lambda machine, _: _append(machine, [machine.pop()]),
    "APPENDS": lambda machine, _: _append(machine, machine.pop_mark()),
    "SETITEM": lambda machine, _: _set_items(machine, _pair(machine)),
    "SETITEMS": lambda machine, _: _set_items(machine, machine.pop_mark()),
    "ADDITEMS": lambda machine, _: _add(machine, machine.pop_mark()),
    "GLOBAL": _global,
    "STACK_GLOBAL": _stack_global,
    "NEWOBJ": _call,
    "NEWOBJ_EX": _new_object_with_keywords,
    "REDUCE": _call,
    "BUILD": _build,
    "MEMOIZE": _memoize,
    "PUT": _put,
    "BINPUT": _put,
    "LONG_BINPUT": _put,
    "GET": lambda machine, index: machine.stack.append(machine.recall(int(index))),
    "BINGET": lambda machine, index: machine.stack.append(machine.recall(int(index))),
    "LONG_BINGET": lambda machine, index: machine.stack.append(machine.recall(int(index))),
}


def _discard(machine: _Machine) -> None:
    machine.pop()


def _date(arguments: tuple[Any, ...]) -> date:
    content = _bytes(arguments[0], 4)
    return date(content[0] * 256 + content[1], content[2], content[3])


def _datetime(arguments: tuple[Any, ...]) -> datetime:
    """Without its time zone, which no task needs."""
    content = _bytes(arguments[0], 10)
    microsecond = int.from_bytes(content[7:], "big")
    month, day, hour, minute, second = content[2:7]
    return datetime(content[0] * 256 + content[1], month, day, hour, minute, second, microsecond)


def _bytes(value: Any, length: int) -> bytes:
    if not isinstance(value, bytes) or len(value) != length:
        raise _Refusal("a date is not in its usual form")
    return value


def _dtype(arguments: tuple[Any, ...]) -> _Dtype:
    if not arguments or arguments[0] not in _DTYPES:
        raise _Refusal(f"an array of dtype {str(arguments[:1])[:40]} is no array of numbers")
    return _Dtype(arguments[0])


def _set_order(target: _Dtype, state: Any) -> None:
    if not isinstance(state, tuple) or len(state) < 5 or state[1] not in ("<", ">", "|") or any(state[2:5]):
        raise _Refusal("a dtype is not one of plain numbers")
    target.order = state[1]


def _scalar(arguments: tuple[Any, ...]) -> Any:
    dtype, content = arguments
    return _from_bytes(content, dtype, ()).item()


def _empty_array(_: tuple[Any, ...]) -> _Array:
    return _Array()


def _no_array(_: tuple[Any, ...]) -> Any:
    raise _Refusal("a call of numpy.ndarray is not allowed")


def _array_of_state(state: Any) -> Any:
    _, shape, dtype, fortran, content = state
    return _from_bytes(content, dtype, shape, "F" if fortran is True else "C")


def _from_buffer(arguments: tuple[Any, ...]) -> Any:
    content, dtype, shape, order = arguments
    return _from_bytes(bytes(content) if isinstance(content, bytearray) else content, dtype, shape, order)


def _from_bytes(content: Any, dtype: Any, shape: Any, order: Any = "C") -> Any:
    if not isinstance(content, bytes) or not isinstance(dtype, _Dtype):
        raise _Refusal("an array holds objects instead of numbers")
    if not isinstance(shape, tuple) or not all(type(size) is int and size >= 0 for size in shape) or len(shape) > 8:
        raise _Refusal("an array has no proper shape")
    if order not in ("C", "F") or math.prod(shape) * dtype.numpy().itemsize != len(content):
        raise _Refusal("an array has not the size that it claims")
    return np.frombuffer(content, dtype.numpy()).reshape(shape, order=order).copy()


_VALUES: dict[str, Callable[[tuple[Any, ...]], Any]] = {
    "datetime.date": _date,
    "datetime.datetime": _datetime,
    "datetime.timezone": tuple,
    "datetime.timedelta": tuple,
    "numpy.dtype": _dtype,
    "numpy.ndarray": _no_array,
    **{f"{module}.scalar": _scalar for module in _NUMPY},
    **{f"{module}._reconstruct": _empty_array for module in _NUMPY},
    **{f"{module}._frombuffer": _from_buffer for module in _BUFFERS},
}
"""Values in disguise: decoded here, by their dotted name."""


def _finished(value: Any, depth: int = 0, seen: dict[int, Any] | None = None) -> Any:
    """The value with arrays in place of their holders, each shared part gone through once."""
    if depth > _DEPTH:
        raise _Refusal(f"it is nested more than {_DEPTH} deep")
    seen = {} if seen is None else seen
    if isinstance(value, _Array):
        if value.value is None:
            raise _Refusal("an array has no content")
        return value.value
    if isinstance(value, _Name | _Dtype):
        raise _Refusal("a class stands where a value belongs")
    if not isinstance(value, list | tuple | dict | Record):
        return value
    if id(value) in seen:
        return seen[id(value)]
    seen[id(value)] = value
    if isinstance(value, Record):
        value.arguments = _finished(value.arguments, depth + 1, seen)
        value.state = _finished(value.state, depth + 1, seen)
    elif isinstance(value, dict):
        for key in value:
            value[key] = _finished(value[key], depth + 1, seen)
    elif isinstance(value, list):
        value[:] = [_finished(item, depth + 1, seen) for item in value]
    else:
        finished = tuple(_finished(item, depth + 1, seen) for item in value)
        seen[id(value)] = value = finished if any(a is not b for a, b in zip(finished, value, strict=True)) else value
    return value
