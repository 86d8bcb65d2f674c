"""Three days at the pages of a real history: who runs it, who reviews, who audits; by a browser, on a kept demo.

One history, in this order: each finds what those before did. Every state of a page that they reach is looked at
(axe-core, width, size), and nothing may complain on the way: the console, the content policy, a request that leaves.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser

from tests.acceptance.pages_scene import Kept, Watched, chromium
from tests.acceptance.scene import until

pytestmark = pytest.mark.parts

RULE = "scam-in-answer"
VERIFIED_S = 120.0
"""History verifies itself a minute after it starts."""


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Kept:
    return Kept(tmp_path_factory.mktemp("days"))


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as found:
        yield found


@pytest.fixture(scope="module")
def history(kept: Kept) -> Iterator[str]:
    with kept.history() as link:
        yield link


@pytest.fixture(scope="module")
def desk(history: str, browser: Browser) -> Iterator[Watched]:
    found = Watched(browser, history, viewport={"width": 1280, "height": 900})
    yield found
    found.close()


@pytest.fixture
def page(desk: Watched) -> Iterator[Watched]:
    yield desk
    assert not desk.complaints


def test_who_runs_it_sees_what_was_watched_and_what_is_not_known(page: Watched) -> None:
    page.look("overview")
    said = page.text()
    assert "8\nwaiting for a verdict" in said
    assert "100.00 %\nof tokens scored, 24 h" in said
    assert re.search(r"served\s+1,539\s+scored\s+1,539\s+unaccounted for\s+✓ 0", said), said
    assert said.count("not known: no sidecar answers at 127.0.0.1:9464") == 2  # taps, sinks
    assert "No tap has reported" not in said
    assert re.search(r"! not known to be watched for 2[78] d, from ", said), said
    assert re.search(r"unanchored\s+[✓!] \d+ entries, oldest ", said), said
    page.page.evaluate("for (const one of document.querySelectorAll('details')) one.open = true")
    assert re.search(r"\d\d:00\s+1,539\s+100.00 %", page.text())
    page.look("overview, opened")
    page.page.click("nav >> text=Audit")
    page.look("audit, before anything was done")
    said = page.text()
    assert re.search(r"file\s+the operator's", said)
    assert "Nothing was erased." in said
    assert "dosimeter audit verify --anchors --config FILE" in said


def test_who_reviews_works_the_queue_by_keyboard_alone(page: Watched) -> None:
    keyboard = page.page.keyboard
    page.go("/queue")
    page.look("queue")
    assert "8 match" in page.text(".head")
    assert page.page.locator("tr.sample").count() >= 5
    keyboard.press("?")
    page.look("queue, with its keys")
    page.go("/queue?tenant=north-bank&feature=scam")
    assert page.page.locator("#rows tbody tr").count() == 1
    page.page.click("text=link to this view")
    assert page.page.locator("#rows tbody tr").count() == 1
    assert page.page.input_value("input[name=tenant]") == "north-bank"
    keyboard.press("Enter")
    page.page.wait_for_url("**/alerts/*")
    page.look("alert")
    assert "scam in answer, average of 8 tokens" in page.text()
    assert "entry" in page.text("section[aria-labelledby=h-proof]")
    assert "grandson" not in page.page.content()
    keyboard.press("e")
    keyboard.type("triage of the morning")
    keyboard.press("Enter")
    page.page.wait_for_selector(".tokens")
    page.look("evidence")
    assert "pay with gift cards" in page.text(".tokens")
    assert "north-bank-user-" in page.text(".evidence")
    page.page.select_option("#why", "as-defined")
    page.page.fill("#note", "asks for gift cards; nobody asked it to")
    page.page.click("button[value=true]")
    page.page.wait_for_url("**/queue?*saved=*")
    page.look("queue, after a verdict")
    assert "✓ true" in page.text("#rows")
    keyboard.press("j")
    keyboard.press("k")
    page.go("/queue?samples=false&tenant=city-post")
    first = page.page.locator("#rows tbody tr").nth(1)
    id_ = str(first.get_attribute("id"))
    keyboard.press("j")
    keyboard.press("f")
    page.page.wait_for_url("**/queue?*saved=*")
    assert page.page.evaluate("document.querySelector('tr.current').id") == id_
    assert "✕ false" in page.text(f"#{id_}")
    page.go("/queue?samples=false&tenant=old-library")
    said = "Nothing matches. In the last 24 hours: coverage 100 % of 1,539 tokens · not known"
    assert said in page.text()
    page.look("queue, none")
    page.go("/queue?from=2026-03-01&to=2026-04-01&samples=false")
    assert "Nothing matches. In that time: no data in that time; nothing follows" in page.text()
    page.look("queue, no data")


def test_who_reviews_follows_a_person_to_everything_of_theirs(page: Watched) -> None:
    page.go("/queue?tenant=north-bank&feature=scam")
    page.page.keyboard.press("Enter")
    page.page.wait_for_url("**/alerts/*")
    assert "nobody asked it to" not in page.text()  # a note is evidence
    page.page.click("a[href^='/cases/user/']")
    page.page.wait_for_url("**/cases/user/*")
    page.look("case")
    said = page.text()
    assert "User north-bank-user-" in said
    assert "2 alerts in 2 conversations" in said
    assert re.search(r"Verdicts\s+true\s+1", said), said


def test_who_reviews_edits_a_rule_and_takes_it_away_as_a_patch(page: Watched, kept: Kept) -> None:
    before = kept.rules.read_text()
    page.go("/rules")
    page.look("rules")
    page.page.click(f"text={RULE}")
    page.page.wait_for_url(f"**/rules/{RULE}")
    page.look("rule")
    assert re.search(r"\d+ % \[\d+, \d+\] of [12] 95 % Wilson", page.text())
    text = page.page.input_value("#text")
    assert text == before
    level, looser = (f"scam, in: answer, above: 1 in {n} answers" for n in (1000, 50))
    edited = text.replace(level, looser)
    assert edited != text
    page.page.fill("#text", text.replace(level, level.replace("scam", "scan")))
    result = _tried(page, "lint")
    assert "did you mean `scam`?" in result
    page.page.fill("#text", edited)
    assert "passed" in _tried(page, "test")
    assert page.page.input_value("#text") == edited
    result = _tried(page, "backtest")
    assert "alerts a day" in result
    assert re.search(r"over 32 requests in \d+ s of which 32 are kept .* less than a day", result)
    assert page.page.locator("#result svg.plot").count() == 2
    with page.page.expect_download() as waiting:
        page.page.click("button[value=patch]")
    assert waiting.value.suggested_filename == f"{RULE}.patch"
    repository = kept.rules.parents[1]
    for words in (
        ("init", "-q"),
        ("add", "."),
        ("apply", "--check", str(waiting.value.path())),
        ("apply", str(waiting.value.path())),
    ):
        subprocess.run(["git", "-C", str(repository), *words], check=True, capture_output=True)
    assert kept.rules.read_text() == edited
    kept.rules.write_text(before)


def _tried(page: Watched, what: str) -> str:
    page.page.click(f"button[value={what}]")
    page.page.wait_for_selector(f"#h-result:has-text('{what.capitalize()}')")
    page.look(f"rule, {what}")
    return page.text("#result")


def test_who_reviews_reads_what_a_feature_may_claim(page: Watched) -> None:
    page.go("/features")
    page.look("features")
    page.page.click("text=deception >> nth=0")
    page.page.wait_for_url("**/features/deception")
    page.look("feature")
    assert "Known failures" in page.text()


def test_who_audits_sees_who_looked_and_that_the_log_verifies(page: Watched) -> None:
    page.go("/audit")
    page.look("audit")
    looked = page.text("section[aria-labelledby=h-access]")
    read = r"\(reviewer\)\s+view\s+evidence [0-9a-f]{12},.*\s+triage of the morning"
    assert re.search(read, looked), looked
    assert "queue, feature scam, tenant " in looked
    assert "north-bank" not in looked  # names are never in the log

    def verified() -> bool:
        page.go("/audit")
        return "✓ VERIFIED" in page.text("section[aria-labelledby=h-verdict]")

    until(verified, "history verifies itself", VERIFIED_S, page.text)
    page.look("audit, verified")
    assert "append-only since" in page.text("section[aria-labelledby=h-verdict]")
    assert re.search(r"file\s+the operator's\s+\d\d", page.text())


def test_an_erased_person_is_gone_from_every_page_that_showed_them(
    page: Watched, kept: Kept
) -> None:
    page.go("/queue?tenant=north-bank&feature=scam")
    page.page.keyboard.press("Enter")
    page.page.wait_for_url("**/alerts/*")
    alert = page.path
    case = str(page.page.get_attribute("a[href^='/cases/user/']", "href"))
    page.go(case)
    user = page.text("h1").removeprefix("User ")
    assert user.startswith("north-bank-user-")
    done = kept.audit(
        *("erase", "--tenant", "north-bank", "--user", user, "--reason", "ticket 4711", "--yes")
    )
    assert done.returncode == 0, done.stderr
    page.go(alert)
    page.look("alert, erased")
    assert "The evidence was erased" in page.text(".evidence")
    assert user not in page.page.content()
    page.go(case)
    page.look("case, erased")
    assert user not in page.page.content()
    assert page.text("h1") == f"User {case.rpartition('/')[2][:12]}"
    page.go("/audit")
    page.look("audit, after an erasure")
    erased = page.text("section[aria-labelledby=h-tomb]")
    assert re.search(rf"{case.rpartition('/')[2][:12]}\s+ticket 4711", erased), erased
    assert user not in page.page.content()
    verified = kept.audit("verify", "--anchors", "--config", str(kept.config), "--evidence")
    assert verified.returncode == 0, verified.stdout + verified.stderr
    assert verified.stdout.startswith("VERIFIED")


@pytest.mark.parametrize(("scheme", "width"), [("dark", 1280), ("light", 400)])
def test_every_page_holds_in_the_dark_and_on_a_narrow_screen(
    desk: Watched, scheme: str, width: int
) -> None:
    page = desk.another(color_scheme=scheme, viewport={"width": width, "height": 800})
    page.go("/queue?samples=false")
    alert = str(page.page.get_attribute("a.open >> nth=0", "href"))
    for path in ("/", "/queue", alert, "/rules", f"/rules/{RULE}", "/features/scam", "/audit"):
        page.go(path)
        page.look(f"{path} {scheme} {width}")
    page.go(alert)
    page.page.fill("#reason", "second look")
    page.page.click(".ask button")
    page.page.wait_for_selector(".evidence dl")
    page.look(f"evidence {scheme} {width}")
    page.close()
    assert not page.complaints
