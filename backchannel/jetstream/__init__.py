"""The only place that talks to NATS."""
