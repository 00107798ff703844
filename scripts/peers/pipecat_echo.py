"""pipecat-ai with pipecat-slng as a voice client: local PyAudio transport, Silero VAD.

Nothing is tuned: what pipecat's examples give its services is given here, with an echo instead of
a language model, and the pause alone instead of the turn model that ends a turn by default.
pipecat-slng has its regional hosts built in, so `WorldPart.bridge_url` is replaced.

    SLNG_API_KEY=... python pipecat_echo.py ws://127.0.0.1:8765
"""

from __future__ import annotations

import asyncio
import os
import sys
from urllib.parse import quote

from loguru import logger

logger.remove()
logger.add(sys.stderr, level="WARNING")

from pipecat.audio.vad.silero import SileroVADAnalyzer  # noqa: E402 - after the log level is set
from pipecat.frames.frames import Frame, TranscriptionFrame, TTSSpeakFrame  # noqa: E402
from pipecat.pipeline.pipeline import Pipeline  # noqa: E402
from pipecat.pipeline.worker import PipelineParams, PipelineWorker  # noqa: E402
from pipecat.processors.audio.vad_processor import VADProcessor  # noqa: E402
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor  # noqa: E402
from pipecat.transports.local.audio import (  # noqa: E402
    LocalAudioTransport,
    LocalAudioTransportParams,
)
from pipecat.turns.user_start import VADUserTurnStartStrategy  # noqa: E402
from pipecat.turns.user_stop import SpeechTimeoutUserTurnStopStrategy  # noqa: E402
from pipecat.turns.user_turn_processor import UserTurnProcessor  # noqa: E402
from pipecat.turns.user_turn_strategies import UserTurnStrategies  # noqa: E402
from pipecat.workers.runner import WorkerRunner  # noqa: E402
from pipecat_slng import SlngSTTService, SlngTTSService  # noqa: E402
from pipecat_slng._gateway import WorldPart  # noqa: E402

STT_RATE_HZ, TTS_RATE_HZ = 16000, 24000


class Echo(FrameProcessor):
    """Speaks what was understood."""

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        """Answer a final transcript; everything else passes."""
        await super().process_frame(frame, direction)
        if isinstance(frame, TranscriptionFrame) and frame.text:
            await self.push_frame(TTSSpeakFrame(frame.text))
        else:
            await self.push_frame(frame, direction)


async def main(url: str) -> None:
    """Talk until interrupted."""

    def bridge_url(world_part: WorldPart, kind: str, model: str) -> str:
        return f"{url}/v1/bridges/unmute/{kind}/{quote(model, safe='/:')}"

    WorldPart.bridge_url = bridge_url
    key = os.environ["SLNG_API_KEY"]
    devices = LocalAudioTransport(
        LocalAudioTransportParams(audio_in_enabled=True, audio_out_enabled=True)
    )
    pipeline = Pipeline(
        [
            devices.input(),
            VADProcessor(vad_analyzer=SileroVADAnalyzer()),
            SlngSTTService(api_key=key, world_part="us-east"),
            UserTurnProcessor(
                user_turn_strategies=UserTurnStrategies(
                    start=[VADUserTurnStartStrategy()],
                    stop=[SpeechTimeoutUserTurnStopStrategy()],
                )
            ),
            Echo(),
            SlngTTSService(api_key=key, world_part="us-east", voice="aura-2-thalia-en"),
            devices.output(),
        ]
    )
    worker = PipelineWorker(
        pipeline,
        params=PipelineParams(audio_in_sample_rate=STT_RATE_HZ, audio_out_sample_rate=TTS_RATE_HZ),
        cancel_on_idle_timeout=False,
    )
    runner = WorkerRunner(handle_sigterm=True)
    await runner.add_workers(worker)
    await runner.run()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
