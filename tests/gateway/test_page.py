"""The gateway's page in a real Chromium: what holds, devices, validators, conflicts, a device."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from support import chromium, pictured
from support.chromium import Page, browser
from support.devices import Device, Fleet
from support.notary import Notary
from support.site import Radio, Site, until
from support.validating import handover
from support.watching import DAY_S, Looking, on_time, tagged
from tallystick.evidence.enrolment import CUSTODY_SECURE_ELEMENT
from tallystick.gateway import conditions, pageguide, pagelimits
from tallystick.gateway.service import Gateway
from tallystick.tools.mosquitto import Mosquitto

pytestmark = pytest.mark.skipif(chromium.PROGRAM is None, reason="chromium is not installed")
ACME = Fleet("acme")
PICTURES = Path(__file__).parents[2] / "docs" / "pictures"
SCRIPT = "<img src=x onerror=\"document.title='broken in'\">"
TURNED = "\N{RIGHT-TO-LEFT OVERRIDE}scitoboR"
MANY = 120
READY = "document.title.startsWith({title})"
HOME = READY.format(title="'Gateway '")


class World:
    """A gateway with a forked device, a conflict, a script for a tag, and many quiet devices."""

    def __init__(self, folder: Path, port: int) -> None:
        self.port = port
        self.notary = Notary(folder / "notary", ACME).start()
        self.away = Notary(folder / "away", ACME, name="insurer")
        self.site = Site(
            folder / "gw",
            ACME,
            port,
            "dock-north",
            validators=self.notary.toml + self.away.toml,
            limits='[limits]\nretry_s_max = 0.5\n[page]\nbind = "127.0.0.1:0"\nlag_s = 0\n',
        )
        self.site.with_prefix("page")
        self.truck = tagged(ACME, "truck", "truck-7", manufacturer="Acme Robotics")
        self.arm = tagged(ACME, "arm", SCRIPT, manufacturer=f"Acme{TURNED}")
        self.agv = self.chip()
        self.quiet = [tagged(ACME, f"quiet-{n}", f"shelf-{n:03}") for n in range(MANY)]
        for device in (self.truck, self.arm, self.agv, *self.quiet):
            self.site.enrol(device)
        handover(self.truck, self.arm, "order-1")
        handover(self.truck, self.arm, "order-2", x=1, received_x=3)
        self.agv.record(5)
        self.copy = self.agv.clone()
        self.copy.counter = self.agv.counter

    def chip(self) -> Device:
        device = on_time(ACME.device("agv", held=lambda *_: (CUSTODY_SECURE_ELEMENT, [])))
        details = {"asset_tag": "agv-12"}
        held: tuple[int, list[Any]] = (CUSTODY_SECURE_ELEMENT, [])
        device.credential = ACME.enrol(device.signer, details=details, held=held)
        device.counter = 812
        return device

    def send(self, device: Device, *segments: bytes) -> None:
        with Radio(self.port, device, "page") as radio:
            radio.up(*segments)

    def fork(self) -> None:
        self.agv.record(1)
        self.copy.decision("stop")
        self.copy.seal()
        self.send(self.agv, self.agv.segments()[-1])
        self.send(self.copy, self.copy.segments()[-1])


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, mosquitto: Mosquitto) -> Iterator[World]:
    made = World(tmp_path_factory.mktemp("page"), mosquitto.port)
    yield made
    made.notary.stop()


@pytest.fixture(scope="module")
def gateway(world: World) -> Iterator[Gateway]:
    patched = pytest.MonkeyPatch()
    patched.setattr(pagelimits, "LOOK_S", 0.1)
    patched.setattr(pagelimits, "HISTORY_STEP_S", 0.2)
    with patched.context(), world.site.running() as made:
        until(lambda: world.site.status()["devices"] == MANY + 3, "the devices")
        for device in (world.truck, world.arm, world.agv):
            world.send(device, *device.segments())
        yield made
    patched.undo()


@pytest.fixture(scope="module")
def page(gateway: Gateway, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    assert gateway.page is not None
    with browser(tmp_path_factory.mktemp("chromium")) as made:
        made.size(1000, 900)
        made.open(gateway.page.url + "/", HOME)
        yield made


def go(page: Page, where: str, title: str) -> str:
    # What is shown now is marked, so that what comes is not taken for it.
    mark = "document.querySelector('#main h1').dataset.old = 'old'"
    page.do(f"if (location.hash !== {json.dumps(where)}) {mark}")
    page.do(f"location.hash = {json.dumps(where)}")
    page.until("document.querySelector('#main h1[data-old]') === null")
    page.until(READY.format(title=json.dumps(title)))
    return page.text()


def find(page: Page, text: str) -> None:
    page.do(
        f"document.getElementById('q').value = {json.dumps(text)};"
        "document.getElementById('search').requestSubmit()"
    )


def rows(page: Page) -> int:
    return int(page.do("document.querySelectorAll('#main tbody th a[href^=\"#/device\"]').length"))


def test_what_holds_comes_by_itself(world: World, page: Page) -> None:
    page.until("document.getElementById('state').textContent === 'live'")
    # A conflict is the validators' finding and no trouble of this gateway; a lag is.
    page.until("document.getElementById('sentence').textContent.includes('insurer lags')")
    assert page.do("document.getElementById('sentence').className") == "warn"
    world.fork()
    page.until("document.getElementById('sentence').textContent.includes('agv-12')")
    assert page.do("document.getElementById('sentence').className") == "grave"
    # The validator that answers sets one branch aside.
    page.until("document.querySelectorAll('.conditions li').length === 3")
    text = page.text()
    assert "contradicted its own log" in text
    assert "also quarantine not empty, validator lagging" in text
    assert "device forked, act now since" in text and "compromised" in text
    assert "Of this device nothing is certain from the contradiction on." in text
    assert page.do("document.querySelector('.conditions a').hash") == "#/guide/device-forked"
    assert page.do("document.querySelector('.conditions a[title]').textContent") == "agv-12"
    page.until("document.querySelector('#main tbody th a').textContent === 'agv-12'")
    page.until("document.querySelectorAll('figure canvas').length === 2")
    page.do("document.getElementById('only').click()")
    page.until("document.body.innerText.includes('1 to 1 of 1')")
    page.until("document.body.innerText.includes('1 conflicting')")


def test_devices_are_paged_and_found(world: World, page: Page) -> None:
    go(page, "#/", "Gateway")
    page.until("document.querySelectorAll('#main tbody th a[href^=\"#/device\"]').length === 20")
    text = page.text()
    assert f"1 to 20 of {MANY + 3}" in text
    assert "software (secure-element is not shown)" in text and "2,096,339" in text
    page.do(
        "[...document.querySelectorAll('button')].find((b) => b.textContent === 'Next').click()"
    )
    page.until(f"document.body.innerText.includes('21 to 40 of {MANY + 3}')")
    find(page, "shelf-11")
    page.until("document.body.innerText.includes('1 to 10 of 10')")
    assert rows(page) == 10
    find(page, world.truck.text)
    page.until("document.body.innerText.includes('1 to 1 of 1')")
    find(page, "nobody")
    page.until("document.body.innerText.includes('none found')")
    find(page, "")
    page.do("document.getElementById('only').click()")
    page.until("document.body.innerText.includes('1 to 1 of 1')")
    page.do("document.getElementById('only').click()")


def test_validators_and_conflicts_are_shown(world: World, page: Page) -> None:
    go(page, "#/", "Gateway")
    page.until("document.querySelector('a[href*=\"/#/interaction/\"]') !== null")
    text = page.text()
    assert "Connection refused" in text and "answers" in text
    page.until("document.body.innerText.includes('1 matched')")
    link = page.do("document.querySelector('a[href*=\"/#/interaction/\"]').href")
    assert link.startswith(f"{world.notary.url}/#/interaction/dock-3/")
    assert "differ by more than 0.25 m" in page.text()
    assert page.do("document.querySelector('a[href*=\"/#/interaction/\"]').rel").startswith(
        "noopener"
    )


def test_a_device_is_shown(world: World, page: Page) -> None:
    text = go(page, f"#/device/{world.truck.text}", "Device truck-7")
    assert "Acme Robotics" in text
    # As long ago as its heads were made, on a machine that may be busy.
    assert "within 1 s" in text or "behind or late" in text
    assert "notary has" in text and "Conflicts of the last day" in text
    text = go(page, f"#/device/{world.agv.text}", "Device agv-12")
    assert "Suspect: fork. Both branches are kept." in text and "Contradictions" in text
    assert "secure-element is claimed and does not count" in text
    assert "no such device" in go(page, "#/device/" + "A" * 43, "That did not work")
    assert "There is no such page" in go(page, "#/constructor", "There is no")
    page.said.clear()


def test_a_script_for_a_tag_is_text(world: World, page: Page) -> None:
    text = go(page, f"#/device/{world.arm.text}", f"Device {SCRIPT}")
    page.until("document.querySelector('h1').textContent.includes('onerror')")
    assert text.count(SCRIPT) >= 1
    # What turns the direction of writing is shown, and turns nothing.
    assert "Acme\N{REPLACEMENT CHARACTER}scitoboR" in text and TURNED[0] not in text
    go(page, "#/", "Gateway")
    find(page, "onerror")
    page.until("document.body.innerText.includes('1 to 1 of 1')")
    assert SCRIPT in page.text()
    assert page.do("document.querySelectorAll('main img, main script').length") == 0
    assert page.do("document.title") == "Gateway dock-north · tallystick"
    find(page, "")
    assert page.said == []


def test_it_fits_a_phone(world: World, page: Page) -> None:
    page.size(390, 844, phone=True)
    for where, title in (("#/", "Gateway"), (f"#/device/{world.agv.text}", "Device agv-12")):
        go(page, where, title)
        page.until("document.querySelector('#main h1') !== null")
        # Plots follow a window that became smaller with the next frame.
        page.until("document.documentElement.scrollWidth <= 390")
    go(page, "#/", "Gateway")
    page.until("document.querySelectorAll('#main tbody th a').length > 0")
    page.size(1000, 900)


def test_keyboard_and_screen_reader_have_what_they_need(gateway: Gateway, page: Page) -> None:
    assert gateway.page is not None
    page.open("about:blank", "true")
    page.open(gateway.page.url + "/", HOME)
    page.until("document.querySelectorAll('#main table').length === 2")
    seen = page.do(
        "({lang: document.documentElement.lang,"
        " unnamed: [...document.querySelectorAll('input')].filter((i) => !i.labels.length).length,"
        " uncaptioned: [...document.querySelectorAll('table')].filter((t) => !t.caption).length,"
        " unscoped: document.querySelectorAll('th:not([scope])').length,"
        " live: document.getElementById('sentence').getAttribute('role'),"
        " plots: [...document.querySelectorAll('figure')]"
        "  .map((f) => [f.querySelector('figcaption').textContent, f.lastChild.ariaHidden])})"
    )
    assert seen["lang"] == "en" and seen["live"] == "status"
    assert seen["unnamed"] == seen["uncaptioned"] == seen["unscoped"] == 0
    # A plot's numbers are there as text; its drawing is hidden from who cannot see it.
    assert all(" now, at most " in text and hidden == "true" for text, hidden in seen["plots"])
    page.do("document.body.focus()")
    expected = ["To the content", "tallystick", "q", "What to do, step by step"]
    assert [tab(page) for _ in expected] == expected
    # Who can only see where a keyboard is sees it.
    outline = "getComputedStyle(document.activeElement).outlineStyle"
    assert page.do(outline) != "none"


def tab(page: Page) -> str:
    for kind in ("keyDown", "keyUp"):
        page.call(
            "Input.dispatchKeyEvent", type=kind, key="Tab", code="Tab", windowsVirtualKeyCode=9
        )
    return str(page.do("document.activeElement.id || document.activeElement.textContent"))


def test_who_reads_by_keyboard_stays_where_it_was(page: Page) -> None:
    go(page, "#/", "Gateway")
    page.until("document.querySelectorAll('#main tbody th a[href^=\"#/device\"]').length > 0")
    page.do("document.querySelector('#main tbody th a').focus()")
    focused = "document.activeElement.getAttribute('href')"
    where = page.do(focused)
    assert where.startswith("#/device/")
    # The table is made anew, since some device was seen a second longer ago.
    page.do("document.querySelector('#main tbody').dataset.old = 'old'")
    search = "document.getElementById('search').requestSubmit()"  # looks at once
    page.until(f"{search}, document.querySelector('#main tbody[data-old]') === null")
    assert page.do(focused) == where


def test_what_to_do_stands_on_the_page(page: Page) -> None:
    for one in pageguide.GUIDES.guides:
        text = go(page, f"#/guide/{one.name}", f"What to do: {one.name.replace('-', ' ')}")
        assert page.do("document.querySelectorAll('#main ol li').length") == len(one.steps)
        assert one.costs.replace("`", "") in text and f"section {one.name}" in text
    text = go(page, "#/guide", "What to do about each condition")
    assert page.do("document.querySelectorAll('#main h2').length") == len(conditions.ORDER)
    assert "There is no such page" in go(page, "#/guide/nothing", "There is no")


def test_the_pictures_show_what_the_page_shows(world: World, page: Page) -> None:
    kept = json.loads((PICTURES / "gateway-page.json").read_text())
    views = {
        "home": ("#/", "Gateway"),
        "guide": ("#/guide/validator-lagging", "What to do"),
        "device": (f"#/device/{world.agv.text}", "Device agv-12"),
    }
    for name, (where, title) in views.items():
        go(page, where, title)
        page.until("document.querySelectorAll('#main h2, #main dt').length > 0")
        shown = pictured.shape(page)
        # Details are the fleet's own words.
        own = {"manufacturer", "site"}
        kept[name]["labels"] = [one for one in kept[name]["labels"] if one not in own]
        assert shown == kept[name], "run scripts/page-pictures, and look at them"
    names = {path.name for path in PICTURES.glob("gateway-*.png")}
    assert names == {f"gateway-{name}.png" for name in pictured.PICTURES}


def test_a_gateway_that_says_nothing_any_more_is_not_well(page: Page) -> None:
    go(page, "#/", "Gateway")
    page.do("{const old = streaming; streaming = null; old.abort(); heardAt -= 60000}")
    page.until("sentence.textContent.startsWith('Nothing was heard of this gateway for 6')")
    assert page.do("[sentence.className, sentence.getAttribute('role')]") == ["grave", "status"]
    page.do("listen(), 0")
    page.until("sentence.textContent.includes('agv-12')")


def test_nothing_foreign_and_nothing_inline_runs(gateway: Gateway, page: Page) -> None:
    assert gateway.page is not None
    page.open(gateway.page.url + "/", HOME)
    page.said.clear()
    page.do(
        "{const s = document.createElement('script'); s.textContent = 'window.ran = 1';"
        "document.body.append(s);"
        "const f = document.createElement('script'); f.src = 'http://127.0.0.1:9/x.js';"
        "document.body.append(f);"
        "document.body.setAttribute('onclick', 'window.ran = 2'); document.body.click()}"
    )
    assert page.do("window.ran === undefined")
    page.until("true")
    assert any("Content Security Policy" in one for one in page.said)


def test_a_conflict_goes_when_it_is_old_or_superseded(gateway: Gateway, page: Page) -> None:
    looking = Looking(gateway)
    try:
        assert len(looking.look().snapshot.conflicts) == 1
        assert looking.look(after_s=DAY_S + 60).snapshot.conflicts == []
    finally:
        looking.close()
    with gateway.store.write_aside() as connection:
        connection.execute("UPDATE verdicts SET superseded = 1 WHERE state = 'conflicting'")
    page.until("document.querySelector('a[href*=\"/#/interaction/\"]') === null")


def test_the_files_say_what_a_browser_may_do(gateway: Gateway) -> None:
    assert gateway.page is not None
    for path, media in (
        ("/", "text/html; charset=utf-8"),
        ("/ui/app.js", "text/javascript; charset=utf-8"),
        ("/ui/uPlot.js", "text/javascript; charset=utf-8"),
        ("/ui/style.css", "text/css; charset=utf-8"),
        ("/v1/status", "application/json"),
    ):
        answer = httpx2.get(gateway.page.url + path, timeout=60)
        assert answer.headers["content-type"] == media
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy and "unsafe" not in policy and "*" not in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert not [name for name in answer.headers if name.startswith("access-control")]
    for method in ("POST", "PUT", "DELETE", "PATCH"):
        assert httpx2.request(method, gateway.page.url + "/v1/status").status_code == 405
    assert httpx2.get(gateway.page.url + "/ui/../config.py", timeout=60).status_code == 404
