"""The picture of a network: every layer with its shape, branches side by side, hostile text, bounds."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET

import pytest
from report_cases import Parsed, make_run

import fnn
from fnn.layers.summaries import Summary, SummaryRow
from fnn.layers.wiring import WIRINGS
from fnn.report import network_svg as of_its_own
from fnn.runs.experiment.network_table import network_table
from fnn.runs.report import write
from fnn.runs.report.network_layout import MOST_LAYERS
from fnn.runs.report.network_picture import picture

D = fnn.Dense
NET = fnn.serial(
    fnn.Conv(4, 5),
    fnn.residual(fnn.Conv(4, 3, padding=1), fnn.Relu()),
    fnn.residual(fnn.Conv(6, 1), shortcut=fnn.Conv(6, 1, bias=False)),
    fnn.branch(fnn.Conv(2, 1), fnn.serial(fnn.Conv(3, 1), fnn.Relu()), merge="concat"),
    fnn.shared(fnn.Conv(5, 3, padding=1), 3),
    fnn.Flatten(),
    fnn.fan_out(2),
    fnn.parallel(D(4), fnn.serial(D(5), fnn.Tanh())),
    fnn.fan_in("concat"),
    fnn.branch(D(4), D(5), merge=fnn.fan_in("concat")),
    fnn.remat(fnn.repeat(D(7), 2)),
    fnn.named("out", D(3)),
)
IMAGE = (1, 12, 12)
DEEP = fnn.Relu()
for _ in range(12):
    DEEP = fnn.serial(DEEP, fnn.Tanh())


def network_svg(net, in_shape):
    """Return the picture as a page holds it."""
    return of_its_own(net, in_shape).replace(' xmlns="http://www.w3.org/2000/svg"', "", 1)


def boxes(svg):
    """Return (x, y, width, height, class, hint) of every layer, and the root."""
    root = ET.fromstring(svg)
    found = []
    for group in root.iter("g"):
        rect, hint = group.find("rect"), group.find("title")
        place = [float(rect.get(name)) for name in ("x", "y", "width", "height")]
        found.append((*place, rect.get("class"), hint.text))
    return found, root


def box(svg, path):
    return next(each for each in boxes(svg)[0] if each[-1].split(" · ")[0] == path)


def test_every_layer_is_there_with_its_kind_its_shape_and_its_parameters():
    svg = network_svg(NET, IMAGE)
    hints = [each[-1] for each in boxes(svg)[0]]
    rows = fnn.summary(NET, IMAGE).rows
    assert len(hints) == 1 + len(rows)
    assert hints[0] == "one example · input · 1×12×12"
    for row, hint in zip(rows, hints[1:], strict=True):
        assert hint.startswith(f"{row.path} · {row.kind} · ")
        assert hint.endswith(" parameters") == (row.parameters > 0)
    words = [each.text for each in boxes(svg)[1].iter("text")]
    for shown in (
        "Conv(4, 5)",
        "4×8×8",
        "104 parameters",
        "conv_0",
        "320, 320",
        "out",
        "remat(repeat(2))",
    ):
        assert shown in words


def test_it_is_the_same_text_every_time_and_needs_nothing_from_elsewhere():
    svg = network_svg(NET, IMAGE)
    assert svg == network_svg(NET, IMAGE)
    assert not re.search(r"https?:|url\(|href|<script|<style| id=| on\w+=|#[0-9a-f]{3}", svg)


@pytest.mark.parametrize(
    ("net", "in_shape"),
    [
        (NET, IMAGE),
        (DEEP, (3,)),
        (fnn.serial(), (3,)),
        (D(3), (4,)),
        (fnn.fan_in("sum"), ((3,), (3,))),
        (fnn.branch(*[D(3)] * 6), (4,)),
        (fnn.branch(fnn.branch(*[D(3)] * 3), fnn.branch(*[D(3)] * 3)), (4,)),
        (fnn.shared(fnn.residual(D(4)), 2), (4,)),
        (fnn.bidirectional(fnn.GRU(2)), (5, 3)),
        (fnn.serial(fnn.vmap(fnn.parallel(D(2), D(2))), fnn.fan_in("sum")), ((5, 3), (5, 4))),
    ],
    ids=range(10),
)
def test_boxes_lie_within_the_drawing_and_overlap_only_what_they_are_inside_of(net, in_shape):
    found, root = boxes(network_svg(net, in_shape))
    _, _, wide, high = map(float, root.get("viewBox").split())
    for x, y, w, h, *_ in found:
        assert x >= 0
        assert y >= 0
        assert x + w <= wide
        assert y + h <= high
    for i, (x, y, w, h, kind, _) in enumerate(found):
        for x2, y2, w2, h2, _, _ in found[i + 1 :]:
            is_apart = x2 >= x + w or x >= x2 + w2 or y2 >= y + h or y >= y2 + h2
            is_inside = x < x2 and y < y2 and x2 + w2 < x + w and y2 + h2 < y + h
            assert is_apart or (is_inside and kind.startswith("frame"))


def test_lines_and_text_stay_within_the_drawing():
    _, root = boxes(network_svg(NET, IMAGE))
    _, _, wide, high = map(float, root.get("viewBox").split())
    for path in root.iter("path"):
        for x, y in re.findall(r"[ML](-?[\d.]+) (-?[\d.]+)", path.get("d")):
            assert 0 <= float(x) <= wide
            assert 0 <= float(y) <= high
    for text in root.iter("text"):
        assert 0 <= float(text.get("x")) <= wide
        assert len(text.text) * 3 <= wide


def test_a_chain_goes_down_and_branches_stand_side_by_side():
    svg = network_svg(NET, IMAGE)
    chain = [box(svg, path) for path in ("conv_0", "residual_0", "branch_0", "out")]
    tops = [each[1] for each in chain]
    assert tops == sorted(tops)
    middles = {each[0] + each[2] / 2 for each in chain}
    assert max(middles) - min(middles) < 0.2
    for a, b in (
        ("branch_0/conv_0", "branch_0/serial_0"),
        ("parallel_0/dense_0", "parallel_0/serial_0"),
        ("residual_1/conv_0", "residual_1/shortcut"),
    ):
        left, right = box(svg, a), box(svg, b)
        assert left[1] == right[1]
        assert left[0] + left[2] < right[0]
    # A layer that merges is below what it merges.
    merge, way = box(svg, "branch_1/merge"), box(svg, "branch_1/dense_1")
    assert merge[1] > way[1] + way[3]


def test_a_residual_adds_and_a_shortcut_that_is_the_identity_is_a_line():
    _, root = boxes(network_svg(NET, IMAGE))
    assert len(root.findall("circle[@class='sum']")) == 2
    assert [each.text for each in root.iter("text")].count("+") == 2


def test_shared_weights_are_dashed_and_said():
    svg = network_svg(NET, IMAGE)
    assert [each[-1].split(" · ")[0] for each in boxes(svg)[0] if "dashed" in each[4]] == ["shared_0"]
    assert "shared_0: the same weights each time" in svg
    assert svg.count('class="edge dashed"') == 1
    assert "dashed" not in network_svg(fnn.serial(fnn.repeat(D(4), 3)), (4,))


def test_a_tuple_is_a_double_line():
    def strokes(net, in_shape):
        return network_svg(net, in_shape).count('class="edge"')

    assert strokes(fnn.serial(fnn.Relu(), fnn.Tanh()), (3,)) == 2
    assert strokes(fnn.serial(fnn.fan_out(2), fnn.fan_in("sum")), (3,)) == 1 + 2
    assert strokes(fnn.fan_in("sum"), ((3,), (3,))) == 2


def test_too_many_branches_stand_below_one_another_without_arrows_between_them():
    svg = network_svg(fnn.serial(fnn.branch(*[D(3)] * 6), D(2)), (4,))
    ways = [box(svg, f"branch_0/dense_{i}") for i in range(6)]
    assert len({each[0] for each in ways}) == 1
    assert svg.count('class="tip"') == 2
    assert "each branch gets all of it" in svg


def test_parts_that_are_fed_in_a_way_that_is_not_known_have_no_arrows():
    inner = fnn.residual(D(3), shortcut=D(3))
    strange = fnn.Layer("strange", *inner.core, children=inner.children)
    assert network_svg(strange, (3,)).count('class="tip"') == 1


def test_two_hundred_layers_are_bounded_and_counted():
    net = fnn.serial(*[D(3)] * 200)
    svg = network_svg(net, (3,))
    assert len(boxes(svg)[0]) == 1 + MOST_LAYERS
    assert "… and 136 more layers" in svg
    assert "200 layers with 2,400 parameters" in svg
    assert len(svg) < 60_000
    assert len(network_svg(fnn.serial(*[fnn.serial(*[D(3)] * 20)] * 10), (3,))) < 60_000


def test_what_is_nested_too_deep_is_counted():
    svg = network_svg(DEEP, (3,))
    [inside] = re.findall(r">(\d+) layers inside<", svg)
    assert len(boxes(svg)[0]) - 1 + int(inside) == len(fnn.summary(DEEP, (3,)).rows)


EVIL = "<script>alert(1)</script>\"'&\x00\u202e" + "x" * 500


def test_hostile_names_kinds_and_shapes_are_shown_as_text():
    evil = (
        SummaryRow(EVIL, 0, EVIL, ((1,) * 32,) * 32, 1 << 61, 1, 1, 1, "parallel"),
        SummaryRow(EVIL, 1, EVIL, (1 << 61,) * 32, 0, None, 0, None, "residual"),
        SummaryRow(EVIL, 2, EVIL, (), 0, None, 0, None, ""),
        SummaryRow(EVIL, 1, EVIL, (), 0, None, 0, None, ""),
    )
    svg = picture(Summary((), evil))
    _, root = boxes(svg)
    assert {each.tag for each in root.iter()} == {
        "svg", "desc", "g", "title", "rect", "text", "path", "circle",
    }  # fmt: skip
    assert "<script" not in svg
    assert "\u202e" not in svg
    assert "\x00" not in svg
    assert len(svg) < 20_000
    assert max(len(text.text) for text in root.iter("text")) < 150


@pytest.mark.parametrize("wiring", sorted(WIRINGS))
def test_any_wiring_of_a_recorded_table_is_drawn_whatever_the_shapes(wiring):
    for n in (0, 1, 3):
        for shape in ((), (3,), ((3,), (4,)), ((3,),)):
            inside = [SummaryRow(f"a/{i}", 1, "Relu()", shape, 0, 0, 0) for i in range(n)]
            inside += [SummaryRow("a/merge", 1, "x", shape, 0, 0, 0, 0, "chain")] * (n > 1)
            rows = (SummaryRow("a", 0, "x", shape, 0, 0, 0, 0, wiring), *inside)
            found, _ = boxes(picture(Summary(shape, rows)))
            assert len(found) == 2 + len(inside)


def test_the_report_shows_it_from_the_recorded_table_and_from_the_recipe(tmp_path):
    net = fnn.serial(fnn.Flatten(), fnn.residual(D(784)), D(10))
    about = {"network": repr(net), "layers": network_table(net, (1, 28, 28))}
    html_file, markdown_file = write([make_run(tmp_path / "run", model=False, about=about)])
    page = html_file.read_text("utf-8")
    assert network_svg(net, (1, 28, 28)) in page
    assert Parsed(page).faults == []
    assert "| residual_0 | residual | 784 | 0 | 784 | 0 | 3,136 |" in markdown_file.read_text("utf-8")
    html_file, _ = write([make_run(tmp_path / "older")])
    assert 'aria-label="The network. 5 layers with ' in html_file.read_text("utf-8")


def test_an_older_table_without_wiring_is_drawn_too(tmp_path):
    net = fnn.serial(fnn.Flatten(), fnn.residual(D(784)), D(10))
    table = network_table(net, (1, 28, 28))
    for row in table["rows"]:
        del row["wiring"], row["activations"]
    about = {"layers": json.loads(json.dumps(table))}
    html_file, markdown_file = write([make_run(tmp_path / "run", model=False, about=about)])
    assert 'aria-label="The network. 4 layers' in html_file.read_text("utf-8")
    assert "| residual_0 | residual | 784 | 0 | 784 | 0 | – |" in markdown_file.read_text("utf-8")


def test_what_is_no_network_has_no_picture():
    with pytest.raises(fnn.OptionError, match="expected a Layer"):
        network_svg(3, (3,))
    with pytest.raises(fnn.ShapeError):
        network_svg(fnn.Conv(3, 3), (3,))


def test_the_picture_is_a_file_of_its_own():
    from xml.etree import ElementTree

    root = ElementTree.fromstring(of_its_own(fnn.serial(fnn.Dense(2), fnn.Relu()), (3,)))
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
