"""Why the best result of `vtr search` is one, as text: `--explain`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from vtrcli.cli.output import short_path, stdout
from vtrcli.errors import printable
from vtrcli.times import clock

if TYPE_CHECKING:
    import numpy as np

    from vtrcli.searching.explain import Explanation

BLOCKS = "▁▂▃▄▅▆▇█"
MAX_COLUMNS = 24  # of a strip: a table of 80 columns has so many left
_SHORT = {"entity": "noun", "action": "verb"}


def print_explanation(found: Explanation) -> None:
    """The sentence with its streams, the score as a sum, and a strip over time for each expert and for the frames."""
    from rich.table import Table
    from rich.text import Text

    out = stdout()
    out.print()
    out.print(
        Text.assemble("why ", (printable(short_path(found.path) if found.path else found.video_id), "bold"))
    )
    if found.words:
        out.print(_sentence(found))
    # One scale for all experts, from the lowest frame to the highest; the frames have their own.
    low = min((float(expert.frame_scores.min()) for expert in found.experts), default=0.0)
    high = max((float(expert.frame_scores.max()) for expert in found.experts), default=1.0)
    table = Table.grid(padding=(0, 2), pad_edge=False)
    for column in ("left", "right", "right", "right", "left"):
        table.add_column(justify=column, no_wrap=True)  # type: ignore[arg-type]
    length = found.duration_seconds or float(found.timestamps[-1])
    over = f"0:00 to {clock(length)}"
    heads = ("", "gate", "score", "adds", over) if found.experts else ("", "", "score", "", over)
    table.add_row(*(Text(text, style="dim") for text in heads))
    for expert in found.experts:
        masked = f" (no {_SHORT.get(expert.name, 'word')})" if expert.is_masked else ""
        table.add_row(
            f"{expert.name}{masked}",
            f"{expert.gate:.1%}",
            f"{expert.score:.3f}",
            f"{expert.contribution:.4f}",
            Text(strip(expert.frame_scores, low, high), style="cyan"),
        )
    scores = found.frame_scores
    frames = Text(strip(scores, float(scores.min()), float(scores.max())), style="dim cyan")
    table.add_row("frames (CLIP)", "", f"{float(scores.max()):.3f}", "", frames)
    table.add_row(Text("score", style="bold"), "", "", Text(f"{found.score:.4f}", style="bold"), "")
    out.print(table)
    if found.note:
        out.print(Text(f"note: {found.note}", style="dim"))


def _sentence(found: Explanation) -> object:
    """The words, nouns as [circle] and verbs as <moves>: brackets say it where there is no colour."""
    from rich.text import Text

    marks = {"entity": ("[", "]", "blue"), "action": ("<", ">", "magenta")}
    text, at = Text(), 0
    for word in found.words:
        text.append(printable(found.sentence[at : word.start]))
        opening, closing, style = marks.get(word.stream or "", ("", "", ""))
        text.append(f"{opening}{printable(found.sentence[word.start : word.end])}{closing}", style=style)
        at = word.end
    text.append(printable(found.sentence[at:]))
    return text.append("   [entity] <action>", style="dim")


def strip(scores: np.ndarray, low: float, high: float) -> str:
    """Scores over time as blocks, the mean of neighbours where there are too many."""
    import numpy as np

    parts: Sequence[np.ndarray] = np.array_split(scores, min(len(scores), MAX_COLUMNS))
    heights = ((float(part.mean()) - low) / max(high - low, 1e-9) for part in parts)
    return "".join(BLOCKS[min(max(int(height * len(BLOCKS)), 0), len(BLOCKS) - 1)] for height in heights)
