"""What was measured, as a JSON file that keeps each section's last rows with their own date, and as a table."""

from __future__ import annotations

import json
import os
import platform
import statistics
import time
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import vtrcli as vtr
from suite.measure import Row
from vtrcli.files import write_whole

SCHEMA = 1
BEGIN, END = "<!-- bench begins -->", "<!-- bench ends -->"
PACKAGES = ("torch", "numpy", "numkong", "av", "opencv-python-headless", "imageio-ffmpeg")
HEAD = ("what", "vtr", "beside it", "its time", "times as fast (least to most)", "share of the limit")


def machine() -> dict[str, Any]:
    """What rows are measured on."""
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = "not installed"
    return {
        "date": time.strftime("%Y-%m-%d %H:%M"),
        "processor": processor_name(),
        "num_cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "load_before": round(os.getloadavg()[0], 1),
        "python": platform.python_version(),
        "vtr": vtr.__version__,
        "packages": versions,
    }


def processor_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next(
        (line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown"
    )


def read(path: Path) -> dict[str, Any]:
    """Sections that were measured before; none where there is no file."""
    if not path.exists():
        return {}
    kept = json.loads(path.read_text(encoding="utf-8"))
    if kept.get("schema") != SCHEMA:
        raise SystemExit(f"{path} is not of this benchmark: name another --results, or remove it")
    return dict(kept["sections"])


def keep(path: Path, name: str, section: dict[str, Any]) -> None:
    """Put one section in place of what it was; the others stay."""
    sections = read(path) | {name: section}
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"schema": SCHEMA, "sections": sections}, indent=1)
    write_whole(path, (text + "\n").encode())


def as_json(row: Row) -> dict[str, Any]:
    """Seconds to a tenth of a microsecond."""
    return json.loads(json.dumps(asdict(row)), parse_float=lambda text: round(float(text), 7))  # type: ignore[no-any-return]


def seconds(value: float) -> str:
    """4.1 ms, 0.41 s, 4.1 s, 41 s."""
    if value < 0.0995:
        return f"{1000 * value:.2g} ms"
    return f"{value:.2f} s" if value < 0.995 else f"{value:.1f} s" if value < 9.95 else f"{value:,.0f} s"


def cost(way: dict[str, Any], per_round: list[Any] | None) -> str:
    """Its time, and a rate where the row has one."""
    median = statistics.median(way["seconds"])
    if per_round is None:
        return seconds(median)
    number, unit = per_round
    return f"{seconds(median)} ({number / median:,.3g} {unit}/s)"


def ratios(above: dict[str, Any], below: dict[str, Any]) -> list[float]:
    """Round by round."""
    return [one / other for one, other in zip(above["seconds"], below["seconds"], strict=True)]


def number(value: float) -> str:
    """0.83, 2.3, 23, 230."""
    return f"{value:.2g}" if value < 99.5 else f"{value:.0f}"


def lines_of(row: dict[str, Any]) -> list[str]:
    """A line per peer, and one for the limit."""
    ours, per_round, limit = row["ours"], row["per_round"], row["limit"]
    lines = []
    for peer in row["peers"]:
        times = ratios(peer, ours)
        spread = f" ({number(min(times))} to {number(max(times))})" if len(times) > 1 else ""
        ratio = f"**{number(statistics.median(times))}**{spread}"
        lines.append([peer["name"], cost(peer, per_round), ratio, ""])
    if limit is not None:
        share = statistics.median(ratios(limit, ours))
        lines.append([f"the limit: {limit['name']}", cost(limit, per_round), "", f"{100 * share:.0f} %"])
    first = [row["what"], cost(ours, per_round)]
    return [
        "| " + " | ".join([*(first if place == 0 else ("", "")), *line]) + " |"
        for place, line in enumerate(lines)
    ]


def remarks_of(row: dict[str, Any]) -> str:
    """Where our time goes, what else is to be known, and who is missing."""
    told = list(row["notes"])
    if row["parts"]:
        parts = [(part["name"], statistics.median(part["seconds"])) for part in row["parts"]]
        rest = statistics.median(
            whole - sum(values)
            for whole, *values in zip(
                row["ours"]["seconds"], *(part["seconds"] for part in row["parts"]), strict=True
            )
        )
        parts += [("the rest", rest)] if rest >= 0.05 else []
        told.insert(0, ", ".join(f"{name} {seconds(value)}" for name, value in parts))
    told += [f"{name} did not run: {why}" for name, why in row["left_out"].items()]
    return "; ".join(told)


def table(sections: dict[str, Any]) -> str:
    """Markdown: all rows, then remarks, then when and on what each section was measured."""
    rows = [row for section in sections.values() for row in section["rows"]]
    remarks = [f"- {row['what']}: {remarks}." for row in rows if (remarks := remarks_of(row))]
    lines = ["| " + " | ".join(HEAD) + " |", "|---" * len(HEAD) + "|"]
    lines += [line for row in rows for line in lines_of(row)]
    lines += ["", *remarks, ""] if remarks else [""]
    lines += measured_on(sections)
    return "\n".join(lines)


def measured_on(sections: dict[str, Any]) -> list[str]:
    """When and how long each section ran, what broke, and on what: said once where all ran on the same."""
    machines = {about(section["machine"]) for section in sections.values()}
    lines = []
    for name, section in sections.items():
        where = f" {about(section['machine'])}." if len(machines) > 1 else ""
        broken = f" **{section['failure'].capitalize()}.**" if section["failure"] else ""
        lines.append(
            f"- **{name}**: {section['machine']['date']}, {section['size']}, {section['seconds']} s in all, load "
            f"{section['machine']['load_before']} before.{where}{broken}"
        )
    return [*lines, "", f"All on {machines.pop()}."] if len(machines) == 1 else lines


def about(where: dict[str, Any]) -> str:
    """The machine and the versions."""
    packages = ", ".join(f"{name} {what}" for name, what in where["packages"].items())
    cores = f"{where['num_cores']} cores ({where['processor']})"
    return f"{cores}; vtr {where['vtr']}, Python {where['python']}, {packages}"


def write_page(page: Path, sections: dict[str, Any]) -> None:
    """Put the table between the page's two marks."""
    text = page.read_text(encoding="utf-8")
    if not (BEGIN in text and END in text):
        raise SystemExit(f"{page} lacks {BEGIN} and {END}, between which the table goes: add both")
    before, after = text.partition(BEGIN)[0], text.partition(END)[2]
    write_whole(page, f"{before}{BEGIN}\n{table(sections)}\n{END}{after}".encode())
