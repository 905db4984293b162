"""For the tests of the demo: run folders, requests, and digits as a hand draws them."""

from __future__ import annotations

import contextlib
import json
import math
import socket
import threading

import fnn
from fnn.demo.serving import Server

DOT = [[[0.5, 0.5]]]

MLP = fnn.serial(fnn.Dense(64), fnn.Relu(), fnn.Dropout(0.2), fnn.Dense(10))
CNN = fnn.serial(
    fnn.Conv(8, 5), fnn.MaxPool(2), fnn.Relu(), fnn.Conv(16, 3), fnn.MaxPool(2), fnn.Relu(),
    fnn.Flatten(), fnn.Dense(10),
)  # fmt: skip


def make_run(folder, net, in_shape, now=None, *, model=True, **about):
    """Write the folder of a run and return it; without weights, those that are drawn."""
    folder.mkdir(parents=True)
    config = about.pop("config", {})
    content = {"format": 2, "experiment": "digits", "status": "finished", "config": config, **about}
    (folder / "run.json").write_text(json.dumps(content), "utf-8")
    params, state = net.init(fnn.Key.of(0), in_shape)[1:] if now is None else (now.params, now.state)
    if model:
        fnn.save_model(folder / "model.npz", net, params, state, in_shape)
    return folder


def trained(net, data, *, loss=fnn.softmax_cross_entropy, epochs=20, rate=0.003, size=50):
    """Return what a network has learnt."""
    key = fnn.Key.of(0)
    given = {"epochs": epochs, "batch_size": size, "key": key, "progress": False}
    return fnn.fit(net, loss, fnn.adam(rate), data, **given)


def arc(x, y, width, height, start, end, n=24):
    """Return points of an ellipse about (x, y); angles in turns, from the right and on downwards."""
    turns = [2 * math.pi * (start + (end - start) * i / n) for i in range(n + 1)]
    return [(x + width * math.cos(turn), y + height * math.sin(turn)) for turn in turns]


# Strokes on a square from 0 to 1.
DIGITS = {
    0: [arc(0.5, 0.5, 0.2, 0.32, -0.25, 0.75)],
    1: [[(0.52, 0.18), (0.5, 0.5), (0.48, 0.82)]],
    2: [[*arc(0.5, 0.34, 0.2, 0.16, -0.5, 0.1), (0.32, 0.8), (0.72, 0.8)]],
    3: [[*arc(0.48, 0.33, 0.18, 0.15, -0.45, 0.25), *arc(0.48, 0.65, 0.2, 0.17, -0.25, 0.45)]],
    4: [[(0.38, 0.2), (0.32, 0.52), (0.7, 0.52)], [(0.64, 0.22), (0.6, 0.84)]],
    5: [[(0.68, 0.2), (0.38, 0.2), (0.36, 0.46), *arc(0.47, 0.62, 0.2, 0.19, -0.25, 0.4)]],
    6: [[(0.6, 0.16), (0.42, 0.42), *arc(0.5, 0.66, 0.16, 0.17, -0.5, 0.5)]],
    7: [[(0.3, 0.22), (0.7, 0.22), (0.58, 0.48), (0.48, 0.84)]],
    8: [[*arc(0.5, 0.34, 0.14, 0.15, 0.25, -0.75), *arc(0.5, 0.66, 0.17, 0.17, -0.25, 0.75)]],
    9: [[*arc(0.5, 0.36, 0.16, 0.17, 0, -1), (0.65, 0.5), (0.58, 0.84)]],
}


# --- a server and requests to it


@contextlib.contextmanager
def running(subject, host="127.0.0.1", **options):
    with Server(subject, host, 0, **options) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def raw(server, content, *, wait=5):
    """Send bytes, and return all that comes back until the server closes the connection."""
    with socket.create_connection(("127.0.0.1", server.server_port), timeout=wait) as connection:
        with contextlib.suppress(OSError):
            connection.sendall(content)
        came = b""
        with contextlib.suppress(OSError):
            while part := connection.recv(1 << 16):
                came += part
        return came


def status_of(reply):
    """Return the status of a refusal, which says why in a short line of JSON, with all headers."""
    head, _, body = reply.partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    headers = dict(line.split(": ", 1) for line in lines[1:])
    assert headers["Content-Type"] == "application/json"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Connection"] == "close"
    assert int(headers["Content-Length"]) == len(body)
    found = json.loads(body)
    assert list(found) == ["error"]
    assert 0 < len(found["error"]) <= 300
    assert "Traceback" not in found["error"]
    return int(lines[0].split()[1])


def request(
    server, method="POST", path="/api/answer", body=b"", kind="application/json", length=None, **headers
):
    """Return a request as bytes; a header of None is left out."""
    host = {"Host": f"127.0.0.1:{server.server_port}"}
    given = {"Content-Type": kind, "Content-Length": len(body) if length is None else length}
    given = host | (given if method == "POST" else {})
    given |= {name.replace("_", "-"): value for name, value in headers.items()}
    lines = [f"{method} {path} HTTP/1.1"]
    lines += [f"{name}: {value}" for name, value in given.items() if value is not None]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


def asked(server, question, **options):
    """Return the request of a question."""
    body = question if isinstance(question, bytes) else json.dumps(question).encode()
    return request(server, body=body, **options)
