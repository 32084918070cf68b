"""Agents that speak NATS themselves: who is let in, what passes the door, what each of them reads."""
