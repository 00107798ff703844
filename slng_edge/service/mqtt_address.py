"""What `mqtt.url` says: which broker, as whom, and under which topics."""

from __future__ import annotations

import hashlib
import os
import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from slng_edge.errors import ConfigError
from slng_edge.secrets import (
    BROKER_PASSWORD_VARIABLE,
    CREDENTIALS_VARIABLE,
    register_secret,
    secret_variable,
)

CREDENTIAL = "mqtt-password"
PASSWORD_LIMIT_BYTES = 4096
PORTS = {"mqtt": 1883, "mqtts": 8883}
PREFIX_LIMIT_BYTES = 200
MACHINE_ID_FILE = Path("/etc/machine-id")


@dataclass(frozen=True)
class BrokerAddress:
    """A broker, and where under its topics this device is.

    `device` tells this device from all others that may use the broker; it is made from the
    machine's id, which is not to be told as it is (machine-id(5)).
    """

    host: str
    port: int
    tls: bool
    user: str
    prefix: str
    device: str


def broker_address(
    url: str, *, host_name: str = "", machine_id_file: Path = MACHINE_ID_FILE
) -> BrokerAddress:
    """What `url`, which the configuration has checked, stands for.

    `{hostname}` in its path is this machine's name; without a path the prefix is
    "slng-edge/HOSTNAME".

    Raises:
        ConfigError: there is a password in it, or its path cannot be a topic.
    """
    parts = urlsplit(url)
    if parts.password is not None:
        raise ConfigError(
            "mqtt.url holds a password, which never stands in the configuration: put it into "
            f"${BROKER_PASSWORD_VARIABLE} or the systemd credential {CREDENTIAL}"
        )
    host_name = host_name or socket.gethostname().partition(".")[0]
    prefix = unquote(parts.path).strip("/").replace("{hostname}", host_name)
    prefix = prefix or f"slng-edge/{host_name}"
    if re.search(r"[+#\x00-\x1f]", prefix) or prefix.startswith("$"):
        raise ConfigError(f"mqtt.url: {prefix!r} cannot be a topic: no +, # or $ in front")
    if len(prefix.encode("utf-8", "replace")) > PREFIX_LIMIT_BYTES:
        raise ConfigError(f"mqtt.url: the prefix is longer than {PREFIX_LIMIT_BYTES} bytes")
    return BrokerAddress(
        parts.hostname or "",
        parts.port or PORTS[parts.scheme],
        parts.scheme == "mqtts",
        unquote(parts.username or ""),
        prefix,
        _device_id(machine_id_file, host_name, prefix),
    )


def broker_password(environ: Mapping[str, str] = os.environ) -> str:
    """`$SLNG_MQTT_PASSWORD`, else the systemd credential `mqtt-password`, else "".

    It is registered as a secret.

    Raises:
        ConfigError: the credential cannot be read.
    """
    password = secret_variable(BROKER_PASSWORD_VARIABLE, environ)
    folder = environ.get(CREDENTIALS_VARIABLE, "")
    if not password and folder:
        try:
            with open(Path(folder, CREDENTIAL), "rb") as file:
                data = file.read(PASSWORD_LIMIT_BYTES)
        except FileNotFoundError:
            return ""
        except OSError as error:
            raise ConfigError(
                f"the systemd credential {CREDENTIAL} cannot be read: {error.strerror}"
            ) from error
        password = data.decode("utf-8", "replace").strip("\r\n")
    register_secret(password)
    return password


def _device_id(file: Path, host_name: str, prefix: str) -> str:
    try:
        machine = file.read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        machine = ""
    told = f"slng-edge {machine or host_name} {prefix}"
    return hashlib.sha256(told.encode("utf-8", "replace")).hexdigest()[:12]
