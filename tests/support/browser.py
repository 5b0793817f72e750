"""A page in a real browser, headless."""

import base64
import fcntl
import html
import json
import os
import re
import shutil
import subprocess
import time
from pathlib import Path
from typing import ClassVar

import pytest

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
OPTIONS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage")
HOSTILE = '</script><script>document.title="hacked"</script>"\'`${1}'


def in_browser(path, script=""):
    """The page after `script` ran in it: its HTML; errors of the console are collected in the title's data."""
    if CHROMIUM is None:
        pytest.skip("no chromium here")
    text = path.read_text()
    spy = '<script>window.failures = []; addEventListener("error", e => failures.push(e.message));'
    spy += "console.error = (...all) => failures.push(all.join(' '));"
    spy += 'addEventListener("securitypolicyviolation", e => failures.push(e.violatedDirective));</script>'
    after = f"<script>{script}; document.body.dataset.failures = JSON.stringify(failures)</script>"
    changed = path.with_name("spied.html")
    changed.write_text(text.replace("<title>", f"{spy}<title>", 1).replace("</body>", f"{after}</body>"))
    command = [CHROMIUM, *OPTIONS, "--dump-dom", f"file://{changed}"]
    dom = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout
    failures = json.loads(html.unescape(re.search(r'data-failures="([^"]*)"', dom)[1]))
    return dom, failures


class Browser:
    """One tab, driven by the DevTools protocol through a pipe: real keys and clicks; it knows what a page asked for.

    requests : addresses that the page asked for, without data:, blob: and what its policy blocked
    failures : errors of scripts, messages of the console, violations of a page's policy
    downloads : folder of downloaded files
    """

    KEYS: ClassVar = {"ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39, "ArrowDown": 40, "Enter": 13, "Escape": 27,
            "Tab": 9, "PageUp": 33, "PageDown": 34, "Home": 36, "End": 35}  # fmt: skip

    def __init__(self, folder):
        if CHROMIUM is None:
            pytest.skip("no chromium here")
        self.requests, self.failures, self.downloads, self.count = {}, [], Path(folder, "downloads"), 0
        # Chromium reads commands from descriptor 3 and answers on 4.
        reading, self.to = os.pipe()
        self.answers, writing = os.pipe()
        ends = [fcntl.fcntl(end, fcntl.F_DUPFD, 50) for end in (reading, writing)]
        self.process = subprocess.Popen(
            [CHROMIUM, *OPTIONS, "--remote-debugging-pipe", f"--user-data-dir={folder}/profile", "about:blank"],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, pass_fds=(3, 4, *ends),
            preexec_fn=lambda: (os.dup2(ends[0], 3), os.dup2(ends[1], 4)),
        )  # fmt: skip
        for end in (reading, writing, *ends):
            os.close(end)
        self.rest, self.session = b"", None
        target = next(one for one in self.send("Target.getTargets")["targetInfos"] if one["type"] == "page")
        attached = self.send("Target.attachToTarget", targetId=target["targetId"], flatten=True)
        self.session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.send(f"{domain}.enable")
        self.resize(1280, 900)
        self.send("Page.setDownloadBehavior", behavior="allow", downloadPath=str(self.downloads))

    def send(self, method, **parameters):
        """The answer to a command; what happens until it comes is noted."""
        self.count += 1
        session = {"sessionId": self.session} if self.session else {}
        message = {"id": self.count, "method": method, "params": parameters, **session}
        os.write(self.to, json.dumps(message).encode() + b"\0")
        while True:
            while b"\0" not in self.rest:
                read = os.read(self.answers, 1 << 20)
                assert read, "the browser has ended"
                self.rest += read
            line, _, self.rest = self.rest.partition(b"\0")
            answer = json.loads(line)
            self._note(answer.get("method"), answer.get("params", {}))
            if answer.get("id") == self.count:
                assert "error" not in answer, f"{method}: {answer.get('error')}"
                return answer["result"]

    def _note(self, method, told):
        if method == "Network.requestWillBeSent" and not told["request"]["url"].startswith(("data:", "blob:")):
            self.requests[told["requestId"]] = told["request"]["url"]
        elif method == "Network.loadingFailed" and told.get("blockedReason") == "csp":
            self.requests.pop(told["requestId"], None)
        elif method == "Runtime.exceptionThrown":
            details = told["exceptionDetails"]
            self.failures.append(details.get("exception", {}).get("description", details["text"]))
        elif method == "Log.entryAdded" and told["entry"]["level"] == "error":
            self.failures.append(told["entry"]["text"])
        elif method == "Runtime.consoleAPICalled" and told["type"] == "error":
            self.failures.append(str(told["args"]))

    def open(self, path, anchor=""):
        """Load a file, afresh."""
        self.requests.clear()
        self.failures.clear()
        self.send("Page.navigate", url="about:blank")
        self.until("location.href === 'about:blank'")
        self.send("Page.navigate", url=Path(path).absolute().as_uri() + anchor)
        self.until("location.protocol === 'file:' && document.readyState === 'complete'")

    def run(self, script):
        """The value of an expression, as JSON knows it."""
        answer = self.send("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def dom(self):
        """The page as it stands, as HTML."""
        return self.run("document.documentElement.outerHTML")

    def until(self, condition, seconds=60):
        """Wait until an expression is true."""
        end = time.monotonic() + seconds
        while not self.run(f"Boolean({condition})"):
            assert time.monotonic() < end, f"never true: {condition}; failures: {self.failures}"
            time.sleep(0.02)

    def press(self, *keys, text=""):
        """Press keys by their names, or single letters."""
        for key in keys:
            of_key = {"key": key, "windowsVirtualKeyCode": self.KEYS.get(key, ord(key[0].upper()))}
            typed = {"text": key} if len(key) == 1 else {"text": "\r"} if key == "Enter" else {}
            self.send("Input.dispatchKeyEvent", type="keyDown", **of_key, **typed)
            self.send("Input.dispatchKeyEvent", type="keyUp", **of_key)

    def centre(self, selector):
        """Where the middle of an element is on the screen, once it has been scrolled there."""
        element = f"document.querySelector({json.dumps(selector)})"
        self.run(f"{element}.scrollIntoView({{block: 'nearest'}})")
        return self.run(f"(r => [r.x + r.width / 2, r.y + r.height / 2])({element}.getBoundingClientRect())")

    def mouse(self, kind, x, y, **more):
        self.send("Input.dispatchMouseEvent", type=kind, x=x, y=y, **more)

    def click(self, selector):
        """Click the middle of an element with the mouse."""
        x, y = self.centre(selector)
        for kind, buttons in (("mousePressed", 1), ("mouseReleased", 0)):
            self.mouse(kind, x, y, button="left", buttons=buttons, clickCount=1)

    def resize(self, width, height):
        self.send("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)

    def screenshot(self, path):
        """What the tab shows, as PNG."""
        Path(path).write_bytes(base64.b64decode(self.send("Page.captureScreenshot", format="png")["data"]))

    def close(self):
        self.process.terminate()
        self.process.wait(30)
        os.close(self.to)
        os.close(self.answers)
