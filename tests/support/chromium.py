"""Headless Chromium spoken to through a pipe (the DevTools protocol): no port, no further package."""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--disable-extensions", "--disable-dev-shm-usage", "--hide-scrollbars",
    "--force-color-profile=srgb", "--remote-debugging-pipe",
)  # fmt: skip
# The protocol is spoken on descriptors 3 and 4; copies first, so that none is overwritten.
LAUNCH = """
import os, sys
read, write = (os.dup(int(number)) for number in sys.argv[1:3])
os.dup2(read, 3)
os.dup2(write, 4)
os.set_inheritable(3, True)  # where it was 3 already, nothing has been done
os.set_inheritable(4, True)
os.execv(sys.argv[3], sys.argv[3:])
"""
SECONDS = 120  # after which a browser that does not answer is given up


def find():
    """The browser's path, or None."""
    named = os.environ.get("HARNESS_CHROMIUM")
    return named or next(filter(None, map(shutil.which, NAMES)), None)


@contextmanager
def browser(profile):
    """A browser with an empty profile in `profile`."""
    to_child, ours_out = os.pipe()
    ours_in, from_child = os.pipe()

    process = subprocess.Popen(
        [
            sys.executable, "-c", LAUNCH, str(to_child), str(from_child),
            find(), *FLAGS, f"--user-data-dir={profile}", "about:blank",
        ],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        pass_fds=(to_child, from_child),
        start_new_session=True,  # it ends its whole process group, which must not be ours
    )  # fmt: skip
    os.close(to_child)
    os.close(from_child)
    connection = Connection(ours_in, ours_out)
    try:
        yield connection
        connection.send("Browser.close")
        process.wait(timeout=SECONDS)
    finally:
        os.close(ours_out)
        os.close(ours_in)
        if process.poll() is None:
            process.kill()
            process.wait(timeout=SECONDS)


class Connection:
    """Messages ended by a zero byte, in both directions."""

    def __init__(self, incoming, outgoing):
        self.incoming, self.outgoing = incoming, outgoing
        self.buffer, self.number, self.events = bytearray(), 0, []

    def send(self, method, session=None, **params):
        """Ask, and return the answer; events on the way are kept."""
        self.number += 1
        message = {"id": self.number, "method": method, "params": params}
        if session:
            message["sessionId"] = session
        os.write(self.outgoing, json.dumps(message).encode() + b"\0")
        end = time.monotonic() + SECONDS
        while True:
            found = self._next(end)
            if found.get("id") == message["id"]:
                if "error" in found:
                    raise RuntimeError(f"{method}: {found['error']}")
                return found["result"]
            self.events.append(found)

    def _next(self, end):
        searched = 0
        while (found := self.buffer.find(b"\0", searched)) < 0:
            searched = len(self.buffer)  # a picture comes in hundreds of pieces
            if not select.select([self.incoming], [], [], max(0, end - time.monotonic()))[0]:
                raise TimeoutError("the browser does not answer")
            piece = os.read(self.incoming, 1 << 20)
            if not piece:
                raise ConnectionError("the browser has ended")
            self.buffer += piece
        text = bytes(self.buffer[:found])
        del self.buffer[: found + 1]
        return json.loads(text)


class Page:
    """A tab without a network; `open` again for another page, which takes half of what a new tab does."""

    def __init__(self, connection, path, **given):
        self.connection = connection
        target = connection.send("Target.createTarget", url="about:blank")["targetId"]
        self.target = target
        attached = connection.send("Target.attachToTarget", targetId=target, flatten=True)
        self.session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.send(f"{domain}.enable")
        self.open(path, **given)

    def open(self, path, *, width=1280, height=900, dark=False, phone=False):
        """A file as in a new tab: with nothing of what was open before, and no network."""
        self.send("Page.navigate", url="about:blank")
        self.until("document.readyState === 'complete' && location.protocol === 'about:'")
        events = self.connection.events
        events[:] = [event for event in events if event.get("sessionId") != self.session]
        self.send(
            "Network.emulateNetworkConditions",
            offline=True, latency=0, downloadThroughput=-1, uploadThroughput=-1,
        )  # fmt: skip
        self.size(width, height, phone=phone)
        self.scheme("dark" if dark else "light")
        self.send("Page.navigate", url=Path(path).resolve().as_uri())
        self.until("document.readyState === 'complete' && location.protocol === 'file:'")

    def send(self, method, **params):
        return self.connection.send(method, self.session, **params)

    def close(self):
        self.connection.send("Target.closeTarget", targetId=self.target)

    def size(self, width, height, *, phone=False):
        self.send(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=height, deviceScaleFactor=2 if phone else 1, mobile=phone,
        )  # fmt: skip

    def scheme(self, name):
        feature = {"name": "prefers-color-scheme", "value": name}
        self.send("Emulation.setEmulatedMedia", features=[feature])

    def run(self, script):
        """The JSON value of an expression; a promise is waited for."""
        given = {"expression": script, "returnByValue": True, "awaitPromise": True}
        found = self.send("Runtime.evaluate", **given)
        if "exceptionDetails" in found:
            raise AssertionError(f"{script}: {found['exceptionDetails']}")
        return found["result"].get("value")

    def until(self, script):
        """Wait for an expression to hold."""
        end = time.monotonic() + SECONDS
        while not self.run(f"Boolean({script})"):
            if time.monotonic() > end:
                raise TimeoutError(f"never came true: {script}")
            time.sleep(0.02)

    def key(self, name, code=0, text=""):
        """Press and release a key as a keyboard does."""
        given = {"key": name, "code": name, "windowsVirtualKeyCode": code}
        self.send("Input.dispatchKeyEvent", type="keyDown", text=text, **given)
        self.send("Input.dispatchKeyEvent", type="keyUp", **given)

    def click(self, x, y):
        given = {"x": x, "y": y, "button": "left", "clickCount": 1}
        for kind in ("mouseMoved", "mousePressed", "mouseReleased"):
            self.send("Input.dispatchMouseEvent", type=kind, **given)

    def screenshot(self, path, *, whole=True):
        """A png; `whole`: the page from top to bottom, every plot drawn."""
        found = self.send("Page.captureScreenshot", captureBeyondViewport=whole)
        Path(path).write_bytes(base64.b64decode(found["data"]))

    def problems(self):
        """Exceptions, messages of the log, and everything that was asked of a network."""
        said = []
        for event in self.connection.events:
            method, params = event.get("method"), event.get("params", {})
            if event.get("sessionId") != self.session:
                continue
            if method == "Runtime.exceptionThrown":
                said.append(str(params["exceptionDetails"]))
            if method == "Log.entryAdded" and params["entry"]["level"] in {"warning", "error"}:
                said.append(params["entry"]["text"])
            if method == "Runtime.consoleAPICalled" and params["type"] in {"warning", "error"}:
                said.append(str(params["args"]))
            if method == "Network.requestWillBeSent":
                url = params["request"]["url"]
                if not url.startswith(("file:", "data:", "about:")):
                    said.append(f"asked for {url}")
        return said
