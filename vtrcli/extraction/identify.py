"""Video ids: the path below the folder that was given, without the suffix. Two files never share one silently."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from vtrcli.extraction.discover import Candidate
from vtrcli.video.formats import VIDEO_SUFFIXES


def choose_video_id(candidate: Candidate, taken: Mapping[str, str]) -> tuple[str, str | None]:
    """The first free name for a file, and a note when its natural id belongs to another file.

    Args:
        taken: video id -> path of the file that owns it.
    """
    names = _possible_ids(candidate)
    wanted = next(names)
    path = str(candidate.path)
    if taken.get(wanted, path) == path:
        return wanted, None
    for name in names:
        if taken.get(name, path) == path:
            return name, f"id {wanted!r} belongs to {taken[wanted]}; {path} is stored as {name!r}"
    raise AssertionError("unreachable: the names do not end")


def _possible_ids(candidate: Candidate) -> Iterator[str]:
    """kitchen/pasta, kitchen/pasta.mp4, Videos/kitchen/pasta.mp4, home/Videos/kitchen/pasta.mp4 …, then ~2, ~3."""
    relative = candidate.path.relative_to(candidate.root).as_posix()
    suffix = candidate.path.suffix
    yield relative[: -len(suffix)] if suffix.lower() in VIDEO_SUFFIXES else relative
    yield relative
    name = relative
    for part in reversed(candidate.root.parts[1:]):
        name = f"{part}/{name}"
        yield name
    number = 2
    while True:
        yield f"{name}~{number}"
        number += 1
