"""A real `vtr serve` under clients that mean no good: crowds, half a body, and requests that ask for other files."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.parse
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.serve.asking import Answer, answered, connected, head
from tests.serve.browser.served import Served, serving
from vtrcli.serve.guard import Limits

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="looks at the server's process by /proc"),
]


@pytest.fixture(scope="module")
def served(demo: Path) -> Iterator[Served]:
    with serving(demo / "store") as one:
        yield one


def pid_of(served: Served) -> int:
    assert served.process is not None
    return served.process.pid


def asked(port: int, sent: bytes) -> Answer:
    with connected(port) as client:
        client.sendall(sent)
        return answered(client)


def secret_of(port: int) -> str:
    found = re.search(rb'name="vtr-secret" content="([^"]+)"', asked(port, head(port)).body)
    assert found is not None
    return found[1].decode()


def num_threads(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/task").iterdir()))


def resident_bytes(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def listening_addresses(port: int) -> set[str]:
    """Of TCP sockets in the state LISTEN, as /proc writes them."""
    rows = []
    for table in ("tcp", "tcp6"):
        with contextlib.suppress(OSError):
            rows += Path(f"/proc/net/{table}").read_text().splitlines()[1:]
    places = [row.split()[1].split(":") for row in rows if row.split()[3] == "0A"]
    return {address for address, number in places if int(number, 16) == port}


def test_it_listens_on_the_loopback_alone(served: Served) -> None:
    assert listening_addresses(served.port) == {"0100007F"}


def test_a_thousand_requests_at_once(served: Served) -> None:
    asked(served.port, head(served.port, "/api/search?q=a+red+circle"))  # the towers are there
    before = num_threads(pid_of(served)), resident_bytes(pid_of(served))
    statuses = crowd(served.port, 1000)
    assert set(statuses) <= {200, 503} and statuses.count(200) >= 64
    assert len(statuses) == 1000
    assert asked(served.port, head(served.port, "/api/health")).status == 200
    after = num_threads(pid_of(served)), resident_bytes(pid_of(served))
    print(
        f"1,000 at once: {statuses.count(200)} answered, {statuses.count(503)} sent away; {before} -> {after}"
    )
    assert after[0] - before[0] <= 110 and after[1] - before[1] < 300 << 20


def crowd(port: int, number: int) -> list[int]:
    """The statuses of so many searches that are asked for before any answer is read."""
    clients = []
    with contextlib.ExitStack() as stack:
        for index in range(number):
            client = stack.enter_context(connected(port, timeout_seconds=120))
            client.sendall(head(port, f"/api/search?q=a+red+circle+{index % 50}&top_k=50"))
            clients.append(client)
        return [answered(client).status for client in clients]


def test_who_leaves_at_once_costs_nothing_that_stays(served: Served) -> None:
    for _ in range(300):
        client = connected(served.port)
        client.sendall(head(served.port, "/api/search?q=a+blue+square"))
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # a reset, not an end
        client.close()
    deadline = time.monotonic() + 30
    while len(list(Path(f"/proc/{pid_of(served)}/fd").iterdir())) > 120 and time.monotonic() < deadline:
        time.sleep(0.2)
    assert len(list(Path(f"/proc/{pid_of(served)}/fd").iterdir())) <= 120
    assert asked(served.port, head(served.port, "/api/health")).status == 200


def test_half_sent_uploads_hold_no_thread_and_are_ended(served: Served) -> None:
    sent = head(
        served.port,
        "/api/images",
        method="POST",
        X_VTR_Secret=secret_of(served.port),
        Content_Length="1000000",
    )
    threads = num_threads(pid_of(served))
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(connected(served.port, timeout_seconds=90)) for _ in range(100)]
        for client in clients:
            client.sendall(sent + b"half of it")
        assert asked(served.port, head(served.port, "/api/search?q=a+red+circle")).status == 200
        assert num_threads(pid_of(served)) - threads <= 2
        started = time.monotonic()
        answer = answered(clients[0])
        assert answer.status == 408 and answer.error["allowed"] == "a whole body within 60 s"
        assert time.monotonic() - started < Limits().body_seconds + 10
        assert {answered(client).status for client in clients[1:]} == {408}


def test_the_token_is_printed_once_and_logged_nowhere(demo: Path, tmp_path: Path) -> None:
    with (tmp_path / "log").open("wb") as log:
        port = free_port()
        command = [sys.executable, "-m", "vtrcli", "serve", "--store", str(demo / "store"), "--run", "none"]
        command += ["--host", "0.0.0.0", "--port", str(port), "--quiet"]
        process = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            deadline = time.monotonic() + 60
            found = None  # it listens before its towers are loaded, and says so when they are
            while found is None and time.monotonic() < deadline:
                time.sleep(0.1)
                text = (tmp_path / "log").read_text()
                found = re.search(r"\?token=([\w-]+) ", text)
            assert found is not None, text
            token = found[1]
            assert asked(port, head(port, "/api/health")).status == 401
            assert asked(port, head(port, f"/?token={token}")).status == 303
            assert asked(port, head(port, f"/?token={token}x")).status == 401
            assert asked(port, head(port, "/api/health", Authorization=f"Bearer {token}")).status == 200
            assert token not in Path(f"/proc/{process.pid}/cmdline").read_text()
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(30)
    assert (tmp_path / "log").read_text().count(token) == 1


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


OUTSIDE = (
    "/etc/passwd",
    "../canary.mp4",
    "canary.mp4",
    "..",
    "/proc/self/environ",
    "~/.ssh/id_rsa",
    "file:///etc/passwd",
)


def ways_out(canary: Path) -> Iterator[str]:
    """Requests that would lead out of the store if anything took a name for a path."""
    for name in (*OUTSIDE, str(canary), f"{canary}\0.mp4", os.path.relpath(canary, Path.cwd())):
        once = urllib.parse.quote(name, safe="")
        for value in (
            once,
            urllib.parse.quote(once, safe=""),
            urllib.parse.quote(name),
            once.replace("%2F", "%5c"),
        ):
            for part in ("", "/file", "/stream?start=0", "/thumbnail?t=0"):
                yield f"/api/videos/{value}{part}"
            yield f"/page/{value}"
            yield f"/page/js/{value}"
            yield f"/{value}"
            for key in ("image", "like", "store", "path", "q"):
                yield f"/api/search?{key}={value}&top_k=1"
            yield f"/api/similar?id={value}&t=0"
            yield f"/api/explain?id={value}&q=a"
            yield f"/api/annotations?id={value}&store={value}"
    yield "/page/../../../../../../etc/passwd"
    yield "/page//etc/passwd"
    yield "http://127.0.0.1/etc/passwd"
    yield "//etc/passwd"


def test_no_request_reads_outside(served: Served, demo: Path, tmp_path: Path) -> None:
    """Every file that the server opens while it is asked, by strace: of the store, its videos, the package, Python and
    the system's libraries. Beside that, a video that nobody may open."""
    if shutil.which("strace") is None:
        pytest.skip("no strace on this machine")
    canary = demo / "canary.mp4"
    shutil.copy(next((demo / "videos").rglob("*.mp4")), canary)
    log, port, statuses = tmp_path / "strace", served.port, {}
    calls = "trace=open,openat,openat2,execve"
    command = ["strace", "-f", "-qq", "-s", "4096", "-e", calls, "-o", str(log), "-p", str(pid_of(served))]
    tracer = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        time.sleep(1.0)
        if tracer.poll() is not None:
            pytest.skip("strace may not attach here")
        assert asked(port, head(port, "/api/search?q=what+was+never+asked")).status == 200
        for target in ways_out(canary):
            statuses[target] = asked(port, head(port, target)).status
            assert statuses[target] < 500, target
        secret = secret_of(port)
        for name in (*OUTSIDE, str(canary)):
            moment = {"id": name, "start_seconds": 0, "end_seconds": 1}
            for path, body in (
                ("/api/export", {"kind": "clips", "moments": [moment]}),
                ("/api/annotations", {"q": "a", "id": name, "changes": [{**moment, "verdict": "right"}]}),
            ):
                sent = json.dumps(body).encode()
                top = head(port, path, method="POST", X_VTR_Secret=secret, Content_Length=str(len(sent)))
                assert asked(port, top + sent).status in (400, 404), (path, name)
    finally:
        tracer.terminate()
        tracer.wait(30)
        canary.unlink()
    call = re.compile(r'(?:open|openat|openat2|execve)\((?:[^"]*, )?"((?:[^"\\]|\\.)*)"')
    opened = set(call.findall(log.read_text("utf-8", "replace")))
    print(f"{len(statuses)} requests, {len(opened)} paths opened")
    assert any(str(demo / "store") in path for path in opened), "nothing was seen"
    assert {path for path in opened if not is_inside(path, demo)} == set()


def is_inside(path: str, demo: Path) -> bool:
    """Whether a path is one of those that an honest answer needs."""
    import vtrcli

    python = {sys.prefix, sys.base_prefix, *(each for each in sys.path if each)}
    roots = [*map(str, (demo / "store", demo / "videos", Path(vtrcli.__file__).parent)), *python]
    roots += [f"{os.environ['XDG_CACHE_HOME']}/vtr", "/usr", "/lib", "/lib64", "/dev", "/proc/self"]
    roots += ["/sys/devices/system/cpu", "/sys/fs/cgroup", "/proc/cpuinfo", "/proc/meminfo", "/proc/stat"]
    roots += ["/etc/ld.so.cache", "/etc/localtime", "/etc/mime.types"]
    real = os.path.normpath(path)
    own_folders = f"{tempfile.gettempdir()}/vtr-"  # of uploads and exports
    return real.startswith(own_folders) or any(real == root or real.startswith(f"{root}/") for root in roots)


def test_the_watch_sees_who_does_read_outside(tmp_path: Path) -> None:
    """So that the test above could fail."""
    assert not is_inside("/etc/passwd", tmp_path) and not is_inside(f"{tmp_path}/canary.mp4", tmp_path)
    assert not is_inside(f"{tmp_path}/store/../canary.mp4", tmp_path) and is_inside(
        f"{tmp_path}/store/a", tmp_path
    )
