"""Rules about what happened: pure functions that are given the time."""
