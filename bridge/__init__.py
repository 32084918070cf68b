"""WebSocket and HTTP on one side, the log on the other."""
