"""A headless Chromium, steered over its debugging port."""

from __future__ import annotations

import base64
import http.client
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any, Self

import pytest
import websocket
from conversation_scripts import wait_until

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)


class Browser:
    """One tab, without a screen."""

    def __init__(self, folder: Path, *, width: int = 1280, height: int = 720) -> None:
        if CHROMIUM is None:
            pytest.skip("chromium is missing: apt-get install chromium")
        self._number = 0
        self._process = subprocess.Popen(
            [
                *(CHROMIUM, "--headless=new", "--no-sandbox", "--disable-gpu", "--mute-audio"),
                *("--disable-dev-shm-usage", "--no-first-run", "--disable-extensions"),
                *("--disable-background-networking", "--remote-debugging-port=0"),
                *(f"--window-size={width},{height}", f"--user-data-dir={folder}", "about:blank"),
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
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
            self.ask(
                "Emulation.setDeviceMetricsOverride",
                width=width,
                height=height,
                deviceScaleFactor=1,
                mobile=False,
            )
        except BaseException:
            self._end()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._socket.close()
        self._end()

    def _end(self) -> None:
        self._process.kill()
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

    def open(self, url: str) -> None:
        """Go there."""
        self.ask("Page.navigate", url=url)

    def value(self, script: str) -> Any:
        """What `script` gives."""
        return self.ask("Runtime.evaluate", expression=script, returnByValue=True)["result"].get(
            "value"
        )

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
