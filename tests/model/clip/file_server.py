"""A small HTTP server on 127.0.0.1 that understands ranges and can break off, for the download tests."""

from __future__ import annotations

import contextlib
import http.server
import threading


class _Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        start = 0
        requested = self.headers.get("Range")
        self.server.ranges.append(requested)
        if requested and self.server.knows_ranges:
            start = int(requested.removeprefix("bytes=").removesuffix("-"))
        if start >= len(self.server.content):
            self.send_error(416)
            return
        body = self.server.content[start:]
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.server.breaks:
            body = body[: self.server.breaks.pop(0)]
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@contextlib.contextmanager
def serving(content, *, breaks=(), knows_ranges=True):
    """Serve `content` at every path; answer n stops after breaks[n] bytes. Yields the server (`.url`, `.ranges`)."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.content, server.breaks, server.knows_ranges, server.ranges = (
        content,
        list(breaks),
        knows_ranges,
        [],
    )
    server.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
