"""A TREC run of many lines: time and memory of `vtr eval --trec`, pytrec_eval and ranx, each in a process of its own,
one after the other in one call. Processor time, because other work on the machine does not change it.

    pip install -c constraints.txt ".[interop]"
    python benchmarks/runs.py --queries 10000 --listed 1000
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

VTR = "import vtrcli as vtr; r = vtr.evaluate(trec=RUN, qrels=QRELS, num_bootstrap=0).table()[0]; print(r['MRR'])"
PYTREC = """
import pytrec_eval
with open(QRELS) as file: qrels = pytrec_eval.parse_qrel(file)
with open(RUN) as file: run = pytrec_eval.parse_run(file)
rows = pytrec_eval.RelevanceEvaluator(qrels, {'recip_rank'}).evaluate(run).values()
print(sum(row['recip_rank'] for row in rows) / len(rows))
"""
RANX = """
import ranx
qrels, run = ranx.Qrels.from_file(QRELS, kind='trec'), ranx.Run.from_file(RUN, kind='trec')
print(ranx.evaluate(qrels, run, 'mrr'))
"""
CHILDREN = {"vtr": VTR, "pytrec_eval": PYTREC, "ranx": RANX}


def write_run(folder: Path, *, num_queries: int, num_listed: int, num_videos: int) -> None:
    """A run of random scores, and one right item per query, which the list has for nine queries of ten."""
    rng = np.random.default_rng(0)
    with open(folder / "run.trec", "w") as run, open(folder / "qrels", "w") as qrels:
        for query in range(num_queries):
            videos = rng.choice(num_videos, num_listed, replace=False)
            scores = np.sort(rng.random(num_listed))[::-1]
            run.writelines(
                f"query{query} Q0 video{video} {rank} {score:.6f} made\n"
                for rank, (video, score) in enumerate(
                    zip(videos.tolist(), scores.tolist(), strict=True), start=1
                )
            )
            right = rng.choice(videos) if rng.random() < 0.9 else rng.integers(num_videos)
            qrels.write(f"query{query} 0 video{right} 1\n")


def measure(name: str, folder: Path) -> tuple[float, float, float, str]:
    """Processor seconds, seconds, peak memory in MB and what was printed."""
    code = f"RUN, QRELS = {str(folder / 'run.trec')!r}, {str(folder / 'qrels')!r}\n{CHILDREN[name]}"
    code += (
        "\nimport resource, sys; used = resource.getrusage(resource.RUSAGE_SELF)"
        "\nprint(used.ru_utime + used.ru_stime, used.ru_maxrss / 1000)"
    )
    begin = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    if done.returncode:
        return (
            float("nan"),
            float("nan"),
            float("nan"),
            done.stderr.strip()[-80:] or f"ended with {done.returncode}",
        )
    printed, used = done.stdout.strip().split("\n")[-2:]
    seconds, memory = map(float, used.split())
    return seconds, time.perf_counter() - begin, memory, printed


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--queries", type=int, default=10_000)
    parser.add_argument("--listed", type=int, default=1000)
    parser.add_argument("--videos", type=int, default=20_000)
    parser.add_argument("--only", nargs="+", choices=CHILDREN, default=list(CHILDREN))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_run(folder, num_queries=options.queries, num_listed=options.listed, num_videos=options.videos)
        size = (folder / "run.trec").stat().st_size / 1e6
        print(f"{options.queries * options.listed:,} lines, {size:,.0f} MB")
        print(f"{'':12}  processor s  seconds  peak MB  MRR")
        for child in options.only:
            processor, seconds, memory, printed = measure(child, folder)
            print(f"{child:12}  {processor:11.1f}  {seconds:7.1f}  {memory:7,.0f}  {printed}", flush=True)
    print(f"this process: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000:,.0f} MB")


if __name__ == "__main__":
    main()
