"""The demo's server under load and over time: slow requests, many at once, a network that fails."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
import urllib.request

import pytest
from demo_cases import CNN, DOT, asked, make_run, raw, request, running, status_of

from fnn.demo import serving
from fnn.demo.subject import read_subject


@pytest.fixture(scope="module")
def subject(tmp_path_factory):
    return read_subject(make_run(tmp_path_factory.mktemp("runs") / "run", CNN, (1, 28, 28)))


@pytest.fixture(scope="module")
def server(subject):
    with running(subject) as started:
        yield started


def test_a_request_that_drips_in_is_ended(subject):
    with running(subject, seconds=0.3) as server:
        for content in (b"GET / HT", request(server, body=b'{"strokes"', length=200)):
            began = time.monotonic()
            with socket.create_connection(("127.0.0.1", server.server_port), timeout=5) as connection:
                connection.sendall(content)
                came = b""
                # A byte now and then puts nothing off.
                while time.monotonic() < began + 4 and not came:
                    with contextlib.suppress(OSError):
                        connection.sendall(b" ")
                    connection.settimeout(0.1)
                    with contextlib.suppress(TimeoutError):
                        came = connection.recv(1 << 16)
            assert status_of(came) == 408
            assert time.monotonic() - began < 3


def test_a_connection_that_says_nothing_is_closed_in_silence(subject):
    with running(subject, seconds=0.2) as server:
        assert raw(server, b"") == b""


def test_more_connections_than_it_takes_are_turned_away_and_it_lives_on(subject, monkeypatch):
    monkeypatch.setattr(serving, "MOST_CONNECTIONS", 3)
    with running(subject, seconds=1.0) as server, contextlib.ExitStack() as stack:
        address = ("127.0.0.1", server.server_port)
        for _ in range(3):
            stack.enter_context(socket.create_connection(address, timeout=5)).sendall(b"GET ")
        time.sleep(0.1)
        assert status_of(raw(server, request(server, "GET", "/"))) == 503
        # Those that never ended their requests are ended.
        end = time.monotonic() + 10
        while not raw(server, request(server, "GET", "/")).startswith(b"HTTP/1.1 200 "):
            assert time.monotonic() < end
            time.sleep(0.1)


def test_many_ask_at_once_and_each_gets_its_own_answer(server):
    strokes = [[[[0.2 + 0.05 * i, 0.2], [0.5, 0.3 + 0.05 * i], [0.4, 0.9]]] for i in range(8)]
    alone = [raw(server, asked(server, {"strokes": each})) for each in strokes]
    assert len(set(alone)) == len(alone)
    together = [b""] * 16

    def ask(i):
        together[i] = raw(server, asked(server, {"strokes": strokes[i % 8]}), wait=20)

    threads = [threading.Thread(target=ask, args=(i,)) for i in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert together == alone * 2


def test_a_network_that_fails_is_told_and_the_server_lives_on(server, monkeypatch):
    def fail(*args):
        raise ZeroDivisionError("secret")

    with monkeypatch.context() as patch:
        patch.setattr("fnn.demo.handling.answer", fail)
        reply = raw(server, asked(server, {"strokes": DOT}))
        assert status_of(reply) == 500
        assert b"secret" not in reply
    assert raw(server, asked(server, {"strokes": DOT})).startswith(b"HTTP/1.1 200 ")


def test_other_machines_are_let_in_by_address_alone_and_only_if_asked(subject):
    with running(subject, "0.0.0.0") as server:
        for host, status in (
            ("192.168.0.7", b"200"),
            ("[fe80::1]", b"200"),
            ("elsewhere.example", b"421"),
        ):
            reply = raw(server, request(server, "GET", "/", Host=f"{host}:{server.server_port}"))
            assert reply.split()[1] == status


def test_this_machine_is_reached_by_its_newer_address_too(subject):
    if not socket.has_ipv6:
        pytest.skip("no IPv6")
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("no IPv6")
    with running(subject, "::1") as server:
        assert server.url == f"http://[::1]:{server.server_port}/"
        assert not server.is_public
        with urllib.request.urlopen(server.url, timeout=5) as reply:
            assert reply.status == 200
