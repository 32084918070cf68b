"""A stage gives what is wanted once: at once, later, or as a number; and says where that begins."""

from __future__ import annotations

from typing import NamedTuple

from hypothesis import given
from hypothesis import strategies as st

from backchannel.delivery.outbox import Bounds
from backchannel.delivery.quality import LOOKS_GOOD, LOOKS_SLOW, Line, Preference
from backchannel.delivery.stage import Stage
from backchannel.delivery.subscription import Choice, chosen
from backchannel.delivery.traits import Areas, Traits, traits
from backchannel.delivery.warmup import EVERYTHING, PRESENCE, UPDATES, Warmup, stage_of
from backchannel.protocol.frame import Subscription
from backchannel.protocol.lane import LANES
from backchannel.protocol.subject import InContext, InInbox, ToEveryone

ME = "bob"
NOTHING = Areas(())


class Letter(NamedTuple):
    sequence: int
    size: int = 10


EVENTS = st.builds(
    Traits,
    type=st.sampled_from(["memory_update", "sidebar_message", "agent_presence", "result"]),
    sender=st.sampled_from(["ada", ME]),
    kind=st.sampled_from(["memory", "talk", "presence", "life", "mention", "result"]),
    rank=st.integers(0, len(LANES) - 1),
    context=st.sampled_from([None, "main", "fix"]),
    topic=st.sampled_from([None, "tls", "db"]),
    personal=st.booleans(),
)
MODES = st.sampled_from(["summaries", "full_delayed", "critical_only"])
STEPS = st.lists(
    st.one_of(
        EVENTS,
        st.tuples(st.just("history"), EVENTS),
        st.tuples(st.just("slow"), st.booleans()),
        st.tuples(st.just("mode"), MODES),
        st.tuples(st.just("later"), st.floats(0, 20)),
        st.just("take"),
    ),
    max_size=80,
)


@given(STEPS, st.booleans(), st.lists(st.floats(0, 30), max_size=3), st.integers(2, 30))
def test_everything_wanted_is_given_once_and_nothing_is_claimed_before(
    steps: list[object], focused: bool, stages: list[float], most: int
) -> None:
    stage: Stage[Letter] = Stage(ME, Bounds(events=most))
    stage.choice = chosen(ME, Subscription(mode="focused", focus=["tls"]), NOTHING) if focused else None
    stage.preference = Preference()
    stage.warmup = Warmup(stages, 0.0) if stages else None
    now, sequence = 0.0, 0
    wanted: set[int] = set()
    given_: list[int] = []
    numbered = 0

    def take() -> None:
        nonlocal numbered
        while taken := stage.take(now, 25):
            assert [one.sequence for one in taken] == sorted(one.sequence for one in taken)
            given_.extend(one.sequence for one in taken)
        if (told := stage.told(now)) is not None:
            numbered += told.count
            assert told.count == sum(told.types.values()) and told.first <= told.last

    for step in steps:
        match step:
            case Traits() | ("history", Traits()):
                one = step if isinstance(step, Traits) else step[1]
                sequence += 1
                wanted |= {sequence} if stage.wants(one) else set()
                if stage.passes(Letter(sequence), one, now, history=not isinstance(step, Traits)):
                    given_.append(sequence)
                else:
                    assert not (one.urgent and stage.wants(one))
            case ("slow", bool() as slow):
                stage.turn(slow, now)
            case ("mode", mode):
                stage.preference = Preference(mode)
                stage.release(now)
            case ("later", float() as seconds):
                now += seconds
                stage.look(now)
            case "take":
                take()
        missing = wanted - set(given_)
        assert len(given_) == len(set(given_)) and set(given_) <= wanted
        if len(missing) > numbered:
            assert stage.lowest is not None
        if stage.lowest is None:
            assert len(missing) == numbered
    stage.finish_warmup(now)
    stage.turn(False, now)
    take()
    assert stage.lowest is None and len(stage) == 0
    assert len(wanted) == len(given_) + numbered


@given(st.lists(EVENTS, max_size=60))
def test_nothing_untold_lies_below_the_lowest_position(events: list[Traits]) -> None:
    stage: Stage[Letter] = Stage(ME, Bounds())
    stage.preference, stage.slow = Preference("full_delayed"), True
    sent = [stage.passes(Letter(place), one, 0.0) for place, one in enumerate(events, 1)]
    unsent = [place for place, passed in enumerate(sent, 1) if not passed]
    assert stage.lowest == (unsent[0] if unsent else None)


@given(st.integers(2, 40))
def test_too_much_waiting_is_given_early(most: int) -> None:
    stage: Stage[Letter] = Stage(ME, Bounds(events=most))
    stage.preference, stage.slow = Preference("full_delayed"), True
    said = Traits("memory_update", "ada", "memory", 4, "main")
    for place in range(1, most):
        assert not stage.passes(Letter(place), said, 0.0) and not stage.take(0.0, 1000)
    stage.passes(Letter(most), said, 0.0)
    assert [one.sequence for one in stage.take(0.0, 1000)] == list(range(1, most + 1))


def choice(**said: object) -> Choice:
    found = chosen(ME, Subscription.model_validate(said), Areas(["review_requested"]))
    assert found is not None
    return found


def test_who_wants_everything_it_may_see_pays_for_no_choice() -> None:
    assert chosen(ME, Subscription(), NOTHING) is None
    assert chosen(ME, Subscription(mode="everything", peripheral_awareness=False), NOTHING) is None


@given(EVENTS, st.lists(st.sampled_from(["tls", "ada", "memory_*", "main"]), max_size=3), st.booleans())
def test_a_choice_never_keeps_away_what_concerns_an_agent_itself(
    one: Traits, focus: list[str], peripheral: bool
) -> None:
    for mode in ("focused", "relevant"):
        if mode == "relevant" and peripheral:
            continue
        found = choice(mode=mode, focus=focus, peripheral_awareness=peripheral)
        own = one.personal or one.urgent or one.sender == ME or (one.kind == "life" and one.context == "fix")
        assert found.wants(one) or not own


def test_a_focus_names_contexts_topics_agents_types_and_patterns() -> None:
    said = Traits("memory_update", "ada", "memory", 4, "main", "tls-certificates")
    for name in ("main", "tls-certificates", "tls-*", "ada", "@ada", "memory_update", "memory_*", "a?a"):
        assert choice(mode="focused", focus=[name]).wants(said), name
    for name in ("tls", "Ada", "mem", "*-tls"):
        assert not choice(mode="focused", focus=[name]).wants(said), name
    assert choice(mode="focused", focus=[]).wants(said._replace(type="review_requested"))


def test_peripheral_awareness_is_presence_and_what_has_no_hurry() -> None:
    presence = Traits("agent_presence", "ada", "presence", 4)
    murmur = Traits("memory_update", "ada", "memory", 6, "main", "db")
    off = choice(mode="relevant", focus=["tls"], peripheral_awareness=False)
    assert not off.wants(presence) and not off.wants(murmur)
    assert off.wants(murmur._replace(topic="tls")) and off.wants(murmur._replace(rank=4))
    assert choice(mode="focused", focus=["tls"]).wants(presence)
    assert not choice(mode="focused", focus=["tls"], peripheral_awareness=False).wants(presence)


def test_traits_come_from_the_place_and_the_content() -> None:
    said = {"type": "memory_update", "sender_agent_id": "ada", "exchange": {"topic": "tls"}}
    assert traits(InContext("main", "memory"), 4, said) == Traits(
        "memory_update", "ada", "memory", 4, "main", "tls"
    )
    assert traits(InInbox(ME, "mention"), 2, {"type": 7}) == Traits("", "", "mention", 2, personal=True)
    assert traits(ToEveryone("presence"), 4, {"exchange": {"topic": 1}}).topic is None


@given(st.lists(st.booleans(), max_size=60))
def test_a_line_changes_only_after_several_looks_in_a_row(looks: list[bool]) -> None:
    line, slow, run, last = Line(), False, 0, None
    for bad in looks:
        run = run + 1 if bad is last else 1
        last = bad
        if run >= (LOOKS_SLOW if bad else LOOKS_GOOD):
            slow = bad
        assert line.look(0, 0, 9.0 if bad else 0.1, 1.0) is slow


def test_a_line_that_takes_little_of_much_is_slow() -> None:
    line, taken = Line(), 0
    for _ in range(LOOKS_SLOW + 1):
        taken += 50_000
        line.look(taken, 1 << 20, 0.1, 1.0)
    assert line.slow
    for _ in range(LOOKS_GOOD):
        taken += 500_000
        line.look(taken, 1 << 20, 0.1, 1.0)
    assert not line.slow


@given(EVENTS, st.booleans())
def test_warming_up_never_holds_back_what_concerns_a_newcomer(one: Traits, history: bool) -> None:
    found = stage_of(one, ME, history=history)
    if one.urgent or one.personal or one.sender == ME:
        assert found == PRESENCE
    assert found in (PRESENCE, UPDATES, EVERYTHING)


def test_stages_follow_one_another() -> None:
    warmup = Warmup([10, 20, 30], 100.0)
    assert [warmup.stage(100.0 + later) for later in (0, 9.9, 10, 29.9, 30, 99)] == [0, 0, 1, 1, 2, 2]
    assert Warmup([], 0.0).stage(0.0) == EVERYTHING
