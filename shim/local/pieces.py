"""What has come of a streamed response and is not sent yet: bounded, however slow its reader is."""

from __future__ import annotations

import asyncio

MOST_WAITING = 1024 * 1024
"""Bytes after which no more is read from the runtime until they are taken."""


class Pieces:
    """Takes pieces as they come (`put`, which is an `Invocation.on_piece`), and gives them to one reader (`get`)."""

    def __init__(self) -> None:
        self._waiting: list[bytes] = []
        self._size = 0
        self._news = asyncio.Event()
        self._room: asyncio.Future[None] | None = None
        self._is_over = False

    def put(self, data: bytes) -> asyncio.Future[None] | None:
        """Takes the next piece. Where enough waits, a future says when there is room again."""
        if self._is_over:
            return None
        self._waiting.append(data)
        self._size += len(data)
        self._news.set()
        if self._size < MOST_WAITING:
            return None
        if self._room is None:
            self._room = asyncio.get_running_loop().create_future()
        return self._room

    async def get(self) -> bytes:
        """All that waits, when something does; b"" at the end."""
        while not (self._waiting or self._is_over):
            self._news.clear()
            await self._news.wait()
        data = b"".join(self._waiting)
        self._empty()
        return data

    def end(self) -> None:
        """No more comes."""
        self._is_over = True
        self._news.set()
        self._make_room()

    def abandon(self) -> None:
        """Nobody wants what waits, and what comes."""
        self.end()
        self._empty()

    def _empty(self) -> None:
        self._waiting.clear()
        self._size = 0
        self._make_room()

    def _make_room(self) -> None:
        room, self._room = self._room, None
        if room is not None and not room.done():
            room.set_result(None)
