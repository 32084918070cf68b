"""Words: every message, frame, subject and claim, as types."""
