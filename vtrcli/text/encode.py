"""Texts -> features of their streams, by a tower that is loaded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from vtrcli.model.backbone import Backbone
from vtrcli.store.texts import TextRows
from vtrcli.text.streams import STREAMS, Tagger, split_streams


def encode_streams(
    texts: Sequence[str],
    tagger: Tagger,
    backbone: Backbone,
    *,
    max_tokens: int | None = None,
    batch_size: int | None = None,
) -> tuple[TextRows, int]:
    """Features of each text's streams, different texts encoded once, and how many captions had to be cut.

    Under `max_tokens` nouns and verbs are those of the words that are read; `batch_size` as in `Backbone.encode_texts`.
    """
    streams = [
        replace(split_streams(backbone.cut_text(text, max_tokens), tagger), fusion=text) for text in texts
    ]
    by_stream = [[getattr(streamed, name) for streamed in streams] for name in STREAMS]
    captions = backbone.encode_texts(texts, max_tokens=max_tokens, batch_size=batch_size)
    row = {text: number for number, text in enumerate(texts)}
    parts = [
        text for text in dict.fromkeys(text for column in by_stream for text in column) if text not in row
    ]
    row |= {text: number for number, text in enumerate(parts, start=len(texts))}
    encoded = backbone.encode_texts(parts, max_tokens=max_tokens, batch_size=batch_size)
    features = np.concatenate([captions.features, encoded.features])
    index = np.array([[row[text] for text in column] for column in by_stream]).T
    mask = np.array([[True, streamed.has_entity, streamed.has_action] for streamed in streams])
    return TextRows(features.astype(np.float16)[index], mask, captions.was_cut), captions.num_cut
