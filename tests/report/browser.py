"""A real browser for tests: opens a page without a network and says what it saw, complained about and asked for."""

from __future__ import annotations

import html
import json
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")
_QUIET = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-default-apps", "--disable-extensions", "--hide-scrollbars",
    "--enable-logging=stderr", "--host-resolver-rules=MAP * ~NOTFOUND", "--virtual-time-budget=2000",
)  # fmt: skip
_POLICY = re.compile(r"<meta [^>]*Content-Security-Policy[^>]*>")
#: Put into a copy of the page: tells the frame around it what there is to be measured.
_MEASURE = """<script>
const wide = [...document.querySelectorAll("body *")].filter(
  one => !one.closest("defs, title, desc, path") && one.getBoundingClientRect().right > innerWidth + 0.5);
parent.postMessage(JSON.stringify({
  width: innerWidth, scroll: document.documentElement.scrollWidth, ground: getComputedStyle(document.body).backgroundColor,
  wide: wide.slice(0, 5).map(one => one.outerHTML.slice(0, 120)), plots: [...document.querySelectorAll("svg.plot")].map(
    one => Math.round(one.getBoundingClientRect().width)),
}), "*");
</script></body>"""
_LISTEN = '<!doctype html><script>const seen = []; addEventListener("message", one => {seen.push(one.data); '
_LISTEN += 'document.documentElement.dataset.seen = "[" + seen.join() + "]"})</script>'
_FRAME = '<iframe src="%s" width="%d" height="900" style="border:0"></iframe>'


@dataclass(frozen=True)
class Seen:
    """What a browser made of a page.

    Attributes:
        dom: as it was in the end.
        console: lines that it complained with.
        requests: addresses that the page asked for, itself left out.
    """

    dom: str
    console: list[str]
    requests: list[str]


def find_browser() -> str:
    """Give the browser's command; without one the test fails where none may be skipped, and is skipped elsewhere."""
    for name in NAMES:
        found = shutil.which(name)
        if found:
            return found
    sentence = f"no browser to open the report in: install one of {', '.join(NAMES)} (apt-get install -y chromium)"
    if os.environ.get("PYTEST_NO_SKIPS"):
        pytest.fail(sentence)
    pytest.skip(sentence)


def open_page(page: Path, scratch: Path, *flags: str) -> Seen:
    """Open a page and wait until it is drawn."""
    log = scratch / "net.json"
    command = [find_browser(), *_QUIET, f"--user-data-dir={scratch / 'profile'}", f"--log-net-log={log}", *flags]
    done = subprocess.run([*command, "--dump-dom", page.as_uri()], capture_output=True, text=True, timeout=120, check=True)
    console = [line for line in done.stderr.splitlines() if ":CONSOLE" in line]
    return Seen(done.stdout, console, _read_requests(log))


def measure(page: Path, scratch: Path, *widths: int, scheme: str = "light") -> dict[int, dict[str, Any]]:
    """Lay copies of a page out in frames of some widths in pixels, which may be less than any window's, and measure them."""
    text = page.read_text("utf-8")
    copy, frames = scratch / "copy.html", scratch / "frames.html"
    copy.write_text(_POLICY.sub("", text, count=1).replace("</body>", _MEASURE), "utf-8")
    frames.write_text(_LISTEN + "".join(_FRAME % (copy.name, width) for width in widths), "utf-8")
    seen = open_page(frames, scratch, f"--blink-settings=preferredColorScheme={0 if scheme == 'dark' else 1}")
    found = re.search(r'data-seen="([^"]*)"', seen.dom)
    assert found is not None, seen
    return {one["width"]: one for one in json.loads(html.unescape(found[1]))}


def _read_requests(log: Path) -> list[str]:
    """Give what was asked for on behalf of a page; what the browser wants for itself has no origin."""
    events = json.loads(log.read_text())["events"]
    found = [event["params"] for event in events if isinstance(event.get("params"), dict)]
    return sorted({one["url"] for one in found if one.get("initiator", "not an origin") != "not an origin"})
