"""A headless Chromium, steered over its debugging port."""

from __future__ import annotations

import base64
import http.client
import json
import os
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Any, Self

import pytest
import websocket
from conversation_scripts import wait_until

PROGRAMS = ("chromium-headless-shell", "chromium", "chromium-browser")
CHROMIUM = next(filter(None, map(shutil.which, PROGRAMS)), None)


class Browser:
    """One tab, without a screen."""

    def __init__(self, folder: Path, *options: str, width: int = 1280, height: int = 720) -> None:
        if CHROMIUM is None:
            pytest.skip("chromium is missing: scripts/test brings it, or apt-get install chromium")
        self._number = 0
        self._process = subprocess.Popen(
            [
                *(CHROMIUM, "--headless=new", "--no-sandbox", "--disable-gpu", "--mute-audio"),
                *("--disable-dev-shm-usage", "--no-first-run", "--disable-extensions"),
                *("--disable-background-networking", "--remote-debugging-port=0"),
                *(f"--window-size={width},{height}", f"--user-data-dir={folder}"),
                *options,
                "about:blank",
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        port_file = folder / "DevToolsActivePort"
        try:
            assert wait_until(lambda: port_file.exists() and port_file.read_text(), 40)
            port = int(port_file.read_text().split()[0])
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
            connection.request("PUT", "/json/new")
            tab = json.load(connection.getresponse())
            self._socket = websocket.create_connection(
                tab["webSocketDebuggerUrl"], timeout=20, suppress_origin=True
            )
            self.resize(width, height)
        except BaseException:
            self._end()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._socket.close()
        self._end()

    def _end(self) -> None:
        # Debian's command is a script that waits for the browser, and would leave it behind.
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(10)

    def ask(self, method: str, **params: Any) -> Any:
        """The result of a method of the DevTools protocol."""
        self._number += 1
        self._socket.send(json.dumps({"id": self._number, "method": method, "params": params}))
        while True:
            answer = json.loads(self._socket.recv())
            if answer.get("id") == self._number:
                assert "error" not in answer, answer
                return answer["result"]

    def resize(self, width: int, height: int) -> None:
        """A screen of another size."""
        self.ask(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )

    def prefer(self, **features: str) -> None:
        """What the user's system says they want; `_` stands for `-` in the names."""
        wanted = [{"name": k.replace("_", "-"), "value": v} for k, v in features.items()]
        self.ask("Emulation.setEmulatedMedia", features=wanted)

    def press(self, key: str) -> None:
        """A key, down and up."""
        code = {"Tab": 9, "ArrowUp": 38}[key]
        for kind in ("rawKeyDown", "keyUp"):
            self.ask("Input.dispatchKeyEvent", type=kind, key=key, windowsVirtualKeyCode=code)

    def open(self, url: str) -> None:
        """Go there."""
        self.ask("Page.navigate", url=url)

    def value(self, script: str) -> Any:
        """What `script` gives, once it is there where it is a promise."""
        answer = self.ask(
            "Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def shows(self, script: str, wanted: object) -> None:
        """`script` comes to give `wanted`."""
        wait_until(lambda: self.value(script) == wanted)
        assert self.value(script) == wanted

    def screenshot(self, file: Path) -> None:
        """What it looks like, as PNG."""
        file.write_bytes(base64.b64decode(self.ask("Page.captureScreenshot", format="png")["data"]))

    def accessible(self) -> list[tuple[str, str]]:
        """Role and name of everything that a screen reader finds."""
        nodes = self.ask("Accessibility.getFullAXTree")["nodes"]
        return [
            (node["role"]["value"], node.get("name", {}).get("value", ""))
            for node in nodes
            if not node.get("ignored") and "role" in node
        ]
