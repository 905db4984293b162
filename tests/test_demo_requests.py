"""The demo's server against what its page would never send: each is refused, and it lives on."""

from __future__ import annotations

import http.client
import json

import pytest
from demo_cases import CNN, DOT, asked, make_run, raw, request, running, status_of

from fnn.demo.asking import MOST_BYTES
from fnn.demo.handling import _ASSETS
from fnn.demo.subject import read_subject

LONG = "9" * 5000


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    subject = read_subject(make_run(tmp_path_factory.mktemp("runs") / "run", CNN, (1, 28, 28)))
    with running(subject) as started:
        yield started


def test_the_page_and_its_answers_come_with_headers_that_bind_the_browser(server):
    for path, (_, kind) in {**_ASSETS, "/api/run": ("", "application/json")}.items():
        connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=5)
        connection.request("GET", path)
        reply = connection.getresponse()
        assert (reply.status, reply.getheader("Content-Type")) == (200, kind)
        policy = dict(
            each.split(" ", 1) for each in reply.getheader("Content-Security-Policy").split("; ")
        )
        assert policy["default-src"] == "'none'"
        assert policy["script-src"] == policy["style-src"] == "'self'"
        assert "unsafe" not in str(policy)
        assert reply.getheader("Cache-Control") == "no-store"
        assert reply.getheader("Server") is None
        assert len(reply.read()) > 100
        connection.close()
    reply = raw(server, asked(server, {"strokes": DOT}))
    assert reply.startswith(b"HTTP/1.1 200 OK\r\n")
    assert "probabilities" in json.loads(reply.partition(b"\r\n\r\n")[2])


def test_the_page_names_no_address_but_its_own(server):
    for path in _ASSETS:
        body = raw(server, request(server, "GET", path)).partition(b"\r\n\r\n")[2].decode()
        rest = body.replace("http://www.w3.org/2000/svg", "")
        assert "http:" not in rest
        assert "https:" not in rest
        assert "eval(" not in rest
        assert "innerHTML" not in rest


def test_a_head_request_gets_the_head_alone(server):
    reply = raw(server, request(server, "HEAD", "/"))
    assert reply.startswith(b"HTTP/1.1 200 ")
    assert reply.endswith(b"\r\n\r\n")
    assert raw(server, request(server, "HEAD", "/none")).startswith(b"HTTP/1.1 404 ")


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/../../../../etc/passwd", 404),
        ("/..%2f..%2fetc%2fpasswd", 404),
        ("/%2e%2e/%2e%2e/etc/passwd", 404),
        ("/page.js/../../__init__.py", 404),
        ("//etc/passwd", 404),
        ("/\\..\\..\\windows\\win.ini", 404),
        ("/handling.py", 404),
        ("/__init__.py", 404),
        ("/model.npz", 404),
        ("/page.css%00.js", 404),
        ("/PAGE.CSS", 404),
        ("/api", 404),
        ("/api/run/", 404),
        ("http://elsewhere.example/", 404),
        ("*", 404),
        ("/" + "a" * 70_000, 414),
    ],
)
def test_other_paths_lead_nowhere(server, path, status):
    assert status_of(raw(server, request(server, "GET", path))) == status


@pytest.mark.parametrize("path", ["/", "/page.js", "/api/run"])
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"])
def test_pages_are_read_and_nothing_else(server, method, path):
    reply = raw(server, request(server, method, path))
    assert status_of(reply) == 405
    assert b"\r\nAllow: GET, HEAD\r\n" in reply


def test_questions_are_posted_and_nothing_else(server):
    reply = raw(server, request(server, "GET"))
    assert status_of(reply) == 405
    assert b"\r\nAllow: POST\r\n" in reply
    assert status_of(raw(server, request(server, "BREW", "/"))) == 501
    assert status_of(raw(server, request(server, "CONNECT", "elsewhere.example:443"))) == 501


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "elsewhere.example"}, 421),
        ({"Host": "elsewhere.example:{port}"}, 421),
        ({"Host": "127.0.0.1.elsewhere.example:{port}"}, 421),
        ({"Host": "localhost.elsewhere.example:{port}"}, 421),
        ({"Host": "192.168.0.7:{port}"}, 421),
        ({"Host": "0.0.0.0:{port}"}, 421),
        ({"Host": "127.0.0.1:1"}, 421),
        ({"Host": "127.0.0.1"}, 421),
        ({"Host": ""}, 421),
        ({"Host": "localhost:{port}@elsewhere.example"}, 421),
        ({"Host": None}, 400),
        ({"Origin": "http://elsewhere.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": ""}, 403),
        ({"Origin": "https://127.0.0.1:{port}"}, 403),
        ({"Origin": "http://127.0.0.1:1"}, 403),
        ({"Origin": "http://localhost:{port}"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}, 403),
    ],
)
def test_pages_of_other_sites_get_nothing(server, headers, status):
    port = server.server_port
    headers = {name: each and each.replace("{port}", str(port)) for name, each in headers.items()}
    assert status_of(raw(server, asked(server, {"strokes": DOT}, **headers))) == status
    if "Sec-Fetch-Mode" not in headers:
        assert status_of(raw(server, request(server, "GET", "/api/run", **headers))) == status


def test_two_hosts_are_none(server):
    content = request(server, "GET", "/").replace(b"\r\n\r\n", b"\r\nHost: elsewhere.example\r\n\r\n")
    assert status_of(raw(server, content)) == 400


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "localhost:{port}"},
        {"Host": "LOCALHOST:{port}", "Origin": "http://localhost:{port}"},
        {"Host": "[::1]:{port}"},
        {"Origin": "http://127.0.0.1:{port}", "Sec-Fetch-Site": "same-origin"},
        {"Sec-Fetch-Site": "none"},
    ],
)
def test_the_page_itself_gets_its_answer_by_every_name_of_this_machine(server, headers):
    port = str(server.server_port)
    headers = {name: each.replace("{port}", port) for name, each in headers.items()}
    assert raw(server, asked(server, {"strokes": DOT}, **headers)).startswith(b"HTTP/1.1 200 ")


def test_a_link_from_elsewhere_leads_to_the_page(server):
    headers = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
    assert raw(server, request(server, "GET", "/", **headers)).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize(
    ("options", "status"),
    [
        ({"kind": "text/plain"}, 415),
        ({"kind": "application/x-www-form-urlencoded"}, 415),
        ({"kind": "multipart/form-data; boundary=x"}, 415),
        ({"kind": None}, 415),
        ({"Content-Encoding": "gzip"}, 415),
        ({"Transfer-Encoding": "chunked"}, 501),
        ({"length": "none"}, 400),
        ({"length": "-1"}, 400),
        ({"length": "+5"}, 400),
        ({"length": "1e2"}, 400),
        ({"length": "٣"}, 400),
        ({"length": MOST_BYTES + 1}, 413),
        ({"length": 10**12}, 413),
        ({"length": LONG}, 413),
    ],
)
def test_bodies_of_another_kind_or_length_are_refused(server, options, status):
    body = {"body": b"{}"} | options
    content = request(server, **{name: each for name, each in body.items() if each != "٣"})
    if options.get("length") == "٣":
        content = content.replace(b"Content-Length: 2", "Content-Length: ٣".encode())
    assert status_of(raw(server, content)) == status


def test_a_body_without_a_length_or_with_two_is_refused(server):
    content = request(server, body=b"{}")
    assert status_of(raw(server, content.replace(b"Content-Length: 2\r\n", b""))) == 411
    twice = content.replace(b"Content-Length: 2", b"Content-Length: 2\r\nContent-Length: 3")
    assert status_of(raw(server, twice)) == 400


def test_a_body_that_is_too_long_still_gets_its_answer(server):
    body = b'{"strokes": ' + b" " * (3 * MOST_BYTES) + b"[]}"
    assert status_of(raw(server, request(server, body=body))) == 413


@pytest.mark.parametrize(
    "question",
    [
        b"",
        b"{",
        b"\xff\xfe{}",
        b"[]",
        b"null",
        b"7",
        b'"strokes"',
        b"[" * 100_000,
        b'{"strokes": [[[NaN, 0.5]]]}',
        b'{"strokes": [[[Infinity, 0.5]]]}',
        b'{"strokes": [[[1e999, 0.5]]]}',
        b'{"strokes": [[[' + LONG.encode() + b", 0.5]]]}",
        {},
        {"strokes": None},
        {"strokes": "x"},
        {"strokes": 3},
        {"strokes": {"0": []}},
        {"strokes": [0.5]},
        {"strokes": [[]]},
        {"strokes": [[0.5, 0.5]]},
        {"strokes": [[[0.5]]]},
        {"strokes": [[[0.5, 0.5, 0.5]]]},
        {"strokes": [[["0.5", 0.5]]]},
        {"strokes": [[[True, 0.5]]]},
        {"strokes": [[[None, 0.5]]]},
        {"strokes": [[[[0.5], 0.5]]]},
        {"strokes": [[[-0.001, 0.5]]]},
        {"strokes": [[[0.5, 1.001]]]},
        {"strokes": [[[10**400, 0.5]]]},
        {"strokes": DOT * 201},
        {"strokes": [[[0.5, 0.5]] * 4001]},
        {"strokes": [[[0.5, 0.5]] * 2001] * 2},
        {"strokes": DOT, "moment": -1},
        {"strokes": DOT, "moment": 10**6},
        {"strokes": DOT, "moment": 0.0},
        {"strokes": DOT, "moment": True},
        {"strokes": DOT, "moment": "0"},
        {"strokes": DOT, "stroke": 1},
        {"strokes": DOT, "<script>": 1},
        {"text": "a"},
        {"x": [1.0]},
    ],
    ids=lambda each: str(each)[:50],
)
def test_questions_that_the_page_would_not_ask_are_refused(server, question):
    assert status_of(raw(server, asked(server, question))) == 400


@pytest.mark.parametrize(
    "content",
    [
        b"\r\n\r\n",
        b"nonsense\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 200 + b"\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost 127.0.0.1\r\n\r\n",
        b"GET /\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"".join(b"X-%d: 1\r\n" % i for i in range(200)) + b"\r\n",
        b"GET / HTTP/1.1\r\nX: " + b"a" * 100_000 + b"\r\n\r\n",
    ],
    ids=lambda each: repr(each)[:30],
)
def test_what_is_no_request_is_refused_or_left_alone(server, content):
    reply = raw(server, content)
    assert reply == b"" or 400 <= status_of(reply) <= 505
    assert raw(server, asked(server, {"strokes": DOT})).startswith(b"HTTP/1.1 200 ")
