"""What a query pays for its text tower, as a new process: processor time, peak memory, what of the file is read.

    python benchmarks/text_tower.py BACKBONE [BACKBONE ...] [--rounds 3]

Each backbone in turn, several rounds, the median counts. A folder in open_clip's layout is also measured as a copy that
holds the tensors of the text tower alone: what a converted file would be. Linux only.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from safetensors import safe_open
from safetensors.torch import save_file

from vtrcli.model.families import describe_backbone

ASK = """
import os, resource, sys
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
import torch
from vtrcli.model.families import load_backbone

def used():
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime

def mapped():
    name, kilobytes = "", 0
    for line in open("/proc/self/smaps"):
        words = line.split()
        if words[0] == "Rss:" and name.endswith(".safetensors"):
            kilobytes += int(words[1])
        elif not words[0].endswith(":"):
            name = words[-1]
    return kilobytes / 1024

before = used()
tower = load_backbone(sys.argv[1], device="cpu", precision="float32", towers="text")
tower.encode_texts(["a man cooking"])
peak = next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(before, used() - before, int(peak) / 1024, mapped())
"""
COLUMNS = ("torch, s", "tower and query, s", "peak, MB", "of the file, MB")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("backbones", nargs="+")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as root:
        names = {name: name for name in options.backbones}
        for name in options.backbones:
            if (Path(name) / "open_clip_config.json").is_file():
                names[f"{name}, text alone"] = str(text_alone(Path(name), Path(root) / Path(name).name))
        for name in names.values():
            describe_backbone(name)  # the identity is read once
        found: dict[str, list[list[float]]] = {label: [] for label in names}
        for _ in range(options.rounds):
            for label, name in names.items():
                done = subprocess.run(
                    [sys.executable, "-c", ASK, name], check=True, capture_output=True, text=True
                )
                found[label].append([float(number) for number in done.stdout.split()])
        print(f"{'':44}" + "".join(f"{column:>20}" for column in COLUMNS))
        for label, rows in found.items():
            medians = [statistics.median(column) for column in zip(*rows, strict=True)]
            print(f"{label[-44:]:44}" + "".join(f"{median:20.2f}" for median in medians))


def text_alone(folder: Path, target: Path) -> Path:
    """A copy of the folder without the tensors of its image tower."""
    target.mkdir()
    shutil.copy(folder / "open_clip_config.json", target)
    for path in folder.glob("*token*.json"):
        shutil.copy(path, target)
    with safe_open(folder / "open_clip_model.safetensors", framework="pt") as file:
        names = [name for name in file.keys() if not name.startswith("visual.")]  # noqa: SIM118
        save_file({name: file.get_tensor(name) for name in names}, target / "open_clip_model.safetensors")
    return target


if __name__ == "__main__":
    main()
