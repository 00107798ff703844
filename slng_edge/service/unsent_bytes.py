"""What a client has not taken yet, in order, and how much of it there is."""

from __future__ import annotations

import collections
import socket


class UnsentBytes:
    """Pieces that wait for room in a socket that does not block; one thread.

    Attributes:
        size: How many bytes wait.
    """

    def __init__(self) -> None:
        self.size = 0
        self._pieces: collections.deque[bytes] = collections.deque()

    def __bool__(self) -> bool:
        return bool(self._pieces)

    def add(self, data: bytes) -> None:
        """Queue `data` behind what waits."""
        self._pieces.append(data)
        self.size += len(data)

    def clear(self) -> None:
        """Forget all of it."""
        self._pieces.clear()
        self.size = 0

    def send(self, sock: socket.socket) -> bool:
        """Send what `sock` takes at once; whether it took anything.

        Raises:
            OSError: who reads has gone.
        """
        moved = False
        while self._pieces:
            data = self._pieces[0]
            try:
                sent = sock.send(data)
            except BlockingIOError:
                break
            moved = True
            self.size -= sent
            if sent == len(data):
                self._pieces.popleft()
            else:
                self._pieces[0] = data[sent:]
        return moved
