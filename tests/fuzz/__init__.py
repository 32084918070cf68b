"""Garbage in: whatever comes, it is refused in words, and nothing else happens."""
