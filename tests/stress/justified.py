"""What is done on purpose with a lock, and why. What is not in here is a violation."""

from __future__ import annotations

SIGNALS = {
    "threads.Doorbell._bell": "rung by another thread: it is what a thread sleeps on",
    "audio.media_clock.CloseFlag._gate": "opened by another thread: it is what a thread sleeps on",
    "audio.bounded_calls.BoundedCalls._turn": (
        "given back by the thread that makes the call: it says whether an earlier call is still "
        "under way, and is waited for with a limit"
    ),
}
"""Locks that guard nothing: one thread takes them and another one gives them back."""

_FILE = (
    "it guards the open file of `file:` alone: who waits for it is who closes that file, and a "
    "close must not come into the middle of a write; no device has it"
)

_GATE = (
    "the gate is open then, and who passes it gives it back at once, without any lock: it is taken "
    "when the last of them has"
)

HELD_ACROSS: dict[tuple[str, str], str] = {
    ("gateway.byte_stream.ByteStream._sending", "socket send"): (
        "it exists to put messages on the wire one after the other; only those who send wait for "
        "it, `abort` never does, and the send ends within its limit"
    ),
    **{
        (lock, "os eventfd_write"): (
            "it does not wait (EFD_NONBLOCK); and the descriptor must not be closed, and given to "
            "another file, in between"
        )
        for lock in (
            "service.control_socket.ControlSocket._lock",
            "service.status_page.StatusPage._lock",
            "service.mqtt_link.MqttLink._lock",
            "service.hook_run.HookRun._lock",
            "service.hooks.StateHook._changed",
        )
    },
    ("audio.device_stream.DeviceUser._lock", "portaudio"): (
        "only what does not block is asked: how much there is, and to take or give that much; a "
        "stream that is closed under such a call crashes the process"
    ),
    ("audio.device_stream.DeviceUser._lock", "file"): (
        "ALSA tells of an error out of such a call, and that is logged: a line a minute and place "
        "at most; who waits for the log there would wait at the next line, too"
    ),
    ("audio.media_clock.CloseFlag._guard", "thread signal"): _GATE,
    ("audio.wav_backend.WavSource._lock", "thread signal"): _GATE,
    ("audio.wav_files.WavWriter._lock", "file"): _FILE,
    ("audio.wav_files.WavWriter._lock", "os"): _FILE,
    ("audio.wav_backend.WavSource._lock", "file"): _FILE,
}
"""(lock, kind of call or call) and the reason."""
