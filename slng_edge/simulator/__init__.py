"""The local gateway: the other side of the protocol, with faults on demand."""

from slng_edge.simulator.faults import FAULTS, Faults, fault_table
from slng_edge.simulator.history import ConnectionRecord
from slng_edge.simulator.recognizers import PocketsphinxRecognizer, recognizer_named
from slng_edge.simulator.script_recognizer import ScriptRecognizer
from slng_edge.simulator.server import LocalGateway
from slng_edge.simulator.synthesizers import (
    EspeakSynthesizer,
    FliteSynthesizer,
    ToneSynthesizer,
    synthesizer_named,
)

__all__ = [
    "FAULTS",
    "ConnectionRecord",
    "EspeakSynthesizer",
    "Faults",
    "FliteSynthesizer",
    "LocalGateway",
    "PocketsphinxRecognizer",
    "ScriptRecognizer",
    "ToneSynthesizer",
    "fault_table",
    "recognizer_named",
    "synthesizer_named",
]
