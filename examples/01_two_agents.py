"""Two agents work through an authentication log: one notices, the other explains, both see the outcome.

Start a platform with `backchannel up`, then run this file beside it (or say where it is: --data DIR).
"""

from __future__ import annotations

import argparse
import asyncio
import re
import sys
from collections import Counter, defaultdict
from pathlib import Path

from backchannel.client import Agent, MemoryUpdate, SidebarClosed, SidebarMessage
from backchannel.errors import BackchannelError, Refused

LOG = Path(__file__).with_name("auth.log")
FAILED = re.compile(r"Failed password for (?:invalid user )?(\S+) from (\S+)")
ACCEPTED = re.compile(r"sshd\[\d+\]: Accepted (\S+) for (\S+) from (\S+)")
SUDO = re.compile(r"sudo\[\d+\]:\s+(\S+) : .*COMMAND=(.+)")
MANY_TRIES, MANY_ACCOUNTS = 10, 3


def guessing(lines: list[str]) -> dict[str, Counter[str]]:
    """Addresses that tried many passwords on many accounts: how often they tried which account."""
    tries: dict[str, Counter[str]] = defaultdict(Counter)
    for account, address in (found.groups() for line in lines if (found := FAILED.search(line))):
        tries[address][account] += 1
    return {a: t for a, t in tries.items() if t.total() >= MANY_TRIES and len(t) >= MANY_ACCOUNTS}


def aftermath(lines: list[str], address: str) -> list[str]:
    """What followed once the address was in: its logins, and what its accounts did as root meanwhile."""
    inside: set[str] = set()
    told: list[str] = []
    for line in lines:
        when = line[:15]
        if (login := ACCEPTED.search(line)) and login[3] == address:
            inside.add(login[2])
            told.append(f"{when}  logged in as {login[2]} by {login[1]}")
        elif (command := SUDO.search(line)) and command[1] in inside:
            told.append(f"{when}  {command[1]} ran as root: {command[2]}")
        elif "Disconnected from user" in line and address in line:
            inside.discard(line.split()[8])
    return told


async def watch(me: Agent, lines: list[str]) -> str:
    """Notice, write it down, ask the analyst in a sidebar, merge its answer. Returns the sidebar's id."""
    (address, tries), *_ = guessing(lines).items()
    finding = f"{address} tried {tries.total()} passwords on {len(tries)} accounts"
    await me.remember(finding, topic="logins")
    print(f"watcher: {finding}; remembered in main")
    async with me.sidebar(
        f"Did {address} get in?", with_=["analyst"], success_criteria="yes or no, and how"
    ) as room:
        print(f"watcher: opened {room.id} with {', '.join(room.participants)}")
        await room.say(address, topic="address")
        async for message in room.messages():
            if isinstance(message, SidebarMessage):
                print(f"watcher: {message.sender_agent_id} answers:\n{message.content}")
                await room.merge({"address": address, "finding": finding, "aftermath": message.content})
                break
    return room.id


async def analyse(me: Agent, lines: list[str]) -> set[str]:
    """Answer questions until a sidebar with an answer is merged. Returns what was seen on the way."""
    seen: set[str] = set()
    answered: set[str] = set()
    async for message in (inbox := me.inbox()):
        match message:
            case MemoryUpdate(sender_agent_id="watcher"):
                seen.add("finding")
            case SidebarMessage(sender_agent_id="watcher", sidebar_id=room, topic="address", content=address):
                try:
                    await me.open_sidebar(room).say(
                        "\n".join(aftermath(lines, address)) or "It never got in."
                    )
                except Refused:
                    continue  # A question of an earlier run, whose sidebar has ended.
                answered.add(room)
            case SidebarClosed(sidebar_id=room, final_status=status) if room in answered:
                print(f"analyst: {room} is {status.value}")
                inbox.acknowledge()  # Leaving the loop is not asking for the next message.
                return seen | {status.value}
    return seen


async def main(data: str | None) -> int:
    lines = LOG.read_text("utf-8").splitlines()
    async with Agent.connect("analyst", data=data) as analyst, Agent.connect("watcher", data=data) as watcher:
        async with asyncio.timeout(60), asyncio.TaskGroup() as both:
            answering = both.create_task(analyse(analyst, lines))
            watching = both.create_task(watch(watcher, lines))
        sidebar = (await watcher.ask("sidebar", sidebar_id=watching.result()))["sidebar"]
        kept = [exchange async for exchange in watcher.context("main")]
    merged = [e for e in kept if e["type"] == "sidebar_merge" and e["sidebar_id"] == watching.result()]
    arrived = (
        answering.result() == {"finding", "merged"} and sidebar["status"] == "merged" and len(merged) == 1
    )
    print("everything arrived: the findings are in main" if arrived else "something is missing", flush=True)
    return 0 if arrived else 1


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--data", help="data folder of the platform; default: BACKCHANNEL_DATA or .backchannel"
    )
    try:
        sys.exit(asyncio.run(main(parser.parse_args().data)))
    except BackchannelError as problem:
        sys.exit(problem.message)
