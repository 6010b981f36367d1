"""Foreign JSON ends in a message that says what is there and what must be there."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.datasets.layouts import message
from vtrcli.datasets import json_values
from vtrcli.errors import InputError

PATH = Path("a.json")
TRY = "mend the file or get it again; `vtr datasets list` says where from"


@pytest.mark.parametrize("text", ["", "{", "[1,]", "{'a': 1}", "[" * 100_000, "1" * 5000])
def test_text_that_is_not_json_is_refused(text: str) -> None:
    with pytest.raises(
        InputError, match=r"a\.json: the file is not JSON: .*; it must be whole, valid JSON; "
    ):
        json_values.parse_json(text, PATH)


def test_a_repeated_key_is_refused_because_one_would_be_lost() -> None:
    with pytest.raises(InputError) as caught:
        json_values.parse_json('{"v1": ["a"], "v2": ["b"], "v1": ["c"]}', PATH)
    assert message(caught) == (
        f"a.json: the file has the key 'v1' twice in one object; each key once; one of the two would be lost; {TRY}"
    )


@pytest.mark.parametrize(
    ("check", "value", "expected"),
    [
        (json_values.as_object, [], "a.json: it is a list; it must be an object"),
        (json_values.as_list, {}, "a.json: it is an object; it must be a list"),
        (json_values.as_string, 7, "a.json: it is a number; it must be a string"),
        (json_values.as_string, None, "a.json: it is null; it must be a string"),
        (json_values.as_string, b"x", "a.json: it is bytes; it must be a string"),
    ],
)
def test_a_value_of_the_wrong_kind_is_named(check, value, expected) -> None:
    with pytest.raises(InputError) as caught:
        check(value, PATH, "it")
    assert message(caught) == f"{expected}; {TRY}"


def test_half_of_a_surrogate_pair_is_refused() -> None:
    value = json_values.parse_json('"a \\ud83d dog"', PATH)
    with pytest.raises(
        InputError, match="sentence 3 is not valid Unicode; ids and captions are Unicode text; "
    ):
        json_values.as_string(value, PATH, "sentence 3")


def test_a_missing_key_shows_the_keys_that_are_there() -> None:
    with pytest.raises(InputError) as caught:
        json_values.member({"id": 1, "text": 2}, "caption", PATH, "line 3")
    assert message(caught) == (
        f"a.json: line 3 has no key 'caption'; it has 'id', 'text', and must have 'caption'; {TRY}"
    )
