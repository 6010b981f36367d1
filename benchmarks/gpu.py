"""What a GPU makes of vtr, as a share of what the chip can do: `make bench-gpu`, at most eight minutes.

    python benchmarks/gpu.py                            # on a CUDA device; table on the screen, rows in gpu.json
    python benchmarks/gpu.py --only encode,extract      # these steps alone; rows of others in the file stay
    python benchmarks/gpu.py --device cpu --tiny        # whether it runs, in a minute; the figures mean nothing

Steps: encode (frames a second per tower, batch and number format), extract (batches that overlap beside batches that
wait, in memory and from clips; the card as decoder), finetune (pairs a second of `vtr train --finetune`), cached (the
same with DSL over 4,096 pairs by gradient caching), scan (one query against a million frames).

Each step is a process of its own with a limit of its own: one that hangs or fails keeps the rows that it has, and costs
nothing else. The chip's rate is that of a large product in the same process, in the same number format; operations are
counted by formula (benchmarks/finetune.py). Weights are random in the real sizes.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from suite.results import machine

from vtrcli.files import write_whole

# Seconds that a step may take; together less than eight minutes.
LIMITS = {"encode": 140, "extract": 120, "finetune": 70, "cached": 100, "scan": 40}
SCHEMA = 1


def main() -> None:
    """Read the options, run the steps, print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--only", help="some of " + ",".join(LIMITS), default=",".join(LIMITS))
    parser.add_argument("--results", type=Path, default=Path("benchmarks/results/gpu.json"))
    parser.add_argument("--work", type=Path, help="where weights and clips are made, and used again")
    options = parser.parse_args()
    steps = options.only.split(",")
    unknown = sorted(set(steps) - set(LIMITS))
    if unknown:
        parser.error(f"--only {unknown[0]}: known are {', '.join(LIMITS)}")
    name = device_name(options.device)
    if name is None:
        print(
            f"no device {options.device!r} here: nothing was measured "
            "(--device cpu --tiny shows whether it runs)"
        )
        raise SystemExit(1)
    print(f"{name}" + " · tiny: these figures mean nothing" * options.tiny, flush=True)
    about = {**machine(), "device": name, "tiny": options.tiny}
    failed = []
    with tempfile.TemporaryDirectory() as temporary:
        work = options.work or Path(temporary)
        work.mkdir(parents=True, exist_ok=True)
        for step in steps:
            rows, problem = run_step(step, work, device=options.device, is_tiny=options.tiny)
            keep(options.results, step, {"machine": about, "rows": rows, "problem": problem})
            print(table(step, rows), flush=True)
            if problem:
                failed.append(step)
                print(f"{step}: {problem}; the rest goes on", flush=True)
    print(f"rows in {options.results}")
    raise SystemExit(1 if failed else 0)


def device_name(device: str) -> str | None:
    """What the device calls itself; None where there is none. Asked in a process that ends: CUDA keeps memory."""
    code = (
        "import sys, torch; d = sys.argv[1]; torch.empty(0, device=d); "
        "print(torch.cuda.get_device_name(d) if d.startswith('cuda') else d)"
    )
    done = subprocess.run([sys.executable, "-c", code, device], capture_output=True, text=True)
    return done.stdout.strip() if done.returncode == 0 else None


def run_step(step: str, work: Path, *, device: str, is_tiny: bool) -> tuple[list[dict[str, Any]], str | None]:
    """The rows of one step, and what went wrong."""
    out = work / f"{step}.rows.jsonl"
    out.unlink(missing_ok=True)
    command = [
        sys.executable,
        str(Path(__file__).with_name("gpu_steps.py")),
        step,
        str(work),
        str(out),
        device,
    ]
    started = time.monotonic()
    problem = None
    try:
        done = subprocess.run(
            [*command, "tiny"] if is_tiny else command, capture_output=True, text=True, timeout=LIMITS[step]
        )
        if done.returncode:
            said = (done.stderr.strip().splitlines() or ["it gave no reason"])[-1]
            problem = f"it ended with {done.returncode}: {said}"
    except subprocess.TimeoutExpired:
        problem = f"it took more than its {LIMITS[step]} s"
    lines = out.read_text(encoding="utf-8").splitlines() if out.exists() else []
    print(f"\n{step} · {time.monotonic() - started:.0f} s", flush=True)
    return [json.loads(line) for line in lines if line.endswith("}")], problem


def keep(path: Path, step: str, section: dict[str, Any]) -> None:
    """Put one step's rows in place of what they were; those of others stay."""
    sections: dict[str, Any] = {}
    if path.exists():
        kept = json.loads(path.read_text(encoding="utf-8"))
        if kept.get("schema") != SCHEMA or "steps" not in kept:
            raise SystemExit(f"{path} is not of this benchmark: name another --results, or remove it")
        sections = kept["steps"]
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"schema": SCHEMA, "steps": sections | {step: section}}, indent=1)
    write_whole(path, (text + "\n").encode())


def table(step: str, rows: list[dict[str, Any]]) -> str:
    """A line per row, fitting 80 columns as far as names do."""
    lines = [f"{'what':44} {'rate':>20}  share of"]
    for row in rows:
        value = row["rate"]
        digits = ",.0f" if value is not None and value >= 1e4 else ",.4g"
        rate = "-" if value is None else f"{value:{digits}} {row['unit']}"
        share = "" if row["share"] is None else f"{100 * row['share']:.3g} % of {row['of']}"
        note = f"  {row['note']}" if row["note"] else ""
        lines.append(f"{row['what']:44} {rate:>20}  {share}{note}".rstrip())
    return "\n".join(lines)


if __name__ == "__main__":
    main()
