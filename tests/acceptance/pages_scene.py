"""`dosimeter history` as a process on a kept demo, and a browser that is watched: for tests and for pictures alike.

What must never happen on any page is looked for on every page: `Watched.complaints` holds it.
"""

from __future__ import annotations

import contextlib
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import axe_playwright_python
from playwright.sync_api import Browser, Page, Request, Response, sync_playwright

import dosimeter.rules as rules
from dosimeter.monitor.lab import CALIBRATION
from tests.conftest import CHROMIUM
from tests.kept import kept_demo

AXE = (Path(axe_playwright_python.__file__).parent / "axe.min.js").read_text()
MOST_BYTES = 150_000
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
LAB_RULES = Path(str(rules.__file__)).parent / "packs" / "lab.yaml"
FILE = """version: 1
data-dir: {data}
rules: [{rules}]
calibrations: [{calibration}]
archive: {{}}
history:
  name: demo
  anchors: {{file: {anchor}}}
  pages: {{zone: Europe/Berlin}}
"""


class Kept:
    """A data folder of its own, and beside it what an operator has: a file, rules in git, an anchor's file."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.data = folder, folder / "data"
        self.config, self.anchor = folder / "sidecar.yaml", folder / "checkpoints.txt"
        kept_demo(self.data)
        self.rules = folder / "repository" / "rules" / "lab.yaml"
        self.rules.parent.mkdir(parents=True)
        shutil.copyfile(LAB_RULES, self.rules)
        self.config.write_text(
            FILE.format(
                data=self.data, rules=self.rules, calibration=CALIBRATION, anchor=self.anchor
            )
        )

    def audit(self, *words: str) -> subprocess.CompletedProcess[str]:
        """`dosimeter audit …` on it."""
        name, *rest = words
        command = [*OURS, "audit", name, "--data-dir", str(self.data), *rest]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    @contextlib.contextmanager
    def history(self) -> Iterator[str]:
        """The printed link of `dosimeter history`, while it runs."""
        command = [*OURS, "history", "--config", str(self.config), "--port", "0"]
        process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)  # fmt: skip
        assert process.stderr is not None
        said: list[str] = []
        try:
            for line in process.stderr:
                said.append(line)
                if line.startswith("history: http://"):
                    break
            else:
                raise AssertionError(f"history ended\n{''.join(said)}")
            rest = threading.Thread(target=said.extend, args=(process.stderr,), daemon=True)
            rest.start()
            yield said[-1].removeprefix("history: ").strip()
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(60)
        assert process.returncode == 0, "".join(said)
        assert not any(line.startswith(("ERROR", "Traceback")) for line in said), "".join(said)


OURS = (sys.executable, "-m", "dosimeter.monitor.cli.main")


@contextlib.contextmanager
def chromium() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield found
        found.close()


class Watched:
    """A page, let in by the printed link. `look` at every state it is in."""

    def __init__(self, browser: Browser, link: str, **options: Any) -> None:
        self._browser, self.base = browser, "{0.scheme}://{0.netloc}".format(urlsplit(link))
        self.complaints: list[str] = []
        self._context = browser.new_context(**options)
        self._context.set_default_timeout(20_000)
        self.page: Page = self._context.new_page()
        self.page.add_init_script(AXE)
        self.page.on("console", lambda said: self.complaints.append(f"console: {said.text}"))
        self.page.on("pageerror", lambda error: self.complaints.append(f"script: {error}"))
        self._context.on("request", self._asked)
        self._context.on("response", self._answered)
        self.page.goto(link)

    def another(self, **options: Any) -> Watched:
        """A window of the same person, who is let in already."""
        held = self._context.storage_state()
        return Watched(self._browser, self.base + "/", storage_state=held, **options)

    def _asked(self, request: Request) -> None:
        if not request.url.startswith((self.base + "/", "data:", "blob:")):
            self.complaints.append(f"a request left for {request.url}")

    def _answered(self, response: Response) -> None:
        if response.status >= 400:
            self.complaints.append(f"{response.url}: {response.status}")

    def go(self, path: str) -> None:
        self.page.goto(self.base + path)

    @property
    def path(self) -> str:
        return self.page.url.removeprefix(self.base)

    def text(self, selector: str = "main") -> str:
        return self.page.inner_text(selector)

    def look(self, name: str) -> None:
        """axe-core, its width, its size."""
        found = self.page.evaluate("axe.run({resultTypes: ['violations']})")
        assert found["testEngine"]["version"].startswith("4.")
        assert len(found["passes"]) > 10
        for one in found["violations"]:
            targets = [node["target"] for node in one["nodes"]]
            self.complaints.append(f"{name}: axe {one['id']} at {targets}")
        wider = self.page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
        if wider > 0:
            self.complaints.append(f"{name}: scrolls sideways by {wider} px")
        size = len(self.page.content().encode())
        if size > MOST_BYTES:
            self.complaints.append(f"{name}: {size} bytes")

    def close(self) -> None:
        self._context.close()
