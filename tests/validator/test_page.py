"""The validator's page in a real Chromium: what it shows, what it refuses to run, on a phone."""

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from support import chromium
from support.chromium import Page, browser
from support.devices import VALID_S, Device, Fleet
from support.validating import TOKEN, Gateway, compress, handover, load
from tallystick.evidence import enrolment
from tallystick.validator.service import Service

pytestmark = pytest.mark.skipif(chromium.PROGRAM is None, reason="chromium is not installed")
ZSTD = {"Content-Encoding": "zstd", "Content-Type": "application/cose"}
PICTURES = Path(__file__).parents[2] / "docs" / "pictures"
# Set to write the pictures of docs/ anew.
WRITE = os.environ.get("TALLY_WRITE_PICTURES") == "1"
SCRIPT = "<img src=x onerror=\"document.title='broken in'\">"
READY = (
    "document.getElementById('main').dataset.page === {page!r} "
    "&& !document.getElementById('state').textContent.startsWith('…')"
)


class World:
    """A matched, a conflicting and a waiting handover; one device's names are scripts."""

    def __init__(self, folder: Path) -> None:
        self.fleet = Fleet("acme")
        self.giver = self.device("truck", "truck-7")
        self.receiver = self.device("arm", SCRIPT)
        handover(self.giver, self.receiver, "order-4711")
        handover(self.giver, self.receiver, SCRIPT, x=1, received_x=9)
        handover(self.giver, self.receiver, "order-4712", x=1, received_x=3)
        handover(self.giver, self.receiver, "order-4713", sides="g")
        self.service = Service(load(folder, [self.fleet]))
        self.url = self.service.start()
        gateway = Gateway(self.fleet)
        gateway.take(*self.giver.segments(), *self.receiver.segments())
        data = gateway.batch(devices=[self.giver, self.receiver])
        answer = httpx2.post(
            f"{self.url}/v1/batches", content=compress(data), headers=ZSTD, timeout=60
        )
        assert answer.status_code == 200, answer.text
        end = time.monotonic() + 60
        while self.states().get("conflicting") != 2 and time.monotonic() < end:
            time.sleep(0.02)

    def device(self, name: str, tag: str) -> Device:
        made = self.fleet.device(name)
        public, possession = enrolment.request(made.signer, "acme")
        details: dict[str, Any] = {"asset_tag": tag}
        enrolled = enrolment.Enrolment(
            enrolment.SUBJECT_DEVICE, public.thumbprint(), public, 0, [], details, [], 60,
            list(VALID_S), possession,
        )  # fmt: skip
        made.credential = [enrolled.sign(self.fleet.root, "acme", public.thumbprint())]
        return made

    def states(self) -> dict[str, int]:
        found: dict[str, int] = httpx2.get(f"{self.url}/v1/status", timeout=60).json()["states"]
        return found


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    made = World(tmp_path_factory.mktemp("page") / "validator")
    yield made
    made.service.stop()


@pytest.fixture(scope="module")
def page(world: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with browser(tmp_path_factory.mktemp("chromium")) as made:
        made.size(1000, 800)
        made.open(world.url + "/", "document.querySelectorAll('#verdicts li').length === 3")
        yield made


def go(page: Page, where: str, ready: str) -> str:
    page.do(f"location.hash = {json.dumps(where)}")
    page.until(READY.format(page=ready))
    return page.text()


def search(page: Page, text: str) -> str:
    page.do(
        f"document.getElementById('q').value = {json.dumps(text)};"
        "document.getElementById('search').requestSubmit()"
    )
    page.until(f"document.title.startsWith({json.dumps('Search: ' + text)})")
    return page.text()


def give_token(page: Page, text: str) -> None:
    page.do(
        f"{{const t = document.getElementById('token'); t.value = {json.dumps(text)};"
        "t.dispatchEvent(new Event('change'))}"
    )


def picture(page: Page, name: str) -> None:
    if WRITE:
        page.picture(PICTURES / f"validator-{name}.png")
    assert (PICTURES / f"validator-{name}.png").stat().st_size > 5_000


def test_verdicts_come_by_themselves_and_lead_to_their_interaction(
    world: World, page: Page
) -> None:
    text = page.text()
    assert "notary.example/log" in text
    assert "matched" in text and "conflicting" in text
    page.until("document.getElementById('state').textContent === 'live'")
    picture(page, "verdicts")
    page.do("document.querySelector('#verdicts li:last-child a[href^=\"#/interaction\"]').click()")
    page.until(READY.format(page="interaction"))
    text = page.text()
    # Both sides, in the log's order, and what agrees; what they say is for readers.
    assert "giver released" in text and "receiver acquired" in text
    assert "agree same-item" in text and "The values agree." in text
    assert "What the claims say is for readers." in text
    assert "order-4711" not in text


def test_a_conflict_is_shown_with_what_both_sides_say(world: World, page: Page) -> None:
    give_token(page, TOKEN)
    search(page, "order-4712")
    page.do("document.querySelector('main .conflicting ~ a').click()")
    page.until(READY.format(page="interaction"))
    text = page.text()
    assert "order-4712 in dock-3" in text
    assert "differ by more than 0.25 m" in text
    assert "[1, 2]" in text and "[3, 2]" in text
    # A word's space between a check's result and its sentence.
    gap = page.do(
        "(() => {const badge = document.querySelector('.check .state');"
        "const range = document.createRange(); range.selectNode(badge.nextSibling);"
        "const text = document.createRange(); text.selectNodeContents(badge);"
        "return range.getClientRects()[0].left - text.getClientRects()[0].right})()"
    )
    assert 0 <= gap < 12
    picture(page, "interaction")
    give_token(page, "")


def test_a_script_for_a_name_is_text(world: World, page: Page) -> None:
    give_token(page, TOKEN)
    text = search(page, SCRIPT)
    # The device's tag and the task are both that script.
    assert text.count(SCRIPT) >= 2
    page.do("document.querySelector('main .conflicting ~ a').click()")
    page.until(READY.format(page="interaction"))
    page.until("document.querySelector('h1').textContent.includes('onerror')")
    assert page.do("document.querySelectorAll('main img, main script').length") == 0
    assert page.do("document.title").startswith("<img src=x")
    assert page.said == []
    give_token(page, "")


def test_search_finds_devices_tasks_and_for_readers_items(world: World, page: Page) -> None:
    assert "truck-7" in search(page, "truck-7")
    assert world.giver.text in search(page, world.giver.text)
    assert SCRIPT in search(page, SCRIPT)
    found = search(page, "order-4711")
    assert "Interactions" in found and "matched" in found
    # What waits is in no log yet: nobody finds it without a token.
    assert "Nothing is known of it here." in search(page, "order-4713")
    assert "give a reader's token" in search(page, "box")
    give_token(page, TOKEN)
    page.until("document.querySelectorAll('main li').length === 4")
    assert "pending" in page.text()
    give_token(page, "")


def test_a_device_and_the_log_are_shown(world: World, page: Page) -> None:
    text = go(page, f"#/device/{world.giver.text}", "device")
    assert "enrolled by\nacme, as a device" in text
    assert "4 claims" in text and "complete here" in text and "held in software" in text
    picture(page, "device")
    text = go(page, "#/log", "log")
    assert "cosigned by\nnobody yet" in text
    assert "witnesses behind\nno witness is configured" in text
    assert "signed by\nnotary.example/log" in text
    assert "verdict" in text
    picture(page, "log")
    assert "That did not work" in go(page, "#/device/x", "device")
    assert "There is no such page" in go(page, "#/constructor", "constructor")
    page.said.clear()


def test_it_fits_a_phone(world: World, page: Page) -> None:
    page.size(360, 740, phone=True)
    for where, ready in (
        ("#/", "home"),
        (f"#/device/{world.giver.text}", "device"),
        ("#/log", "log"),
    ):
        go(page, where, ready)
        wide = page.do("document.documentElement.scrollWidth")
        assert wide <= 360, (where, wide)
    search(page, "order-4712")
    page.do("document.querySelector('main .conflicting ~ a').click()")
    page.until(READY.format(page="interaction"))
    assert page.do("document.documentElement.scrollWidth") <= 360
    picture(page, "phone")
    page.size(1000, 800)


def test_nothing_foreign_and_nothing_inline_runs(world: World, page: Page) -> None:
    page.open(world.url + "/", "document.querySelectorAll('#verdicts li').length === 3")
    page.said.clear()
    page.do(
        "{const s = document.createElement('script'); s.textContent = 'window.ran = 1';"
        "document.body.append(s);"
        "const f = document.createElement('script'); f.src = 'http://127.0.0.1:9/x.js';"
        "document.body.append(f);"
        "document.body.setAttribute('onclick', 'window.ran = 2'); document.body.click();"
        "document.body.style; const e = document.createElement('style');"
        "e.textContent = 'body{display:none}'; document.head.append(e)}"
    )
    assert page.do("window.ran === undefined")
    assert page.do("getComputedStyle(document.body).display") == "block"
    page.until("true")
    assert any("Content Security Policy" in one for one in page.said)


def test_the_files_say_what_a_browser_may_do(world: World) -> None:
    for path, media in (
        ("/", "text/html; charset=utf-8"),
        ("/ui/app.js", "text/javascript; charset=utf-8"),
        ("/ui/style.css", "text/css; charset=utf-8"),
    ):
        answer = httpx2.get(world.url + path, timeout=60)
        assert answer.headers["content-type"] == media
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy and "unsafe" not in policy and "*" not in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        # No web page of another origin may read an answer: nothing allows it.
        assert not [name for name in answer.headers if name.startswith("access-control")]
    assert httpx2.post(world.url + "/", timeout=60).status_code == 405
    assert httpx2.get(world.url + "/ui/../app.py", timeout=60).status_code in {400, 404}
