"""A site as an operator has one, and the pictures of its gateway's page for docs/.

python pictured.py PICTURES [AXE.JS]      writes PICTURES/gateway-*.png and gateway-page.json

gateway-page.json is the page's shape: its headings, columns and labels. A test compares it with the
page, so that pictures older than what the page shows are found. With AXE.JS (axe-core, from
anywhere) each view is audited, in light and dark, and what it finds is printed.
"""

import contextlib
import itertools
import json
import math
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any
from unittest import mock

from support.chromium import Page, browser
from support.devices import Device, Fleet
from support.notary import Notary
from support.site import Radio, Site, until
from support.validating import handover
from support.watching import on_time, tagged
from tallystick.gateway import pagelimits
from tallystick.gateway.service import Gateway
from tallystick.tools.mosquitto import Mosquitto

ACME = Fleet("acme")
PICTURES = ("conditions", "device", "guide", "phone")
TICKS = 24
STEP_S = 1.0
LOOK_S = 0.2
WIDE = (1000, 1000)
PHONE = (390, 844)
SHAPE = (
    "({"
    "headings: [...document.querySelectorAll('#main h2')].map((one) => one.textContent),"
    "columns: [...document.querySelectorAll('#main thead th')].map((one) => one.textContent),"
    "labels: [...document.querySelectorAll('#main dt')].map((one) => one.textContent)"
    "})"
)


class Town:
    """A gateway with a dozen robots, three validators of which one is away, and a conflict."""

    def __init__(self, folder: Path, port: int) -> None:
        self.port = port
        self.notary = Notary(folder / "notary", ACME).start()
        self.customer = Notary(folder / "customer", ACME, name="customer").start()
        self.insurer = Notary(folder / "insurer", ACME, name="insurer")
        toml = "\n".join(one.toml for one in (self.notary, self.customer, self.insurer))
        limits = '[limits]\nretry_s_max = 2\n[page]\nbind = "127.0.0.1:0"\nlag_s = 5\n'
        self.site = Site(folder / "gw", ACME, port, "dock-north", validators=toml, limits=limits)
        made = {"manufacturer": "Acme Robotics", "site": "Bremen, hall 2"}
        names = [f"agv-{n:02}" for n in range(1, 9)] + ["arm-1", "arm-2", "gate-3", "lift-1"]
        self.devices = {name: tagged(ACME, name, name, **made) for name in names}
        for device in self.devices.values():
            self.site.enrol(device)

    def stop(self) -> None:
        self.notary.stop()
        self.customer.stop()

    def send(self, device: Device, *segments: bytes) -> None:
        with Radio(self.port, device) as radio:
            radio.up(*segments)

    def day(self, ending: threading.Event) -> None:
        """Seven handovers, one of them disputed, then records until the end; one comes late."""
        giver, receiver = self.devices["agv-03"], self.devices["arm-1"]
        for n in range(6):
            handover(giver, receiver, f"order-{4711 + n}", x=n)
        handover(giver, receiver, "order-4717", x=1, received_x=3)
        with contextlib.ExitStack() as stack:
            radios = {
                name: stack.enter_context(Radio(self.port, one))
                for name, one in self.devices.items()
            }
            for tick in itertools.count():
                for at, (name, device) in enumerate(self.devices.items()):
                    rate = 12 + 9 * math.sin(tick / 3 + at / 5)
                    on_time(device).decisions(round(rate))
                    device.seal()
                    # One of lift-1's is on the way still: what follows it is parked.
                    if name != "lift-1" or tick != TICKS - 8:
                        radios[name].up(*device.segments()[-1 if tick else 0 :])
                if ending.wait(STEP_S):
                    return

    def fork(self) -> None:
        """A copy of agv-05's key writes on by itself."""
        device = self.devices["agv-05"]
        copy = device.clone()
        on_time(device).record(1)
        on_time(copy).decision("stop")
        copy.seal()
        self.send(device, device.segments()[-1])
        self.send(copy, copy.segments()[-1])


class Camera:
    """Goes to views, and takes them as they are: whole, in light."""

    def __init__(self, page: Page, url: str, folder: Path, axe: str | None) -> None:
        self.page = page
        self.folder = folder
        self.axe = axe
        self.found: list[str] = []
        page.size(*WIDE)
        page.open(url + "/", "document.title.startsWith('Gateway ')")
        page.until("document.getElementById('state').textContent === 'live'")

    def go(self, where: str, title: str) -> None:
        self.page.do(f"location.hash = {json.dumps(where)}")
        self.page.until(f"document.title.startsWith({json.dumps(title)})")

    def take(self, name: str, until: str = "") -> None:
        """A picture of the view at this width: all of it, or above the heading `until`."""
        width = self.page.do("innerWidth")
        height = self.page.do("document.body.scrollHeight")
        if until:
            named = f"(one) => one.textContent === {json.dumps(until)}"
            found = f"[...document.querySelectorAll('h2')].find({named})"
            height = int(self.page.do(f"{found}.getBoundingClientRect().top + scrollY")) - 8
        if width == WIDE[0]:
            self.page.size(width, height)
        self.page.do("window.scrollTo(0, 0)")
        time.sleep(LOOK_S * 2)
        self.page.picture(self.folder / f"gateway-{name}.png")
        self.audit(name)
        if width == WIDE[0]:
            self.page.size(*WIDE)

    def audit(self, name: str) -> None:
        """What axe-core has against it, in light and in dark."""
        if self.axe is None:
            return
        for scheme in ("light", "dark"):
            features = [{"name": "prefers-color-scheme", "value": scheme}]
            self.page.call("Emulation.setEmulatedMedia", features=features)
            self.page.do(f"{self.axe}; 0")
            result: list[Any] = self.page.do(
                "axe.run(document, {resultTypes: ['violations', 'incomplete']}).then((r) =>"
                "[...r.violations.map((v) => ['violation', v]), ...r.incomplete.map((v) => "
                "['incomplete', v])].map(([k, v]) => [k, v.id, v.impact, v.help, "
                "v.nodes.map((n) => n.html.slice(0, 160) + ' ' + n.failureSummary)]))"
            )
            self.found += [f"{name} {scheme}: {json.dumps(one)}" for one in result]
        self.page.call("Emulation.setEmulatedMedia", features=[])


def shape(page: Page) -> Any:
    """The headings, columns and labels of what is shown."""
    return page.do(SHAPE)


def take(town: Town, gateway: Gateway, page: Page, folder: Path, axe: str | None) -> list[str]:
    """All pictures and the shape."""
    assert gateway.page is not None
    camera = Camera(page, gateway.page.url, folder, axe)
    ending = threading.Event()
    day = threading.Thread(target=town.day, args=(ending,))
    day.start()
    try:
        shapes = _of_a_day(camera)
    finally:
        ending.set()
        day.join()
    town.fork()
    page.until("document.getElementById('sentence').textContent.includes('agv-05')")
    camera.go(f"#/device/{town.devices['agv-05'].text}", "Device agv-05")
    page.until("document.body.innerText.includes('Suspect: fork')")
    camera.take("device")
    shapes["device"] = shape(page)
    (folder / "gateway-page.json").write_text(json.dumps(shapes, indent=1) + "\n")
    return camera.found


def _of_a_day(camera: Camera) -> dict[str, Any]:
    page = camera.page
    lagging = "document.getElementById('sentence').textContent.includes('insurer lags')"
    page.until(lagging)
    page.until("document.querySelector('a[href*=\"/#/interaction/\"]') !== null")
    page.until("document.querySelectorAll('figure canvas').length === 2")
    page.until("document.body.innerText.includes('6 matched')")
    page.until("document.body.innerText.includes('3 parked')")
    camera.take("conditions", until="Set aside")
    shapes = {"home": shape(page)}
    page.size(*PHONE, phone=True)
    camera.take("phone")
    page.size(*WIDE)
    camera.go("#/guide/validator-lagging", "What to do")
    camera.take("guide")
    shapes["guide"] = shape(page)
    return shapes


def main() -> None:
    folder = Path(sys.argv[1])
    axe = Path(sys.argv[2]).read_text() if len(sys.argv) > 2 else None
    with (
        tempfile.TemporaryDirectory(prefix="pictured-") as text,
        mock.patch.multiple(pagelimits, LOOK_S=LOOK_S, HISTORY_STEP_S=STEP_S),
        Mosquitto(Path(text) / "broker") as broker,
    ):
        town = Town(Path(text), broker.port)
        try:
            with town.site.running() as gateway, browser(Path(text) / "chromium") as page:
                until(lambda: town.site.status()["devices"] == len(town.devices), "the devices")
                found = take(town, gateway, page, folder, axe)
        finally:
            town.stop()
    for line in found:
        print(line)
    print(f"{len(found)} findings" if axe else "written")


if __name__ == "__main__":
    main()
