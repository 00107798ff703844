"""SLNG's own pipecat services against the local gateway, unchanged.

Transcribes a WAV and speaks a sentence. pipecat-slng has its regional hosts built in, so
`WorldPart.bridge_url` is replaced; nothing else is. It runs in its own virtual environment
(`scripts/peers/run` makes it).

    python scripts/peers/pipecat_client.py ws://127.0.0.1:8765 question.wav "It is noon." reply.wav
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import time
import wave
from urllib.parse import quote

from loguru import logger

logger.remove()
logger.add(sys.stderr, level="ERROR")

from pipecat.frames.frames import (  # noqa: E402 - after the log level is set
    EndFrame,
    ErrorFrame,
    Frame,
    InputAudioRawFrame,
    InterimTranscriptionFrame,
    TranscriptionFrame,
    TTSAudioRawFrame,
    TTSSpeakFrame,
    TTSStoppedFrame,
    VADUserStartedSpeakingFrame,
    VADUserStoppedSpeakingFrame,
)
from pipecat.pipeline.pipeline import Pipeline  # noqa: E402
from pipecat.pipeline.worker import PipelineParams, PipelineWorker  # noqa: E402
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor  # noqa: E402
from pipecat.workers.runner import WorkerRunner  # noqa: E402
from pipecat_slng import SlngSTTService, SlngTTSService  # noqa: E402
from pipecat_slng._gateway import WorldPart  # noqa: E402

STT_RATE_HZ, TTS_RATE_HZ = 16000, 24000
FRAME_MS = 20
LEAD_MS = 300
DEADLINE_S = 30.0


class Listener(FrameProcessor):
    """Keeps the frames that come out of a service, and says when one of a kind has come."""

    def __init__(self, until: type[Frame]) -> None:
        super().__init__()
        self.frames: list[Frame] = []
        self.done = asyncio.Event()
        self._until = until

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        self.frames.append(frame)
        if isinstance(frame, self._until | ErrorFrame):
            self.done.set()
        await self.push_frame(frame, direction)


async def through(service: FrameProcessor, frames: list[Frame], until: type[Frame]) -> list[Frame]:
    """Send `frames` through `service` until a frame of the kind `until` comes out."""
    listener = Listener(until)
    params = PipelineParams(audio_in_sample_rate=STT_RATE_HZ, audio_out_sample_rate=TTS_RATE_HZ)
    worker = PipelineWorker(Pipeline([service, listener]), params=params)
    runner = WorkerRunner(handle_sigint=False)
    await runner.add_workers(worker)
    running = asyncio.create_task(runner.run())
    await worker.queue_frames(frames)
    await asyncio.wait_for(listener.done.wait(), DEADLINE_S)
    await worker.queue_frame(EndFrame())
    await asyncio.wait_for(running, DEADLINE_S)
    return listener.frames


async def transcribe(path: str, key: str) -> str:
    """What pipecat's speech-to-text service makes of a 16 kHz mono WAV."""
    with wave.open(path) as reader:
        assert (reader.getframerate(), reader.getnchannels()) == (STT_RATE_HZ, 1), path
        silence = bytes(STT_RATE_HZ * LEAD_MS // 1000 * 2)
        pcm = silence + reader.readframes(reader.getnframes()) + silence
    step = STT_RATE_HZ * FRAME_MS // 1000 * 2
    audio = [
        InputAudioRawFrame(pcm[start : start + step], STT_RATE_HZ, 1)
        for start in range(0, len(pcm), step)
    ]
    service = SlngSTTService(api_key=key, world_part="us-east")
    frames = await through(
        service,
        [VADUserStartedSpeakingFrame(), *audio, VADUserStoppedSpeakingFrame()],
        TranscriptionFrame,
    )
    partials = [f.text for f in frames if isinstance(f, InterimTranscriptionFrame)]
    print(f"speech-to-text: partials {partials}")
    finals = [f.text for f in frames if isinstance(f, TranscriptionFrame)]
    fail_on_errors(frames)
    return " ".join(finals)


async def speak(text: str, target: str, key: str) -> float:
    """Let pipecat's text-to-speech service speak; the seconds of sound."""
    service = SlngTTSService(api_key=key, world_part="us-east", voice="aura-2-thalia-en")
    began = time.monotonic()
    frames = await through(service, [TTSSpeakFrame(text)], TTSStoppedFrame)
    fail_on_errors(frames)
    sound = b"".join(f.audio for f in frames if isinstance(f, TTSAudioRawFrame))
    with wave.open(target, "wb") as writer:
        writer.setnchannels(1)
        writer.setsampwidth(2)
        writer.setframerate(TTS_RATE_HZ)
        writer.writeframes(sound)
    print(f"text-to-speech: session of {time.monotonic() - began:.2f} s")
    return len(sound) / 2 / TTS_RATE_HZ


def fail_on_errors(frames: list[Frame]) -> None:
    """End with the first error that the service reported."""
    for frame in frames:
        if isinstance(frame, ErrorFrame):
            sys.exit(f"pipecat-slng reports: {frame.error}")


def main() -> None:
    """Transcribe, then speak."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("url")
    parser.add_argument("question")
    parser.add_argument("text")
    parser.add_argument("reply")
    args = parser.parse_args()
    key = os.environ.get("SLNG_API_KEY", "local")

    def bridge_url(world_part: WorldPart, kind: str, model: str) -> str:
        return f"{args.url}/v1/bridges/unmute/{kind}/{quote(model, safe='/:')}"

    WorldPart.bridge_url = bridge_url
    print(f"speech-to-text: {asyncio.run(transcribe(args.question, key))!r}")
    seconds = asyncio.run(speak(args.text, args.reply, key))
    print(f"text-to-speech: {seconds:.2f} s of sound in {args.reply}")
    if not seconds:
        sys.exit("no sound came")


if __name__ == "__main__":
    main()
