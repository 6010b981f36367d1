"""Each claim about speed beside the way that others take and beside the limit: `make bench` (docs/performance.md).

    python benchmarks/bench.py                                  # everything, 20 minutes on two cores
    python benchmarks/bench.py --only extraction,queries        # these sections anew; the others' rows stay
    python benchmarks/bench.py --full --only extraction         # 1,000 clips, a film of two hours: 40 minutes
    python benchmarks/bench.py --size small                     # whether it runs: minutes, figures that mean little

In every row our way, the peers' ways and the limit take turns on the same input; the table shows medians by the clock,
and ratios round by round with their spread. Peers are re-created from what they do, with the same weights, frames and
vectors. A row in which a peer wins stays. All input is made in a folder that is used again (--work; 5 GB). Each section
is a process of its own and is kept as soon as it is done (--results): one that fails, or takes more than --minutes,
costs its own rows alone.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from suite import results

ROOT = Path(__file__).resolve().parents[1]
SECTIONS = ("extraction", "training", "evaluation", "queries", "moments")


@dataclass(frozen=True)
class Size:
    """How much of everything."""

    clips: int = 400
    clip_rounds: int = 4  # each takes its share of the clips
    film_minutes: int = 10
    film_rounds: int = 2
    demo_videos: int = 200
    demo_epochs: int = 10
    texts: int = 10_000
    videos: tuple[tuple[int, int], ...] = ((50_000, 12), (100_000, 1))  # how many, and frames of each
    rounds: int = 3
    moment_queries: int = 1550


SIZES = {
    "usual": Size(),
    "small": Size(24, 2, 1, 1, 60, 4, 2000, ((2000, 12), (5000, 1)), 2, 300),
    "smoke": Size(4, 2, 0, 1, 12, 2, 200, ((50, 2),), 2, 20),
    "full": Size(clips=1000, film_minutes=120, film_rounds=1),
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", help=f"sections, with commas between: {', '.join(SECTIONS)}")
    parser.add_argument("--size", choices=SIZES, default="usual")
    parser.add_argument(
        "--full", action="store_const", const="full", dest="size", help="short for --size full"
    )
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "vtr-bench")
    parser.add_argument("--results", type=Path, help="JSON file; default: bench.json in --work")
    parser.add_argument("--write", type=Path, help="a page with two marks, between which the table goes")
    parser.add_argument(
        "--minutes", type=float, default=15, help="for one section (--full: as long as it takes)"
    )
    parser.add_argument("--rclip", type=Path, help="rclip's command, in an environment of its own")
    parser.add_argument("--section", help=argparse.SUPPRESS)
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # the section's process ends, too
    options.results = options.results or options.work / "bench.json"
    options.work.mkdir(parents=True, exist_ok=True)
    if options.section:
        return run_section(options.section, options)
    names = options.only.split(",") if options.only else list(SECTIONS)
    if unknown := set(names) - set(SECTIONS):
        parser.error(f"no section {', '.join(sorted(unknown))}: there are {', '.join(SECTIONS)}")
    if options.write and not options.write.exists():
        parser.error(f"no page {options.write}")
    try:
        failed = [name for name in names if not measure(name, options)]
    except KeyboardInterrupt:
        sys.exit(f"interrupted; what was measured is kept as {options.results}")
    sections = in_order(results.read(options.results))
    print(f"\n{results.table(sections)}\n\nkept as {options.results}")
    if options.write:
        results.write_page(options.write, sections)
        print(f"written into {options.write}")
    if failed:
        sys.exit(f"{', '.join(failed)}: not done to the end, see above")


def in_order(sections: dict[str, Any]) -> dict[str, Any]:
    return {name: sections[name] for name in SECTIONS if name in sections}


def measure(name: str, options: argparse.Namespace) -> bool:
    """One section in a process group of its own; whether it came to its end."""
    command = [sys.executable, __file__, "--section", name, "--size", options.size]
    command += ["--work", str(options.work), "--results", str(options.results)]
    command += ["--rclip", str(options.rclip)] if options.rclip else []
    print(f"--- {name}", flush=True)
    # As the vtr command does: threads that wait do not spin on cores that decoders need. It helps the peers as well.
    process = subprocess.Popen(
        command, env=os.environ | {"OMP_WAIT_POLICY": "PASSIVE"}, start_new_session=True
    )
    failure = ""
    try:
        limit = None if options.size == "full" else 60 * options.minutes
        if process.wait(timeout=limit):
            failure = f"its process ended with {process.returncode}"
    except subprocess.TimeoutExpired:
        failure = f"it took more than {options.minutes:g} minutes (--minutes)"
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    if failure:
        print(f"{name}: {failure}; the rest goes on", flush=True)
        kept = results.read(options.results).get(name) or begun(
            options
        )  # its own rows, or those of an earlier day
        results.keep(options.results, name, kept | {"failure": failure})
    return not failure


def begun(options: argparse.Namespace) -> dict[str, Any]:
    """A section without rows yet."""
    return {
        "machine": results.machine(),
        "size": f"size {options.size}",
        "rows": [],
        "seconds": 0,
        "failure": "",
    }


def run_section(name: str, options: argparse.Namespace) -> None:
    """Keep its rows one by one as they come; only with the last does it count as done."""
    size = SIZES[options.size]
    for key, value in vars(size).items():
        setattr(options, key, value)
    started, section = time.monotonic(), begun(options)

    def keep(failure: str) -> None:
        section.update(seconds=round(time.monotonic() - started), failure=failure)
        results.keep(options.results, name, section)

    for row in import_module(f"suite.{name}").rows(options):
        section["rows"].append(results.as_json(row))
        keep("not done to its end")
        print("\n".join(results.lines_of(section["rows"][-1])), flush=True)
    keep("")


if __name__ == "__main__":
    main()
