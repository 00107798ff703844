"""Seeds that are written down: what decoders read that no gateway sends."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence

from fuzz.service_requests import TOKEN
from fuzz.stt_session import UTTERANCE
from fuzz.target import SEPARATOR
from fuzz.tts_session import REPLY

from slng_edge.config_text import starter_text

_FMT = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, 16000, 32000, 2, 16)
_FMT_24 = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 2, 48000, 288000, 6, 24)
_FMT_EXT = struct.pack(
    *("<4sIHHIIHHHHIH14s", b"fmt ", 40, 0xFFFE, 1, 44100, 88200, 2, 16, 22, 16, 4, 1, b"\0" * 14)
)


def _wav(*chunks: bytes, data: bytes = bytes(range(40)), size: int | None = None) -> bytes:
    body = b"".join(chunks) + b"data" + struct.pack("<I", len(data) if size is None else size)
    return b"RIFF" + struct.pack("<I", len(body) + len(data) + 4) + b"WAVE" + body + data


_WAVS = (
    _wav(_FMT),
    _wav(_FMT_24),
    _wav(_FMT_EXT, size=0xFFFFFFFF),
    _wav(b"LIST\x05\0\0\0abcde\0", _FMT, size=0),
    _wav(_FMT)[:30],
    b"ID3\x04" + bytes(30),
)
_SSE = (
    b'data: {"choices":[{"delta":{"content":"Good **morning**. "}}]}\n\n'
    b'data: {"choices":[{"delta":{"content":"It is \\ud83d"}}]}\r\n\r\n: ping\n\n'
    b'data: {"choices":[{"delta":{"content":"\\ude00 ten."},"finish_reason":"stop"}]}\n\n'
    b"data: [DONE]\n\n"
)
_HOST = b"Host: 127.0.0.1:8990\r\n"
_OK = b"HTTP/1.1 200 OK\r\n"
_TOML = b"""[gateway]
protocol = "classic"
tier = "free"
[stt]
model = "whisper"
fallbacks = ["kyutai"]
options = { vad_threshold = 0.5, nested = { a = [1, 2.5, true] } }
[tts]
model = "orpheus"
native_frames = true
[responder]
kind = "openai"
url = "https://user:word@host:1/v1?key=1"
"""

_DEEP = b"[" * 2000
"""More levels than Python's reader of JSON goes down, which no mutation comes upon."""

WRITTEN: Mapping[str, Sequence[bytes]] = {
    "unified_stt": (_DEEP, b'{"type":"final_transcript","words":' + _DEEP),
    "unified_tts": (SEPARATOR + _DEEP,),
    "stt_exchange": (SEPARATOR.join((b"C", b"cu", *[UTTERANCE] * 25, b"t62000", b"n")),),
    "tts_exchange": (SEPARATOR.join((b"cu", *[REPLY] * 20, b"t62000", b"n")),),
    "refusal": (
        b"\x01\x91\x1e"
        + b'{"error":{"code":"auth_error","message":"bad key: Bearer sk-abc123def"}}',
        b"\x01\xad120\nWed, 21 Oct 2026 07:28:00 GMT\x1eslow down",
        b"\x01\xf7Wed, 21 Oct 2026 07:28:00 GMT\x1e<html><body>503</body></html>",
        b"\x0f\xa1\x1erate limit",
    ),
    "websocket_frames": (
        b'\x81\x10{"type":"ready"}\x82\x04\x01\x02\x03\x04\x88\x02\x03\xe8',
        b"\x01\x03abc\x89\x01?\x80\x03def\x8a\x01?\x88\x0b\x0f\xa1too often",
        b"\x82\x7e\x00\x80" + bytes(128) + b"\x81\x7f\x7f" + b"\xff" * 7,
        b"\xc1\x03abc",
        b"\x89\x7e\x00\xc8" + bytes(200),
    ),
    "tunnel": (
        b"HTTP/1.1 200 Connection established\r\nVia: 1.1 proxy\r\n\r\nafter",
        b"HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: NTLM\r\n\r\n",
        b"HTTP/1.0 502 Bad Gateway\r\n\r\n<html>",
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
    ),
    "upgrade_answer": (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: AAAA\r\nSet-Cookie: a=\xff; b\r\n\r\n\x81\x00",
        b'HTTP/1.1 401 Unauthorized\r\nContent-Length: 17\r\n\r\n{"error":"no key"}',
        b"HTTP/1.1 302 Found\r\nLocation: http://elsewhere/\r\n\r\n",
    ),
    "http_answer": (
        _OK + b"Content-Length: 5\r\nContent-Type: text/plain\r\n\r\nhello",
        _OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n3;a=b\r\n ho\r\n0\r\n\r\n",
        _OK + b"\r\nuntil it closes",
        b'HTTP/1.1 429 Slow\r\nRetry-After: 3\r\n\r\n{"error":{"message":"quota"}}',
        b"HTTP/1.1 302 Found\r\nLocation: https://elsewhere/\r\n\r\n",
    ),
    "wav_header": tuple(b"\x05" + wav for wav in _WAVS),
    "wav_file": _WAVS,
    "chat_answer": (
        b"\xffdata: " + _DEEP + b"\n",
        b"\x03" + _SSE,
        b'\x09{"choices":[{"message":{"content":"# Hello\\n- [a](http://b.c/d)"}}]}',
        b'\x09[{"error":{"code":400,"message":"API key not valid","status":"INVALID"}}]',
        b'\x02data: {"choices":[{"delta":{"content":"<think>no"}}]}\ndata: {"choices":[]}',
        b"\x02<html>",
    ),
    "error_page": (
        b'5\x1e{"error":{"message":"no","type":"x","code":null}}',
        b"inf\x1e<html></html>",
        b'https://x/\x1e{"detail":[{"loc":["body"],"msg":"field required"}]}',
    ),
    "reply_lines": (
        b"\x02One.\nTwo \xc3\xa9.\n\nthree",
        b"\x01\n\n",
        b"\x04<!DOCTYPE html><p>",
        b"\x00a\xffb\xe2\x82",
    ),
    "text_lines": (b"\x05" + _SSE, b"\x01a\rb\r\nc\n\n\xe2\x82\xac"),
    "spoken_text": (
        b"\x06# Title\n\n1. **Bold** and `code`, see [label](https://www.host.org/a?b).\n",
        b"\x30Dr. Smith paid 3.14 <break time='1s'/> and left. "
        b"\xe4\xbd\xa0\xe5\xa5\xbd\xe3\x80\x82\xe2\x80\x94",
        b"\x02<think>hidden</think>Well... \xed\xa0\xbd\xed\xb8\x80 ~~ok~~\n---\n> quote",
    ),
    "answers_file": (
        b'default = "No."\n[[answer]]\nwords = ["bus", "leave"]\nsay = "At ten."\n',
        b'[[answer]]\nword = ["a"]\n',
    ),
    "control_requests": (
        b"\xff" + _DEEP,
        b'\x05{"id": 1, "command": "say", "text": "Hello.", "now": true}\n',
        b'\xff{"id": "a", "command": "volume", "percent": 80.5}\r\n{"command": "status"}\n',
        b'\x01{"command":"ask","text":"what time is it"}\nnonsense\n{"command":"mute"}',
        b'\x08{"id":1e999,"command":"wake"}\n{"id":true}\n{"command":"volume","percent":NaN}\n',
    ),
    "mqtt_commands": (
        b'\x1e{"command":' + _DEEP,
        b"\x1ewake",
        b"/say\x1eGood morning.",
        b"/volume\x1e55.5",
        b"/mute\x1eOFF",
        b'\x1e{"command": "say", "text": "Hi", "now": true}',
        b'\x1e{"command": "reload"}',
    ),
    "mqtt_address": (
        b"mqtts://broker:8883/prefix",
        b"mqtt://user@10.0.0.1/{hostname}/a%2Bb",
        b"mqtts://u:p@[::1]:1/",
    ),
    "page_requests": (
        b"GET / HTTP/1.1\r\n" + _HOST + b"\r\n",
        b"GET /?token=" + TOKEN.encode() + b" HTTP/1.1\r\nHost: box:8990\r\n\r\n",
        b"HEAD /metrics HTTP/1.1\r\n"
        + _HOST
        + b"Authorization: Bearer "
        + TOKEN.encode()
        + b"\r\n\r\n",
        b"GET /events HTTP/1.1\r\n" + _HOST + b"Origin: http://evil.test\r\nCookie: a=b\r\n\r\n",
        b"POST / HTTP/1.1\r\n" + _HOST + b"Content-Length: 3\r\n\r\nabc",
    ),
    "config": (
        _TOML,
        b"\x1estt.language=de\x1estt.options.a.b=1\x1eSLNG_EDGE_TTS__SPEED=1.5\x1etts.voice='x'",
        b'[gatway]\nurl = 3\n[stt]\nmodl = "x"\n\x1enothing\x1estt.sample_rate=5\x1etts=1',
        b'[gateway]\napi_key = "0123456789abcdef"\n[status_page]\nlisten = "0.0.0.0:1"\n',
        *(starter_text().encode()[start : start + 3000] for start in (0, 3000)),
    ),
    "secret_file": (b"sk-0123456789abcdef\n", b"", b"two words", b"\xff\xfe\0", b"k" * 17),
    "kept_settings": (
        _DEEP,
        b'{"muted": true, "volume": 1.5, "volume_of_config": 1.0}\n',
        b'{"muted": 1}',
        b'{"volume": NaN}',
        b"[]",
    ),
    "wake_manifest": (
        b'{"type":"micro","wake_word":"hey","model":"hey.tflite","version":2,'
        b'"micro":{"probability_cutoff":0.97,"sliding_window_size":5}}',
        b'{"micro":{"probability_cutoff":"x"}}',
    ),
    "environment_file": (
        b'A=1\n# comment\nexport B=2\nC=\'a b\' "c\\"d" e\\\nf\n;x\nD=\n',
        b"A='open\nB=2",
    ),
    "sound_card_names": (
        b" 0 [Headphones     ]: bcm2835 - bcm2835 Headphones\n                      bcm2835\n",
    ),
    "endpoint": (
        b"bridge\x1e\x1eslng/deepgram/nova:3-en\x1esk-0123456789abcdef\x1eeu-north-1\x1ebox-1\x1een\x1e",
        b"classic\x1ews://127.0.0.1:8765\x1ewhisper\x1e\x1e\x1e\x1ede\x1e1",
        b"unified\x1ewss://[::1]:1\x1ea/b\x1ebearer x\x1e\x1ea,b\x1e\x1e",
    ),
    "proxy": (
        b"1\x1ehttp://user:p%40ss@proxy:3128\x1e10.0.0.0/8,.test",
        b"\x1eproxy:8080\x1e10.0.0.0/8",
        b"1\x1esocks5://h:1\x1e*",
    ),
}
