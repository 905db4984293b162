"""The picture of a network: every layer with its shape, branches side by side, hostile text, bounds."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET

import pytest
from report_cases import Parsed, make_run

import fnn
from fnn.layers.describing import columns
from fnn.layers.summaries import Summary, SummaryRow
from fnn.layers.wiring import WIRINGS
from fnn.report import network_svg as of_its_own
from fnn.runs.experiment.network_table import network_table
from fnn.runs.report import write
from fnn.runs.report.network_nodes import MOST_LAYERS
from fnn.runs.report.network_picture import picture

D = fnn.Dense
SVG = "http://www.w3.org/2000/svg"
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
    """Return the picture as a page holds it, which has the style sheet."""
    return picture(fnn.summary(net, in_shape))


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
    tied = network_svg(fnn.serial(fnn.named("tied", fnn.tied_embedding(9, 4, D(4))), D(3)), (5,))
    assert box(tied, "tied")[4] == "frame dashed"
    assert "its weights also score" in tied
    assert "dashed" not in network_svg(fnn.serial(fnn.repeat(D(4), 3)), (4,))


def test_a_tuple_is_a_double_line():
    def strokes(net, in_shape):
        return network_svg(net, in_shape).count('class="edge"')

    assert strokes(fnn.serial(fnn.Relu(), fnn.Tanh()), (3,)) == 2
    assert strokes(fnn.serial(fnn.fan_out(2), fnn.fan_in("sum")), (3,)) == 1 + 2
    assert strokes(fnn.fan_in("sum"), ((3,), (3,))) == 2


def test_too_many_branches_stand_below_one_another_without_arrows_between_them():
    ways = [fnn.serial(D(i), D(3)) for i in range(1, 7)]
    svg = network_svg(fnn.serial(fnn.branch(*ways), D(2)), (4,))
    ways = [box(svg, f"branch_0/serial_{i}") for i in range(6)]
    assert len({each[0] for each in ways}) == 1
    assert svg.count('class="tip"') == 2 + 6
    assert "each branch gets all of it" in svg


def test_parts_that_are_fed_in_a_way_that_is_not_known_have_no_arrows():
    inner = fnn.residual(D(3), shortcut=D(3))
    strange = fnn.Layer("strange", *inner.core, children=inner.children)
    assert network_svg(strange, (3,)).count('class="tip"') == 1


def test_two_hundred_layers_are_bounded_and_counted():
    net = fnn.serial(*[D(3 + i % 100) for i in range(200)])
    svg = network_svg(net, (3,))
    assert len(boxes(svg)[0]) == 1 + MOST_LAYERS
    assert "… and 136 more layers" in svg
    assert "200 layers with " in svg
    assert len(svg) < 60_000
    # Where they are left out within a frame they are counted there.
    svg = network_svg(fnn.serial(net, D(3)), (3,))
    counted = re.findall(r"… and (\d+) more layers?<", svg)
    assert [int(each) for each in counted] == [200 - MOST_LAYERS + 1, 1]
    y = box(svg, "serial_0")
    inner = next(each for each in boxes(svg)[1].iter("text") if "137 more" in (each.text or ""))
    assert y[1] < float(inner.get("y")) < y[1] + y[3]


def test_a_thousand_equal_blocks_are_drawn_once_and_counted():
    block = fnn.residual(D(3), fnn.Relu())
    svg = network_svg(fnn.serial(fnn.Flatten(), *[block] * 1000, D(2)), (3,))
    paths = [each[-1].split(" · ")[0] for each in boxes(svg)[0]]
    want = [
        "one example",
        "flatten_0",
        "residual_0",
        "residual_0/dense_0",
        "residual_0/relu_0",
        "dense_0",
    ]
    assert paths == want
    assert "… 999 more like it" in svg
    assert "3,002 layers with " in svg
    # So are several that repeat together; but two are not too many, nor are four side by side.
    svg = network_svg(fnn.serial(*[D(3), fnn.Relu()] * 5), (3,))
    assert len(boxes(svg)[0]) == 1 + 2
    assert "… these 2 layers 4 more times" in svg
    assert len(boxes(network_svg(fnn.repeat(D(3), 2), (3,)))[0]) == 1 + 2
    assert len(boxes(network_svg(fnn.branch(*[D(3)] * 4), (3,)))[0]) == 1 + 1 + 4
    # Nor what differs in its shape, an option, a name or something inside.
    for other in (D(4), D(3, bias=False), fnn.named("out", D(3))):
        net = fnn.serial(D(3), D(3), other, D(3), D(3))
        assert len(boxes(network_svg(net, (3,)))[0]) == 1 + 5
    odd = [fnn.serial(D(3 + i), D(3)) for i in range(4)]
    assert len(boxes(network_svg(fnn.serial(*odd), (3,)))[0]) == 1 + 4 * 3


def test_what_comes_beside_equal_branches_gets_an_array_of_its_own():
    net = fnn.parallel(*[D(3)] * 9, fnn.fan_in("sum"))
    svg = network_svg(net, (*((4,),) * 9, ((3,), (3,))))
    assert "… 8 more like it" in svg
    # Into the frame, and into the last branch; and out of the frame.
    merging = box(svg, "fan_in_0")
    middle = merging[0] + merging[2] / 2
    assert f"M{middle - 2:.1f} " in svg
    assert f"M{middle + 2:.1f} " in svg


@pytest.mark.parametrize("norm", ["pre", "post"])
@pytest.mark.parametrize("dropout", [0, 0.1])
@pytest.mark.parametrize("mask", [False, True])
def test_a_transformer_block_shows_two_sums(norm, dropout, mask):
    net = fnn.TransformerBlock(2, norm=norm, dropout=dropout, mask=mask)
    in_shape = ((5, 4), (5,)) if mask else (5, 4)
    svg = network_svg(net, in_shape)
    found, root = boxes(svg)
    assert len(found) == 1 + len(fnn.summary(net, in_shape).rows)
    assert len(root.findall("circle[@class='sum']")) == 2
    names = ["norm_1", "attention", "dropout_1", "norm_2", "mlp", "dropout_2"]
    if norm == "post":
        names = ["attention", "dropout_1", "norm_1", "mlp", "dropout_2", "norm_2"]
    names = [name for name in names if dropout or "dropout" not in name]
    tops = [box(svg, name)[1] for name in names]
    assert tops == sorted(tops)
    assert fnn.summary(net, in_shape).rows[0].wiring == f"{norm}_norm"


def test_the_description_of_a_block_by_a_stranger_is_drawn_as_parts():
    inside = [SummaryRow(f"a/{name}", 1, "x", (3,), 0, 0, 0) for name in ("attention", "mlp", "mlp")]
    for rows in (inside, inside[:1], inside * 4):
        whole = Summary((3,), (SummaryRow("a", 0, "x", (3,), 0, 0, 0, 0, "pre_norm"), *rows))
        assert "sum" not in picture(whole)


def test_what_has_parameters_is_told_apart():
    svg = network_svg(fnn.serial(D(3), fnn.Relu()), (3,))
    assert box(svg, "dense_0")[4] == "box weights"
    assert box(svg, "relu_0")[4] == "box"


def test_words_stay_within_their_boxes_also_in_wide_letters():
    name = "層" * 60
    net = fnn.serial(fnn.named(name, D(3)), fnn.named("é\u202e" * 40, D(3)), fnn.named("W" * 80, D(3)))
    _, root = boxes(network_svg(net, (3,)))
    for group in root.iter("g"):
        _, _, *about = (each.text for each in group.iter("text"))
        wide = sum(12.5 if ord(each) > 0x2E80 else 6.5 for each in "".join(about))
        assert wide <= float(group.find("rect").get("width")) - 20
    # And in the table nothing moves the columns.
    lines = repr(fnn.summary(net, (3,))).splitlines()
    assert len({columns(line) for line in lines[1:]}) == 1
    assert "\u202e" not in lines[4]
    assert "é\\u202e" in lines[4] or "…" in lines[4]


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
            inside = [SummaryRow(f"a/{i}", 1, f"Relu({i})", shape, 0, 0, 0) for i in range(n)]
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
    svg = of_its_own(fnn.serial(fnn.Dense(2), fnn.Relu()), (3,))
    root = ET.fromstring(svg)
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    # With its own style for light and dark on a ground of its own, nothing of which reaches beyond it.
    style = root.find("{*}style").text
    assert "prefers-color-scheme: dark" in style
    heads = re.findall(r"([^{}]+)[{]", re.sub(r"/\*.*?\*/", "", style))
    selectors = [each.strip() for head in heads if "@media" not in head for each in head.split(",")]
    assert root.get("class") == "network"
    assert len(selectors) > 10
    assert all(each.startswith(".network ") for each in selectors)
    shown = {name for each in root.iter() for name in (each.get("class") or "").split()}
    assert {"ground", "box", "weights", "kind", "about", "edge", "tip"} <= shown
    assert all(f".{name}" in style for name in shown)
    assert not re.search(r"https?:|url\(|href|<script|@import| id=| on\w+=", svg.replace(SVG, "", 1))
