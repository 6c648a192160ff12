"""Published files are read and never run."""

import collections
import contextlib
import copyreg
import os
import pickle
import pickletools
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pickles
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from published import PARITY

from functa_core.published import unpickling
from functa_core.published.constructors import NAMES, Refused
from functa_core.published.unpickling import read_inert, unpickle

FILES = [PARITY / f"release_format_{kind}.npz" for kind in ("numpy", "jax")]
GADGETS = sorted(pickles.gadgets(Path("marker")))


def is_plain(tree: Any) -> bool:
    """Whether it is data alone, keys included: no stand-in of the machine's and no class."""
    if type(tree) is dict:
        return all(is_plain(part) for pair in tree.items() for part in pair)
    if type(tree) in (list, tuple):
        return all(map(is_plain, tree))
    if type(tree) is np.ndarray:
        return tree.dtype.kind in "biuf"
    return tree is None or type(tree) in (bool, int, float, str, bytes)


@pytest.mark.parametrize("key", GADGETS)
def test_gadgets_are_refused_by_name(key, tmp_path):
    marker = tmp_path / "marker"
    data, message = pickles.gadgets(marker)[key]
    with pytest.raises(Refused) as refused:
        unpickle(data)
    assert message in str(refused.value)
    assert not marker.exists()


@pytest.mark.parametrize(
    "key", ["os.system", "os.mkdir by STACK_GLOBAL", "eval", "getattr", "operator", "INST", "OBJ"]
)
def test_these_gadgets_do_run_in_pythons_own_unpickler(key, tmp_path):
    """Otherwise the test above would prove nothing."""
    marker = tmp_path / "marker"
    pickle.loads(pickles.gadgets(marker)[key][0])
    assert marker.is_dir()


def test_extension_codes_of_this_process_are_not_looked_up(tmp_path):
    marker = tmp_path / "marker"
    copyreg.add_extension("os", "mkdir", 1)
    try:
        with pytest.raises(Refused, match="extension code 1"):
            unpickle(pickles.gadgets(marker)["extension code 1"][0])
    finally:
        copyreg.remove_extension("os", "mkdir", 1)
    assert not marker.exists()


@pytest.mark.parametrize("protocol", range(2, 6))
def test_arrays_and_plain_values_of_every_protocol(protocol):
    rng = np.random.default_rng(0)
    value = {
        "whole": np.arange(6).reshape(2, 3),
        "fortran": np.asfortranarray(rng.normal(size=(3, 4))),
        "big-endian": rng.normal(size=4).astype(">f4"),
        "half": rng.normal(size=(2, 2)).astype(np.float16),
        "empty": np.zeros((0, 3), np.float32),
        "scalar": np.array(2.5),
        "numpy float": np.float32(0.25),
        "numpy bool": np.bool_(True),
        "plain": [1, -(2**40), 0.5, "tèxt", True, None, (1, (2,), ())],
        "ordered": collections.OrderedDict(a=1),
    }
    if protocol == 2:
        del value["empty"]  # bytes of length 0 are a call of a builtin there
    found = unpickle(pickle.dumps(value, protocol=protocol))
    assert found.keys() == value.keys()
    for key, array in value.items():
        if isinstance(array, np.ndarray):
            assert found[key].dtype == array.dtype
            np.testing.assert_array_equal(found[key], array)
        else:
            assert found[key] == array, key


def test_the_module_names_of_old_numpy_and_new():
    data = pickle.dumps({"a": np.arange(3.0)}, protocol=2)
    new, old = b"numpy._core", b"numpy.core"
    assert (new in data) != (old in data)
    for there in (new, old):
        renamed = data.replace(new, old).replace(old, there)
        np.testing.assert_array_equal(unpickle(renamed)["a"], np.arange(3.0))


def jax_array(module: str, function: str) -> bytes:
    """What JAX's `__reduce__` writes: (fun, args, state, aval), with numpy's own three inside."""
    reduced = tuple(np.arange(3, dtype=np.float32).__reduce__())
    parts = [pickle.dumps(part, protocol=2)[2:-1] for part in reduced]
    weak = pickles.dict_of(weak_type=b"\x89", named_shape=pickles.EMPTY_DICT)
    return pickles.call(pickles.name(module, function), *parts, weak)


@pytest.mark.parametrize(
    ("module", "function"),
    [
        ("jax._src.array", "_reconstruct_array"),
        ("jax._src.device_array", "reconstruct_device_array"),
        ("jax.interpreters.xla", "reconstruct_device_array"),
        ("dill._dill", "_create_array"),
        ("dill.dill", "_create_array"),
    ],
)
def test_arrays_of_jax_and_dill(module, function):
    found = unpickle(pickles.PROTO + jax_array(module, function) + pickles.STOP)
    np.testing.assert_array_equal(found, np.arange(3, dtype=np.float32))


@pytest.mark.parametrize("mapping", ["FlatMapping", "FlatMap", "frozendict"])
def test_mappings_of_haiku(mapping):
    inner = pickles.dict_of(w=b"K\x05")
    data = pickles.call(pickles.name("haiku._src.data_structures", mapping), inner)
    assert unpickle(pickles.PROTO + data + pickles.STOP) == {"w": 5}


def filled(shape: bytes, dtype: str, content: bytes) -> bytes:
    """An array of numpy's with a state of our choice."""
    core = pickles.name("numpy.core.multiarray", "_reconstruct")
    begun = pickles.call(core, pickles.name("numpy", "ndarray"), pickles.NONE, pickles.NONE)
    kind = pickles.call(pickles.name("numpy", "dtype"), pickles.text(dtype), b"\x89", b"\x88")
    data = b"B" + struct.pack("<I", len(content)) + content
    state = pickles.MARK + b"K\x01" + shape + kind + b"\x89" + data + b"t"
    return pickles.PROTO + begun + state + pickles.BUILD + pickles.STOP


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (filled(b"K\x02\x85", "f4", bytes(8)), None),
        (filled(b"K\x03\x85", "f4", bytes(8)), "12 are needed"),
        (filled(b"K\x01\x85", "f4", bytes(8)), "4 are needed"),
        (filled(b"J\xff\xff\xff\xff\x85", "f4", bytes(8)), "shape (-1)"),
        (filled(b"\x8a\x08" + bytes(7) + b"\x7f" + b"\x85", "f4", b""), "bytes, where"),
        (filled(b"\x8a\x09" + bytes(8) + b"\x7f" + b"\x85", "f4", b""), "more than 64 bits"),
        (filled(b"K\x01\x85", "O8", bytes(8)), "type 'O8'"),
        (filled(b"K\x01\x85", "O", bytes(8)), "type 'O'"),
        (filled(b"K\x01\x85", "V8", bytes(8)), "type 'V8'"),
        (filled(b"K\x01\x85", "f4,O", bytes(8)), "type 'f4,O'"),
        (filled(b"X\x01\x00\x00\x00a\x85", "f4", bytes(8)), "shape (str)"),
    ],
)
def test_arrays_take_exactly_the_bytes_that_are_there(data, message):
    if message is None:
        np.testing.assert_array_equal(unpickle(data), np.zeros(2, np.float32))
        return
    with pytest.raises(Refused) as refused:
        unpickle(data)
    assert message in str(refused.value)


def laughs() -> bytes:
    """Fifty lists, each of which holds the one before it ten times."""
    data = b"]" + b"q\x00"
    for i in range(50):
        data += b"](" + 10 * (b"h" + bytes([i])) + b"e" + b"q" + bytes([i + 1])
    return data


@pytest.mark.parametrize(
    ("ops", "message"),
    [
        (b"", "not a whole pickle"),
        (b"]q\x00h\x00a", "unfolds to more"),  # a list in itself
        (laughs(), "unfolds to more"),
        (pickles.call(laughs(), pickles.NONE), "which is data"),
        (pickles.MARK * 2000 + b"t" * 2000, "unfolds to more"),
        (pickles.dict_of(a=pickles.NONE)[:-1] + pickles.NONE + b"u", "a key without a value"),
        (pickles.EMPTY_DICT + b"(K\x01K\x02u", "the key 1, which is not a text"),
        (pickles.EMPTY_DICT + b"(]K\x02u", "is not a text"),
        (b"h\x07", "recalls what it never stored"),
        (b"\x85", "stack is empty"),
        (b"t", "mark is missing"),
        (b"K\x01K\x02a", "no list to fill"),
        (b"\x8b\xff\xff\xff\x7f\x00", "not a whole pickle"),  # a number of 2 GiB
        (b"\x8e" + b"\xff" * 8, "not a whole pickle"),  # bytes of 16 EiB
        (b"U\x01a", "opcode SHORT_BINSTRING"),
        (b"2", "opcode DUP"),
    ],
)
def test_hostile_and_broken_files(ops, message):
    with pytest.raises(Refused) as refused:
        unpickle(pickles.PROTO + ops + pickles.STOP)
    assert message in str(refused.value)
    assert len(str(refused.value)) < 300


def test_too_many_opcodes(monkeypatch):
    monkeypatch.setattr(unpickling, "MOST_OPCODES", 100)
    with pytest.raises(Refused, match="more than 100 opcodes"):
        unpickle(pickles.PROTO + b"N" * 200 + pickles.STOP)


@pytest.mark.parametrize("shared", ["array", "bytes"])
def test_arrays_that_share_their_bytes_are_bounded_by_the_file(shared):
    """The pickle writes the bytes once, and the rest as references to them."""

    def shares(count: int) -> bytes:
        array = np.zeros(250_000, np.float32)
        arrays: list[Any] = [array] * count
        if shared == "bytes":
            content = array.tobytes()
            arrays = [Rebuilt(content) for _ in range(count)]
        return pickle.dumps({str(i): one for i, one in enumerate(arrays)}, protocol=4)

    assert len(shares(50)) < 1_020_000
    assert len(unpickle(shares(5))) == 5  # 5 MB: four times 1 MB, and a megabyte
    with pytest.raises(Refused, match="more than four times the file's size"):
        unpickle(shares(6))
    with pytest.raises(Refused, match="more than four times the file's size"):
        unpickle(shares(50))


class Rebuilt:
    """Pickled as an array of its own whose bytes are the ones that others have."""

    def __init__(self, content: bytes) -> None:
        self.content = content

    def __reduce__(self):
        reduced: Any = np.zeros(0, np.float32).__reduce__()
        make, args, _ = reduced
        shape = (len(self.content) // 4,)
        return make, args, (1, shape, np.dtype(np.float32), False, self.content)

    def __setstate__(self, state):
        """Never called: it is numpy's array that is read."""


def test_a_memo_index_costs_nothing():
    assert unpickle(b"\x80\x04Nr\xff\xff\xff\x7f.") is None


def test_reading_imports_nothing_that_a_file_names():
    """In a process of its own, with jax, haiku, ml_collections and dill made impossible."""
    program = (
        "import sys\n"
        "for name in ('jax', 'jaxlib', 'haiku', 'ml_collections', 'dill', 'pickle5'):\n"
        "    sys.modules[name] = None\n"
        "from pathlib import Path\n"
        "from functa_core.published.unpickling import read_inert\n"
        "before = set(sys.modules)\n"
        "for path in sys.argv[1:]:\n"
        "    assert set(read_inert(Path(path))) == {'params', 'config'}\n"
        "assert set(sys.modules) == before, set(sys.modules) - before\n"
    )
    subprocess.run([sys.executable, "-c", program, *map(str, FILES)], check=True, env=os.environ)


def test_both_release_files_hold_the_same():
    first, second = map(read_inert, FILES)
    assert first["config"] == second["config"]
    assert first["params"].keys() == second["params"].keys()
    for module, inner in first["params"].items():
        for key, array in inner.items():
            np.testing.assert_array_equal(array, second["params"][module][key])


def test_every_name_of_the_table_is_a_text_that_is_never_imported():
    for (module, attribute), known in NAMES.items():
        assert known.label == f"{module}.{attribute}"
        assert known.make.__module__ == "functa_core.published.constructors"


RELEASED = [path.read_bytes() for path in FILES]
OPCODES = [[place for _, _, place in pickletools.genops(data)] for data in RELEASED]


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.integers(0, 1),
    st.lists(
        st.tuples(
            st.sampled_from(["change", "insert", "delete", "cut"]),
            st.integers(0, 10**6),
            st.booleans(),
            st.binary(min_size=1, max_size=8),
        ),
        min_size=1,
        max_size=6,
    ),
)
def test_mutated_release_files_are_read_or_refused(which, mutations):
    mutated = bytearray(RELEASED[which])
    for kind, number, at_opcode, new in mutations:
        place = OPCODES[which][number % len(OPCODES[which])] if at_opcode else number
        place %= len(mutated)
        if kind == "change":
            mutated[place : place + 1] = new[:1]
        elif kind == "insert":
            mutated[place:place] = new
        elif kind == "delete":
            del mutated[place : place + len(new)]
        else:
            del mutated[max(place, 100) :]
    with contextlib.suppress(Refused):  # and nothing else
        assert is_plain(unpickle(bytes(mutated)))


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from([
    *(bytes([c]) for c in b"(.0123NIJKLMFGSTUVXBCQPR]}la)tdebgjhqprusicoC"),
    *(bytes([c]) for c in range(0x80, 0x98)),
    b"cnumpy\nndarray\n", b"cnumpy\ndtype\n", b"cnumpy.core.multiarray\n_reconstruct\n",
    b"cml_collections.config_dict.config_dict\nConfigDict\n", b"X\x02\x00\x00\x00f4", b"K\x03",
    b"chaiku._src.data_structures\nFlatMapping\n", b"cjax._src.array\n_reconstruct_array\n",
]), max_size=40))  # fmt: skip
def test_any_sequence_of_opcodes_is_read_or_refused(parts):
    with contextlib.suppress(Refused):
        assert is_plain(unpickle(b"\x80\x04" + b"".join(parts) + b"."))
