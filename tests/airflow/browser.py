"""A headless Chromium, led over its DevTools protocol: open a page, wait for text, click, look.

python -m tests.airflow.browser http://127.0.0.1:8080 docs/images takes the pictures of the docs.
"""

from __future__ import annotations

import base64
import itertools
import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any
from urllib.request import ProxyHandler, build_opener

BROWSER = (
    shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
)


class Browser:
    """One page; `said` keeps what its console called an error."""

    def __init__(self, width: int = 1280, height: int = 800):
        from websockets.sync.client import connect

        self.profile = tempfile.TemporaryDirectory(prefix="browser-", ignore_cleanup_errors=True)
        self.process = subprocess.Popen(
            [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run",
             "--disable-background-networking", "--hide-scrollbars", "--remote-debugging-port=0",
             f"--window-size={width},{height}", f"--user-data-dir={self.profile.name}",
             "--no-proxy-server", "about:blank"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        port = self._port()
        pages = build_opener(ProxyHandler({})).open(f"http://127.0.0.1:{port}/json", timeout=30)
        page = next(each for each in json.loads(pages.read()) if each["type"] == "page")
        self.socket = connect(page["webSocketDebuggerUrl"], max_size=None, proxy=None)
        self.numbers = itertools.count(1)
        self.errors: list[str] = []
        self.ask("Page.enable")
        self.ask("Runtime.enable")
        self.ask("Emulation.setFocusEmulationEnabled", enabled=True)  # else nothing has the focus

    def _port(self) -> str:
        file = Path(self.profile.name, "DevToolsActivePort")
        end = time.monotonic() + 240
        while not (file.exists() and file.read_text().strip()):
            assert time.monotonic() < end and self.process.poll() is None, "no browser"
            time.sleep(0.05)
        return file.read_text().splitlines()[0]

    def ask(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Calls a method of the protocol."""
        number = next(self.numbers)
        self.socket.send(json.dumps({"id": number, "method": method, "params": parameters}))
        while True:
            message = json.loads(self.socket.recv(timeout=240))
            if message.get("method") == "Runtime.exceptionThrown":
                self.errors.append(json.dumps(message["params"])[:500])
            if message.get("id") == number:
                return message["result"]

    def run(self, script: str) -> Any:
        """The value of an expression in the page."""
        return self.ask("Runtime.evaluate", expression=script, returnByValue=True)["result"].get(
            "value"
        )

    def text(self) -> str:
        return self.run("document.body ? document.body.innerText : ''") or ""

    def wait(self, *words: str, seconds: float = 240) -> str:
        """The page's text, once all the words are in it."""
        end = time.monotonic() + seconds
        while not all(word in (found := self.text()) for word in words):
            missing = [word for word in words if word not in found]
            assert time.monotonic() < end, f"not in the page: {missing}; it says: {found[:3000]}"
            time.sleep(0.2)
        return found

    def open(self, url: str, *words: str) -> str:
        self.ask("Page.navigate", url=url)
        return self.wait(*words)

    def click(self, label: str, kind: str = "button") -> None:
        """Clicks what has this text or label, once it is there, as a mouse does."""
        script = f"""(() => {{
          const all = [...document.querySelectorAll({kind!r})];
          const found = all.find(e => e.innerText.trim() === {label!r})
            || all.find(e => e.getAttribute('aria-label') === {label!r})
            || all.find(e => e.innerText.includes({label!r}));
          if (!found) return null;
          found.scrollIntoView({{block: 'nearest', behavior: 'instant'}});
          const box = found.getBoundingClientRect();
          return [box.x + box.width / 2, box.y + box.height / 2];
        }})()"""
        end, before, place = time.monotonic() + 240, None, None
        while not place or place != before:  # it may still move
            assert time.monotonic() < end, f"no {kind} {label!r}"
            time.sleep(0.2)
            before, place = place, self.run(script)
        for event in ("mousePressed", "mouseReleased"):
            at = {"x": place[0], "y": place[1], "button": "left", "clickCount": 1}
            self.ask("Input.dispatchMouseEvent", type=event, **at)

    def picture(self, path: Path, height: int = 0) -> None:
        """Takes a picture once the page stands still, or after half a minute."""
        if height:
            size = {"width": 1280, "height": height, "deviceScaleFactor": 1, "mobile": False}
            self.ask("Emulation.setDeviceMetricsOverride", **size)
        end, before, shot = time.monotonic() + 30, "", "-"
        while shot != before and time.monotonic() < end:
            time.sleep(2)
            before, shot = shot, self.ask("Page.captureScreenshot", format="png")["data"]
        path.write_bytes(base64.b64decode(shot))

    def close(self) -> None:
        self.socket.close()
        self.process.terminate()
        self.process.wait(30)
        self.profile.cleanup()


def run_and_graph(browser: Browser, url: str, folder: Path) -> None:
    """Takes pictures of the newest run of `twinbeam_train`: the grid with its tasks, its graph."""
    browser.open(f"{url}/dags/twinbeam_train", "Latest Run", "promote")
    browser.click("", "a[href*='/runs/']")
    browser.wait("Task Instances", "promote")
    browser.picture(folder / "airflow-run.png", 1040)
    browser.click("", "button[value=graph]")
    browser.wait("evaluate_new", "BeamStep")
    browser.picture(folder / "airflow-graph.png", 657)


def form(browser: Browser, url: str, picture: Path) -> str:
    """Opens the form that starts a run and takes its picture; returns what its parts say."""
    browser.open(f"{url}/dags/twinbeam_daily", "score", "publish")
    browser.click("Trigger")
    texts = browser.wait("Single Run", "Bundle", "Overwrite", "How", "Where")
    browser.picture(picture, 1440)
    browser.click("How")  # one part is open at a time
    texts += browser.wait("Rejected rows", "More flags")
    browser.click("Where")
    return texts + browser.wait("On this Airflow's workers")


def main() -> None:
    url, folder = sys.argv[1].rstrip("/"), Path(sys.argv[2])
    browser = Browser()
    try:
        run_and_graph(browser, url, folder)
        form(browser, url, folder / "airflow-form.png")
    finally:
        browser.close()


if __name__ == "__main__":
    main()
