"""The local gateway as a program of its own, so that it can live by a played clock as well.

    python gateway_program.py PORT FOLDER

Serves `wss` with the certificate in FOLDER/certificate.pem. Each line on standard input is a word,
each line on standard output the answer to it, as JSON:

    certificate   load the certificate anew; connections to come are shown it
    restart       end all connections, stop listening, listen again
    off, on       the two halves of it
    drop          cut all connections
    tell          what was seen so far
"""

from __future__ import annotations

import json
import ssl
import sys
from pathlib import Path

from labelled_sound import LabelledReplies, LabelReader, labelled_voice

from slng_edge.simulator import LocalGateway

VOICES = 200
VOICE_MS = 480
PART_MS = 1500.0
CERTIFICATE = "certificate.pem"


def main(port: int, folder: Path) -> int:
    """Serve until standard input ends."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / CERTIFICATE)
    voice = {number: labelled_voice(number, VOICE_MS) for number in range(VOICES)}
    reader = LabelReader(voice)
    replies = LabelledReplies(dict.fromkeys(range(VOICES), PART_MS))
    violations: list[str] = []

    def listen() -> LocalGateway:
        gateway = LocalGateway(
            "0.0.0.0",
            port,
            stt=reader,
            tts=replies,
            ssl_context=context,
            tier="pro",
            keep_history=False,
        )
        gateway.start()
        return gateway

    gateway: LocalGateway | None = listen()
    print(json.dumps({"listening": True}), flush=True)
    for line in sys.stdin:
        word, answer = line.strip(), {}  # type: tuple[str, dict[str, Any]]
        if word == "certificate":
            context.load_cert_chain(folder / CERTIFICATE)
        elif word == "drop" and gateway is not None:
            gateway.drop_all()
        elif word == "tell" and gateway is not None:
            answer = {
                "violations": violations + gateway.violations,
                "broken": reader.broken,
            }
        if word in ("restart", "off") and gateway is not None:
            violations += gateway.violations
            gateway.close()
            gateway = None
        if word in ("restart", "on") and gateway is None:
            gateway = listen()
        print(json.dumps(answer), flush=True)
    if gateway is not None:
        gateway.close()
    return 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), Path(sys.argv[2])))
