"""Pickles of plain text (MSVD's raw-captions.pkl), read so that they cannot run code or exhaust the memory.

Only the opcodes that make dicts, lists, tuples and strings are let through; everything that can import or call
something (GLOBAL, REDUCE, BUILD, persistent ids, …) is refused before anything is unpickled.
"""

from __future__ import annotations

import io
import pickle
import pickletools
from pathlib import Path

from vtrcli.datasets.reading import read_bytes, wrong

_ALLOWED = "dicts, lists, tuples and strings only; nothing in it is run"
_PLAIN_OPCODES = frozenset(
    """
    PROTO FRAME MARK STOP MEMOIZE PUT BINPUT LONG_BINPUT GET BINGET LONG_BINGET
    EMPTY_DICT DICT SETITEM SETITEMS EMPTY_LIST LIST APPEND APPENDS EMPTY_TUPLE TUPLE TUPLE1 TUPLE2 TUPLE3
    STRING BINSTRING SHORT_BINSTRING UNICODE BINUNICODE SHORT_BINUNICODE BINUNICODE8
    """.split()
)


def read_plain_pickle(path: Path) -> object:
    """The value in a pickle that holds dicts, lists, tuples and strings only, of Python 2 or 3.

    Raises:
        InputError: not a pickle, or one that holds anything else; the message names the opcode.
    """
    content = read_bytes(path)
    try:
        _refuse_other_opcodes(content, path)
        return _PlainUnpickler(io.BytesIO(content), encoding="utf-8").load()
    # What C and Python code raise for nonsense, such as appending to a string or a list as a key.
    except (pickle.UnpicklingError, EOFError, ValueError, TypeError, LookupError, AttributeError) as cause:
        raise wrong(path, f"not a pickle that can be read: {cause}", allowed=_ALLOWED) from cause


def _refuse_other_opcodes(content: bytes, path: Path) -> None:
    for opcode, argument, position in pickletools.genops(content):
        if opcode.name not in _PLAIN_OPCODES:
            detail = "" if argument is None else f" ({str(argument)[:60]})"
            what = f"byte {position} of the pickle is {opcode.name}{detail}"
            raise wrong(path, what, allowed=_ALLOWED, to_do="do not trust this file; use captions_msvd.json")
        # The unpickler makes its memo as long as the largest index: four bytes could ask for gigabytes.
        if "PUT" in opcode.name and isinstance(argument, int) and argument > len(content):
            raise wrong(path, f"byte {position} of the pickle asks for memo {argument}", allowed=_ALLOWED)


class _PlainUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> object:
        raise pickle.UnpicklingError(f"{module}.{name} is not plain data")
