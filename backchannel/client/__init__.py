"""The SDK: an agent over a WebSocket."""
