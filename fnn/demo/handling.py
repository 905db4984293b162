"""One request of HTTP, from anybody; what is not the page's own is refused, in a line of JSON."""

from __future__ import annotations

import contextlib
import io
import json
import socket
import time
from functools import cache
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fnn.demo.answering import answer, described
from fnn.demo.asking import MOST_BYTES, Question, QuestionError
from fnn.errors import FnnError
from fnn.files import content, shown

if TYPE_CHECKING:
    from fnn.demo.serving import Server

_JSON = "application/json"
_ASSETS = {
    "/": ("page.html", "text/html; charset=utf-8"),
    "/page.css": ("page.css", "text/css; charset=utf-8"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
    **{
        f"/{name}": (name, "text/javascript; charset=utf-8")
        for name in ("page.js", "board.js", "pictures.js", "drawing.js", "text.js", "numbers.js")
    },
}
_RUN, _ANSWER = "/api/run", "/api/answer"
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cache-Control": "no-store",
    "Connection": "close",
}
_DRAINED = 1 << 20


class RefusalError(Exception):
    """Why a request is refused.

    Attributes:
        status: The status of HTTP.
        allow: The methods that the path has, where it lacks the one asked for.
    """

    def __init__(self, status: int, message: str, allow: str = "") -> None:
        """Keep all three."""
        super().__init__(message)
        self.status, self.allow = status, allow


class _SlowError(Exception):
    """A request took too long to come in."""


class _Timed(io.RawIOBase):
    """What comes over a connection, until a moment: a byte now and then does not put it off."""

    def __init__(self, connection: socket.socket, seconds: float) -> None:
        self._connection, self._end = connection, time.monotonic() + seconds
        self.has_begun = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        left = self._end - time.monotonic()
        if left <= 0:
            raise _SlowError
        self._connection.settimeout(left)
        try:
            n = self._connection.recv_into(buffer)
        except TimeoutError:
            raise _SlowError from None
        self.has_begun = True
        return n


def reply_bytes(
    status: int, told: str | bytes, kind: str = _JSON, *, head: bool = False, allow: str = ""
) -> bytes:
    """Return a whole reply; a text is an error, told as JSON."""
    body = json.dumps({"error": shown(told)[:300]}).encode() if isinstance(told, str) else told
    lines = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}"]
    headers = {**_HEADERS, "Content-Type": kind, "Content-Length": str(len(body))}
    if allow:
        headers["Allow"] = allow
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode("ascii") + (b"" if head else body)


@cache
def _asset(name: str) -> bytes:
    return content(Path(__file__).with_name(name), most=MOST_BYTES)


class Handler(BaseHTTPRequestHandler):
    """Answers one request and closes the connection."""

    server: Server

    def setup(self) -> None:
        """Give the request a moment by which it has to be in."""
        super().setup()
        self._incoming = _Timed(self.connection, self.server.seconds)
        self.rfile = io.BufferedReader(self._incoming)

    def handle(self) -> None:
        """Read a request and reply to it."""
        try:
            super().handle()
        except _SlowError:
            # Browsers open connections that they may need later; those are closed in silence.
            if self._incoming.has_begun:
                self._send(reply_bytes(408, "expected the whole request sooner"))

    def _reply(self) -> None:
        head = self.command == "HEAD"
        try:
            self._check_source()
            body, kind = self._content()
        except RefusalError as refusal:
            status, message = refusal.status, str(refusal)
            self._send(reply_bytes(status, message, head=head, allow=refusal.allow))
        else:
            self._send(reply_bytes(200, body, kind, head=head))

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = do_PATCH = do_OPTIONS = do_TRACE = _reply  # noqa: N815

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Refuse what could not even be read as a request."""
        self._send(reply_bytes(code, message or HTTPStatus(code).phrase))

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""

    def _check_source(self) -> None:
        """Refuse requests that a page of another site has sent."""
        hosts = self.headers.get_all("Host") or []
        if len(hosts) != 1:
            raise RefusalError(400, "expected one Host header")
        if not self.server.knows(hosts[0].strip()):
            raise RefusalError(421, f"expected the Host {self.server.url}, got {hosts[0]!r:.80}")
        for origin in self.headers.get_all("Origin") or []:
            if origin.lower() != f"http://{hosts[0].strip().lower()}":
                raise RefusalError(
                    403, f"expected no request from elsewhere, got one from {origin!r:.80}"
                )
        site = self.headers.get("Sec-Fetch-Site", "same-origin")
        is_visit = self.command == "GET" and self.headers.get("Sec-Fetch-Mode") == "navigate"
        if site not in ("same-origin", "none") and not is_visit:
            raise RefusalError(403, f"expected nothing from elsewhere, got what is {site!r:.40}")

    def _content(self) -> tuple[bytes, str]:
        path = self.path.partition("?")[0]
        if path == _ANSWER:
            self._allow("POST")
            return self._answer(), _JSON
        if path != _RUN and path not in _ASSETS:
            raise RefusalError(404, "expected a path of this page")
        self._allow("GET", "HEAD")
        if path == _RUN:
            return json.dumps(described(self.server.subject), allow_nan=False).encode(), _JSON
        name, kind = _ASSETS[path]
        return _asset(name), kind

    def _allow(self, *methods: str) -> None:
        if self.command not in methods:
            raise RefusalError(405, f"expected {' or '.join(methods)}", ", ".join(methods))

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") is not None:
            raise RefusalError(501, "expected a Content-Length and no Transfer-Encoding")
        if self.headers.get_content_type() != _JSON:
            raise RefusalError(415, f"expected {_JSON}")
        if (self.headers.get("Content-Encoding") or "identity").lower() != "identity":
            raise RefusalError(415, "expected no Content-Encoding")
        lengths = self.headers.get_all("Content-Length") or []
        if not lengths:
            raise RefusalError(411, "expected a Content-Length")
        length = lengths[0].strip()
        if len(lengths) > 1 or not (length.isascii() and length.isdecimal()):
            raise RefusalError(400, "expected one Content-Length, a whole number")
        if len(length) > 9 or int(length) > MOST_BYTES:
            raise RefusalError(413, f"expected at most {MOST_BYTES:,} bytes")
        body = self.rfile.read(int(length))
        if len(body) < int(length):
            raise RefusalError(400, f"expected {length} bytes, got {len(body)}")
        return body

    def _answer(self) -> bytes:
        body = self._body()
        try:
            question = Question(body)
            if not self.server.computing.acquire(timeout=self.server.seconds):
                raise RefusalError(503, "expected fewer requests at a time")
            try:
                found = answer(self.server.subject, question)
            finally:
                self.server.computing.release()
            return json.dumps(found, allow_nan=False).encode()
        except QuestionError as error:
            raise RefusalError(400, str(error)) from None
        except FnnError as error:
            raise RefusalError(422, str(error)) from None
        except RefusalError:
            raise
        except MemoryError:
            raise RefusalError(503, "out of memory") from None
        except Exception as error:
            # Whatever a stranger's network or a layer of somebody's own comes to, the server goes on.
            raise RefusalError(500, f"the network failed ({type(error).__name__})") from None

    def _send(self, reply: bytes) -> None:
        """Send a reply, and read away what has not been read: a connection closed over it is cut."""
        self.close_connection = True
        with contextlib.suppress(OSError):
            self.connection.settimeout(self.server.seconds)
            self.connection.sendall(reply)
            self.connection.shutdown(socket.SHUT_WR)
            end = time.monotonic() + 1
            left = _DRAINED
            while left > 0 and (seconds := end - time.monotonic()) > 0:
                self.connection.settimeout(seconds)
                came = len(self.connection.recv(1 << 16))
                if not came:
                    break
                left -= came
