"""Which device a name means: by what it is called, never by its number.

ALSA numbers cards in the order in which they appear, so "USB Audio: - (hw:1,0)" may be
"(hw:2,0)" after a reboot. What `devices` prints, and what a config keeps, goes without.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from slng_edge.errors import DeviceNotFound

DEFAULT = "default"
_CARD_NUMBERS = re.compile(r"\s*\((?:plug)?hw:\d+,\d+\)\s*$")


@dataclass(frozen=True)
class Device:
    """A sound device as the system lists it at one moment.

    Attributes:
        name: What the config calls it.
        full_name: What the system calls it, card numbers included.
        index: Where it stands in the list, good for that moment only.
        host_api: ALSA, JACK, ...
        input_channels: Most channels that it records; 0 for none.
        output_channels: Most channels that it plays; 0 for none.
        default_rate_hz: The rate that it likes best.
        default_input: Whether it is what "default" means for recording.
        default_output: Whether it is what "default" means for playing.
    """

    name: str
    full_name: str
    index: int
    host_api: str
    input_channels: int
    output_channels: int
    default_rate_hz: int
    default_input: bool = False
    default_output: bool = False

    def channels(self, *, output: bool) -> int:
        """Most channels in one direction."""
        return self.output_channels if output else self.input_channels


def name_devices(devices: Sequence[Device]) -> list[Device]:
    """The devices with `name` made from `full_name`.

    Two that would share a name keep their card numbers: nothing else tells them apart.
    """
    plain = [_CARD_NUMBERS.sub("", device.full_name) for device in devices]
    count = Counter(plain)
    return [
        replace(device, name=name if name and count[name] == 1 else device.full_name)
        for device, name in zip(devices, plain, strict=True)
    ]


def find_device(wanted: str, devices: Sequence[Device], *, output: bool) -> Device:
    """The device that `wanted` means, for playing or for recording.

    In this order: "default" (one of that name, else the system's); the same name; the same but
    for card numbers; the only one that contains `wanted`, in upper or lower case.

    Raises:
        DeviceNotFound: there is none, or more than one; the message lists what there is.
    """
    which = "output" if output else "input"
    fitting = [device for device in devices if device.channels(output=output)]
    tests = (
        lambda device: wanted in (device.name, device.full_name),
        lambda device: _CARD_NUMBERS.sub("", wanted) == _CARD_NUMBERS.sub("", device.full_name),
        lambda device: wanted == DEFAULT and getattr(device, f"default_{which}"),
        lambda device: wanted.casefold() in device.full_name.casefold(),
    )
    for test in tests:
        found = [device for device in fitting if test(device)]
        if len(found) == 1:
            return found[0]
        if found:
            names = ", ".join(f'"{device.name}"' for device in found)
            raise DeviceNotFound(
                f'{which} "{wanted}" may be any of {names}; '
                f"give one whole name (`slng-edge devices` prints them)"
            )
    names = ", ".join(f'"{device.name}"' for device in fitting) or "none at all"
    raise DeviceNotFound(
        f'there is no {which} device "{wanted}"; there is: {names} (`slng-edge devices` says more)'
    )
