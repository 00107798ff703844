"""First messages of the classic protocol: options stand at the top level, beside `type`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from slng_edge.errors import ConfigError
from slng_edge.protocol.decoding import Fields, merge_options, well_formed

_FORMAT = frozenset({"sample_rate", "encoding"})


def provider_fields(section: str, rate_hz: int, options: Fields) -> dict[str, Any]:
    """`options` as they go beside `type`; `section` ("stt", "tts") names the keys.

    Sample rate and encoding are left out: they are checked here, and sent, where a
    message has them, under the classic names.

    Raises:
        ConfigError: see `merge_options`; or an option is called `type`.
    """
    problems: list[str] = []
    try:
        merge_options(section, {"sample_rate": rate_hz}, options)
    except ConfigError as error:
        problems.extend(error.problems)
    if "type" in options:
        problems.append(f"{section}.options.type: is the name of the message itself. Remove it.")
    if problems:
        raise ConfigError(*problems)
    return {name: value for name, value in options.items() if name not in _FORMAT}


def encode_top_level(kind: str, fields: Mapping[str, Any]) -> str:
    """A JSON message of type `kind` with `fields`, whatever they are called."""
    message = {"type": kind, **fields}
    return well_formed(json.dumps(message, ensure_ascii=False, separators=(",", ":")))
