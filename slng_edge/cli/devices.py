"""`slng-edge devices`: what can be heard and spoken through, by the names the config takes."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from slng_edge.cli import tell
from slng_edge.cli.as_service import add_as_service, run_as_service
from slng_edge.cli.exit_status import ExitStatus
from slng_edge.cli.terminal import print_json

if TYPE_CHECKING:
    from slng_edge.audio.device_names import Device
    from slng_edge.diagnostics.sound_holders import Holder

NONE_FOUND = """\
no sound devices. Where there is a sound card:
  - is this user in the group audio? (sudo usermod -aG audio "$USER", then log in again)
  - does the system see it? (cat /proc/asound/cards)
  - is its sound server running? (PulseAudio and PipeWire belong to a login session)"""


def configure(parser: argparse.ArgumentParser) -> None:
    """The command's own options."""
    parser.add_argument("--json", action="store_true", help="one JSON array")
    add_as_service(parser)


def run(args: argparse.Namespace) -> int:
    """List the devices; AUDIO when there are none.

    Raises:
        MissingLibrary: PyAudio is not installed.
        DeviceLost: the sound system does not answer.
        SlngEdgeError: as `run_as_service`.
    """
    if args.as_service is not None:
        return run_as_service(args, "devices", *(["--json"] if args.json else []))
    from slng_edge.audio.pyaudio_backend import list_devices
    from slng_edge.diagnostics.sound_holders import sound_holders

    holders = sound_holders()
    found = list_devices()
    rows = [
        _row(device, "input", rates, holders) for device, rates, _ in found if device.input_channels
    ]
    rows += [
        _row(device, "output", rates, holders)
        for device, _, rates in found
        if device.output_channels
    ]
    if args.json:
        print_json(rows, indent=2)
    else:
        print(_table(rows), end="")
    if rows:
        return ExitStatus.DONE
    tell(NONE_FOUND)
    return ExitStatus.AUDIO


def _row(
    device: Device, which: str, rates_hz: list[int], holders: Sequence[Holder]
) -> dict[str, Any]:
    output = which == "output"
    # Only what names a card of its own can be told from the others.
    held_by = [
        holder
        for holder in holders
        if holder.output is output and f"({holder.hardware})" in device.full_name
    ]
    return {
        "which": which,
        "name": device.name,
        "default": device.default_output if output else device.default_input,
        "host_api": device.host_api,
        "channels": device.channels(output=output),
        "rates_hz": rates_hz,
        "held_by": [
            {"program": holder.program, "process": holder.pid, "user": holder.user}
            for holder in held_by
        ],
    }


def _table(rows: list[dict[str, Any]]) -> str:
    width = max((len(row["name"]) for row in rows), default=0) + 2
    lines = []
    for which, key in (("input", "audio.input"), ("output", "audio.output")):
        of_this = [row for row in rows if row["which"] == which]
        if not of_this:
            continue
        lines.append(f"{which} ({key} in the config)")
        for row in of_this:
            quoted = f'"{row["name"]}"'
            mark = "*" if row["default"] else " "
            rates = " ".join(str(rate_hz) for rate_hz in row["rates_hz"])
            held_by = ", ".join(
                f"{holder['program']} (process {holder['process']} of {holder['user']})"
                for holder in row["held_by"]
            )
            if held_by:
                rates = f"{rates}  held by {held_by}".lstrip()
            lines.append(
                f"{mark} {quoted:<{width}}  {row['host_api']}  {row['channels']:>3} ch  "
                f"{rates or 'opens at no rate: is another program using it?'}"
            )
        lines.append("")
    if lines:
        lines.append('* is what "default" means')
    return "".join(f"{line}\n" for line in lines)
