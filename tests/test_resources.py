"""What a process needs besides a disk, taken from a running service: what happens, and back."""

from __future__ import annotations

import os
import resource
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hungry_service
import pytest
from command_line import write_wav
from conversation_scripts import silence, voice
from small_disk import mount_rights
from starved_service import StarvedService

from slng_edge.simulator import LocalGateway, ScriptRecognizer, ToneSynthesizer

NO_DESCRIPTOR = "Too many open files"
LOWEST = 4
"""A limit of descriptors below those that a service has: it gets none, and keeps what it has."""


@pytest.fixture
def gateway() -> Iterator[LocalGateway]:
    """Understands two words, and speaks in tones."""
    with LocalGateway(stt=ScriptRecognizer(["one two"]), tts=ToneSynthesizer()) as gateway:
        yield gateway


# Descriptors


def test_a_program_that_gets_no_descriptor_fails_its_turn(
    tmp_path: Path, gateway: LocalGateway
) -> None:
    """The turn is told as lost, with the reason; the next one works."""
    program = ("responder.kind=command", "responder.command=['cat']")
    with StarvedService(tmp_path, gateway.url, *program) as service:
        service.ready()
        before = service.limit(resource.RLIMIT_NOFILE, max(service.descriptors()) + 2)
        assert service.request(command="ask", text="hello")["ok"]  # takes the only one
        service.await_(lambda: service.count("lost"), "loss")
        service.limit(resource.RLIMIT_NOFILE, before)
        service.ask("again")
        [lost] = [event for event in service.events if event["type"] == "lost"]
        assert f"could not be started: {NO_DESCRIPTOR}" in lost["why"]


def test_clients_that_cannot_be_taken_are_one_warning(
    tmp_path: Path, gateway: LocalGateway
) -> None:
    """They wait in the kernel, and are answered when there is a descriptor."""
    with StarvedService(tmp_path, gateway.url) as service:
        service.ready()
        before = service.limit(resource.RLIMIT_NOFILE, LOWEST)
        answers: list[Any] = []
        client = threading.Thread(target=lambda: answers.append(service.request(command="status")))
        client.start()
        service.await_(lambda: service.warnings("cannot accept"), "warning")
        time.sleep(1.2)  # until it is tried again
        service.limit(resource.RLIMIT_NOFILE, before)
        client.join()
        assert answers[0]["ok"]
        assert len(service.warnings("cannot accept")) == 1


# Room for arguments


def test_arguments_that_are_too_long_now_fail_a_turn_and_a_hook(
    tmp_path: Path, gateway: LocalGateway
) -> None:
    """A smaller stack allows shorter ones: both are told with the reason, and work afterwards."""
    long = "x" * 125_000
    settings = (
        "responder.kind=command",
        f'responder.command=["sh", "-c", "cat", "{long}"]',
        f'hooks.state=["true", "{long}"]',
    )
    path = {"PATH": os.environ["PATH"] + ":/nowhere" * 2000}
    with StarvedService(tmp_path, gateway.url, *settings, environment=path) as service:
        service.ready().ask()
        before = service.limit(resource.RLIMIT_STACK, 1 << 18)  # 128 KiB for both together
        assert service.request(command="ask", text="hello")["ok"]
        service.await_(lambda: service.count("lost"), "loss")
        service.await_(lambda: service.warnings("hooks.state: true could not"), "warning")
        service.limit(resource.RLIMIT_STACK, before)
        service.ask("again")
        service.await_(lambda: service.warnings("hooks.state: true works again"), "hook")
        [lost] = [event for event in service.events if event["type"] == "lost"]
        assert lost["why"].endswith("sh could not be started: Argument list too long")
        [warning] = service.warnings("hooks.state: true could not")
        assert warning.endswith("could not be started: Argument list too long")
        assert service.end() == 0


# Memory


@pytest.mark.parametrize("name", ["MainThread", "capture", "tts-link"])
def test_a_thread_that_gets_no_memory_ends_the_process(
    tmp_path: Path, gateway: LocalGateway, name: str
) -> None:
    """With 1, for systemd to start it again, and a message: never one that runs and is deaf."""
    with StarvedService(tmp_path, gateway.url, program=(hungry_service.__file__,)) as service:
        service.ready()
        service.tell(f"in {name}")
        gateway.drop_all()
        assert service.process.wait(60) == 1
        assert "memory" in service.log.splitlines()[-1].lower()


# Time


def test_after_seconds_without_any_cpu_it_hears(tmp_path: Path, gateway: LocalGateway) -> None:
    """Stopped in the middle of a question; the next one is heard and answered."""
    question = [silence(600), voice(500), silence(900)]
    room = write_wav(tmp_path / "room.wav", b"".join(part.tobytes() for part in question * 4))
    with StarvedService(tmp_path, gateway.url, f"audio.input=file:{room}") as service:
        service.await_(lambda: service.count("speech_start"), "a question")
        service.process.send_signal(signal.SIGSTOP)
        time.sleep(1.5)
        service.process.send_signal(signal.SIGCONT)
        heard = service.count("final")
        service.await_(lambda: service.count("final") >= heard + 2, "two more questions")
        service.await_(lambda: service.count("playback_end"), "an answer")
        assert service.end() == 0


# Places


@pytest.mark.skipif(not mount_rights(), reason="this user may mount nothing")
def test_without_proc_home_and_temporary_files_it_answers(
    tmp_path: Path, gateway: LocalGateway
) -> None:
    """With a program that answers and a hook, which are started without them."""
    hide = (*mount_rights(), "sh", "-c", 'mount -t tmpfs x /proc && unset HOME && exec "$@"', "sh")
    settings = ("responder.kind=command", "responder.command=['cat']", "hooks.state=['true']")
    nowhere = {"TMPDIR": "/nonexistent", "XDG_STATE_HOME": "/nonexistent/state"}
    with StarvedService(
        tmp_path, gateway.url, *settings, before=hide, environment=nowhere
    ) as service:
        service.ready().ask()
        assert service.request(command="status")["ok"]
        assert not service.warnings("WARNING")
        assert service.end() == 0


STOPPED_FOR_LONG = """
import sys
from slng_edge.service import supervisor

supervisor.DEAF_S, supervisor.STOOD_STILL_S, supervisor.POLL_S = 2.0, 1.0, 0.2
from slng_edge.cli import main

sys.exit(main())
"""


def test_a_process_that_stood_still_is_not_taken_for_deaf(
    tmp_path: Path, gateway: LocalGateway
) -> None:
    """Stopped for longer than a microphone may say nothing, with that time made short here."""
    program = ("-c", STOPPED_FOR_LONG, "run", "--events", "-")
    with StarvedService(tmp_path, gateway.url, program=program) as service:
        service.ready()
        service.process.send_signal(signal.SIGSTOP)
        time.sleep(2.5)
        service.process.send_signal(signal.SIGCONT)
        service.ask()
        assert service.end() == 0
