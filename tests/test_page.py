"""The page at `/`, in a real Chromium, of the real service as a process."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import suppress

import pandas as pd
import pytest

from recsys import Recommender
from tests.conftest import BRIEF

pytestmark = pytest.mark.browser

CHROMIUM = "/usr/bin/chromium"
ARGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip
HOSTILE = [
    "<script>window.hit = 1</script>", "<img src=x onerror='window.hit = 1'>", "{{7*7}} ${7*7} \\",
    "مرحبا بالعالم", "x\u202egnp.exe", "long " * 60, "W" * 300, "\"quotes\" & 'more' %41",
]  # fmt: skip


@pytest.fixture(scope="module")
def serve(tmp_path_factory):
    """Serve a model, with further arguments of the command; return the address."""
    pytest.importorskip("fastapi")
    processes = []

    def start(model, *words, port=None):
        folder = tmp_path_factory.mktemp("page")
        model.save(folder / "model")
        if port is None:
            with socket.create_server(("127.0.0.1", 0)) as free:
                port = free.getsockname()[1]
        words = ("--model", folder / "model", "--store", f"sqlite:///{folder}/store.db", *words)
        command = [sys.executable, "-m", "recsys", "serve", "--port", port, *words]
        processes.append(subprocess.Popen([*map(str, command)]))
        address = f"http://127.0.0.1:{port}/"
        while processes[-1].poll() is None:
            with suppress(OSError), urllib.request.urlopen(f"{address}livez"):
                return address
            time.sleep(0.1)
        raise ChildProcessError("the service did not start")

    start.processes = processes
    yield start
    for process in processes:
        process.terminate()
        process.wait(30)


@pytest.fixture(scope="module")
def films(serve, model):
    return serve(model)


@pytest.fixture(scope="module")
def chromium():
    playwright = pytest.importorskip("playwright.sync_api")
    if not shutil.which(CHROMIUM):
        pytest.skip(f"{CHROMIUM} is not there: apt-get install chromium")
    with playwright.sync_playwright() as running:
        browser = running.chromium.launch(executable_path=CHROMIUM, args=ARGS)
        yield browser
        browser.close()


@pytest.fixture
def visit(chromium):
    """Open an address in a new window; at the end, nothing may have gone wrong in any."""
    contexts, wrong = [], []

    def open_page(address, *, expect=(), wait="#list li", **options):
        base = address.split("#")[0]

        def is_wrong(said):
            return said.type == "error" and not any(one in said.text for one in expect)

        context = chromium.new_context(**{"viewport": {"width": 1280, "height": 900}} | options)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(10_000)
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("dialog", lambda dialog: wrong.append(dialog.message))
        page.on("request", lambda one: one.url.startswith(base) or wrong.append(one.url))
        page.on("console", lambda said: is_wrong(said) and wrong.append(said.text))
        page.goto(address)
        page.wait_for_selector(wait)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert wrong == []


def titles(page, part="#list"):
    return [name.text_content() for name in page.query_selector_all(f"{part} .name")]


def settle(page):
    """Wait until the list answers what was asked last."""
    page.wait_for_timeout(50)
    page.wait_for_selector("#list[aria-busy=false]")


def pick(page, title):
    page.fill("#search", title)
    page.locator("#options bdi").get_by_text(title, exact=True).click()
    settle(page)


def violations(page):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    return [(one["id"], [node["target"] for node in one["nodes"]])
            for one in axe.run(page).response["violations"]]  # fmt: skip


def popular(model, n):
    """Titles and ids of the n most watched items."""
    rows = model.popular(n)
    return [row.title for row in rows], rows.item_ids.tolist()


def expected(model, liked, k=10, **filters):
    return [row.title for row in model.recommend_for(liked=liked, k=k, **filters)]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_pick_dial_filter_and_neighbour_answers_and_axe_finds_nothing(
    visit, films, model, scheme
):
    page = visit(films, color_scheme=scheme)
    names, ids = popular(model, 10)
    assert titles(page) == names
    assert violations(page) == []
    page.fill("#search", names[0][:4])
    page.wait_for_selector("#options [aria-selected=true]")
    assert violations(page) == []
    for n in range(1, 6):
        pick(page, names[n - 1])
        assert titles(page, "#picks") == names[:n]
        assert titles(page) == expected(model, ids[:n])
    reasons = [one.text_content() for one in page.query_selector_all("#list div small")]
    assert len(reasons) == 10
    assert any(name in reasons[0] for name in names[:5])
    page.fill("#popularity", "0")
    page.fill("#diversity", "0.5")
    settle(page)
    assert titles(page) == expected(model, ids[:5], popularity=0, diversity=0.5)
    page.click("summary")
    genre = page.text_content("#genres button")
    page.click("#genres button")
    page.fill("#from", "1990")
    page.locator("#active", has_text="1990").wait_for()  # the field waits for more digits
    settle(page)
    where = f"year >= 1990 and {genre!r} in genres"
    filtered = expected(model, ids[:5], popularity=0, diversity=0.5, where=where)
    assert titles(page) == filtered != expected(model, ids[:5], popularity=0, diversity=0.5)
    assert page.text_content("#active") == f"{genre}, 1990"
    assert violations(page) == []
    page.click("#reset")
    settle(page)
    assert titles(page) == expected(model, ids[:5])
    page.click("#list li:nth-child(2) .name")
    page.wait_for_selector("#similar .name")
    title = page.text_content("#card-title")
    assert title == titles(page)[1]
    similar = model.similar_items(title, k=8)
    assert titles(page, "#similar") == [row.title for row in similar]
    assert violations(page) == []
    page.click("#card-actions button:nth-child(2)")
    settle(page)
    assert titles(page) == [row.title for row in model.recommend_for(
        liked=ids[:5], disliked=[model.recommend_for(liked=ids[:5]).item_ids[1]])]  # fmt: skip
    page.click("#more")
    settle(page)
    assert len(titles(page)) == 20


def test_looking_at_a_pick_shows_what_its_removal_would_change(visit, films, model):
    page, (names, ids) = visit(films), popular(model, 3)
    for name in names:
        pick(page, name)
    page.wait_for_timeout(300)
    assert "without" not in page.text_content("#note")  # though the mouse rests on a pick
    now, then = expected(model, ids), expected(model, ids[:1] + ids[2:])
    page.hover("#picks li:nth-child(2) .name")
    page.wait_for_selector("#list .leaves, #entering .name")
    assert titles(page, "#list .leaves") == [name for name in now if name not in then]
    assert titles(page, "#entering") == [name for name in then if name not in [*now, names[1]]]
    assert page.text_content("#note").endswith(f"without {names[1]}")
    assert violations(page) == []
    page.hover("h1")
    assert page.query_selector_all("#list .leaves") == []
    page.click("#picks li:nth-child(2) .remove")
    settle(page)
    assert titles(page) == then


def test_the_address_brings_everything_back_and_the_back_button_takes_a_pick_back(
    visit, films, model
):
    page, (names, ids) = visit(films), popular(model, 2)
    for name in names:
        pick(page, name)
    page.fill("#popularity", "0.3")
    settle(page)
    page.click("#list .name")
    page.wait_for_selector("#similar .name")
    other = visit(page.url)
    settle(other)
    other.wait_for_selector("#similar .name")
    for part in ("#picks", "#list", "#similar"):
        assert titles(other, part) == titles(page, part)
    assert other.input_value("#popularity") == "0.3"
    assert other.text_content("#card-title") == titles(page)[0]
    page.go_back()
    settle(page)
    assert titles(page) == expected(model, ids[:1])
    broken = visit(f"{films}#liked=7&k=999&popularity=%&nothing=1&diversity=0.2")
    settle(broken)
    assert broken.input_value("#diversity") == "0.2"
    assert len(titles(broken)) == 50


def test_everything_can_be_done_by_keyboard(visit, films, model):
    page, (names, _) = visit(films), popular(model, 1)

    def press(*keys):
        for key in keys:
            page.keyboard.press(key)

    def focused():
        return page.evaluate("document.activeElement.ariaLabel || document.activeElement.id "
                             "|| document.activeElement.textContent")  # fmt: skip

    while focused() != "search":
        press("Tab")
    press("ArrowDown")
    page.wait_for_selector("#options [aria-selected=true]")
    press("ArrowUp", "ArrowDown")
    active = page.get_attribute("#search", "aria-activedescendant")
    assert page.text_content(f"#{active} bdi") == names[0]
    press("Escape")
    assert page.is_hidden("#options")
    page.keyboard.type(names[0])
    page.wait_for_selector("#options [aria-selected=true]")
    press("Enter")
    settle(page)
    press("Tab", "Tab")
    assert focused() == f"Remove {names[0]}"
    press("Tab", "ArrowRight")
    settle(page)
    assert page.get_by_role("slider", name="Popularity", exact=True).input_value() == "1.1"
    while focused() != titles(page)[0]:
        press("Tab")
    first = focused()
    press("Enter")
    page.wait_for_selector("#similar .name")
    assert focused() == "card-title"
    press("Escape")
    assert page.is_hidden("#card")
    assert focused() == first
    press("Tab", "Enter")  # I like it
    page.locator("#picks li").nth(1).wait_for()
    settle(page)
    assert focused() == f"I like {titles(page)[0]}"
    page.locator("#live", has_text=titles(page)[0]).wait_for(state="attached")
    before = page.locator("#map").screenshot()
    page.focus("canvas[tabindex]")
    press("+", "ArrowLeft")
    page.wait_for_timeout(900)
    assert page.locator("#map").screenshot() != before


@pytest.mark.parametrize("motion", ["no-preference", "reduce"])
def test_your_point_moves_over_the_map_and_an_item_of_it_opens(visit, films, model, motion):
    page, (names, ids) = visit(films, reduced_motion=motion), popular(model, 2)
    pick(page, names[0])
    page.wait_for_selector("#map[data-you*=',']")
    page.wait_for_timeout(900)
    page.evaluate("""() => {
        window.path = [];
        const look = () => path.push(document.getElementById("map").dataset.you);
        new MutationObserver(look).observe(document.getElementById("map"), {attributes: true});
    }""")
    pick(page, names[1])
    answer = page.request.post(f"{films}v1/recommendations", data={"liked": ids, "point": True})
    point = ",".join(f"{one:.3f}" for one in answer.json()["point"])
    page.locator(f"#map[data-you='{point}']").wait_for()
    path = set(page.evaluate("path"))
    assert len(path) > 3 if motion == "no-preference" else path == {point}
    found = page.request.get(f"{films}v1/map").json()
    row = found["item_ids"].index(ids[0])
    box = page.locator("canvas[tabindex]").bounding_box()
    middle = [(min(found[axis]) + max(found[axis])) / 2 for axis in "xy"]
    width, height = (max(found[axis]) - min(found[axis]) for axis in "xy")
    scale = 0.92 * min(box["width"] / width, box["height"] / height)
    x = box["x"] + box["width"] / 2 + (found["x"][row] - middle[0]) * scale
    y = box["y"] + box["height"] / 2 - (found["y"][row] - middle[1]) * scale
    page.mouse.click(x, y)
    assert page.text_content("#card-title") == names[0]


def test_a_phone_shows_all_of_it_without_scrolling_sideways(visit, films, model):
    page = visit(films, viewport={"width": 320, "height": 640}, is_mobile=True, has_touch=True)
    for name in popular(model, 3)[0]:
        pick(page, name)
    page.tap("#picks .name")
    page.locator("#note", has_text="without").wait_for()
    page.tap("#list .name")
    page.wait_for_selector("#similar .name")
    assert page.evaluate("document.documentElement.scrollWidth") == 320
    card = page.locator("#card").bounding_box()
    assert card["y"] + card["height"] == 640
    small = page.evaluate("""() => [...document.querySelectorAll("button")].filter((one) => {
        const {width, height} = one.getBoundingClientRect();
        return width && height && Math.min(width, height) < 22;
    }).map((one) => one.outerHTML)""")
    assert small == []
    assert violations(page) == []


def test_hostile_titles_and_ids_show_as_text(visit, serve, sample):
    ratings = sample.assign(item_id="id/?&#'\"<b>%2F " + sample["item_id"].astype(str))
    ids = ratings["item_id"].drop_duplicates().tolist()
    table = pd.DataFrame({"item_id": ids, "title": [
        f"{HOSTILE[place % len(HOSTILE)]} n{place}q" for place in range(len(ids))]})  # fmt: skip
    table["genres"] = [("<i>a</i> 'b' \"c\"",) if place % 2 else () for place in range(len(ids))]
    model = Recommender(**BRIEF).fit(ratings, table)
    page = visit(serve(model))
    liked = []
    for place in range(len(HOSTILE)):
        page.fill("#search", f"n{place}q")
        page.locator("#options [aria-selected=true]", has_text=f"n{place}q").click()
        settle(page)
        liked.append(ids[place])
    assert titles(page, "#picks") == table["title"][: len(HOSTILE)].tolist()
    assert titles(page) == expected(model, liked)
    page.click("summary")
    page.click("#genres button")
    settle(page)
    assert titles(page) == expected(model, liked, where='"<i>a</i> \'b\' \\"c\\"" in genres')
    page.click("#list .name")
    page.wait_for_selector("#similar .name")
    other = visit(page.url)
    other.wait_for_selector("#similar .name")
    assert titles(other, "#picks") == titles(page, "#picks")
    assert page.query_selector_all("main script, main i, main b, main img") == []
    assert page.evaluate("window.hit") is None
    assert page.evaluate("document.documentElement.scrollWidth") == 1280
    assert violations(page) == []


def test_items_without_titles_go_by_their_ids_whatever_their_size(visit, serve, sample):
    big = sample.assign(item_id=sample["item_id"] + 2**53)
    model = Recommender(**BRIEF).fit(big)
    page, (_, ids) = visit(serve(model)), popular(model, 1)
    assert page.is_hidden("#filters")
    page.fill("#search", str(ids[0]))
    page.wait_for_selector("#options [aria-selected=true]")
    page.press("#search", "Enter")
    settle(page)
    assert titles(page) == [f"No. {one}" for one in model.recommend_for(liked=ids).item_ids]
    assert titles(visit(page.url)) == titles(page)
    page.click("#list .name")
    page.wait_for_selector("#similar .name")
    assert violations(page) == []


def test_a_shop_filters_by_a_condition_and_hears_what_is_wrong_with_it(visit, serve, sample):
    ids = sample["item_id"].drop_duplicates()
    table = pd.DataFrame({"item_id": ids, "title": "Chair " + ids.astype(str), "price": ids % 100})
    model = Recommender(**BRIEF).fit(sample, table)
    page = visit(serve(model), expect=["422"])
    names, liked = popular(model, 1)
    pick(page, names[0])
    page.click("summary")
    assert page.is_hidden("#years")
    page.fill("#where", "price <")
    page.wait_for_selector("#error:not([hidden])")
    assert "invalid syntax" in page.text_content("#error p")
    assert violations(page) == []
    page.fill("#where", "price < 20")
    page.wait_for_selector("#error", state="hidden")
    assert titles(page) == expected(model, liked, where="price < 20")
    page.fill("#where", "price < 0")
    page.wait_for_selector("#list .empty")


def test_answers_that_come_too_late_are_dropped(visit, films, model):
    page, held = visit(films), []
    names, ids = popular(model, 2)
    pick(page, names[0])
    page.route("**/v1/recommendations", lambda one: one.continue_() if held else held.append(one))
    page.click("#list .icon")
    page.wait_for_timeout(100)
    page.click("#picks li:nth-child(2) .remove")
    settle(page)
    with suppress(Exception):  # the page has dropped it
        held[0].continue_()
    page.wait_for_timeout(300)
    assert len(held[0].request.post_data_json["liked"]) == 2
    assert titles(page) == expected(model, ids[:1])


def test_a_service_that_went_away_is_named_and_tried_again(visit, serve, model):
    address = serve(model)
    page = visit(address, expect=["ERR_CONNECTION_REFUSED"])
    serve.processes[-1].terminate()
    serve.processes[-1].wait(30)
    page.fill("#diversity", "0.5")
    page.wait_for_selector("#error:not([hidden])")
    assert "does not answer" in page.text_content("#error p")
    serve(model, port=address.strip("/").rsplit(":", 1)[1])
    page.click("#error button")
    page.wait_for_selector("#error", state="hidden")
    assert len(titles(page)) == 10


def test_a_token_is_asked_for_until_it_is_right_and_then_kept(visit, serve, model, tmp_path):
    (tmp_path / "token").write_text("OpenSesame123456\n")
    address = serve(model, "--token-file", tmp_path / "token")
    page = visit(address, expect=["401"], wait="#token[open]")
    assert violations(page) == []
    for token in ("OpenBarley123456", "OpenSesame123456"):
        page.fill("#token input", token)
        page.keyboard.press("Enter")
        page.locator("#token-note", has_text="refused").wait_for(state="attached")
    page.wait_for_selector("#list li")
    page.reload()
    page.wait_for_selector("#list li")
    assert page.is_hidden("#token")
