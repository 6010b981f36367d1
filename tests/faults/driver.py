"""Runs `vtr` commands in forks of one process that has imported everything, each with a fault at a chosen system call.

Started by `forks.Forks` with the shim preloaded. Reads one JSON request a line and answers with the exit status.
"""

from __future__ import annotations

import ctypes
import json
import os
import sys
import traceback
from typing import Any


def run_command(request: dict[str, Any]) -> int:
    """What `vtr` does with `arguments`, in `folder`; returns the exit code."""
    os.chdir(request["folder"])
    os.environ.update(request["environment"])
    os.environ.pop("LD_PRELOAD", None)
    if request["environment"].get("FAULT_PROGRAM"):
        os.environ["LD_PRELOAD"] = request["shim"]
    for number, name in ((1, "stdout"), (2, "stderr")):
        os.dup2(os.open(request[name], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644), number)
    sys.argv = ["vtr", *request["arguments"]]
    from vtrcli.cli.app import main

    fault = request["fault"]
    if fault:
        ctypes.CDLL(None).fault_arm(
            request["root"].encode(), fault["log"].encode(), fault["at"], fault["mode"], fault["errno"]
        )
    try:
        main()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 0
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


def warm_up() -> None:
    """Import what commands import, but start no thread and load no model that holds one."""
    import matplotlib.figure  # noqa: F401
    import rich.table  # noqa: F401
    import torch
    import torch.nn.functional
    from safetensors import torch as _  # noqa: F401

    import vtrcli.evaluation.evaluate
    import vtrcli.extraction.extract
    import vtrcli.extraction.reencode
    import vtrcli.model.models
    import vtrcli.searching.bank
    import vtrcli.searching.gallery
    import vtrcli.searching.searcher
    import vtrcli.text.cache
    import vtrcli.text.streams
    import vtrcli.training.train

    torch.set_num_threads(1)
    vtrcli.text.streams.load_tagger("hanta")


def serve() -> None:
    """Answer requests until standard input ends."""
    warm_up()
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    print(json.dumps("ready"), file=answers, flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        child = os.fork()
        if child == 0:
            answers.close()
            code = run_command(request)
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
        _, status = os.waitpid(child, 0)
        print(json.dumps(os.waitstatus_to_exitcode(status)), file=answers, flush=True)


if __name__ == "__main__":
    serve()
