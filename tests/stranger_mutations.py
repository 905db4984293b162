"""What strangers put into files: seeded mutations of bytes, of JSON, of saved trees, and of kinds."""

from __future__ import annotations

import json
import os
import random
import shutil

import numpy as np
from test_checkpoint import seal

from fnn import tree
from fnn.runs.checkpoint import load_tree, save_tree

# Numbers that headers are made of, at their worst.
_NUMBERS = [
    bytes(4),
    b"\xff\xff\xff\xff",
    b"\xff\xff\xff\x7f",
    b"\x7f\xff\xff\xff",
    b"\x00\x01\x00\x00",
    b"\xff" * 8,
    b"\x00\x00\x08\x03",
    b"PK\3\4",
    b"\x1f\x8b",
]
_ESCAPES = "a\nalias rm=true\x1b[2J\u202e\udcff\0"


def _wild_values(draw):
    return draw.choice(
        [
            None,
            True,
            -1,
            0,
            1e308,
            10**400,
            2**63,
            float("nan"),
            float("-inf"),
            "nan",
            "",
            _ESCAPES,
            "x" * 50_000,
            "../../home/new",
            "/dev/zero",
            "__import__('os').system('touch ran')",
            "Dense(1000000000)",
            [],
            {},
            [[[[[[]]]]]],
            [_ESCAPES] * 50,
            {_ESCAPES: _ESCAPES},
            {"": {"": {"": 1}}},
            [0.5] * 2_000,
            draw.randrange(-(10**6), 10**6),
        ]
    )


def _places(value, at=()):
    yield at
    if isinstance(value, dict | list):
        for key, child in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _places(child, (*at, key))


def _json(draw, data):
    """Change a few values of a document, or its form."""
    form = draw.randrange(8)
    if form == 0:
        return b"[" * draw.choice([10, 100_000])
    if form == 1:
        return b'{"a":' * draw.choice([10, 100_000])
    if form == 2:
        return b'{"format": 2, "config": {}, "format": ' + b"9" * draw.choice([3, 5_000]) + b"}"
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):  # It was changed before.
        return data
    for _ in range(draw.randrange(1, 4)):
        place = draw.choice(list(_places(value)))
        if not place:
            value = _wild_values(draw) if draw.random() < 0.2 else value
            continue
        node = value
        for key in place[:-1]:
            node = node[key]
        way = draw.randrange(4)
        if way == 0:
            del node[place[-1]]
        elif way == 1 and isinstance(node, dict):
            node[draw.choice([_ESCAPES, "", "format", "config", "status"])] = node.pop(place[-1])
        else:
            node[place[-1]] = _wild_values(draw)
    return json.dumps(value).encode("utf-8", "surrogatepass")


def _lines(draw, data):
    lines = data.split(b"\n")
    for _ in range(draw.randrange(1, 4)):
        at = draw.randrange(len(lines))
        lines[at] = draw.choice([_json(draw, lines[at]), b"", b"[1]", b"nul", lines[at] * 2, b"\0" * 9])
    return b"\n".join(lines)


def _bytes(draw, data):
    """Cut, flip, splice, repeat, or put a large number anywhere."""
    data = bytearray(data)
    for _ in range(draw.randrange(1, 4)):
        at = draw.randrange(len(data) + 1)
        way = draw.randrange(7)
        if way == 0:
            del data[at:]
        elif way == 1 and data:
            data[min(at, len(data) - 1)] ^= 1 << draw.randrange(8)
        elif way == 2:
            start = draw.randrange(len(data) + 1)
            data[at:at] = data[start : start + draw.randrange(1, 200)]
        elif way == 3:
            number = draw.choice(_NUMBERS)
            data[at : at + len(number)] = number
        elif way == 4:
            # Headers are short and at the beginning.
            at = draw.randrange(min(len(data), 64) + 1)
            number = draw.choice(_NUMBERS)
            data[at : at + len(number)] = number
        elif way == 5:
            data[at : at + draw.randrange(1, 100)] = b""
        else:
            data += draw.randbytes(draw.randrange(1, 300))
    return bytes(data)


def _tree(draw, path):
    """Save a tree of other leaves under a digest that is right."""
    leaves = {name: np.array(leaf) for name, leaf in tree.items(load_tree(path))}
    for _ in range(draw.randrange(1, 3)):
        name = draw.choice(sorted(leaves) or ["x"])
        leaf = leaves.get(name, np.zeros(3))
        way = draw.randrange(8)
        if way == 0:
            leaves.pop(name, None)
        elif way == 1:
            leaves[f"{name}x"] = leaf
        elif way == 2:
            leaves[name] = leaf.astype(draw.choice(["f4", "i8", "u1", "c8", "?"]))
        elif way == 3:
            leaves[name] = leaf.reshape(-1)[: draw.randrange(leaf.size + 1)]
        elif way == 4:
            leaves[name] = np.full(leaf.shape, draw.choice([-1, 0, 2**31, 2**62]))
        elif way == 5:
            leaves[name] = np.full(leaf.shape, draw.choice([np.nan, np.inf, 1e300]))
        elif way == 6:
            leaves[name] = np.frombuffer(_bytes(draw, leaf.tobytes()), np.uint8)
        else:
            text = draw.choice(
                ["Dense(1000000000000)", "(" * 300, "serial(" * 80, "exec('1')", _ESCAPES]
            )
            leaves[name] = np.frombuffer(text.encode("utf-8", "surrogatepass"), np.uint8)
    nested = {}
    for name, leaf in leaves.items():
        node = nested
        *branches, last = name.split("/")
        for branch in branches:
            node = node.setdefault(branch, {})
        node[last] = leaf
    save_tree(path, nested)


def _kind(draw, path, home):
    """Put something else where the file is."""
    data = path.read_bytes()
    path.unlink()
    way = draw.randrange(8)
    if way == 0:
        path.symlink_to(home / draw.choice([".profile", path.name, "log.txt"]))
    elif way == 1:
        path.symlink_to(home / "new" / path.name)
    elif way == 2:
        path.symlink_to(path.name)
    elif way == 3:
        os.mkfifo(path)
    elif way == 4:
        path.mkdir()
    elif way == 5:
        with path.open("wb") as file:
            file.write(data)
            file.truncate(1 << 42)
    elif way == 6:
        os.link(home / ".profile", path)
    else:
        # A folder on the way, where there is one that is not the run's own.
        path.write_bytes(data)
        if path.parent.name == "checkpoints":
            shutil.rmtree(path.parent)
            path.parent.symlink_to(home / "checkpoints")


def mutate(seed, path, home):
    """Change the file at `path` as this seed says; return how."""
    draw = random.Random(seed)
    name, data = path.name, path.read_bytes()
    ways = ["bytes", "bytes", "kind"]
    if path.suffix == ".json" or name == "lock":
        ways += ["json"] * 4
    if path.suffix == ".jsonl":
        ways += ["lines"] * 3
    if path.suffix == ".npz":
        ways += ["sealed", "sealed", "tree", "tree", "tree"]
    way = draw.choice(ways)
    if way == "bytes":
        path.write_bytes(_bytes(draw, data))
    elif way == "json":
        path.write_bytes(_json(draw, data))
    elif way == "lines":
        path.write_bytes(_lines(draw, data))
    elif way == "sealed":
        # Under a digest that is right again: what the format alone has to refuse.
        mark = data.rindex(b"fnn-tree 1 sha256 ")
        path.write_bytes(seal(_bytes(draw, data[: mark - 2]) + b"\0\0"))
    elif way == "tree":
        _tree(draw, path)
    else:
        _kind(draw, path, home)
    return way
