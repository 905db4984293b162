"""Fetching from mirrors on this machine: right files arrive whole, and nothing else arrives at all."""

from __future__ import annotations

import _thread
import contextlib
import gzip
import hashlib
import http.server
import socket
import subprocess
import sys
import threading
import time

import pytest

from fnn.datasets import __main__ as command
from fnn.datasets.fetch import MIRRORS, SHA256, fetch_mnist
from fnn.errors import DataError

pytest.importorskip("pooch", reason="fetching needs pooch (extra `data`)")

FILES = {f"{name}.gz": gzip.compress(name.encode() * 50, mtime=0) for name in ("a", "b", "c", "d")}
DIGESTS = {name: hashlib.sha256(content).hexdigest() for name, content in FILES.items()}


class Server:
    """A mirror on a free port of 127.0.0.1 that counts what it is asked for."""

    def __init__(self, answers):
        self.asked = asked = []
        self.encodings = encodings = []

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                name = self.path.lstrip("/")
                asked.append(name)
                encodings.append(self.headers["Accept-Encoding"])
                status, content, headers = answers(name)
                self.send_response(status)
                for field, value in {"Content-Length": str(len(content)), **headers}.items():
                    self.send_header(field, value)
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_):
                pass

        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.http.server_port}/"
        self.thread = threading.Thread(target=self.http.serve_forever, args=(0.01,), daemon=True)
        self.thread.start()

    def stop(self):
        self.http.shutdown()
        self.http.server_close()
        self.thread.join(10)


@pytest.fixture
def mirror(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr("fnn.datasets.fetch._SECONDS", 10)
    servers = []

    def start(answers):
        servers.append(Server(answers))
        return servers[-1]

    yield start
    for server in servers:
        server.stop()


def good(name):
    return 200, FILES[name], {}


def html(name):
    return 200, b"<!DOCTYPE html><html>Please log in</html>", {}


def gone(name):
    return 404, b"gone", {}


def test_four_files_arrive_whole_and_nothing_beside_them(tmp_path, mirror):
    server, lines = mirror(good), []
    out = tmp_path / "data" / "mnist"
    assert fetch_mnist(out, mirrors=[server.url], sha256=DIGESTS, say=lines.append) == out
    assert {path.name: path.read_bytes() for path in out.iterdir()} == FILES
    assert lines == [f"{out / name}: fetched from {server.url}" for name in FILES]


def test_what_is_already_there_is_not_fetched_again(tmp_path, mirror):
    server = mirror(good)
    (tmp_path / "b.gz").write_bytes(FILES["b.gz"])
    (tmp_path / "c.gz").write_bytes(b"half of it")
    fetch_mnist(tmp_path, mirrors=[server.url], sha256=DIGESTS)
    assert server.asked == ["a.gz", "c.gz", "d.gz"]
    assert (tmp_path / "c.gz").read_bytes() == FILES["c.gz"]
    fetch_mnist(tmp_path, mirrors=[server.url], sha256=DIGESTS)
    assert len(server.asked) == 3


def cut(name):
    # Announces all and sends half, as a connection that breaks does.
    return 200, FILES[name][:20], {"Content-Length": str(len(FILES[name])), "Connection": "close"}


def flipped(name):
    return 200, FILES[name][:-1] + b"?", {}


@pytest.mark.parametrize("bad", [html, gone, cut, flipped, lambda _: (200, b"", {})])
def test_a_mirror_that_fails_gives_way_to_the_next(tmp_path, mirror, bad):
    first, second = mirror(bad), mirror(good)
    fetch_mnist(tmp_path, mirrors=[first.url, second.url], sha256=DIGESTS)
    assert first.asked == second.asked == list(FILES)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == FILES


def test_a_mirror_that_packs_once_more_is_asked_not_to(tmp_path, mirror):
    server = mirror(good)
    fetch_mnist(tmp_path, mirrors=[server.url], sha256=DIGESTS)
    assert server.encodings == ["identity"] * 4


def test_when_all_mirrors_fail_the_error_gives_each_reason_and_the_way_by_hand(tmp_path, mirror):
    page, lost, wrong = mirror(html), mirror(gone), mirror(flipped)
    urls = [page.url, lost.url, wrong.url, "http://127.0.0.1:9/"]
    (tmp_path / "a.gz").write_bytes(b"the old one")
    with pytest.raises(DataError) as caught:
        fetch_mnist(tmp_path, mirrors=urls, sha256=DIGESTS)
    message = str(caught.value)
    assert (
        f"{page.url}a.gz: expected sha256 {DIGESTS['a.gz']}, got what looks like an HTML page"
        in message
    )
    assert f"{lost.url}a.gz: 404" in message
    assert (
        f"{wrong.url}a.gz: expected sha256 {DIGESTS['a.gz']}, got a file that starts with 1f" in message
    )
    assert "http://127.0.0.1:9/a.gz: " in message
    assert "refused" in message
    for name, digest in DIGESTS.items():
        assert f"  {name}  sha256 {digest}" in message
    assert f"folder\n  {tmp_path.resolve()}\n" in message
    assert "$FNN_DATA" in message
    # The old file stays, and there is no temporary one.
    assert [path.name for path in tmp_path.iterdir()] == ["a.gz"]
    assert (tmp_path / "a.gz").read_bytes() == b"the old one"


def test_a_failure_leaves_no_empty_folder(tmp_path, mirror):
    with pytest.raises(DataError):
        fetch_mnist(tmp_path / "mnist", mirrors=[mirror(gone).url], sha256=DIGESTS)
    assert not (tmp_path / "mnist").exists()


def test_a_mirror_that_sends_without_end_is_cut_off(tmp_path, mirror, monkeypatch):
    monkeypatch.setattr("fnn.datasets.fetch._MOST_BYTES", 10_000)
    server = mirror(lambda name: (200, bytes(1_000_000), {}))
    with pytest.raises(DataError, match="expected at most 10000 bytes, got more"):
        fetch_mnist(tmp_path, mirrors=[server.url], sha256=DIGESTS)
    assert not tmp_path.exists()


def test_an_interrupted_download_leaves_nothing_behind(tmp_path, mirror, monkeypatch):
    server, over = mirror(good), threading.Event()

    def interrupt(*_):
        _thread.interrupt_main()
        over.wait(10)
        raise OSError("too late")

    monkeypatch.setattr("fnn.datasets.fetch._Sink.write", interrupt)
    with pytest.raises(KeyboardInterrupt):
        fetch_mnist(tmp_path, mirrors=[server.url], sha256=DIGESTS)
    assert not list(tmp_path.iterdir())
    over.set()


class Slow:
    """A mirror that is never silent for long and never done: a byte at a time, of head or body."""

    def __init__(self, head):
        self.head, self.asked, self.over = head, 0, threading.Event()
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.socket.getsockname()[1]}/"
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()

    def serve(self):
        while not self.over.is_set():
            try:
                asker, _ = self.socket.accept()
            except OSError:
                return
            self.asked += 1
            with asker, contextlib.suppress(OSError):
                asker.sendall(self.head)
                while not self.over.wait(0.05):
                    asker.sendall(b"x")

    def stop(self):
        self.over.set()
        # Closing alone does not end a call of accept that waits.
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()
        self.thread.join(10)


@pytest.mark.parametrize(
    "head",
    [b"HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n", b"HTTP/1.1 200 OK\r\nX-Endless: "],
    ids=["body", "head"],
)
def test_a_mirror_that_sends_a_byte_at_a_time_is_given_up_and_the_next_is_asked(tmp_path, mirror, head):
    slow, second, began = Slow(head), mirror(good), time.monotonic()
    try:
        fetch_mnist(tmp_path, mirrors=[slow.url, second.url], sha256=DIGESTS, seconds=0.5)
        assert time.monotonic() - began < 5
        # Not once per file: its time is for all of them.
        assert (slow.asked, second.asked) == (1, list(FILES))
        assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == FILES
        with pytest.raises(DataError, match=r"expected all files within the mirror's time"):
            fetch_mnist(tmp_path / "none", mirrors=[slow.url], sha256=DIGESTS, seconds=0.2)
        assert not (tmp_path / "none").exists()
    finally:
        slow.stop()


def test_the_command_says_what_it_did_and_returns_0(tmp_path, mirror, capsys):
    server = mirror(good)
    status = command.main(
        ["fetch", "mnist", "--out", str(tmp_path)], mirrors=[server.url], sha256=DIGESTS
    )
    out, err = capsys.readouterr()
    assert (status, err) == (0, "")
    assert out.endswith(f"MNIST is in {tmp_path}\n")


def test_the_command_says_what_to_do_and_returns_1_when_it_fails(tmp_path, mirror, capsys):
    server = mirror(gone)
    status = command.main(
        ["fetch", "mnist", "--out", str(tmp_path)], mirrors=[server.url], sha256=DIGESTS
    )
    out, err = capsys.readouterr()
    assert (status, out) == (1, "")
    assert "404" in err
    assert "By hand: put these four files" in err


def test_a_folder_that_is_a_file_is_refused(tmp_path, capsys):
    (tmp_path / "file").write_text("x")
    assert command.main(["fetch", "mnist", "--out", str(tmp_path / "file")], mirrors=[]) == 1
    assert "expected a folder to write into" in capsys.readouterr().err


def test_without_pooch_the_command_says_what_to_install(tmp_path):
    code = (
        "import sys; sys.modules['pooch'] = None\n"
        "from fnn.datasets.__main__ import main\n"
        f"sys.exit(main(['fetch', 'mnist', '--out', {str(tmp_path / 'out')!r}]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert done.stderr == 'downloading needs pooch: pip install "fnn[data]"\n'
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "arguments", [[], ["fetch"], ["fetch", "cifar"], ["fetch", "mnist", "--ot", "x"]]
)
def test_a_misspelt_command_is_refused(arguments, capsys):
    with pytest.raises(SystemExit) as caught:
        command.main(arguments, mirrors=[])
    assert caught.value.code == 2
    assert "usage: python -m fnn.datasets" in capsys.readouterr().err


def test_the_module_runs_as_a_command():
    done = subprocess.run(
        [sys.executable, "-m", "fnn.datasets", "fetch", "--help"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0
    assert "data/mnist" in done.stdout


def test_there_are_two_mirrors_and_a_digest_for_each_of_the_four_files():
    assert len({url.split("/")[2] for url in MIRRORS}) == 2
    assert all(url.startswith("https://") and url.endswith("/") for url in MIRRORS)
    assert len(SHA256) == len(set(SHA256.values())) == 4
    assert all(len(bytes.fromhex(digest)) == 32 for digest in SHA256.values())
