"""The demo's page in a real browser, wide and at phone width; skipped where there is no Chromium."""

from __future__ import annotations

import contextlib

import pytest
from browser_cases import browser, needs_chromium
from demo_cases import CNN, DIGITS, make_run, running, trained

import fnn
from fnn.demo.subject import read_subject
from fnn.files import make_folder
from fnn.runs.experiment.codecs import write_codec
from fnn.runs.experiment.saver import save_epoch

pytestmark = needs_chromium
__all__ = ["browser"]
BOARD = """(() => {
  const box = document.getElementById("board").getBoundingClientRect();
  return [box.x, box.y, box.width, box.height];
})()"""
STILL = 'document.body.dataset.ready == "yes" && !document.body.dataset.busy'
# What does not fit, of what is shown.
CUT = """[...document.querySelectorAll("h1, h2, h3 span, p, label, figcaption, button, output")].filter(
  each => each.getClientRects().length && getComputedStyle(each).display != "inline" &&
    each.scrollWidth > each.clientWidth + 1
).map(each => each.textContent)"""


@contextlib.contextmanager
def served(folder):
    with running(read_subject(folder)) as server:
        yield server.url


@pytest.fixture(scope="module")
def digits_page(tmp_path_factory):
    """Serve a network that has learnt the bundled digits, with its epochs."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    data = fnn.digits("train", size=28, flat=False)
    source = "Data: the bundled digits, 8×8 scaled to 28×28"
    fit = trained(CNN, data, epochs=12)
    make_run(folder, CNN, (1, 28, 28), fit.last, source=source)
    early = trained(CNN, data, epochs=1).last
    make_folder(folder / "epochs", within=folder)
    for epoch, now in (
        (0, fnn.init_train_state(CNN, fnn.sgd(0.1), (1, 28, 28), fnn.Key.of(0))),
        (1, early),
    ):
        save_epoch(folder / "epochs" / f"epoch-{epoch:06d}.npz", now, epoch, within=folder)
    with served(folder) as url:
        yield url


@pytest.fixture(scope="module")
def text_page(tmp_path_factory):
    net = fnn.serial(fnn.Embedding(4, 8), fnn.LSTM(16), fnn.Dense(4))
    codec = fnn.Characters.fit("abc\n")
    data = fnn.text_windows(codec.encode("abcabcabc\n" * 60), 10)
    now = trained(net, data, epochs=3, rate=0.02).last
    folder = make_run(tmp_path_factory.mktemp("runs") / "run", net, (10,), now)
    write_codec(folder, codec)
    with served(folder) as url:
        yield url


def by_mouse(browser, strokes):
    x, y, width, height = browser.value(BOARD)
    for stroke in strokes:
        places = [{"x": x + width * a, "y": y + height * b} for a, b in stroke]
        for i, place in enumerate(places):
            kind = "mouseMoved" if i else "mousePressed"
            mouse = {"button": "left", "buttons": 1, "clickCount": 1, **place}
            browser.call("Input.dispatchMouseEvent", type=kind, **mouse)
        end = {"button": "left", "clickCount": 1, **places[-1]}
        browser.call("Input.dispatchMouseEvent", type="mouseReleased", **end)


def by_finger(browser, strokes):
    browser.value('document.getElementById("board").scrollIntoView({block: "center"})')
    x, y, width, height = browser.value(BOARD)
    for stroke in strokes:
        for i, (a, b) in enumerate(stroke):
            kind = "touchMove" if i else "touchStart"
            points = [{"x": x + width * a, "y": y + height * b}]
            browser.call("Input.dispatchTouchEvent", type=kind, touchPoints=points)
        browser.call("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])


def said(browser):
    """Return the class that the page names, once it has been answered."""
    browser.until(STILL)
    return browser.value('document.querySelector("#winner b").textContent')


def press(browser, key, times=1):
    """Press a key so many times."""
    codes = {"ArrowDown": 40, "ArrowUp": 38, "ArrowLeft": 37, "ArrowRight": 39, " ": 32, "Tab": 9}
    about = {"key": key, "windowsVirtualKeyCode": codes.get(key, ord(key[0].upper()))}
    for _ in range(times):
        text = {"text": " "} if key == " " else {}
        browser.call("Input.dispatchKeyEvent", type="keyDown", **about, **text)
        browser.call("Input.dispatchKeyEvent", type="keyUp", **about)


def click(browser, name):
    browser.value(f'document.getElementById("{name}").click()')


@pytest.mark.parametrize("digit", [1, 0, 7])
@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_a_digit_that_is_drawn_is_known(browser, digits_page, width, scheme, digit):
    browser.show(digits_page, width, scheme, height=800, touch=width < 600)
    assert said(browser) == "–"
    strokes = DIGITS[digit] if digit != 7 else [*DIGITS[7], [(0.42, 0.55), (0.68, 0.52)]]
    (by_finger if width < 600 else by_mouse)(browser, strokes)
    assert said(browser) == str(digit)
    # All is painted: what goes in, what decides, and every layer but those that change nothing.
    drawn = """[...document.querySelectorAll("canvas")].map(each =>
      new Set(each.getContext("2d").getImageData(0, 0, each.width, each.height).data).size)"""
    colours = browser.value(drawn)
    assert len(colours) == 3 + 7
    assert min(colours) > 2
    assert browser.complaints() == []
    assert all(url.startswith(digits_page) for url in browser.asked())
    click(browser, "clear")
    assert said(browser) == "–"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_is_one_screen_or_one_column(browser, digits_page, text_page, scheme):
    for page in (digits_page, text_page):
        browser.show(page, 1280, scheme, height=800)
        browser.until(STILL)
        if page == digits_page:
            by_mouse(browser, DIGITS[0])
            browser.until(STILL)
        size = "[document.scrollingElement.scrollWidth, document.scrollingElement.scrollHeight]"
        assert browser.value(size) == [1280, 800]
        assert browser.value(CUT) == []
        tops = "[...document.querySelectorAll('section')].map(each => each.getBoundingClientRect())"
        assert len(set(browser.value(f"{tops}.map(each => each.top)"))) == 1
        for width in (390, 320):
            browser.show(page, width, scheme)
            browser.until(STILL)
            assert browser.value(size)[0] == width
            assert browser.value(CUT) == []
            assert len(set(browser.value(f"{tops}.map(each => each.left)"))) == 1
        assert browser.complaints() == []


def test_a_stroke_shows_what_it_changes_and_undo_takes_it_back(browser, digits_page):
    browser.show(digits_page, 1280, height=800)
    browser.until(STILL)
    shares = '[...document.querySelectorAll("#bars span")].map(each => each.textContent)'
    changes = '[...document.querySelectorAll("#bars small")].map(each => each.textContent)'
    by_mouse(browser, DIGITS[1])
    assert said(browser) == "1"
    before = [float(each.split()[0]) for each in browser.value(shares)]
    by_mouse(browser, DIGITS[0])
    browser.until(STILL)
    after = [float(each.split()[0]) for each in browser.value(shares)]
    moved = [int(each.replace("−", "-") or 0) for each in browser.value(changes)]
    assert moved[1] < -20
    assert moved == pytest.approx([b - a for a, b in zip(before, after, strict=True)], abs=0.7)
    assert "1 −" in browser.value('document.getElementById("change").textContent')
    click(browser, "undo")
    assert said(browser) == "1"
    assert [float(each.split()[0]) for each in browser.value(shares)] == before


def test_the_training_is_stepped_through_and_played(browser, digits_page):
    browser.show(digits_page, 1280, height=800)
    browser.until(STILL)
    when = 'document.getElementById("when").textContent'
    assert browser.value(when) == "as kept"
    by_mouse(browser, DIGITS[0])
    assert said(browser) == "0"
    share = 'parseFloat(document.querySelector("#winner em").textContent)'
    sure = browser.value(share)
    browser.value('document.getElementById("moment").focus()')
    press(browser, "ArrowLeft", 2)
    browser.until(STILL)
    assert browser.value(when) == "start"
    # Weights that have not learnt anything yet know nothing.
    assert browser.value(share) < 40 < sure
    click(browser, "play")
    browser.until(f'{when} == "epoch 1"')
    browser.until(f'{when} == "as kept" && {STILL}')
    assert said(browser) == "0"
    assert browser.value(share) == sure
    assert browser.value('document.getElementById("play").ariaPressed') == "false"
    assert browser.complaints() == []


def test_keys_alone_draw_a_digit(browser, digits_page):
    browser.show(digits_page, 1280, height=800)
    browser.until(STILL)
    for _ in range(6):
        press(browser, "Tab")
        if browser.value("document.activeElement.id") == "board":
            break
    assert browser.value("document.activeElement.id") == "board"
    press(browser, " ")
    press(browser, "ArrowDown", 16)
    press(browser, " ")
    assert said(browser) == "1"
    press(browser, "z")
    assert said(browser) == "–"
    assert browser.complaints() == []


def test_the_text_goes_on_while_it_is_typed(browser, text_page):
    browser.show(text_page, 1280, height=800)
    browser.until(STILL)
    browser.value("""(() => {
      const typed = document.getElementById("typed");
      document.getElementById("temperature").value = 0;
      typed.value = "abcab";
      typed.dispatchEvent(new Event("input", {bubbles: true}));
    })()""")
    browser.until('document.getElementById("sample").textContent.length > 60')
    assert browser.value('document.getElementById("sample").textContent').startswith("abcabcabc")
    assert browser.value('document.querySelector("#bars b").textContent') == "c"
    browser.value("""(() => {
      const typed = document.getElementById("typed");
      typed.value = "abcz";
      typed.dispatchEvent(new Event("input", {bubbles: true}));
    })()""")
    browser.until('document.getElementById("unknown").textContent.includes("z")')
    browser.until(STILL)
    assert browser.complaints() == []


def test_a_run_without_a_name_for_its_inputs_has_a_form_of_numbers(browser, tmp_path):
    net = fnn.serial(fnn.Dense(8), fnn.Tanh(), fnn.Dense(1))
    data = fnn.parity(2)
    data = fnn.Dataset(data.x, data.y[:, None].astype("float32"))
    now = trained(net, data, loss=fnn.sigmoid_cross_entropy, epochs=400, rate=0.03, size=4).last
    fits = [{"loss": "sigmoid_cross_entropy"}]
    with served(make_run(tmp_path / "run", net, (2,), now, fits=fits)) as url:
        browser.show(url, 390)
        browser.until(STILL)
        for x, answer in (((1, 0), "yes"), ((1, 1), "no")):
            for i, number in enumerate(x):
                browser.value(f"""(() => {{
                  const input = document.querySelectorAll("#form input")[{i}];
                  input.value = {number};
                  input.dispatchEvent(new Event("input", {{bubbles: true}}));
                }})()""")
            assert said(browser) == answer
        assert browser.complaints() == []
