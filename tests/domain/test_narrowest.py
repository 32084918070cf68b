"""Several tokens of one entity together allow what every one of them allows, and nothing else."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from backchannel.domain.inforce import FREEDOM
from backchannel.domain.narrowest import narrowest
from backchannel.domain.supervision.policy import Chain, judge, standing_of
from backchannel.domain.supervision.risk import assess
from backchannel.domain.supervision.rules import USUAL
from backchannel.protocol.claims import Claims, ToolChains, Tools
from backchannel.protocol.lane import LANES

TOOLS = ["read", "write", "run", "send"]
CHAINS = ["deploy", "tidy", "read"]
SIDEBARS = ["vault", "lab", "hall"]


def some(names: list[str]) -> st.SearchStrategy[list[str]]:
    return st.lists(st.sampled_from(names), unique=True)


@st.composite
def tokens(draw: st.DrawFn) -> Claims:
    issued = draw(st.integers(0, 100))
    return Claims(
        sub="ada",
        entity_id="ada",
        jti=draw(st.text("abc", min_size=1, max_size=3)),
        iat=issued,
        exp=issued + draw(st.integers(1, 100)),
        human_supervisor=draw(st.sampled_from([None, "hugo", "ina"])),
        human_partner=draw(st.sampled_from([None, "hugo"])),
        sidebar_access=draw(some(SIDEBARS)),
        can_spawn_sidebars=draw(st.booleans()),
        can_access_memory=draw(st.booleans()),
        lanes=draw(st.lists(st.sampled_from(LANES), unique=True)),
        supervision_level=draw(st.sampled_from(list(FREEDOM))),
        tools=Tools(
            **{kind: draw(some(TOOLS)) for kind in ("allowed", "restricted", "experimental", "blocked")}
        ),
        tool_chains=ToolChains(
            allowed_chains=draw(some(CHAINS)),
            supervised_chains=draw(some(CHAINS)),
            max_chain_length=draw(st.integers(0, 5)),
            require_human_approval=draw(some([*TOOLS, *CHAINS])),
        ),
        **draw(st.dictionaries(st.sampled_from(["team", "region"]), st.sampled_from(["a", "b"]))),
    )


@given(st.lists(tokens(), min_size=1, max_size=4))
def test_no_token_lends_another_one_a_right(held: list[Claims]) -> None:
    found = narrowest(held)
    assert found is not None
    for token in held:
        assert FREEDOM[found.supervision_level] <= FREEDOM[token.supervision_level]
        assert set(found.sidebar_access) <= set(token.sidebar_access)
        assert set(found.lanes) <= set(token.lanes)
        assert token.can_spawn_sidebars or not found.can_spawn_sidebars
        assert token.can_access_memory or not found.can_access_memory
        assert found.exp <= token.exp and found.iat <= token.iat
        assert found.human_supervisor in (None, token.human_supervisor)
        assert found.human_partner in (None, token.human_partner)
        extra = token.model_extra or {}
        assert all(value in (None, extra.get(name)) for name, value in (found.model_extra or {}).items())


@given(
    st.lists(tokens(), min_size=1, max_size=4),
    st.sampled_from(TOOLS),
    st.sampled_from([None, *CHAINS]),
    st.integers(0, 5),
)
def test_whatever_policy_lets_the_narrowest_do_it_lets_each_of_them_do(
    held: list[Claims], tool: str, chain: str | None, before: int
) -> None:
    """Told by policy itself: never `allow` where one would be asked, never `ask` where one is refused."""
    found = narrowest(held)
    assert found is not None
    risk, freedom = assess(tool, {}, USUAL), {"deny": 0, "ask": 1, "allow": 2}
    verbs = [judge(tool, token, risk, Chain(chain, before)).verb for token in held]
    assert freedom[judge(tool, found, risk, Chain(chain, before)).verb] <= min(
        freedom[verb] for verb in verbs
    )


@given(tokens())
def test_one_token_is_its_own_narrowest(token: Claims) -> None:
    assert narrowest([token]) is token
    twice = narrowest([token, token])
    assert twice is not None
    for tool in TOOLS:
        assert standing_of(tool, twice) == standing_of(tool, token)
    assert twice.sidebar_access == token.sidebar_access and twice.lanes == token.lanes


@given(st.lists(tokens(), min_size=2, max_size=3))
def test_the_order_in_which_they_came_gives_nobody_more(held: list[Claims]) -> None:
    one, other = narrowest(held), narrowest(held[::-1])
    assert one is not None and other is not None
    for tool in TOOLS:
        assert standing_of(tool, one) == standing_of(tool, other)
    assert set(one.sidebar_access) == set(other.sidebar_access)
    assert one.tool_chains.max_chain_length == other.tool_chains.max_chain_length


@given(
    tokens(), st.sampled_from([{"sub": "bob"}, {"entity_type": "human"}, {"collaboration_group": "other"}])
)
def test_tokens_that_disagree_about_who_bears_them_allow_nothing(
    token: Claims, other: dict[str, str]
) -> None:
    assert narrowest([token, token.model_copy(update=other)]) is None
    assert narrowest([]) is None
