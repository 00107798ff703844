"""The text-to-speech quick start of SLNG's documentation, with URL and key changed.

It needs websockets < 14, which still knows `extra_headers` (`scripts/peers/run` makes a virtual
environment with it). The URL's scheme, host and port come from $SLNG_URL; all else is as
published.
"""

# ruff: noqa
# fmt: off
# pip install 'websockets<14'
import asyncio
import json
import os
import websockets

async def tts_quickstart():
    api_key = os.environ["SLNG_API_KEY"]
    uri = os.environ["SLNG_URL"] + "/v1/tts/slng/deepgram/aura:2-en"
    headers = {"Authorization": f"Bearer {api_key}"}

    async with websockets.connect(uri, extra_headers=headers) as ws:
        # 1. Initialize session
        await ws.send(json.dumps({
            "type": "init",
            "model": "aura:2-en",
            "voice": "aura-2-thalia-en",
            "config": {
                "encoding": "linear16",
                "sample_rate": 24000,
            },
        }))

        # 2. Send text to convert
        await ws.send(json.dumps({
            "type": "text",
            "text": "Hello! This is a WebSocket TTS example.",
        }))

        # 3. Flush to get remaining audio
        await ws.send(json.dumps({"type": "flush"}))

        # 4. Receive audio chunks until flushed
        audio_chunks = []
        async for message in ws:
            if isinstance(message, bytes):
                audio_chunks.append(message)
            else:
                data = json.loads(message)
                if data["type"] == "ready":
                    print(f"Session ready: {data['session_id']}")
                elif data["type"] == "flushed":
                    print("All audio received, saving to output.pcm")
                    break
                elif data["type"] == "error":
                    print(f"Error: {data['message']}")
                    break

        with open("output.pcm", "wb") as f:
            for chunk in audio_chunks:
                f.write(chunk)

asyncio.run(tts_quickstart())
