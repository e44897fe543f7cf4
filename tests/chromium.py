"""A headless Chromium that does what it is told over a pipe: no port, no driver, nothing but the browser itself."""

from __future__ import annotations

import base64
import fcntl
import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--remote-debugging-pipe",
)
PATIENCE = 60.0  # seconds in which anything at all must happen; never waited for in full
# Chromium reads what it is told from file 3 and answers in file 4.
_EXEC = "import os,sys; r,w=map(int,sys.argv[1:3]); os.dup2(r,3); os.dup2(w,4); os.execvp(sys.argv[3],sys.argv[3:])"


class Browser:
    """One page in one browser. `complaints` are errors of its scripts and of its policy, `requests` all addresses that
    it asked for."""

    def __init__(self, write: int, read: int) -> None:
        self._write = write
        self._read = read
        self._buffer = b""
        self._next = 0
        self._session = ""
        self._loaded = False
        self.complaints: list[str] = []
        self.requests: list[str] = []

    def attach(self) -> None:
        """Open an empty page, and listen to what happens in it."""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """One command of the DevTools protocol, and its answer."""
        self._next += 1
        message: dict[str, Any] = {"id": self._next, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._receive()
            if answer.get("id") == self._next:
                assert "error" not in answer, f"{method}: {answer['error']}"
                result: dict[str, Any] = answer["result"]
                return result

    def open(self, url: str) -> None:
        """Load a page; back when its scripts have run."""
        self._loaded = False
        self.call("Page.navigate", url=url)
        while not self._loaded:
            self._receive()

    def do(self, script: str) -> Any:
        """The value of an expression in the page; a promise is awaited."""
        done = self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in done, f"{script}: {done['exceptionDetails']}"
        return done["result"].get("value")

    def click(self, selector: str) -> None:
        """Press and let go in the middle of the first element that is chosen, as a hand would."""
        chosen = f"document.querySelector({json.dumps(selector)})"
        x, y = self.do(
            f"(() => {{ const e = {chosen}; e.scrollIntoView({{block: 'center'}}); const r = e.getBoundingClientRect();"
            "return [r.x + r.width / 2, r.y + r.height / 2]; })()"
        )
        for kind in ("mouseMoved", "mousePressed", "mouseReleased"):
            button = {"button": "left", "clickCount": 1} if kind != "mouseMoved" else {}
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, **button)

    def press(self, key: str) -> None:
        """A key, by its name."""
        code = {"Enter": 13, "Escape": 27, "ArrowRight": 39, "ArrowDown": 40}[key]
        for kind in ("rawKeyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code)

    def until(self, script: str) -> Any:
        """The value of an expression as soon as it is true; asked anew with each frame that the page draws."""
        return self.do(
            "new Promise((done, fail) => { const end = performance.now() + 30000; const look = () => {"
            f"const value = ({script}); if (value) done(value); else if (performance.now() > end) fail('never true');"
            "else requestAnimationFrame(look); }; look(); })"
        )

    def screenshot(self, path: Path, **params: Any) -> bytes:
        """The page as it is seen."""
        data = base64.b64decode(self.call("Page.captureScreenshot", format="png", **params)["data"])
        path.write_bytes(data)
        return data

    def _receive(self) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._read], [], [], PATIENCE)
            assert ready, "the browser says nothing"
            data = os.read(self._read, 1 << 16)
            assert data, "the browser is gone"
            self._buffer += data
        line, self._buffer = self._buffer.split(b"\0", 1)
        message: dict[str, Any] = json.loads(line)
        self._note(message.get("method", ""), message.get("params", {}))
        return message

    def _note(self, method: str, params: dict[str, Any]) -> None:
        match method:
            case "Page.loadEventFired":
                self._loaded = True
            case "Runtime.exceptionThrown":
                self.complaints.append(json.dumps(params["exceptionDetails"])[:2000])
            case "Runtime.consoleAPICalled" if params["type"] in ("error", "warning", "assert"):
                self.complaints.append(json.dumps(params["args"])[:2000])
            case "Log.entryAdded" if params["entry"]["level"] in ("error", "warning"):
                self.complaints.append(f"{params['entry']['text']} {params['entry'].get('url', '')}")
            case "Network.requestWillBeSent":
                self.requests.append(params["request"]["url"])


@contextmanager
def chromium(command: str, profile: Path, *flags: str) -> Iterator[Browser]:
    """A browser for the length of the block; it and all its processes are gone afterwards."""
    theirs_in, ours_out = os.pipe()
    ours_in, theirs_out = os.pipe()
    given = [fcntl.fcntl(fd, fcntl.F_DUPFD, 10) for fd in (theirs_in, theirs_out)]  # clear of 3 and 4
    os.close(theirs_in)
    os.close(theirs_out)
    environment = {"PATH": os.environ.get("PATH", os.defpath), "HOME": str(profile), "TMPDIR": str(profile)}
    process = subprocess.Popen(
        [sys.executable, "-c", _EXEC, *map(str, given), command, *FLAGS, f"--user-data-dir={profile}", *flags],
        pass_fds=given,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    for fd in given:
        os.close(fd)
    try:
        browser = Browser(ours_out, ours_in)
        browser.attach()
        yield browser
    finally:
        os.close(ours_out)  # it ends when nobody is there to tell it anything
        os.close(ours_in)
        _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    try:
        process.wait(timeout=10)
    except subprocess.TimeoutExpired:
        pass
    try:
        os.killpg(process.pid, signal.SIGKILL)  # the browser's own children, if any are left
    except ProcessLookupError:
        pass
    process.wait(timeout=10)
