"""Pickles written opcode by opcode: parts of published files, and gadgets that must never run.

The payload of every gadget makes a folder where the test says, and nothing else, so that a machine
that is broken does no harm and is seen.
"""

import struct
from pathlib import Path

STOP = b"."
MARK = b"("
REDUCE = b"R"
NONE = b"N"
EMPTY_DICT = b"}"
EMPTY_TUPLE = b")"
TUPLE1 = b"\x85"
NEWOBJ = b"\x81"
BUILD = b"b"
PROTO = b"\x80\x04"


def text(value: str) -> bytes:
    data = value.encode()
    return b"X" + struct.pack("<I", len(data)) + data


def name(module: str, attribute: str) -> bytes:
    """GLOBAL."""
    return f"c{module}\n{attribute}\n".encode()


def stack_name(module: str, attribute: str) -> bytes:
    """STACK_GLOBAL."""
    return text(module) + text(attribute) + b"\x93"


def dict_of(**values: bytes) -> bytes:
    """A dict whose values are given as opcodes."""
    return EMPTY_DICT + MARK + b"".join(text(k) + v for k, v in values.items()) + b"u"


def call(target: bytes, *args: bytes) -> bytes:
    return target + MARK + b"".join(args) + b"t" + REDUCE


def gadgets(marker: Path) -> dict[str, tuple[bytes, str]]:
    """Each gadget and what its refusal has to say."""
    path, code = text(str(marker)), text(f"__import__('os').mkdir({str(marker)!r})")
    shell = text(f"mkdir '{marker}'")
    mkdir = name("os", "mkdir")
    found = {
        "os.system": (call(name("os", "system"), shell), "os.system"),
        "posix.system": (call(name("posix", "system"), shell), "posix.system"),
        "os.mkdir by STACK_GLOBAL": (call(stack_name("os", "mkdir"), path), "os.mkdir"),
        "subprocess": (
            call(name("subprocess", "getoutput"), shell),
            "subprocess.getoutput",
        ),
        "eval": (call(name("builtins", "eval"), code), "builtins.eval"),
        "exec": (call(name("builtins", "exec"), code), "builtins.exec"),
        "dotted name": (
            call(stack_name("os", "path.os.mkdir"), path),
            "os.path.os.mkdir",
        ),
        "getattr": (
            call(
                call(
                    name("builtins", "getattr"),
                    call(name("builtins", "__import__"), text("os")),
                    text("mkdir"),
                ),
                path,
            ),
            "builtins.getattr",
        ),
        "importlib": (
            call(name("importlib", "import_module"), text("antigravity")),
            "importlib.import_module",
        ),
        "operator": (
            call(
                call(name("operator", "methodcaller"), text("mkdir"), path),
                call(name("importlib", "import_module"), text("os")),
            ),
            "operator.methodcaller",
        ),
        "INST": (MARK + path + b"ios\nmkdir\n", "os.mkdir (opcode INST)"),
        "OBJ": (MARK + mkdir + path + b"o", "os.mkdir"),
        "NEWOBJ": (mkdir + path + TUPLE1 + NEWOBJ, "os.mkdir"),
        "NEWOBJ_EX": (mkdir + path + TUPLE1 + EMPTY_DICT + b"\x92", "os.mkdir"),
        "dill's _create_array of os.mkdir": (
            call(name("dill._dill", "_create_array"), mkdir, path + TUPLE1, NONE, NONE),
            "os.mkdir",
        ),
        "jax's _reconstruct_array of os.mkdir": (
            call(name("jax._src.array", "_reconstruct_array"), mkdir, path + TUPLE1, NONE, NONE),
            "os.mkdir",
        ),
        "dill's _eval_repr": (call(name("dill._dill", "_eval_repr"), code), "dill._dill._eval_rep"),
        "dill's _load_type": (call(name("dill._dill", "_load_type"), text("CodeType")), "_load_t"),
        "numpy's testing": (
            call(name("numpy.testing._private.utils", "runstring"), code, EMPTY_DICT),
            "numpy.testing._private.utils.runstring",
        ),
        "numpy's loads": (call(name("numpy", "load"), path, NONE, b"\x88"), "numpy.load"),
        "codecs": (call(name("codecs", "open"), path, text("w")), "codecs.open"),
        "a name of a table's other module": (
            call(name("numpy._core.multiarray", "mkdir"), path),
            "numpy._core.multiarray.mkdir",
        ),
        "persistent id": (f"P{marker}\n".encode(), "persistent id"),
        "binary persistent id": (path + b"Q", "persistent id"),
        "extension code 1": (b"\x82\x01" + path + TUPLE1 + REDUCE, "extension code 1"),
        "extension code 2": (b"\x83\x01\x01" + path + TUPLE1 + REDUCE, "extension code 257"),
        "extension code 4": (b"\x84\x01\x01\x01\x00" + path + TUPLE1 + REDUCE, "extension code 65"),
        "calling data": (call(text("os.mkdir"), path), "which is data"),
        "state of a class": (
            name("numpy", "ndarray") + dict_of(__setstate__=mkdir) + BUILD,
            "os.mkdir",
        ),
        "state of a name": (name("numpy", "dtype") + dict_of(make=NONE) + BUILD, "sets the state"),
        "a class as data": (name("numpy", "ndarray"), "holds 'numpy.ndarray' as data"),
    }
    found["nested in params"] = (
        dict_of(params=dict_of(a=dict_of(w=found["os.system"][0])), config=EMPTY_DICT),
        "os.system",
    )
    found["nested in a configuration"] = (
        dict_of(
            params=EMPTY_DICT,
            config=name("ml_collections.config_dict.config_dict", "ConfigDict")
            + EMPTY_TUPLE
            + NEWOBJ
            + dict_of(_fields=dict_of(model=found["eval"][0]))
            + BUILD,
        ),
        "builtins.eval",
    )
    found["thrown away"] = (found["os.system"][0] + b"0" + EMPTY_DICT, "os.system")
    return {key: (PROTO + ops + STOP, message) for key, (ops, message) in found.items()}
