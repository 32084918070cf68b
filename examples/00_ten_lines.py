"""Ten lines: an agent that answers whoever calls on it. Needs a running platform: `backchannel up`."""

import asyncio

from backchannel.client import Agent, MentionRoute


async def main() -> None:
    async with Agent.connect("echo") as me:
        async for message in me.inbox():
            match message:
                case MentionRoute(sender_agent_id=str(who), message=text):
                    await me.mention(who, f"You said: {text}")


if __name__ == "__main__":
    asyncio.run(main())
