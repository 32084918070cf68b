"""Clients that were not written here, against a running platform."""
