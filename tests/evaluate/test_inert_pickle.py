"""Pickles are read as data: what GEO-Bench writes comes back, and nothing that a hostile one says is done."""

import builtins
import datetime
import os
import pickle
import struct
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from geopretext.errors import CorruptError
from geopretext.evaluate.inert_pickle import LARGEST, Record, read_pickle

from .geobench_files import make, package


class Call:
    """Pickles as a call."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return self.call


def read(value: Any, protocol: int = 4) -> Any:
    return read_pickle(pickle.dumps(value, protocol=protocol), where="sample.hdf5")


@pytest.mark.parametrize("protocol", [3, 4, 5])
def test_plain_values_come_back(protocol: int) -> None:
    value = {"label": 3, "list": [1, 2.5, None, True, "text", b"bytes", -(2**70)], "pair": (1, (2,)), 5: {}}
    assert read(value, protocol) == value
    assert read({1, 2}) == {1, 2}


@pytest.mark.parametrize("protocol", [3, 4, 5])
def test_dates_numbers_and_arrays_come_back(protocol: int) -> None:
    when = datetime.datetime(2019, 11, 5, 3, 4, 5, 6)
    assert read(datetime.date(2019, 11, 5), protocol) == datetime.date(2019, 11, 5)
    assert read(when, protocol) == when
    assert read(np.int64(7), protocol) == 7
    assert read(np.float32(0.5), protocol) == 0.5
    for array in (np.arange(6).reshape(2, 3), np.asfortranarray(np.eye(3)), np.array([True, False]), np.zeros(0)):
        found = read({"label": array, "again": array}, protocol)
        np.testing.assert_array_equal(found["label"], array)
        assert found["label"].dtype == array.dtype


@pytest.mark.parametrize("root", ["geobench", "ccb.io", "geobench.io"])
def test_objects_of_geobench_become_records(root: str) -> None:
    with package(root) as classes:
        content = pickle.dumps({"band_info": make(classes["Sentinel2"], name="02 - Blue", wavelength=0.49)})
    record = read_pickle(content, where="sample.hdf5")["band_info"]
    assert isinstance(record, Record)
    assert (record.kind, record.get("wavelength"), record.get("none", 1)) == ("Sentinel2", 0.49, 1)


def test_georeferences_become_records() -> None:
    rasterio = pytest.importorskip("rasterio", reason="GEO-Bench pickles its objects")
    found = read({"crs": rasterio.crs.CRS.from_epsg(32634), "transform": rasterio.Affine(10, 0, 5, 0, -10, 9)})
    assert found["crs"].kind == "CRS"
    assert found["transform"].arguments == (10, 0, 5, 0, -10, 9)


HOSTILE = {
    "os.system": lambda mark: pickle.dumps(Call(os.system, f"touch {mark}")),
    "eval": lambda mark: pickle.dumps(Call(builtins.eval, f"open({str(mark)!r}, 'w')")),
    "exec in a dictionary": lambda mark: pickle.dumps({"label": [Call(builtins.exec, f"open({str(mark)!r}, 'w')")]}),
    "getattr chain": lambda mark: pickle.dumps(Call(getattr, Call(__import__, "os"), "system")),
    "inside an object array": lambda mark: pickle.dumps(np.array([Call(os.system, f"touch {mark}")], object)),
    "inside a structured array": lambda mark: pickle.dumps(np.array([(1, Call(os.system, "x"))], "i4,O")),
    "object scalar": lambda mark: (
        b"cnumpy.core.multiarray\nscalar\n(cnumpy\ndtype\n(X\x02\x00\x00\x00O8I00\nI01\ntRC\x04xxxxtR."
    ),
    "GLOBAL with a dotted name": lambda mark: b"cgeobench.dataset\nSentinel2.__init__.__globals__\n.",
    "STACK_GLOBAL of made-up text": lambda mark: b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x01x\x85R.",
    "STACK_GLOBAL from the memo": lambda mark: b"\x80\x04\x8c\x06system\x94\x8c\x02os\x94h\x01h\x00\x93.",
    "STACK_GLOBAL of no text": lambda mark: b"\x80\x04K\x01K\x02\x93.",
    "a module of geobench that imports os": lambda mark: b"\x80\x04\x8c\x10geobench.dataset\x8c\x02os\x93.",
    "persistent id": lambda mark: b"\x80\x02X\x01\x00\x00\x00aQ.",
    "text persistent id": lambda mark: b"Pevil\n.",
    "extension code": lambda mark: b"\x80\x02\x82\x01.",
    "INST": lambda mark: b"(S'touch x'\nios\nsystem\n.",
    "OBJ": lambda mark: b"(cos\nsystem\nS'touch x'\no.",
    "out-of-band buffer": lambda mark: b"\x80\x05\x97.",
    "call of a record": lambda mark: b"\x80\x04\x8c\x10geobench.dataset\x8c\x09Sentinel2\x93)\x81\x8c\x01x\x85R.",
    "call of text": lambda mark: b"\x80\x04\x8c\x02os\x8c\x01x\x85R.",
    "codecs": lambda mark: b"c_codecs\nencode\n(X\x01\x00\x00\x00aX\x06\x00\x00\x00latin1tR.",
    "copyreg": lambda mark: b"ccopyreg\n_reconstructor\n(c__builtin__\nobject\nc__builtin__\nobject\nNtR.",
    "numpy.load": lambda mark: b"cnumpy\nload\n(X\x01\x00\x00\x00atR.",
    "pickle.loads": lambda mark: b"cpickle\nloads\n(C\x01.tR.",
    "torch": lambda mark: b"ctorch\nload\n.",
    "class as a value": lambda mark: b"cgeobench.dataset\nSentinel2\n.",
    "state of a list": lambda mark: b"\x80\x04]}b.",
    "wrong array size": lambda mark: pickle.dumps(np.arange(4)).replace(b"K\x04\x85", b"K\x05\x85"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_nothing_that_could_run_is_read(name: str, tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    with pytest.raises(CorruptError) as caught:
        read_pickle(HOSTILE[name](mark), where="sample.hdf5")
    assert caught.value.where == "sample.hdf5"
    assert not mark.exists()


def test_the_refusal_says_what_was_wanted() -> None:
    with pytest.raises(CorruptError, match=r"it wants '\w+\.system', which is no part of GEO-Bench's metadata"):
        read(Call(os.system, "true"))


@pytest.mark.parametrize(
    "content",
    [b"", b".", b"\x80\x04.", b"\x80\x04K\x01", b"K\x01K\x02.", b"(K\x01.", b"\x80\x04t.", b"\x80\x04h\x05.", b"not"],
)
def test_what_is_no_pickle_is_refused(content: bytes) -> None:
    with pytest.raises(CorruptError):
        read_pickle(content, where="sample.hdf5")


def bombs() -> dict[str, bytes]:
    doubled = b"\x80\x04]\x94" + b"".join(b"](h" + bytes([n]) + b"h" + bytes([n]) + b"e\x94" for n in range(60)) + b"."
    return {
        "memo of two thousand million": b"\x80\x02]r" + struct.pack("<I", 2**31 - 1) + b"0.",
        "lists that double": doubled,
        "very deep": b"\x80\x04" + b"]" * 5000 + b"a" * 4999 + b".",
        "bytes that are not there": b"\x80\x04\x8e" + struct.pack("<Q", 2**60) + b".",
        "too large": b"\x80\x04B" + struct.pack("<I", LARGEST) + bytes(LARGEST) + b".",
        "too many opcodes": b"\x80\x04" + b"N0" * 60_000 + b"N.",
        "number of a million digits": b"L" + b"9" * 1_000_000 + b"L\n.",
    }


@pytest.mark.parametrize("name", bombs())
def test_bombs_cost_nothing(name: str) -> None:
    content = bombs()[name]
    tracemalloc.start()
    try:
        with pytest.raises(CorruptError):
            read_pickle(content, where="sample.hdf5")
        assert tracemalloc.get_traced_memory()[1] < 100_000_000
    finally:
        tracemalloc.stop()


def test_shared_parts_are_gone_through_once() -> None:
    shared: list[Any] = [1]
    for _ in range(25):
        shared = [shared, shared]
    found = read(shared)
    assert found[0] is found[1]


def test_a_list_that_holds_itself_ends() -> None:
    loop: list[Any] = []
    loop.append(loop)
    found = read(loop)
    assert found[0] is found
