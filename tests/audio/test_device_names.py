"""Names of devices: what is printed can be pasted, and survives a replug."""

from __future__ import annotations

from dataclasses import replace

import pytest

from slng_edge.audio.device_names import Device, find_device, name_devices
from slng_edge.errors import DeviceNotFound


def device(full_name: str, index: int = 0, *, inputs: int = 1, outputs: int = 2) -> Device:
    return Device("", full_name, index, "ALSA", inputs, outputs, 48000)


FOUND = name_devices(
    [
        device("bcm2835 Headphones: - (hw:0,0)", 0, inputs=0),
        device("USB PnP Sound Device: Audio (hw:1,0)", 1),
        device("Twin: Audio (hw:2,0)", 2),
        device("Twin: Audio (hw:3,0)", 3),
        device("sysdefault", 4),
        device("USB Webcam: Audio (hw:4,0)", 5, outputs=0),
        replace(device("hifi", 6), default_output=True),
    ]
)


def test_names_go_without_card_numbers() -> None:
    """Unless two devices could not be told apart."""
    assert [found.name for found in FOUND] == [
        "bcm2835 Headphones: -",
        "USB PnP Sound Device: Audio",
        "Twin: Audio (hw:2,0)",
        "Twin: Audio (hw:3,0)",
        "sysdefault",
        "USB Webcam: Audio",
        "hifi",
    ]


@pytest.mark.parametrize(
    ("wanted", "output", "index"),
    [
        ("USB PnP Sound Device: Audio", True, 1),
        ("USB PnP Sound Device: Audio (hw:1,0)", True, 1),
        ("USB PnP Sound Device: Audio (hw:7,0)", False, 1),
        ("Twin: Audio (hw:3,0)", True, 3),
        ("pnp", False, 1),
        ("usb", True, 1),  # The webcam does not play.
        ("headphones", True, 0),
        ("default", True, 6),
    ],
)
def test_a_name_means_one_device(wanted: str, output: bool, index: int) -> None:
    """The same, the same on another card number, a unique part, or the system's default."""
    assert find_device(wanted, FOUND, output=output).index == index


@pytest.mark.parametrize(
    ("wanted", "output", "words"),
    [
        ("usb", False, 'may be any of "USB PnP Sound Device: Audio", "USB Webcam: Audio"'),
        ("Twin: Audio", True, 'may be any of "Twin: Audio (hw:2,0)", "Twin: Audio (hw:3,0)"'),
        ("headphones", False, 'there is no input device "headphones"'),
        ("jabra", True, '"hifi"'),
    ],
)
def test_none_or_several_are_listed(wanted: str, output: bool, words: str) -> None:
    """With what there is, and the command that says more."""
    with pytest.raises(DeviceNotFound) as caught:
        find_device(wanted, FOUND, output=output)
    assert words in str(caught.value)
    assert "slng-edge devices" in str(caught.value)


def test_an_empty_system_has_none_at_all() -> None:
    """Not an empty list after a colon."""
    with pytest.raises(DeviceNotFound, match="none at all"):
        find_device("default", [], output=True)


def test_a_pcm_called_default_comes_before_the_default() -> None:
    """ALSA's own "default" is what users configure."""
    found = name_devices([replace(device("hifi", 0), default_input=True), device("default", 1)])
    assert find_device("default", found, output=False).index == 1
