"""The network goes away and comes back: what was said meanwhile is transcribed, or told as lost.

Real interfaces between two hosts of our own (`namespaces`): a link that is down, packets that
vanish or are rejected, addresses that move. Skipped, with the reason, where the machine gives none.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

import pytest
from labelled_sound import words_of
from network.namespaces import GATEWAY_ADDRESS, missing_for_namespaces, missing_for_packet_rules
from network.scenes import Scene, Speech, hold

NOTICED_S = 10.0
"""A dead peer is noticed within 10 s (protocol.md, 7)."""

BACK_S = 15.0
"""Half of the longest back-off, and the time an attempt takes on the way."""

STAGGERED_S = 0.4
"""Between the starts of two scenes: a start costs more than all that follows."""

SENTENCE_AND_ONE_AFTER = (Speech(1.0, 5.0), Speech(9.0, 1.0))
LONG_SENTENCE_AND_ONE_AFTER = (Speech(1.0, 12.0), Speech(18.0, 1.0))
ONE_AFTER_SILENCE = (Speech(17.0, 1.5),)


def while_speaking(scene: Scene) -> None:
    """A second of the sentence is said, and on the other side."""
    scene.wait_for("speech_start")
    time.sleep(1.0)


def while_silent(scene: Scene) -> None:
    """Both sessions are ready, and nobody has said anything for a while."""
    for session in ("stt", "tts"):
        scene.wait_for("connection", session=session, state="ready")
    time.sleep(1.5)


# What happens


def own_link_down(scene: Scene) -> None:
    while_speaking(scene)
    scene.cut(lambda: scene.network.link_down(scene.network.client))
    scene.mend(lambda: scene.network.link_up(scene.network.client), after_s=3.0)


def flap_of_a_second(scene: Scene) -> None:
    while_speaking(scene)
    scene.cut(lambda: scene.network.link_down(scene.network.client))
    scene.mend(lambda: scene.network.link_up(scene.network.client), after_s=1.0)


def many_short_flaps(scene: Scene) -> None:
    while_speaking(scene)
    for _ in range(5):
        scene.cut(lambda: scene.network.link_down(scene.network.client))
        scene.mend(lambda: scene.network.link_up(scene.network.client), after_s=0.3)
        time.sleep(0.2)


def no_carrier_for_long(scene: Scene) -> None:
    while_speaking(scene)
    scene.cut(lambda: scene.network.link_down(scene.network.gateway))
    scene.mend(lambda: scene.network.link_up(scene.network.gateway), after_s=13.0)


def dropped_while_speaking(scene: Scene) -> None:
    while_speaking(scene)
    scene.cut(scene.network.drop_packets)
    scene.mend(scene.network.pass_packets, after_s=13.0)


def dropped_in_silence(scene: Scene) -> None:
    while_silent(scene)
    scene.cut(scene.network.drop_packets)
    scene.mend(scene.network.pass_packets, after_s=12.0)


def reset_by_a_firewall(scene: Scene) -> None:
    while_speaking(scene)
    scene.cut(lambda: scene.network.reject_packets("tcp reset"))
    scene.mend(scene.network.pass_packets, after_s=3.0)


def rejected_by_a_firewall(scene: Scene) -> None:
    while_speaking(scene)
    scene.cut(lambda: scene.network.reject_packets("icmp type admin-prohibited"))
    scene.mend(scene.network.pass_packets, after_s=13.0)


def blackhole_route(scene: Scene) -> None:
    while_speaking(scene)
    scene.cut(scene.network.blackhole)
    scene.mend(scene.network.no_blackhole, after_s=13.0)


def another_address_from_dhcp(scene: Scene) -> None:
    """The old address is gone for good: what stands on it is dead."""
    while_speaking(scene)
    scene.cut(lambda: scene.network.flush_addresses(scene.network.client))
    time.sleep(0.5)
    scene.mend(lambda: scene.network.give_address(scene.network.client, "10.77.0.111"), after_s=0.5)


def gateway_moves(scene: Scene) -> None:
    """The gateway has another address, and its name leads there."""
    while_speaking(scene)
    scene.cut(lambda: scene.network.flush_addresses(scene.network.gateway))
    scene.network.give_address(scene.network.gateway, "10.77.0.222")
    scene.mend(lambda: scene.network.name_gateway("10.77.0.222"), after_s=0.5)


def socket_destroyed(scene: Scene) -> None:
    """The client's own kernel kills the sockets, as it does when an address is withdrawn."""
    while_speaking(scene)
    kill = ["ip", "netns", "exec", scene.network.client, "ss", "-K", "dst", GATEWAY_ADDRESS]
    scene.cut(lambda: None)
    done = subprocess.run(kill, check=True, capture_output=True, timeout=10, text=True)
    assert GATEWAY_ADDRESS in done.stdout, f"ss killed nothing: {done.stderr}"
    scene.mend(lambda: None, after_s=0.0)


def offline_for_too_long(scene: Scene) -> None:
    while_speaking(scene)
    scene.cut(lambda: scene.network.reject_packets("tcp reset"))
    scene.wait_for("lost")
    scene.mend(scene.network.pass_packets, after_s=0.0)


Plan = Callable[[Scene], None]

SCENES: dict[Plan, tuple[tuple[Speech, ...], tuple[str, ...]]] = {
    own_link_down: (SENTENCE_AND_ONE_AFTER, ()),
    flap_of_a_second: (SENTENCE_AND_ONE_AFTER, ()),
    many_short_flaps: (SENTENCE_AND_ONE_AFTER, ()),
    no_carrier_for_long: (LONG_SENTENCE_AND_ONE_AFTER, ()),
    dropped_while_speaking: (LONG_SENTENCE_AND_ONE_AFTER, ()),
    dropped_in_silence: (ONE_AFTER_SILENCE, ()),
    reset_by_a_firewall: (SENTENCE_AND_ONE_AFTER, ()),
    rejected_by_a_firewall: (LONG_SENTENCE_AND_ONE_AFTER, ()),
    blackhole_route: (LONG_SENTENCE_AND_ONE_AFTER, ()),
    another_address_from_dhcp: (LONG_SENTENCE_AND_ONE_AFTER, ()),
    gateway_moves: (LONG_SENTENCE_AND_ONE_AFTER, ()),
    socket_destroyed: (SENTENCE_AND_ONE_AFTER, ()),
    offline_for_too_long: ((Speech(1.0, 2.0), Speech(15.0, 1.0)), ("stt.offline_keep_s=1",)),
}
RULES_NEEDED = {
    *(dropped_while_speaking, dropped_in_silence, offline_for_too_long),
    *(reset_by_a_firewall, rejected_by_a_firewall),
}


@pytest.fixture(scope="module")
def scenes() -> dict[Plan, Scene]:
    """All scenes, held side by side."""
    missing = missing_for_namespaces()
    if missing:
        pytest.skip(missing)
    rules_missing = missing_for_packet_rules()
    futures: dict[Plan, Future[Scene]] = {}
    with ThreadPoolExecutor(len(SCENES), thread_name_prefix="scene") as executor:
        for plan, (speeches, overrides) in SCENES.items():
            if not (rules_missing and plan in RULES_NEEDED):
                futures[plan] = executor.submit(hold, plan, speeches, *overrides)
                time.sleep(STAGGERED_S)
    return {plan: future.result() for plan, future in futures.items()}


@pytest.fixture
def held(scenes: dict[Plan, Scene], plan: Plan) -> Scene:
    """The scene that a test is about, held to its end."""
    if plan not in scenes:
        pytest.skip(missing_for_packet_rules())
    scene = scenes[plan]
    if scene.failure is not None:
        raise scene.failure
    return scene


def each(*plans: Plan) -> pytest.MarkDecorator:
    """The test for these scenes."""
    return pytest.mark.parametrize("plan", plans, ids=[plan.__name__ for plan in plans])


COMES_BACK = [plan for plan in SCENES if plan is not offline_for_too_long]
SURVIVED_BY_TCP = [own_link_down, flap_of_a_second, many_short_flaps]
DEAD_CONNECTION = [plan for plan in COMES_BACK if plan not in SURVIVED_BY_TCP]
QUIET = [dropped_in_silence, dropped_while_speaking, no_carrier_for_long]
SEEN_AT_ONCE = [reset_by_a_firewall, socket_destroyed]


@each(*COMES_BACK)
def test_what_was_said_is_transcribed_after_the_return(held: Scene, plan: Plan) -> None:
    """Every sentence once, every sample of it in order, and nothing is told as lost."""
    texts = [event["text"] for event in held.of("final")]
    assert texts == [words_of(number) for number in range(len(held.speeches))]
    assert held.of("lost") == []
    assert held.status == 0


@each(*DEAD_CONNECTION)
def test_a_dead_connection_is_noticed_in_time(held: Scene, plan: Plan) -> None:
    """A `failed` event, within ten seconds of the cut, while speech is sent and in silence."""
    assert held.noticed_after_s("stt") <= NOTICED_S
    if plan in SEEN_AT_ONCE:
        assert held.noticed_after_s("stt") < 1.0


@each(*QUIET)
def test_a_dead_connection_that_nothing_is_sent_on_is_noticed_in_time(
    held: Scene, plan: Plan
) -> None:
    """Text-to-speech, which has nothing to say: the next reply must not find out."""
    assert held.noticed_after_s("tts") <= NOTICED_S


@each(*DEAD_CONNECTION)
def test_it_is_connected_again_soon_after_the_return(held: Scene, plan: Plan) -> None:
    """However long the outage was, and whatever the attempts meanwhile came to."""
    assert held.back_after_s("stt") <= BACK_S


@each(*SURVIVED_BY_TCP)
def test_a_short_outage_is_no_outage(held: Scene, plan: Plan) -> None:
    """TCP repeats what was lost: the same connection goes on, and nothing is logged."""
    assert held.of("connection", session="stt", state="failed") == []
    assert held.logged("stt") == []


@each(*DEAD_CONNECTION)
def test_an_outage_is_two_lines_of_log(held: Scene, plan: Plan) -> None:
    """One when it is gone, one when it is back, however many attempts lie between."""
    for session in ("stt", "tts"):
        lines = held.logged(session)
        assert [line.partition(":")[0] for line in lines] in (["warning", "info"], []), lines
    assert held.logged("stt")


@each(offline_for_too_long)
def test_speech_that_is_kept_too_long_is_told_as_one_loss(held: Scene, plan: Plan) -> None:
    """What, how much of it, and why; the next sentence is transcribed."""
    [lost] = held.of("lost")
    assert lost["what"] == "speech"
    assert lost["ms"] == held.of("speech_end")[0]["duration_ms"]
    assert lost["why"]
    assert [event["text"] for event in held.of("final")] == [words_of(1)]


@each(*SCENES)
def test_no_utterance_reaches_the_gateway_with_a_hole(held: Scene, plan: Plan) -> None:
    """Neither a sample less nor one twice, also where its words are not waited for any more."""
    assert held.broken == []
