"""torchrun on two hosts: the run of one process; where a host dies the other one says so, and the run goes on."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from tests.hosts import Host, two_hosts, wait_until
from tests.training.toy import make_toy
from vtrcli.training.record import read_metrics

pytestmark = pytest.mark.slow
PORT = 29511


def train_words(folder: Path, out: Path, *options: str) -> list[str]:
    words = ["-m", "vtrcli", "train", "--store", str(folder / "store"), "--dataset", "csv"]
    return [*words, "--annotations", str(folder), "--out", str(out), "--device", "cpu", *options]


def torchrun(hosts: tuple[Host, Host], *words: str) -> list[subprocess.Popen[str]]:
    """As examples/two_machines.sh starts it on each of them."""
    started = []
    for number, host in enumerate(hosts):
        host.environment = {"GLOO_SOCKET_IFNAME": "cable", "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
        start = [Path(sys.executable).with_name("torchrun"), "--nnodes=2", "--nproc-per-node=1"]
        start += [f"--node-rank={number}", f"--master-addr={hosts[0].address}", f"--master-port={PORT}"]
        pipes = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
        started.append(host.start(*start, *words, **pipes))
    return started


def test_two_hosts_make_the_run_of_one_process(tmp_path: Path) -> None:
    folder = make_toy(tmp_path)
    length = ("--epochs", "3", "--batch-size", "8", "--captions", "all")
    subprocess.run([sys.executable, *train_words(folder, tmp_path / "one", *length, "--quiet")], check=True)
    with two_hosts() as hosts:
        started = torchrun(hosts, *train_words(folder, tmp_path / "two", *length))
        said = [process.communicate(timeout=240)[1] for process in started]
        assert [process.returncode for process in started] == [0, 0], said
    one, two = (read_metrics(tmp_path / name) for name in ("one", "two"))
    assert [row["step"] for row in one] == [row["step"] for row in two]
    losses = [[row["loss"] for row in rows if row["loss"] is not None] for rows in (one, two)]
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-4)
    models = [load_file(tmp_path / name / "model.safetensors") for name in ("one", "two")]
    for name, weights in models[0].items():
        np.testing.assert_allclose(models[1][name], weights, rtol=1e-3, atol=1e-4, err_msg=name)


def test_a_host_that_dies_ends_the_run_in_words_and_it_goes_on_where_it_was_saved(tmp_path: Path) -> None:
    folder, out = make_toy(tmp_path), tmp_path / "run"
    length = ("--steps", "4000", "--batch-size", "8")
    with two_hosts() as hosts:
        first, _ = torchrun(hosts, *train_words(folder, out, *length))
        wait_until(lambda: (out / "metrics.jsonl").exists() and len(read_metrics(out)) > 2)
        hosts[1].fail()
        _, said = first.communicate(timeout=120)
        assert first.returncode != 0
        [message] = [line for line in said.splitlines() if line.startswith("vtr: ")]
        assert message.startswith("vtr: process 1 of 2 lost another one: ")
        assert message.endswith(
            "; all of them until the end; start all of them again with --resume: it goes on where the run was saved "
            "last"
        )
        num_saved = read_metrics(out)[-1]["step"]
        assert num_saved < 4000
        more = ("--resume", "--steps", str(num_saved + 40))
        started = torchrun(hosts, *train_words(folder, out, *more))
        said_last = [process.communicate(timeout=240)[1] for process in started]
        assert [process.returncode for process in started] == [0, 0], said_last
    steps = [row["step"] for row in read_metrics(out)]
    assert steps == sorted(set(steps)) and steps[-1] >= num_saved + 40
