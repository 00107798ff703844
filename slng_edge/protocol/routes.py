"""Where a session connects, and with which headers; all checked before anything is sent.

Facts of the wire are protocol.md, sections 1 and 2.
"""

from __future__ import annotations

import difflib
import ipaddress
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias
from urllib.parse import quote, urlencode, urlsplit

from slng_edge.config import EXTERNAL_CLASSIC_MODELS, REGIONS, WORLD_PART_OVERRIDES, WORLD_PARTS
from slng_edge.errors import ConfigError
from slng_edge.protocol.classic_models import model_problem

Kind: TypeAlias = Literal["stt", "tts"]
OverridesIn: TypeAlias = Literal["header", "query"]

PROTOCOLS = ("bridge", "unified", "classic")
TRACKING_ID_CHARS = 128

_EXAMPLES = {"stt": "slng/deepgram/nova:3-en", "tts": "slng/deepgram/aura:2-en"}
_SECRET_HEADERS = frozenset({"authorization", "x-slng-provider-key"})
_HOST = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_.])?")


@dataclass(frozen=True, repr=False)
class Endpoint:
    """A URL to connect to and the headers of the upgrade request; its repr shows no key."""

    url: str
    headers: tuple[tuple[str, str], ...]

    def __repr__(self) -> str:
        shown = tuple(
            (name, "***" if name.lower() in _SECRET_HEADERS else value)
            for name, value in self.headers
        )
        return f"Endpoint(url={self.url!r}, headers={shown!r})"


def build_endpoint(
    *,
    kind: Kind,
    model: str,
    key: str,
    protocol: str = "bridge",
    url: str = "",
    world_part: str = "us-east",
    provider_key: str = "",
    region: str = "",
    world_part_override: str = "",
    agent_id: str = "",
    session_id: str = "",
    language: str = "",
    allow_insecure: bool = False,
    overrides_in: OverridesIn = "header",
) -> Endpoint:
    """The endpoint of a session.

    Args:
        kind: which of the two sessions.
        model: model path, ``slng/deepgram/nova:3-en``; on "classic" a name, ``whisper``.
        key: SLNG key; "" sends no `Authorization`, and whether that may be is for the
            caller to say.
        protocol: "bridge", "unified" or "classic"; decides the path.
        url: scheme, host and port of another gateway; overrides `world_part`.
        world_part: which regional host of SLNG.
        provider_key: bring your own key, for models without the ``slng/`` prefix.
        region: regions in order of preference, separated by commas.
        world_part_override: "ap", "eu" or "na".
        agent_id: tracking id, at most 128 characters.
        session_id: tracking id, at most 128 characters.
        language: for paths that carry the language (classic speech-to-text).
        allow_insecure: allow ``ws://`` to a host that is not loopback.
        overrides_in: where region and world part override go: into headers, or into the
            query, for proxies that pass no unknown header.

    Raises:
        ConfigError: anything is wrong; one line for each problem, none with a key in it.
    """
    problems: list[str] = []
    base = _base_of_url(url, allow_insecure, problems) if url else _base_of(world_part, problems)
    _check_model(kind, model, protocol, problems)
    if protocol not in PROTOCOLS:
        problems.append(_not_one_of("gateway.protocol", protocol, PROTOCOLS))
    headers: list[tuple[str, str]] = []
    if key := _checked_key("the SLNG key ($SLNG_API_KEY, gateway.api_key_file)", key, problems):
        headers.append(("Authorization", f"Bearer {key}"))
    if provider_key := _checked_key(
        "the provider's key (gateway.provider_key_file)", provider_key, problems
    ):
        headers.append(("X-Slng-Provider-Key", provider_key))
        if _hosted_by_slng(protocol, model):
            other = (
                f"one of {', '.join(EXTERNAL_CLASSIC_MODELS)}"
                if protocol == "classic"
                else "a model without the slng/ prefix"
            )
            problems.append(
                f"gateway.provider_key_file: {kind}.model {model!r} is hosted by SLNG and takes no "
                f"provider's key. Remove the file, or take {other}."
            )
    regions = _checked_list("gateway.region", region, REGIONS, problems)
    parts = _checked_list(
        "gateway.world_part_override", world_part_override, WORLD_PART_OVERRIDES, problems
    )
    if len(parts) > 1:
        problems.append("gateway.world_part_override: takes one value, not a list.")
    overrides = (
        ("region", "X-Region-Override", ",".join(regions)),
        ("world-part", "X-World-Part-Override", ",".join(parts)),
    )
    in_headers = overrides_in == "header"
    tracking = (
        *((header, value) for _, header, value in overrides if in_headers),
        ("X-SLNG-Agent-Id", _checked_tracking_id("gateway.agent_id", agent_id, problems)),
        ("X-SLNG-Session-Id", _checked_tracking_id("session_id", session_id, problems)),
    )
    headers.extend((name, value) for name, value in tracking if value)
    if problems:
        raise ConfigError(*problems)
    query = [
        ("language", language if protocol == "classic" and kind == "stt" else ""),
        *((name, value) for name, _, value in overrides if not in_headers),
    ]
    given = [(name, value) for name, value in query if value]
    asked = urlencode(given, quote_via=quote, errors="replace")
    url = base + _PATH_BUILDERS[protocol](kind, model) + (f"?{asked}" if asked else "")
    return Endpoint(url, tuple(headers))


def model_name_for_init(protocol: str, model: str) -> str | None:
    """What `init.model` says: the last part of the path on "unified", None where it is left out."""
    return model.rpartition("/")[2] if protocol == "unified" else None


_PathBuilder: TypeAlias = Callable[[str, str], str]


def _quoted(model: str) -> str:
    return quote(model, safe="/:")


def _bridge_path(kind: str, model: str) -> str:
    return f"/v1/bridges/unmute/{kind}/{_quoted(model)}"


def _unified_path(kind: str, model: str) -> str:
    return f"/v1/{kind}/{_quoted(model)}"


def _classic_path(kind: str, model: str) -> str:
    return f"/v1/{kind}/{_quoted(model)}-websocket-stream"


_PATH_BUILDERS: Mapping[str, _PathBuilder] = {
    "bridge": _bridge_path,
    "unified": _unified_path,
    "classic": _classic_path,
}
"""Each takes kind and model."""


def _base_of(world_part: str, problems: list[str]) -> str:
    if world_part not in WORLD_PARTS:
        problems.append(_not_one_of("gateway.world_part", world_part, WORLD_PARTS))
    return f"wss://{world_part}.api.slng.ai"


def _base_of_url(url: str, allow_insecure: bool, problems: list[str]) -> str:
    """Scheme, host and port of `url`; what is wrong goes to `problems`."""
    # A URL can carry a password or a key: then it is not shown.
    shown = "" if re.search("[@?#]", url) else f"{url!r} "

    def refuse(why: str) -> str:
        problems.append(f"gateway.url: {shown}{why}")
        return ""

    if not url.isprintable() or " " in url or "\\" in url:
        return refuse("has a character that no URL has: a space, a backslash, a control character.")
    scheme, separator, rest = url.partition("://")
    if not separator:
        return refuse("has no scheme. Write wss://HOST[:PORT], or ws://HOST:PORT on this machine.")
    scheme = scheme.lower()
    if meant := {"http": "ws", "https": "wss"}.get(scheme):
        return refuse(f"is not a WebSocket URL: did you mean {meant}:// instead of {scheme}://?")
    if scheme not in ("ws", "wss"):
        return refuse("is not a WebSocket URL. Write wss://HOST[:PORT].")
    try:
        parts = urlsplit(f"{scheme}://{rest}")
        port = parts.port
    except ValueError:
        return refuse("has a wrong host or port. Write wss://HOST[:PORT], a port from 1 to 65535.")
    if parts.username is not None or parts.password is not None:
        return refuse("must not hold a user or a password; the key has its own place.")
    if parts.path not in ("", "/") or re.search("[?#]", url):
        return refuse("must end after host and port: gateway.protocol and the model give the path.")
    host = parts.hostname or ""
    if port == 0 or not _is_host(host, "[" in parts.netloc):
        return refuse("has a wrong host or port. Write wss://HOST[:PORT], a port from 1 to 65535.")
    if scheme == "ws" and not (allow_insecure or _is_loopback(host)):
        return refuse(
            "would send the key and all speech unencrypted. Use wss://, or set "
            "gateway.allow_insecure = true where the network is yours."
        )
    bracketed = f"[{host}]" if ":" in host else host
    return f"{scheme}://{bracketed}" + (f":{port}" if port else "")


def _is_host(host: str, bracketed: bool) -> bool:
    # urlsplit itself looks into the brackets only from Python 3.11.4 on.
    return _ip_version(host) == 6 if bracketed else _HOST.fullmatch(host) is not None


def _ip_version(host: str) -> int | None:
    try:
        return ipaddress.ip_address(host).version
    except ValueError:
        return None


def _is_loopback(host: str) -> bool:
    if _ip_version(host):
        return ipaddress.ip_address(host).is_loopback
    return host == "localhost"


def _check_model(kind: Kind, model: str, protocol: str, problems: list[str]) -> None:
    if protocol == "classic":
        problems.extend(filter(None, [model_problem(kind, model)]))
        return
    example = _EXAMPLES[kind]
    if not model:
        problems.append(f"{kind}.model: is empty. Write a model path, such as {example!r}.")
    elif not model.isprintable() or any(mark in model for mark in " ?#%\\"):
        problems.append(
            f"{kind}.model: {model!r} has a character that no model path has (space, ?, #, %, "
            f"backslash, control character). Write it as {example!r}."
        )
    elif any(part in ("", ".", "..") for part in model.split("/")):
        problems.append(
            f"{kind}.model: {model!r} has an empty or dotted part between slashes. "
            f"Write it as {example!r}."
        )


def _hosted_by_slng(protocol: str, model: str) -> bool:
    if protocol == "classic":
        return model not in EXTERNAL_CLASSIC_MODELS
    return model.startswith("slng/")


def _checked_key(what: str, key: str, problems: list[str]) -> str:
    """`key` without white space around it; what is wrong is told without a character of it."""
    key = key.strip()
    # A header takes Latin-1; blanks and controls in a key are a slip of the clipboard.
    wrong = (
        position
        for position, char in enumerate(key, start=1)
        if not char.isprintable() or char == " " or ord(char) > 0xFF
    )
    if key.lower().startswith("bearer "):
        problems.append(f'{what}: begins with "Bearer". Give the key alone.')
    elif position := next(wrong, None):
        problems.append(
            f"{what}: character {position} of {len(key)} is a blank, a control character or "
            f"one that no header takes. Copy the key again."
        )
    return key


def _checked_list(where: str, value: str, valid: tuple[str, ...], problems: list[str]) -> list[str]:
    """The names in `value`, separated by commas, in their order; [] for an empty `value`."""
    names = [name.strip().lower() for name in value.split(",") if name.strip()]
    problems.extend(_not_one_of(where, name, valid) for name in names if name not in valid)
    return list(dict.fromkeys(names))


def _checked_tracking_id(where: str, value: str, problems: list[str]) -> str:
    value = value.strip()
    if len(value) > TRACKING_ID_CHARS:
        problems.append(f"{where}: has {len(value)} characters. Use at most {TRACKING_ID_CHARS}.")
    if "," in value or not value.isprintable():
        problems.append(f"{where}: has a comma or a control character. Remove it.")
    return value


def _not_one_of(where: str, value: str, valid: tuple[str, ...]) -> str:
    close = difflib.get_close_matches(value.strip().lower(), valid)
    meant = f" Did you mean {close[0]!r}?" if close else ""
    return f"{where}: {value!r} is not known.{meant} Use one of: {', '.join(valid)}."
