"""The pictures of docs/pages: the pages of a kept demo on which somebody has worked a little.

`make screenshots` writes them anew. What is on them is looked at as in the tests: nothing may complain.
"""

from __future__ import annotations

import base64
import struct
import sys
import tempfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
from playwright.sync_api import Browser, Page

from tests.acceptance.pages_scene import Kept, Watched, chromium

TO = Path(__file__).resolve().parents[2] / "docs" / "pages"
MOST_BYTES = 150_000
WIDE = {"width": 1280, "height": 900}
NARROW = {"width": 400, "height": 800}


def main() -> int:
    TO.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="dosimeter-pictures-") as folder:
        kept = Kept(Path(folder))
        with kept.history() as link, chromium() as browser:
            complaints = pictures(browser, link, kept)
    complaints += [
        f"{path.name}: {path.stat().st_size:,} bytes"
        for path in TO.glob("*.png")
        if path.stat().st_size > MOST_BYTES
    ]
    print(*complaints, sep="\n", file=sys.stderr)
    return 1 if complaints else 0


def pictures(browser: Browser, link: str, kept: Kept) -> list[str]:
    day = Watched(browser, link, viewport=WIDE)
    alert = triaged(day)
    night = day.another(viewport=WIDE, color_scheme="dark")
    phone = day.another(viewport=NARROW)
    each: list[tuple[str, Watched, Callable[[Watched], None]]] = [
        ("overview", day, lambda page: page.go("/")),
        ("queue", day, lambda page: page.go("/queue")),
        ("alert", day, lambda page: evidence(page, alert)),
        ("rule", day, backtest),
        ("case", day, lambda page: case(page, alert)),
        ("alert-dark", night, lambda page: evidence(page, alert)),
        ("queue-narrow", phone, lambda page: page.go("/queue?samples=false")),
        ("audit", day, lambda page: audit(page, kept)),
    ]
    blank = browser.new_page()
    for name, page, reach in each:
        reach(page)
        page.look(name)
        taken = page.page.screenshot(full_page=page is not phone and name != "rule")
        (TO / f"{name}.png").write_bytes(in_few_colours(blank, taken))
    return [*day.complaints, *night.complaints, *phone.complaints]


def triaged(page: Watched) -> str:
    """Some verdicts are given; the address of the alert that was read."""
    for at, verdict in ((0, "true"), (1, "true"), (4, "false")):
        page.go("/queue?samples=false")
        page.page.locator("#rows tbody tr").nth(at).locator(f"button[value={verdict}]").click()
        page.page.wait_for_url("**saved=*")
    page.go("/queue?tenant=north-bank&feature=scam")
    return str(page.page.get_attribute("a.open >> nth=0", "href"))


def evidence(page: Watched, alert: str) -> None:
    page.go(alert)
    page.page.fill("#reason", "ticket 4411")
    page.page.click(".ask button")
    page.page.wait_for_selector(".tokens")


def case(page: Watched, alert: str) -> None:
    page.go(alert)
    page.page.click("a[href^='/cases/user/']")
    page.page.wait_for_url("**/cases/user/*")


def backtest(page: Watched) -> None:
    page.go("/rules/deceptive-answer")
    text = page.page.input_value("#text").replace("above: 1 in 500 answers", "above: 1 in 50 answers", 1)  # fmt: skip
    page.page.fill("#text", text)
    page.page.click("button[value=backtest]")
    page.page.wait_for_selector("#h-result")
    page.page.evaluate("scrollTo({top: 0, behavior: 'instant'})")


def audit(page: Watched, kept: Kept) -> None:
    """Somebody was erased, and history has verified itself, as it does a minute after it started."""
    who = ("--tenant", "river-school", "--user", "river-school-user-12")
    done = kept.audit("erase", *who, "--reason", "ticket 4711", "--yes")
    assert done.returncode == 0, done.stderr

    for _ in range(30):
        page.go("/audit")
        if "✓ VERIFIED" in page.text():
            return
        page.page.wait_for_timeout(5000)  # each look is an entry, and on the picture
    raise AssertionError("history has not verified itself")


_PIXELS = """async (png) => {
  const image = await createImageBitmap(await (await fetch("data:image/png;base64," + png)).blob());
  const canvas = new OffscreenCanvas(image.width, image.height);
  canvas.getContext("2d").drawImage(image, 0, 0);
  const data = canvas.getContext("2d").getImageData(0, 0, image.width, image.height).data;
  let text = "";
  for (let i = 0; i < data.length; i += 32768) text += String.fromCharCode(...data.subarray(i, i + 32768));
  return [image.width, image.height, btoa(text)];
}"""


def in_few_colours(page: Page, png: bytes) -> bytes:
    """The same picture in 256 colours, each pixel in the nearest: a third of the size.

    Of each 32nd of red, green and blue the most frequent, so that no hue is lost, then what else is frequent.
    """
    wide, high, data = page.evaluate(_PIXELS, base64.b64encode(png).decode())
    pixels = np.frombuffer(base64.b64decode(data), np.uint8).reshape(-1, 4)[:, :3]
    colours, which, counts = np.unique(pixels, axis=0, return_inverse=True, return_counts=True)
    order = np.argsort(-counts, kind="stable")
    _, leaders = np.unique(colours[order] >> 5, axis=0, return_index=True)
    first = np.concatenate([np.sort(leaders), np.setdiff1d(np.arange(len(order)), leaders)])
    kept = colours[order][first[:256]]
    far = ((colours[:, None, :].astype(int) - kept[None, :, :]) ** 2).sum(axis=2)
    rows = far.argmin(axis=1).astype(np.uint8)[which].reshape(high, wide)
    return _encoded(rows, kept)


def _encoded(rows: npt.NDArray[np.uint8], palette: npt.NDArray[np.uint8]) -> bytes:
    """As PNG (ISO/IEC 15948) with a palette, 8 bits a pixel, no filter."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))  # fmt: skip

    high, wide = rows.shape
    lines = np.hstack([np.zeros((high, 1), np.uint8), rows]).tobytes()
    head = struct.pack(">IIBBBBB", wide, high, 8, 3, 0, 0, 0)
    return b"".join(
        (
            b"\x89PNG\r\n\x1a\n",
            chunk(b"IHDR", head),
            chunk(b"PLTE", palette.tobytes()),
            chunk(b"IDAT", zlib.compress(lines, 9)),
            chunk(b"IEND", b""),
        )
    )


if __name__ == "__main__":
    sys.exit(main())
