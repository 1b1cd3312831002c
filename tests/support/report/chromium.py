"""Headless Chromium, spoken to over a pipe: what a page loads, logs, measures, and looks like."""

from __future__ import annotations

import base64
import fcntl
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--remote-debugging-pipe",
)


def executable() -> str | None:
    """The browser, or None where it is not installed."""
    return shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@dataclass
class Seen:
    """What a page did while it was open: addresses it asked for, and what it wrote to the console."""

    requests: list[str] = field(default_factory=list)
    console: list[str] = field(default_factory=list)


@dataclass
class Browser:
    """One page of a running browser; commands go out on one pipe, answers and events come in on the other."""

    commands: Any
    answers: Any
    session: str = ""
    count: int = 0
    seen: Seen = field(default_factory=Seen)

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """Send a command and return its result; events that arrive meanwhile are recorded."""
        self.count += 1
        message = {"id": self.count, "method": method, "params": params}
        if self.session:
            message["sessionId"] = self.session
        self.commands.write(json.dumps(message).encode() + b"\0")
        self.commands.flush()
        while True:
            answer = self._next()
            if answer.get("id") == self.count:
                assert "error" not in answer, answer["error"]
                result: dict[str, Any] = answer["result"]
                return result

    def open(self, page: Path, *, width: int, scheme: Literal["light", "dark"] = "light") -> None:
        """Load a page at a width, in a colour scheme, and wait until it is loaded."""
        self.seen = Seen()
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=900,
            deviceScaleFactor=1,
            mobile=width < 600,
        )
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        self.call("Page.navigate", url=page.resolve().as_uri())
        while self._next().get("method") != "Page.loadEventFired":
            pass

    def evaluate(self, expression: str) -> Any:
        """The value of a JavaScript expression in the page."""
        found = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def screenshot(self, path: Path, *, top: int = 0, height: int = 3000) -> None:
        """A stretch of the page as PNG."""
        width = self.evaluate("document.documentElement.clientWidth")
        clip = {"x": 0, "y": top, "width": width, "height": height, "scale": 1}
        shot = self.call("Page.captureScreenshot", captureBeyondViewport=True, clip=clip)
        path.write_bytes(base64.b64decode(shot["data"]))

    def _next(self) -> dict[str, Any]:
        raw = bytearray()
        while not raw.endswith(b"\0"):
            byte = self.answers.read(1)
            assert byte, "the browser ended"
            raw += byte
        message: dict[str, Any] = json.loads(raw[:-1])
        self._record(message.get("method", ""), message.get("params", {}))
        return message

    def _record(self, event: str, params: dict[str, Any]) -> None:
        if event == "Network.requestWillBeSent":
            self.seen.requests.append(params["request"]["url"])
        elif event == "Runtime.consoleAPICalled":
            self.seen.console.append(str(params["args"]))
        elif event == "Runtime.exceptionThrown":
            self.seen.console.append(str(params["exceptionDetails"]))
        elif event == "Log.entryAdded":
            self.seen.console.append(params["entry"]["text"])


@contextmanager
def browser(profile: Path) -> Iterator[Browser]:
    """A browser with an empty profile folder, ended afterwards."""
    path = executable()
    assert path is not None, "chromium is not installed"
    command_read, command_write = os.pipe()
    answer_read, answer_write = os.pipe()

    def connect() -> None:
        # Chromium reads commands from file descriptor 3 and writes answers to 4; both may be taken by the pipes.
        ends = [fcntl.fcntl(end, fcntl.F_DUPFD, 10) for end in (command_read, answer_write)]
        for number, end in enumerate(ends, start=3):
            os.dup2(end, number)

    process = subprocess.Popen(
        [path, *FLAGS, f"--user-data-dir={profile}", "about:blank"],
        pass_fds=(3, 4),
        preexec_fn=connect,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    os.close(command_read)
    os.close(answer_write)
    with os.fdopen(command_write, "wb") as commands, os.fdopen(answer_read, "rb") as answers:
        try:
            running = Browser(commands, answers)
            target = running.call("Target.createTarget", url="about:blank")["targetId"]
            attached = running.call("Target.attachToTarget", targetId=target, flatten=True)
            running.session = attached["sessionId"]
            for domain in ("Page", "Runtime", "Log", "Network"):
                running.call(f"{domain}.enable")
            yield running
        finally:
            process.terminate()
            process.wait(timeout=30)
