"""The quick tokenizer gives the ids of clip-anytorch's and of open_clip's own, for any text."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vtrcli.model.byte_pairs import BytePairs, clip_file, is_plain, mended

# Words, numbers, contractions, special words, entities, what ftfy mends, scripts, and every kind of white space.
PIECES = st.sampled_from(
    [
        *(
            "a man rides",
            "DON'T",
            "it's we'll",
            "123",
            "4u2",
            "...",
            "<|endoftext|>",
            "<start_of_text>",
            "&amp;lt;",
        ),
        *(
            "schÃ¶n",
            "‘quoted’",
            "l’été",
            "e\u0301",
            "日本語",
            "ΑΣ ſK",
            "ﬁne",
            "Ⅷ ½",
            "🙂👍🏽",
            "\u200b\u00ad",
            "\x1b[1m",
        ),
        *(
            "\x1b[1m",
            "\t\n",
            "\x1c",
            "\u00a0",
            "\u2028",
            "_",
            "snake_case",
            "O'Neil's",
            "antidisestablishmentarianism",
        ),
    ]
)
TEXTS = st.one_of(
    st.text(max_size=40),
    st.text(st.characters(max_codepoint=127), max_size=60),
    st.lists(PIECES, max_size=6).map(" ".join),
    st.lists(PIECES, max_size=6).map("".join),
)


@pytest.fixture(scope="module")
def both() -> tuple[BytePairs, object]:
    return BytePairs(), clip_file("simple_tokenizer").SimpleTokenizer()


@given(text=TEXTS)
def test_ids_are_those_of_clip(text: str, both: tuple[BytePairs, object]) -> None:
    ours, theirs = both
    assert ours.encode(text) == theirs.encode(text)


def test_the_vocabulary_is_that_of_clip(both: tuple[BytePairs, object]) -> None:
    ours, theirs = both
    assert ours.encoder == theirs.encoder
    assert {tuple(key.split(" ")): rank for key, rank in ours.bpe_ranks.items()} == theirs.bpe_ranks
    assert (ours.start, ours.end) == (49406, 49407)


@given(text=st.text(st.characters(max_codepoint=127)))
def test_plain_text_is_what_ftfy_and_html_leave_as_it_is(text: str) -> None:
    if is_plain(text):
        assert clip_file("simple_tokenizer").basic_clean(text) == mended(text) == text.strip()


def test_an_ascii_query_imports_neither_torch_nor_ftfy_nor_regex() -> None:
    code = (
        "import sys; from vtrcli.model.byte_pairs import BytePairs; tokens = BytePairs(); "
        "assert tokens.encode('a man cooking') == [320, 786, 6283]; "
        "print([name for name in ('torch', 'ftfy', 'regex') if name in sys.modules]); "
        "assert tokens.encode('schön') == [844, 7255, 333]; print('regex' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[:2] == ["[]", "True"]
