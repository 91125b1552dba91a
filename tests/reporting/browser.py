"""A headless Chromium, driven over its own debugging protocol: real key presses, real widths, every console message."""

from __future__ import annotations

import base64
import json
import os
import select
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Any

from tests.extras import CHROMIUM, program

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
EXECUTABLE = program(*NAMES, str(CHROMIUM / "chromium"))
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--remote-debugging-pipe",
)  # fmt: skip
KEYS = {
    "Enter": 13,
    "Tab": 9,
    " ": 32,
    "ArrowRight": 39,
    "ArrowLeft": 37,
    "End": 35,
    "Escape": 27,
    "Backspace": 8,
}
SECONDS = 20
BECOME = """
import os, sys
for theirs, end in zip((3, 4), sys.argv[1:]):  # where the browser looks for the pipes
    os.dup2(int(end), theirs)
os.execv(sys.argv[3], sys.argv[3:])
"""


class Browser:
    """One page. `problems` collects what the console, the page's errors and the network had to say."""

    def __init__(self, profile: Path) -> None:
        assert EXECUTABLE
        ours, theirs = os.pipe(), os.pipe()  # we write to the first, and read from the second
        ends = (ours[0], theirs[1])
        self.process = subprocess.Popen(
            [sys.executable, "-c", BECOME, *map(str, ends), EXECUTABLE, *FLAGS, f"--user-data-dir={profile}"],
            pass_fds=ends, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        for end in ends:
            os.close(end)
        self.writer, self.reader = os.fdopen(ours[1], "wb", 0), os.fdopen(theirs[0], "rb")
        self.number, self.session, self.buffer = 0, "", b""
        self.problems: list[str] = []
        self.requests: list[str] = []
        self.loaded = False

    def __enter__(self) -> Browser:
        try:
            target = self._call("Target.createTarget", url="about:blank")["targetId"]
            self.session = self._call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
            for domain in ("Page", "Runtime", "Log", "Network"):
                self._call(f"{domain}.enable")
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the browser."""
        self.process.terminate()
        self.process.wait(SECONDS)
        self.writer.close()
        self.reader.close()

    def open(self, page: Path, width: int, height: int = 900, dark: bool = False) -> None:
        """Load a file as a double click would, at a width in CSS pixels."""
        self._call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1,
                   mobile=width < 600)  # fmt: skip
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self._call("Emulation.setEmulatedMedia", features=[scheme])
        self.loaded = False
        self._call("Page.navigate", url=page.absolute().as_uri())
        while not self.loaded:
            self._note(self._read())
        self.run("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => done(0))))")

    def run(self, expression: str) -> Any:
        """The value of a JavaScript expression, in the page."""
        found = self._call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def press(self, key: str, shift: bool = False) -> None:
        """One key press, as from a keyboard."""
        said = {"Enter": "\r"}.get(key, key if len(key) == 1 else "")
        what: dict[str, Any] = {"key": key, "windowsVirtualKeyCode": KEYS.get(key, 0), "modifiers": 8 * shift}
        self._call("Input.dispatchKeyEvent", type="keyDown" if said else "rawKeyDown", text=said, **what)
        self._call("Input.dispatchKeyEvent", type="keyUp", **what)

    def hover(self, x: float, y: float) -> None:
        """Move the pointer."""
        self._call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)

    def screenshot(self, path: Path, whole: bool = True) -> Path:
        """The whole page, or what is in view, as a PNG."""
        made = self._call("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(made["data"]))
        return path

    def _call(self, method: str, **params: Any) -> dict[str, Any]:
        self.number += 1
        number = self.number
        message: dict[str, Any] = {"id": number, "method": method, "params": params}
        if self.session:
            message["sessionId"] = self.session
        self.writer.write(json.dumps(message).encode() + b"\0")
        while True:
            answer = self._read()
            if answer.get("id") == number:
                assert "error" not in answer, f"{method}: {answer['error']}"
                return answer["result"]
            self._note(answer)

    def _read(self) -> dict[str, Any]:
        while b"\0" not in self.buffer:
            assert select.select([self.reader], [], [], SECONDS)[0], "the browser does not answer"
            some = os.read(self.reader.fileno(), 1 << 20)
            assert some, "the browser is gone"
            self.buffer += some
        message, _, self.buffer = self.buffer.partition(b"\0")
        return json.loads(message)

    def _note(self, event: dict[str, Any]) -> None:
        method, params = event.get("method"), event.get("params", {})
        if method == "Page.loadEventFired":
            self.loaded = True
        elif method == "Network.requestWillBeSent":
            self.requests.append(params["request"]["url"])
        elif method in ("Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded"):
            self.problems.append(json.dumps(params)[:600])
