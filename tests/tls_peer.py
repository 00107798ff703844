"""A TLS server for tests: checks what it is sent and floods what it sends, both at once."""

from __future__ import annotations

import asyncio
import hashlib
import ssl
import threading

CHUNK = bytes(range(256)) * 5


class TlsPeer:
    """Serves one connection in its own thread; `received` and `sent` are digests of all bytes."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self._context = context
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="tls-peer")
        self.received = hashlib.sha256()
        self.received_bytes = 0
        self.sent = hashlib.sha256()
        self.sent_bytes = 0
        self.flood = True
        self._flooded = threading.Event()

    def __enter__(self) -> TlsPeer:
        self._thread.start()
        self._server = asyncio.run_coroutine_threadsafe(
            asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._context), self._loop
        ).result(10)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.flood = False

        async def close() -> None:
            self._server.close()
            tasks = asyncio.all_tasks() - {asyncio.current_task()}
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

        asyncio.run_coroutine_threadsafe(close(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def stop_flood(self) -> None:
        """Send no more; all that was sent is counted when this returns."""
        self.flood = False
        self._flooded.wait(10)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        flooder = asyncio.ensure_future(self._send(writer))
        try:
            while data := await reader.read(65536):
                self.received.update(data)
                self.received_bytes += len(data)
        except ConnectionError:
            pass  # the client has gone, as a test's client does
        finally:
            flooder.cancel()
            writer.close()

    async def _send(self, writer: asyncio.StreamWriter) -> None:
        while self.flood:
            writer.write(CHUNK)
            self.sent.update(CHUNK)
            self.sent_bytes += len(CHUNK)
            await writer.drain()
            await asyncio.sleep(0)  # drain does not give way while there is room
        self._flooded.set()
