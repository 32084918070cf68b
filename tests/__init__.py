"""Promises, each kept by a real nats-server and real sockets."""
