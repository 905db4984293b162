"""The page served over HTTP, by threads, to this machine alone; whoever else asks is refused."""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import socket
import threading
import webbrowser
from collections.abc import Mapping
from http.server import HTTPServer
from socketserver import TCPServer, ThreadingMixIn
from typing import Any

from fnn.demo.handling import Handler, reply_bytes
from fnn.demo.subject import Subject, read_subject
from fnn.errors import DataError
from fnn.files import PathLike, write_line
from fnn.options import integer

PORT = 8765
MOST_CONNECTIONS = 32
"""How many requests are read at a time; further ones are turned away at once."""
MOST_COMPUTING = 2
"""How many of them compute at a time, which bounds the memory that they take together."""
SECONDS = 10.0
"""How long a request may take to come in, and wait for its turn to compute."""


class Server(ThreadingMixIn, HTTPServer):
    """A server of one subject; `with` closes it.

    Attributes:
        subject: What is tried.
        host: The address as it was asked for.
        is_public: Whether other machines may reach it.
        computing: What a request holds while it computes.
        seconds: How long a request may take to come in.
    """

    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def __init__(self, subject: Subject, host: str, port: int, *, seconds: float = SECONDS) -> None:
        """Listen.

        Raises:
            DataError: If the port is taken or the address is not this machine's; says which.
        """
        self.subject, self.host, self.seconds = subject, host, seconds
        self.computing = threading.BoundedSemaphore(MOST_COMPUTING)
        self._connections = threading.BoundedSemaphore(MOST_CONNECTIONS)
        self.is_public = not is_loopback(host)
        if ":" in host:
            self.address_family = socket.AF_INET6
        try:
            super().__init__((host, port), Handler)
        except OSError as error:
            where = f"{host} port {port}"
            if error.errno == errno.EADDRINUSE:
                raise DataError(f"{where}: is taken; choose another with --port, 0 for any") from None
            raise DataError(f"{where}: cannot listen there ({error.strerror or error})") from None
        except OverflowError:
            raise DataError(f"{host}: expected a port from 0 to 65535, got {port}") from None

    @property
    def url(self) -> str:
        """Where the page is."""
        host = (
            "127.0.0.1" if self.host in ("", "0.0.0.0") else "::1" if self.host == "::" else self.host
        )
        return f"http://{f'[{host}]' if ':' in host else host}:{self.server_port}/"

    def server_bind(self) -> None:
        """Bind without asking for the name of this machine, for which others may be asked."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = self.host, self.server_address[1]

    def knows(self, header: str) -> bool:
        """Return whether a Host header names this server.

        A page elsewhere may let its own name lead to this machine: then its name is what stands there.
        """
        name, _, port = header.rpartition(":") if _has_port(header) else (header, "", "80")
        name = name.lower()
        if port != str(self.server_port):
            return False
        if name in ("localhost", self.host.lower()) and name:
            return True
        return is_loopback(name) or (self.is_public and _is_address(name))

    def process_request(self, request: Any, client_address: Any) -> None:
        """Serve a connection in a thread of its own, unless there are too many."""
        if not self._connections.acquire(blocking=False):
            with contextlib.suppress(OSError):
                request.settimeout(1.0)
                request.sendall(reply_bytes(503, "expected fewer requests at a time"))
            self.shutdown_request(request)
            return
        try:
            super().process_request(request, client_address)
        except BaseException:
            self._connections.release()
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Serve a connection and give its place free."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._connections.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: the other side has gone, which is its right."""


def is_loopback(host: str) -> bool:
    """Return whether an address or a name is that of this machine for itself alone."""
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host.removeprefix("[").removesuffix("]")).is_loopback
    return host.lower() == "localhost"


def _is_address(name: str) -> bool:
    with contextlib.suppress(ValueError):
        ipaddress.ip_address(name.removeprefix("[").removesuffix("]"))
        return True
    return False


def _has_port(header: str) -> bool:
    return ":" in header and not header.endswith("]")


def serve(
    run: PathLike,
    *,
    host: str = "127.0.0.1",
    port: int = PORT,
    show: bool = False,
    layers: Mapping[str, Any] = {},
) -> None:
    """Serve a page to try a run's network, until Ctrl-C.

    Args:
        run: Folder of the run.
        host: Address to listen at. Others than this machine's own let in everybody who reaches it.
        port: Port to listen at; 0 takes any free one.
        show: Whether to open the page in the browser.
        layers: Layers of one's own in the network, by name, as for `load_model`.

    Raises:
        DataError: If there is no such run, or no page can try its network, or the port is taken.
        OptionError: If the port is out of range.
    """
    port = integer("serve", "port", port, least=0)
    subject = read_subject(run, layers)
    with Server(subject, host, port) as server:
        write_line(f"{subject.title}: {server.url}")
        if server.is_public:
            write_line(f"Everybody who reaches {host} may use it.")
        write_line("Ctrl-C ends it.")
        if show:
            # Some browsers stay in the foreground of the terminal.
            threading.Thread(target=webbrowser.open, args=(server.url,), daemon=True).start()
        with contextlib.suppress(KeyboardInterrupt):
            server.serve_forever(poll_interval=0.2)
