"""A voice client as one writes it first: asyncio, `websockets`, `sounddevice`, WebRTC's VAD.

Streams the microphone, finalizes after a pause, speaks what was understood, and stops speaking
when somebody talks.

    SLNG_API_KEY=... python asyncio_echo.py ws://127.0.0.1:8765
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from typing import Any

import sounddevice
import webrtcvad
from websockets.asyncio.client import ClientConnection, connect

MICROPHONE_HZ, SPEAKER_HZ = 16000, 24000
BLOCK_MS = 20
START_MS, STOP_MS = 60, 600
STT = "/v1/stt/slng/deepgram/nova:3-en"
TTS = "/v1/tts/slng/deepgram/aura:2-en"


class EchoClient:
    """Says what it hears."""

    def __init__(self, stt: ClientConnection, tts: ClientConnection) -> None:
        self.stt, self.tts = stt, tts
        self.loop = asyncio.get_running_loop()
        self.blocks: asyncio.Queue[bytes] = asyncio.Queue()
        self.reply = bytearray()
        self.clearing = False

    def on_microphone(self, block: Any, frames: int, time: Any, status: Any) -> None:
        """PortAudio's thread: a block has come."""
        self.loop.call_soon_threadsafe(self.blocks.put_nowait, bytes(block))

    def on_speaker(self, block: Any, frames: int, time: Any, status: Any) -> None:
        """PortAudio's thread: a block is wanted."""
        size = len(block)
        sound = bytes(self.reply[:size])
        del self.reply[:size]
        block[:] = sound.ljust(size, b"\0")

    async def listen(self) -> None:
        """Stream the microphone, and notice where speech begins and ends."""
        detector = webrtcvad.Vad(2)
        speaking, run_ms = False, 0
        while True:
            block = await self.blocks.get()
            await self.stt.send(block)
            run_ms = (
                run_ms + BLOCK_MS if detector.is_speech(block, MICROPHONE_HZ) != speaking else 0
            )
            if not speaking and run_ms >= START_MS:
                speaking, run_ms = True, 0
                await self.interrupt()
            elif speaking and run_ms >= STOP_MS:
                speaking, run_ms = False, 0
                await self.stt.send(json.dumps({"type": "finalize"}))

    async def interrupt(self) -> None:
        """Stop speaking."""
        self.reply.clear()
        self.clearing = True
        await self.tts.send(json.dumps({"type": "clear"}))

    async def answer(self) -> None:
        """Speak each final transcript."""
        async for message in self.stt:
            event = json.loads(message)
            if event["type"] == "final_transcript" and event["transcript"]:
                await self.tts.send(json.dumps({"type": "text", "text": event["transcript"]}))
                await self.tts.send(json.dumps({"type": "flush"}))

    async def receive_replies(self) -> None:
        """Keep what is to be played."""
        async for message in self.tts:
            if isinstance(message, bytes):
                if not self.clearing:
                    self.reply += message
            elif json.loads(message)["type"] == "cleared":
                self.clearing = False


async def ready(session: ClientConnection) -> None:
    """Wait until a session may be used."""
    while json.loads(await session.recv())["type"] != "ready":
        pass


async def main(url: str) -> None:
    """Talk until interrupted."""
    headers = {"Authorization": f"Bearer {os.environ['SLNG_API_KEY']}"}
    async with (
        connect(url + STT, additional_headers=headers) as stt,
        connect(url + TTS, additional_headers=headers) as tts,
    ):
        config: dict[str, Any] = {"sample_rate": MICROPHONE_HZ, "encoding": "linear16"}
        await stt.send(json.dumps({"type": "init", "config": config}))
        config = {"sample_rate": SPEAKER_HZ, "encoding": "linear16"}
        voice = {"model": "aura:2-en", "voice": "aura-2-thalia-en"}
        await tts.send(json.dumps({"type": "init", **voice, "config": config}))
        await ready(stt)
        await ready(tts)
        client = EchoClient(stt, tts)
        microphone = sounddevice.RawInputStream(
            samplerate=MICROPHONE_HZ,
            channels=1,
            dtype="int16",
            blocksize=MICROPHONE_HZ * BLOCK_MS // 1000,
            callback=client.on_microphone,
        )
        speaker = sounddevice.RawOutputStream(
            samplerate=SPEAKER_HZ,
            channels=1,
            dtype="int16",
            blocksize=SPEAKER_HZ * BLOCK_MS // 1000,
            callback=client.on_speaker,
        )
        with microphone, speaker:
            await asyncio.gather(client.listen(), client.answer(), client.receive_replies())


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(main(sys.argv[1]))
