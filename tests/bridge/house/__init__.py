"""A whole bridge on a real nats-server, and clients that nobody here wrote."""
