"""What `vtr search` prints: a table for people, JSON and bare paths for programs."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vtrcli.cli.output import print_json, printable, short_path, stdout
from vtrcli.errors import InputError, VtrError
from vtrcli.text_files import decoded_lines
from vtrcli.times import time_span

if TYPE_CHECKING:
    from rich.text import Text

    from vtrcli.searching.moments import Moment
    from vtrcli.searching.results import Hit, SearchResult

MAX_SHOWN_TWINS = 2


def read_lines(path: Path) -> Iterator[str]:
    """The lines of a file or (-) of stdin that are not blank, as they come. Raises InputError for no text file."""
    is_stdin = str(path) == "-"
    try:
        with nullcontext(sys.stdin.buffer) if is_stdin else open(path, "rb") as file:
            for line in decoded_lines(file, name="the queries on stdin" if is_stdin else str(path)):
                if text := line.strip():
                    yield text
    except OSError as cause:
        raise InputError(
            f"{path} cannot be read: {cause.strerror}",
            allowed="a text file with one query per line, or - for stdin",
            to_do="check --queries",
        ) from cause


@dataclass
class Answers:
    """The answers to many queries, and the first error."""

    results: list[SearchResult] = field(default_factory=list)
    first_error: VtrError | None = None


def answer_lines(
    lines: Iterable[str],
    answer: Callable[[str], SearchResult],
    *,
    sources: Sequence[str],
    keep: bool,
) -> Answers:
    """One JSON object per query, each written as soon as it is known; `error` where there is no answer.

    `keep`: hold the results in memory, for a gallery.
    """
    answers = Answers()
    for line in lines:
        try:
            result = answer(line)
            if keep:
                answers.results.append(result)
            print_json("search", result.to_json())
        except InputError as error:
            print_json("search", {"query": line, **sources_json(sources), "error": str(error)})
            answers.first_error = answers.first_error or error
        sys.stdout.flush()
    return answers


def sources_json(sources: Sequence[str]) -> dict[str, Any]:
    """What was searched."""
    return {"store": sources[0] if len(sources) == 1 else None, "stores": list(sources)}


def print_table(hits: Sequence[Hit], *, start: Path | None = None) -> None:
    """Rank, score, relevance where there is one, time span, path, and further moments.

    Path and times are links where the terminal has links. `start`: the folder that paths are shown from, by default
    the working folder.
    """
    if not hits:
        return
    from rich.table import Table
    from rich.text import Text

    has_relevance = any(hit.relevance is not None for hit in hits)
    rows = [
        (
            str(hit.rank),
            f"{hit.score:.2f}",
            *(["" if hit.relevance is None else f"{hit.relevance:+.1f}"] if has_relevance else []),
            time_span(hit.moment.start_seconds, hit.moment.end_seconds),
        )
        for hit in hits
    ]
    table = Table.grid(padding=(0, 2), pad_edge=False)
    # Numbers and times never shrink; a path that is too long for the terminal goes on in the next line.
    for column in zip(*rows, strict=True):
        table.add_column(justify="right", no_wrap=True, min_width=max(map(len, column)))
    table.columns[-1].justify = "left"
    table.columns[0].style, table.columns[-1].style = "dim", "cyan"
    table.add_column(overflow="fold")
    for hit, row in zip(hits, rows, strict=True):
        name = printable(short_path(hit.path, start=start))
        state = "missing" if hit.is_missing else "replaced"
        path = _linked(name, hit) if hit.can_be_opened else Text(f"{name} ({state})", style="dim")
        if len(hit.moments) > 1:
            path.append("  also ", style="dim")
            path.append_text(Text(", ", style="dim").join(_span(hit, moment) for moment in hit.moments[1:]))
        if hit.twins:
            path.append(f"  same file: {_listed(hit.twins)}", style="dim")
        table.add_row(*row[:-1], _span(hit, hit.moment), path)
    stdout().print(table)


def _listed(paths: Sequence[str]) -> str:
    """A few paths, and how many more."""
    names = [printable(short_path(path)) for path in paths[:MAX_SHOWN_TWINS]]
    more = len(paths) - len(names)
    return ", ".join(names) + (f" and {more:,} more" if more else "")


def _span(hit: Hit, moment: Moment) -> Text:
    return _linked(
        time_span(moment.start_seconds, moment.end_seconds), hit, fragment=f"#t={moment.start_seconds:.1f}"
    )


def _linked(text: str, hit: Hit, *, fragment: str = "") -> Text:
    from rich.style import Style
    from rich.text import Text

    if not hit.can_be_opened or not _is_file_name(hit.path):
        return Text(text)
    return Text().append(text, style=Style(link=Path(hit.path).absolute().as_uri() + fragment))


def _is_file_name(path: str) -> bool:
    """Whether the system can have a file of that name."""
    try:
        os.fsencode(path)
    except UnicodeEncodeError:
        return False
    return True


def print_paths(hits: Iterable[Hit], *, end: bytes) -> None:
    """The paths of files that are there and still what was found, each once and byte for byte, for pipes."""
    # surrogateescape gives back what was no UTF-8; a name with other lone surrogates cannot be a file's.
    paths = dict.fromkeys(
        hit.path.encode("utf-8", "surrogateescape" if _is_file_name(hit.path) else "replace")
        for hit in hits
        if hit.can_be_opened
    )
    sys.stdout.flush()
    sys.stdout.buffer.write(b"".join(path + end for path in paths))
    sys.stdout.buffer.flush()
