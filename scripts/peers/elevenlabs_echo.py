"""ElevenLabs' own `DefaultAudioInterface`, as it is published, against the gateway.

The class opens the devices with PyAudio: blocks of 250 ms come by callback, replies go out by a
queue that a thread plays. Around it are two connections of `websockets.sync`, as in that
package's `Conversation`. Where ElevenLabs' server would say that the user speaks or has spoken,
WebRTC's VAD says so here, block by block.

    SLNG_API_KEY=... python elevenlabs_echo.py ws://127.0.0.1:8765
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import threading

import webrtcvad
from elevenlabs.conversational_ai.default_audio_interface import DefaultAudioInterface
from websockets.sync.client import ClientConnection, connect

RATE_HZ = 16000
STOP_MS = 600
VAD_BYTES = 2 * RATE_HZ // 100
VOICED_SHARE = 0.3
STT = "/v1/stt/slng/deepgram/nova:3-en"
TTS = "/v1/tts/slng/deepgram/aura:2-en"


class EchoClient:
    """Says what it hears."""

    def __init__(self, stt: ClientConnection, tts: ClientConnection) -> None:
        self.stt, self.tts = stt, tts
        self.audio = DefaultAudioInterface()
        self.detector = webrtcvad.Vad(2)
        self.speaking = False
        self.quiet_ms = 0.0
        self.clearing = False

    def on_microphone(self, block: bytes) -> None:
        """PortAudio's thread: a block has come."""
        self.stt.send(block)
        if self.is_speech(block):
            self.quiet_ms = 0.0
            if not self.speaking:
                self.speaking = True
                self.interrupt()
        elif self.speaking:
            self.quiet_ms += 1000 * len(block) / 2 / RATE_HZ
            if self.quiet_ms >= STOP_MS:
                self.speaking = False
                self.stt.send(json.dumps({"type": "finalize"}))

    def is_speech(self, block: bytes) -> bool:
        """Whether somebody speaks in a block."""
        starts = range(0, len(block) - VAD_BYTES + 1, VAD_BYTES)
        voiced = [self.detector.is_speech(block[at : at + VAD_BYTES], RATE_HZ) for at in starts]
        return sum(voiced) > VOICED_SHARE * len(voiced)

    def interrupt(self) -> None:
        """Stop speaking."""
        self.clearing = True
        self.audio.interrupt()
        self.tts.send(json.dumps({"type": "clear"}))

    def answer(self) -> None:
        """Speak each final transcript."""
        for message in self.stt:
            event = json.loads(message)
            if event["type"] == "final_transcript" and event["transcript"]:
                self.tts.send(json.dumps({"type": "text", "text": event["transcript"]}))
                self.tts.send(json.dumps({"type": "flush"}))

    def receive_replies(self) -> None:
        """Queue what is to be played."""
        for message in self.tts:
            if isinstance(message, bytes):
                if not self.clearing:
                    self.audio.output(message)
            elif json.loads(message)["type"] == "cleared":
                self.clearing = False


def ready(session: ClientConnection) -> None:
    """Wait until a session may be used."""
    while json.loads(session.recv())["type"] != "ready":
        pass


def main(url: str) -> None:
    """Talk until interrupted."""
    headers = {"Authorization": f"Bearer {os.environ['SLNG_API_KEY']}"}
    with (
        connect(url + STT, additional_headers=headers) as stt,
        connect(url + TTS, additional_headers=headers) as tts,
    ):
        config = {"sample_rate": RATE_HZ, "encoding": "linear16"}
        voice = {"model": "aura:2-en", "voice": "aura-2-thalia-en"}
        stt.send(json.dumps({"type": "init", "config": config}))
        tts.send(json.dumps({"type": "init", **voice, "config": config}))
        ready(stt)
        ready(tts)
        client = EchoClient(stt, tts)
        threading.Thread(target=client.receive_replies, daemon=True).start()
        client.audio.start(client.on_microphone)
        try:
            client.answer()
        finally:
            client.audio.stop()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        main(sys.argv[1])
