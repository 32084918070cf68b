"""`backchannel approvals`: see what waits for a human, and answer it."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

import click

from backchannel.errors import Forbidden, NotFound
from cli.door import Door, Where, doors, read_token, where_options
from cli.group import Group
from cli.health import ws_of
from cli.option import Duration, Name
from cli.terminal import Terminal, clean

COLUMNS = ("request_id", "state", "agent", "tool", "risk", "asked", "asked_at", "decided_by", "reason")
ALLOWANCES = ("allowance_id", "agent", "tool", "by", "until", "path_prefix")
STATES = ("pending", "rescheduled", "approved", "denied")

_request_id = click.argument("request_id")
_request_ids = click.argument("request_ids", metavar="REQUEST_ID...", nargs=-1, required=True)
_reason = click.option("--reason", required=True, help="Why; the agent reads it, and the trail keeps it.")
_together = click.option(
    "--together", is_flag=True, help="Show all requests of its kind that wait, and answer those after a yes."
)
_alternative = click.option(
    "--alternative", "alternatives", multiple=True, help="What to do instead. Repeatable."
)


@click.group(cls=Group)
def approvals() -> None:
    """See what waits for a human, and answer it."""


@approvals.command("ls")
@where_options
@click.option("--state", type=click.Choice(STATES), help="Only those in this state.")
@click.option("--agent", type=Name(), help="Only those of this agent.")
@click.option("--request", "request_id", help="Only this one.")
@click.option("--limit", type=click.IntRange(1, 1000), default=100, show_default=True, help="So many rows.")
@click.pass_obj
def list_approvals(
    terminal: Terminal,
    where: Where,
    state: str | None,
    agent: str | None,
    request_id: str | None,
    limit: int,
) -> None:
    """List requests for tools, the newest first, and what is allowed for a while."""
    wanted = {"state": state, "agent": agent, "request_id": request_id}
    found = asyncio.run(_listed(where, wanted, limit))
    if terminal.json:
        terminal.put(found)
        return
    rows = [{**one, "risk": one["risk"].get("level")} for one in found["approvals"]]
    columns = ("group", *COLUMNS) if len({one["group"] for one in rows}) > 1 else COLUMNS
    terminal.table(columns, rows, empty="Nothing was asked for.")
    if found["allowances"]:
        terminal.table(ALLOWANCES, found["allowances"], empty="")
    if found["next"]:
        terminal.say(f"There are {found['total']}; --limit shows more, --state and --agent fewer.")


@approvals.command()
@where_options
@_request_id
@click.pass_obj
def show(terminal: Terminal, where: Where, request_id: str) -> None:
    """Show one request, whole: what for, how risky, who was asked, what was decided and why."""
    listed = asyncio.run(_listed(where, {"request_id": request_id}, 1))["approvals"]
    if not listed:
        raise NotFound(f"There is no request {request_id[:64]!r}; `backchannel approvals ls` lists them.")
    [found] = listed
    if terminal.json:
        terminal.put(found)
        return
    for name, value in found.items():
        if value not in (None, [], {}):
            told = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            terminal.line(f"{name.replace('_', ' ')}: {clean(told)}")


@approvals.command()
@where_options
@_request_ids
@_reason
@click.option("--condition", "conditions", multiple=True, help="As backup_first, max_rows:10. Repeatable.")
@click.option("--allow-for", type=Duration(), help="Let calls like this go on so long without asking.")
@_together
@click.option("--path-prefix", help="With --allow-for: only while every path lies below this folder.")
@click.pass_obj
def approve(
    terminal: Terminal,
    where: Where,
    request_ids: tuple[str, ...],
    reason: str,
    conditions: tuple[str, ...],
    allow_for: int | None,
    path_prefix: str | None,
    together: bool,
) -> None:
    """Allow REQUEST_ID, this once, with exactly its parameters; several are all allowed, or none."""
    if path_prefix is not None and allow_for is None:
        raise click.UsageError("--path-prefix says how far --allow-for reaches; give both.")
    allow = None if allow_for is None else {"seconds": allow_for, "path_prefix": path_prefix}
    _answer(
        terminal,
        where,
        _meant(terminal, where, request_ids, together),
        approved=True,
        reason=reason,
        conditions=list(conditions),
        allow=allow,
    )


@approvals.command()
@where_options
@_request_ids
@_reason
@_alternative
@_together
@click.option("--again-after", type=Duration(), help="Do not refuse it: have it asked again after so long.")
@click.pass_obj
def deny(
    terminal: Terminal,
    where: Where,
    request_ids: tuple[str, ...],
    reason: str,
    alternatives: tuple[str, ...],
    again_after: int | None,
    together: bool,
) -> None:
    """Refuse REQUEST_ID, or put it off; several are all refused, or none."""
    _answer(
        terminal,
        where,
        _meant(terminal, where, request_ids, together),
        approved=False,
        reason=reason,
        alternatives=list(alternatives),
        reschedule=again_after,
    )


@approvals.command()
@where_options
@click.argument("allowance_id")
@click.option("--reason", required=True, help="Why; the trail keeps it.")
@click.pass_obj
def revoke(terminal: Terminal, where: Where, allowance_id: str, reason: str) -> None:
    """Take back ALLOWANCE_ID: calls like that are asked for again."""
    told = asyncio.run(_given(where, "allowance_revoke", allowance_id=allowance_id, reason=reason))
    if terminal.json:
        terminal.put(told)
        return
    terminal.say(f"{clean(str(told.get('agent')))} has to ask for {clean(str(told.get('tool')))} again.")


def _answer(terminal: Terminal, where: Where, request_ids: list[str], **fields: Any) -> None:
    first, *others = request_ids
    told = asyncio.run(_answered(where, first, together=others or None, **fields))
    if terminal.json:
        terminal.put(told)
        return
    for one in request_ids:
        terminal.say(f"{one} is {told.get('decision')}.")
    for one in told.get("conditions") or ():
        if one.get("kind") == "note":  # perhaps one that was meant to be another kind
            said = clean(repr(one.get("value")))
            terminal.say(f"{said} is a note: the agent reads it, and nobody enforces it.")


def _meant(terminal: Terminal, where: Where, request_ids: tuple[str, ...], together: bool) -> list[str]:
    """The requests to be answered: those that were named; those of a kind only after they were shown here.

    Raises UsageError where nobody can look at them.
    """
    ids = list(dict.fromkeys(request_ids))
    if not together:
        return ids
    kind = asyncio.run(_of_a_kind(where, ids[0]))
    for one in kind:
        params = json.dumps(one["params"], ensure_ascii=False)
        terminal.say(f"{one['request_id']}  {clean(one['agent'])}  {clean(one['tool'])}  {clean(params)}")
        if "shortened" in one:
            terminal.say(f"  It is cut; `backchannel approvals show {one['request_id']}` has all of it.")
    if not sys.stdin.isatty():
        raise click.UsageError("--together asks before it answers; name the REQUEST_IDs instead.")
    click.confirm(f"Answer these {len(kind)}?", abort=True, err=True)
    return list(dict.fromkeys([*ids, *(one["request_id"] for one in kind)]))


async def _of_a_kind(where: Where, request_id: str) -> list[dict[str, Any]]:
    """The requests that wait and came with one, itself among them."""
    waiting = (await _listed(where, {"state": "pending"}, 1000))["approvals"]
    leaders = {one.get("leader") for one in waiting if one["request_id"] == request_id}
    if not leaders:
        raise NotFound(f"No request {request_id[:64]!r} waits; `backchannel approvals ls` lists them.")
    return [one for one in waiting if one.get("leader") in leaders]


async def _answered(where: Where, request_id: str, **fields: Any) -> dict[str, Any]:
    """As whoever the token of --url is for; else as operator."""
    if where.url:
        from cli.answering import answered  # who only looks at requests does not wait for this

        return {"request_id": request_id, **await answered(where, request_id, **fields)}
    return await _asked(where, "approval_response", request_id=request_id, **fields)


async def _asked(where: Where, kind: str, **fields: Any) -> dict[str, Any]:
    """As operator."""
    from backchannel.protocol.catalog import KINDS
    from cli.command import command

    return await command(where, KINDS[kind], **fields)


async def _given(where: Where, kind: str, **fields: Any) -> dict[str, Any]:
    """As whoever the token of --url is for; else as operator."""
    if not where.url:
        return await _asked(where, kind, **fields)
    from backchannel.client import Agent, compose
    from backchannel.protocol.catalog import KINDS

    token = read_token(where)
    async with Agent.connect(
        _bearer(token), url=ws_of(where.url), token=token, purpose="backup", timeout=where.timeout
    ) as me:
        result = await me.request(compose(KINDS[kind], **fields))
    return dict(result.model_extra or {})


async def _listed(where: Where, wanted: dict[str, Any], limit: int) -> dict[str, Any]:
    """What is asked for in all the groups that are meant, the newest first; an error if one of them fails."""
    whole: dict[str, Any] = {"approvals": [], "allowances": [], "total": 0, "next": None}
    async with doors(where) as found:
        for one in found:
            told = await _pages(one, wanted, limit)
            for name in ("approvals", "allowances"):
                whole[name] += [{**row, "group": one.group} for row in told[name]]
            whole["total"] += told["total"]
            whole["next"] = whole["next"] or told["next"]
    whole["approvals"].sort(key=lambda row: str(row["asked_at"]), reverse=True)
    if len(whole["approvals"]) > limit:
        last = whole["approvals"][limit - 1]
        next_page = f"{last['asked_at']}~{last['request_id']}"
        whole |= {"approvals": whole["approvals"][:limit], "next": next_page}
    return whole


async def _pages(found: Door, wanted: dict[str, Any], limit: int) -> dict[str, Any]:
    """As many requests of one group, page by page."""
    told = await found.ask("approvals", **wanted, limit=limit)
    rows = told["approvals"]
    while told.get("next") and len(rows) < limit:
        told = await found.ask("approvals", **wanted, limit=limit - len(rows), page=told["next"])
        rows += told["approvals"]
    return {**told, "approvals": rows}


def _bearer(token: str) -> str:
    """Whom a token is for. The platform checks it; this is only how the client calls itself."""
    import jwt

    try:
        return str(jwt.decode(token, options={"verify_signature": False})["sub"])
    except (jwt.InvalidTokenError, KeyError):
        raise Forbidden("That is no token; make one with `backchannel token create`.") from None
