"""`vtr cache`: features without decoding."""

from __future__ import annotations

from pathlib import Path

from vtrcli.cli import options
from vtrcli.cli.options import opt
from vtrcli.cli.output import ProgressBar, count, print_json, print_line, say
from vtrcli.errors import UsageError
from vtrcli.text.streams import TaggerName

NAME = "cache"
EPILOG = "Example: [bold]vtr cache --store msrvtt.store --dataset msrvtt-1ka --annotations msrvtt/[/bold]"


def command(
    store: Path = options.STORE,
    dataset: str | None = options.DATASET,
    annotations: Path | None = options.ANNOTATIONS,
    tagger: TaggerName = options.TAGGER,
    max_tokens: int | None = options.MAX_TOKENS,
    backbone: str | None = opt(
        "--backbone", "Encode the kept frames with this backbone into --out.", shown="none"
    ),
    out: Path | None = opt("--out", "New store for --backbone."),
    device: str = options.DEVICE,
    precision: options.Precision = opt("--precision", "Of --backbone's image tower.", default="auto"),
    json_output: bool = options.JSON,
    quiet: bool = options.QUIET,
) -> None:
    """Encode a data set's captions, once per text stream; or kept frames with another backbone (--out)."""
    if out is not None:
        _reencode(store, out, backbone, device, precision, json_output=json_output, quiet=quiet)
        return
    name, folder = options.require_dataset(dataset, annotations)
    from vtrcli.text.cache import cache_captions

    with ProgressBar(unit="captions", quiet=quiet or json_output) as bar:
        result = cache_captions(
            store,
            dataset=name,
            annotations=folder,
            tagger=tagger,
            max_tokens=max_tokens,
            device=device,
            on_progress=bar.update,
        )
    if json_output:
        body = {key: value for key, value in vars(result).items() if key != "unread"}
        print_json(NAME, {"store": str(store), "dataset": name, **result.unread.to_json(), **body})
        return
    already = result.num_texts - result.num_encoded
    print_line(
        f"{count(result.num_encoded, 'caption')} encoded in three streams, {already:,} already there "
        f"(tagger {result.tagger_id})"
    )
    without = ", ".join(f"{number:,} without {stream}" for stream, number in result.num_without.items())
    for split, problem in result.problems.items():
        say(f"split {split} passed over: {problem}", quiet=quiet)
    limit = result.unread.limit
    say(f"of these {without}; {result.num_cut:,} captions over {limit} tokens were cut", quiet=quiet)
    for note in result.unread.notes:
        say(f"note: {note}", quiet=quiet)


def _reencode(
    store: Path,
    out: Path,
    backbone: str | None,
    device: str,
    precision: options.Precision,
    *,
    json_output: bool,
    quiet: bool,
) -> None:
    if backbone is None:
        raise UsageError(
            "--out without --backbone",
            allowed="the backbone that the new store is for",
            to_do=f"add --backbone; {options.BACKBONE_HELP}",
        )
    from vtrcli.extraction.reencode import reencode_frames

    with ProgressBar(unit="videos", quiet=quiet or json_output) as bar:
        num_videos = reencode_frames(
            store,
            target=out,
            backbone=backbone,
            device=device,
            precision=precision,
            on_progress=bar.update,
        )
    if json_output:
        print_json(NAME, {"store": str(out), "source": str(store), "num_videos": num_videos})
    else:
        print_line(f"{count(num_videos, 'video')} encoded with {backbone} into {out}")
