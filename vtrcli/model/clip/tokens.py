"""Texts as CLIP reads them: token ids with start and end (no torch here: a query starts with them)."""

from __future__ import annotations

from functools import cache

from vtrcli.model.byte_pairs import MAX_CHARACTERS, BytePairs


@cache
def clip_tokenizer() -> BytePairs:
    """CLIP's byte-pair tokenizer, made once per process."""
    return BytePairs()


def tokenize(text: str, *, context_length: int) -> tuple[list[int], bool]:
    """Token ids with start and end token, at most `context_length`, and whether the text had to be cut."""
    tokenizer = clip_tokenizer()
    ids = tokenizer.encode(text[:MAX_CHARACTERS])
    was_cut = len(ids) > context_length - 2 or len(text) > MAX_CHARACTERS
    return [tokenizer.start, *ids[: context_length - 2], tokenizer.end], was_cut


def token_limit(max_tokens: int | None, context_length: int) -> int:
    """The tokens of a text that are read, start and end included: the wanted number as far as the model goes."""
    return context_length if max_tokens is None else min(max_tokens, context_length)


def cut_text(text: str, max_tokens: int | None) -> str:
    """See `Backbone.cut_text`."""
    if max_tokens is None or not tokenize(text, context_length=max_tokens)[1]:
        return text
    kept: list[str] = []
    left = max_tokens - 2
    for word in text[:MAX_CHARACTERS].split():  # white space always ends a token
        left -= len(clip_tokenizer().encode(word))
        if left < 0:
            break
        kept.append(word)
    return " ".join(kept)
