"""JSON whose shape is checked step by step, so that a foreign file ends in a message and not in a KeyError."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from vtrcli.datasets.reading import wrong


def parse_json(text: str, path: Path, what: str = "the file") -> object:
    """Parse one JSON value; `path` and `what` are for the message.

    Raises:
        InputError: not JSON, nested absurdly deep, or an object names a key twice (one would be lost).
    """
    try:
        return json.loads(text, object_pairs_hook=_object)
    except _RepeatedKey as cause:
        twice = f"{what} has the key {cause.key!r} twice in one object"
        raise wrong(path, twice, allowed="each key once; one of the two would be lost") from cause
    except (ValueError, RecursionError) as cause:
        raise wrong(path, f"{what} is not JSON: {cause}", allowed="it must be whole, valid JSON") from cause


def as_object(value: object, path: Path, what: str) -> dict[str, object]:
    """`value` as a JSON object. `what` names it in the message. Raises InputError."""
    if not isinstance(value, dict):
        raise _of_wrong_kind(value, path, what, "an object")
    return value


def as_list(value: object, path: Path, what: str) -> list[object]:
    """`value` as a JSON list. Raises InputError."""
    if not isinstance(value, list):
        raise _of_wrong_kind(value, path, what, "a list")
    return value


def as_string(value: object, path: Path, what: str) -> str:
    """`value` as a string that can be written out: JSON may hold half of a surrogate pair. Raises InputError."""
    if not isinstance(value, str):
        raise _of_wrong_kind(value, path, what, "a string")
    try:
        value.encode()
    except UnicodeEncodeError as cause:
        raise wrong(
            path, f"{what} is not valid Unicode", allowed="ids and captions are Unicode text"
        ) from cause
    return value


def member(value: Mapping[str, object], key: str, path: Path, what: str) -> object:
    """`value[key]`. Raises InputError when the key is missing."""
    if key not in value:
        keys = ", ".join(map(repr, list(value)[:8])) or "nothing"
        raise wrong(path, f"{what} has no key {key!r}", allowed=f"it has {keys}, and must have {key!r}")
    return value[key]


class _RepeatedKey(Exception):
    def __init__(self, key: str) -> None:
        super().__init__(key)
        self.key = key


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) < len(pairs):
        counts = Counter(key for key, _ in pairs)
        raise _RepeatedKey(counts.most_common(1)[0][0])
    return found


def _of_wrong_kind(value: object, path: Path, what: str, kind: str) -> Exception:
    return wrong(path, f"{what} is {_kind(value)}", allowed=f"it must be {kind}")


def _kind(value: object) -> str:
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    kinds = {dict: "an object", list: "a list", str: "a string", int: "a number", float: "a number"}
    return kinds.get(type(value), type(value).__name__)
