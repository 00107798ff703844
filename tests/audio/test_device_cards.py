"""What can be seen of sound cards and servers without opening them through PortAudio."""

from __future__ import annotations

from pathlib import Path

from slng_edge.audio.device_cards import busy_words, open_ways, sound_cards


def test_the_cards_are_those_of_proc(tmp_path: Path) -> None:
    """As `/proc/asound/cards` has them."""
    (tmp_path / "cards").write_text(" 0 [Headset]: USB-Audio - Headset\n                 Maker\n")
    cards = sound_cards(tmp_path / "cards", tmp_path)
    assert cards == {" 0 [Headset]: USB-Audio - Headset", "                 Maker"}


def test_where_proc_is_hidden_sys_tells_the_cards(tmp_path: Path) -> None:
    """`ProcSubset=pid` leaves the processes alone in /proc."""
    assert sound_cards(tmp_path / "cards", tmp_path) == frozenset()
    (tmp_path / "card1").mkdir()
    (tmp_path / "card1" / "id").write_text("Headset\n")
    assert sound_cards(tmp_path / "cards", tmp_path) == {"card1 Headset\n"}


def test_a_device_that_becomes_free_is_a_new_way(tmp_path: Path) -> None:
    """What cannot be opened is none; controls and timers are no devices for sound."""
    (tmp_path / "controlC0").touch()
    (tmp_path / "pcmC0D0p").touch()
    (tmp_path / "pcmC0D0c").symlink_to(tmp_path / "gone")
    before = open_ways(nodes=tmp_path, environment={})
    assert before == {str(tmp_path / "pcmC0D0p")}
    (tmp_path / "gone").touch()
    assert open_ways(before, nodes=tmp_path, environment={}) == {str(tmp_path / "pcmC0D0c")}


def test_a_server_that_was_started_anew_is_a_new_way(tmp_path: Path) -> None:
    """By the socket that it makes; another host's server cannot be seen."""
    path = tmp_path / "native"
    environment = {"PULSE_SERVER": f"unix:{path}", "XDG_RUNTIME_DIR": str(tmp_path / "none")}
    assert open_ways(nodes=tmp_path, environment=environment) == frozenset()
    assert open_ways(nodes=tmp_path, environment={"PULSE_SERVER": "tcp:host"}) == frozenset()
    path.touch()
    before = open_ways(nodes=tmp_path, environment=environment)
    (tmp_path / "other").touch()
    (tmp_path / "other").rename(path)
    assert len(before) == 1
    assert open_ways(nodes=tmp_path, environment=environment) - before


def test_what_is_not_busy_is_not_called_so(tmp_path: Path) -> None:
    """A device that is missing or forbidden is something else."""
    (tmp_path / "pcmC0D0p").touch()
    (tmp_path / "pcmC0D1p").symlink_to(tmp_path / "gone")
    assert busy_words(output=True, nodes=tmp_path) == ""
