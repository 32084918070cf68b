"""Seeded campaigns: a whole platform under load and faults, and a checker of what everybody was told."""
