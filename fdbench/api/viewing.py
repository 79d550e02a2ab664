"""Serves a results folder to a browser on this machine: its report, and what is under way.

Only on the loopback address, only to requests that name it (so that no page from elsewhere can read
it by a name of its own), and only the files that the last report wrote. Free of torch.
"""

import json
from functools import partial
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from mimetypes import guess_type
from pathlib import Path
from urllib.parse import unquote, urlsplit

from fdbench.errors import FdbenchError
from fdbench.reporting import Watch, files_of_report, view_text
from fdbench.store import Workspace

LOOPBACK = "127.0.0.1"


class _Handler(BaseHTTPRequestHandler):
    """Answers GET requests; says nothing on the terminal."""

    def __init__(self, watch: Watch, *socket: object) -> None:
        self.watch = watch
        super().__init__(*socket)  # type: ignore[arg-type]

    def do_GET(self) -> None:
        """The view, its data, or a file of the report."""
        path = unquote(urlsplit(self.path).path).lstrip("/")
        if not self._named_here():
            self._answer(b"", "text/plain", HTTPStatus.FORBIDDEN)
        elif path == "":
            page = view_text(str(self.watch.workspace.root))
            self._answer(page.encode(), "text/html; charset=utf-8")
        elif path == "progress.json":
            self._answer(json.dumps(self.watch.seen()).encode(), "application/json")
        else:
            self._file(path)

    def _named_here(self) -> bool:
        """Whether the request is for this address by its own name."""
        host = self.headers.get("Host", "").rpartition(":")[0]
        return host in (LOOPBACK, "localhost")

    def _file(self, name: str) -> None:
        workspace = self.watch.workspace
        try:
            known = name in files_of_report(workspace)
            content = workspace.table(name).read_bytes() if known else None
        except (OSError, FdbenchError):
            content = None
        if content is None:
            self._answer(b"no file of the report\n", "text/plain", HTTPStatus.NOT_FOUND)
        else:
            self._answer(content, guess_type(name)[0] or "text/plain; charset=utf-8")

    def _answer(self, body: bytes, kind: str, status: HTTPStatus = HTTPStatus.OK) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Requests are no messages."""


def viewer(results: Path, port: int = 0) -> ThreadingHTTPServer:
    """A server of the results folder, not yet serving; port 0 takes a free one.

    Raises FdbenchError if there is no such folder, or if the port is taken.
    """
    if not results.is_dir():
        raise FdbenchError(f"no folder {results}: nothing to view. Give --results DIR.")
    handler = partial(_Handler, Watch(Workspace(results)))
    try:
        return ThreadingHTTPServer((LOOPBACK, port), handler)
    except OSError as reason:
        raise FdbenchError(
            f"port {port} can't be opened: {reason.strerror}. Leave out --port to take a free one."
        ) from reason
