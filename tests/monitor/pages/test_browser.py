"""The pages in headless Chromium: clicked through by mouse and by keyboard alone, and checked with axe-core.

axe-core is 4.4.3 (2022), as its Python package brings it; rules of later versions are not checked. It is injected by
the browser's own debugger, so that every page keeps its content policy. Set `SCREENSHOTS` to a folder to look at them.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import axe_playwright_python
import pytest
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from dosimeter.monitor.config_pages import PagesConfig
from dosimeter.monitor.pages.app import make_app
from dosimeter.monitor.pages.local import LocalLink
from dosimeter.monitor.pages.serve import Served

from ...conftest import CHROMIUM
from .fake import NOW_NS, FakeHistory, alert_id

pytestmark = pytest.mark.parts

AXE = (Path(axe_playwright_python.__file__).parent / "axe.min.js").read_text()
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
CONFIG = PagesConfig(transcript_url="https://ops.example/r/{request_id}")
PATHS = {
    "overview": "/",
    "queue": "/queue",
    "queue-empty": "/queue?tenant=nobody",
    "alert": f"/alerts/{alert_id(0)}?q=tenant%3Dacme",
    "sample": f"/alerts/{alert_id(5)}",
    "erased": f"/alerts/{alert_id(3)}",
    "case": "/cases/user/" + "5" * 32,
    "rules": "/rules",
    "rule": "/rules/deceptive-answer",
    "features": "/features",
    "feature": "/features/deception",
    "audit": "/audit",
    "refused": "/nope",
}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield found
        found.close()


class Desk:
    """A site in use: what its history was asked, and what the browser complained of."""

    def __init__(self, browser: Browser) -> None:
        self._browser = browser
        self.history = FakeHistory()
        self.complaints: list[str] = []
        self._who = LocalLink("local:me")
        self._served = Served(make_app(self.history, self._who, CONFIG, now_ns=lambda: NOW_NS))
        self._open: list[BrowserContext] = []

    def start(self) -> Desk:
        self._served.start()
        return self

    def stop(self) -> None:
        for context in self._open:
            context.close()
        self._served.stop()

    def page(self, **options: Any) -> Page:
        """A browser of its own, admitted by a link of its own."""
        context = self._browser.new_context(**options)
        self._open.append(context)
        page = context.new_page()
        page.on("console", lambda said: self.complaints.append(said.text))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.goto(self._served.url + self._who.path())
        return page

    def go(self, page: Page, path: str) -> None:
        page.goto(self._served.url + path)

    def url(self, page: Page) -> str:
        return page.url.removeprefix(self._served.url)


@pytest.fixture
def desk(browser: Browser) -> Iterator[Desk]:
    found = Desk(browser).start()
    yield found
    found.stop()


def violations(page: Page, name: str) -> list[str]:
    shots = os.environ.get("SCREENSHOTS")
    if shots:
        page.screenshot(path=Path(shots) / f"{name}.png", full_page=True)
    found = page.evaluate("axe.run({resultTypes: ['violations']})")
    assert found["testEngine"]["version"] == "4.12.1"
    assert len(found["passes"]) > 10
    wider = page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
    sideways = [f"{name}: scrolls sideways by {wider} px"] if wider > 0 else []
    return sideways + [
        f"{name}: {one['id']} at {[node['target'] for node in one['nodes']]}"
        for one in found["violations"]
    ]


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 400)])
def test_axe_core_finds_nothing_on_any_page_and_none_scrolls_sideways(
    desk: Desk, scheme: Any, width: int
) -> None:
    size: Any = {"width": width, "height": 800}
    page = desk.page(color_scheme=scheme, viewport=size)
    page.add_init_script(AXE)
    found: list[str] = []
    for name, path in PATHS.items():
        desk.go(page, path)
        found += violations(page, f"{name}-{scheme}-{width}")
    desk.go(page, PATHS["alert"])
    page.fill("#reason", "triage")
    page.click(".ask button")
    page.wait_for_selector(".tokens")
    page.evaluate("for (const one of document.querySelectorAll('details')) one.open = true")
    found += violations(page, f"evidence-{scheme}-{width}")
    for did in ("backtest", "test"):
        desk.go(page, PATHS["rule"])
        page.click(f"button[value={did}]")
        page.wait_for_selector("#result")
        found += violations(page, f"{did}-{scheme}-{width}")
    assert not found


def test_a_queue_is_worked_by_keyboard_alone_from_row_to_verdict_and_back(desk: Desk) -> None:
    page = desk.page()
    desk.go(page, "/queue?tenant=acme")
    for key in ("j", "j", "k"):
        page.keyboard.press(key)
    chosen = page.evaluate("document.querySelector('tr.current').id")
    assert chosen == f"a-{alert_id(3)}"
    page.keyboard.press("Enter")
    page.wait_for_url("**/alerts/*")
    page.keyboard.press("q")
    page.wait_for_url("**/queue?tenant=acme#*")
    assert page.evaluate("document.querySelector('tr.current').id") == chosen
    page.keyboard.press("k")
    page.keyboard.press("Enter")
    page.wait_for_url("**/alerts/*")
    page.keyboard.press("e")
    page.keyboard.type("second review")
    page.keyboard.press("Enter")
    page.wait_for_selector(".tokens")
    assert ("view", "local:me", f"evidence {alert_id(0)}", "second review") in desk.history.accesses
    page.keyboard.press("f")
    page.wait_for_url("**/queue?tenant=acme&saved=*")
    assert desk.history.labels[alert_id(0)][0].verdict == "false"
    assert "is saved" in page.inner_text("[role=status]")
    assert page.evaluate("document.querySelector('tr.current').id") == f"a-{alert_id(0)}"
    page.keyboard.press("t")
    page.wait_for_load_state()
    page.wait_for_selector(".sev.high:has-text('disagreed')")
    assert [one.verdict for one in desk.history.labels[alert_id(0)]] == ["false", "true"]
    assert not desk.complaints


def test_keys_do_nothing_while_somebody_types_and_can_be_switched_off(desk: Desk) -> None:
    page = desk.page()
    desk.go(page, "/queue")
    page.keyboard.press("/")
    page.keyboard.type("tfu?j")
    assert page.input_value("input[name=tenant]") == "tfu?j"
    page.keyboard.press("Escape")
    page.keyboard.press("?")
    page.uncheck("#keys-on")
    page.reload()
    page.keyboard.press("t")
    page.keyboard.press("j")
    assert page.evaluate("document.querySelector('tr.current').id") == f"a-{alert_id(0)}"
    assert not desk.history.labels
    assert not desk.complaints


def test_everything_works_without_scripts(desk: Desk) -> None:
    page = desk.page(java_script_enabled=False)
    desk.go(page, "/")
    page.click("text=waiting for a verdict")
    page.select_option("select[name=severity]", "high")
    page.click("button:text-is('Filter')")
    assert "severity=high" in page.url
    page.click("a.open >> nth=0")
    page.fill("#reason", "triage")
    page.click("button:text-is('Show')")
    assert "escrow" in page.inner_text(".tokens >> nth=0")
    page.select_option("select[name=reason]", "fiction")
    page.click("button[value=unsure]")
    assert "severity=high" in page.url
    ((entry,),) = desk.history.labels.values()
    assert (entry.verdict, entry.reason) == ("unsure", "fiction")


def test_a_rule_is_edited_tried_and_taken_away_as_a_patch(desk: Desk) -> None:
    page = desk.page()
    desk.go(page, "/rules")
    page.click("text=deceptive-answer")
    text = page.input_value("#text")
    page.fill("#text", text.replace("deception,", "decepton,"))
    page.click("button[value=lint]")
    assert "did you mean `deception`?" in page.inner_text("#result")
    page.fill("#text", text.replace("1 in 500", "1 in 1000"))
    page.click("button[value=backtest]")
    assert "139 alerts a day" in page.inner_text("#result")
    with page.expect_download() as waiting:
        page.click("button[value=patch]")
    patch = Path(waiting.value.path()).read_text()
    assert waiting.value.suggested_filename == "deceptive-answer.patch"
    assert "+    when: {feature: deception, in: answer, above: 1 in 1000 answers" in patch
    assert not desk.complaints


def test_hashes_are_copied_and_a_zone_is_kept(desk: Desk) -> None:
    page = desk.page(permissions=["clipboard-read", "clipboard-write"])
    desk.go(page, f"/alerts/{alert_id(0)}")
    page.click("summary:has-text('hashes')")
    page.click("button[aria-label='Copy program']")
    page.wait_for_selector("text=copied")
    assert page.evaluate("navigator.clipboard.readText()") == "3a" * 32
    page.fill("#tz", "Asia/Kolkata")
    page.click("text=Change")
    desk.go(page, f"/alerts/{alert_id(0)}")
    assert "17:30:00 IST" in page.inner_text(".head")


def test_hostile_text_runs_nowhere(desk: Desk) -> None:
    page = desk.page()
    dialogs: list[str] = []
    page.on("dialog", lambda dialog: (dialogs.append(dialog.message), dialog.dismiss()))
    for path in PATHS.values():
        desk.go(page, path)
    desk.go(page, PATHS["alert"])
    page.fill("#reason", "triage")
    page.click(".ask button")
    page.wait_for_selector(".tokens")
    assert not dialogs
    expected = "Failed to load resource: the server responded with a status of 404 (Not Found)"
    assert set(desk.complaints) <= {expected}  # `/nope`, and no violation of the content policy


def test_another_site_can_neither_frame_it_nor_send_its_forms(desk: Desk) -> None:
    page = desk.page()
    target = desk._served.url
    page.route("https://evil.example/", lambda route: route.fulfill(
        content_type="text/html",
        body=f'<form method="post" action="{target}/alerts/{alert_id(0)}/label">'
        '<button name="verdict" value="true">x</button></form>'
        f'<iframe name="inside" src="{target}/queue"></iframe>',
    ))  # fmt: skip
    page.goto("https://evil.example/")
    inside = page.frame(name="inside")
    assert inside is None or "deceptive-answer" not in inside.content()
    page.click("button")
    page.wait_for_load_state()
    assert not desk.history.labels


def test_a_printed_page_leaves_out_what_cannot_be_pressed(desk: Desk) -> None:
    page = desk.page()
    desk.go(page, "/queue")
    page.emulate_media(media="print")
    assert page.locator("button:visible").count() == 0
    assert page.locator("tbody tr:visible").count() == 50
