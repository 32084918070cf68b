"""Measured figures: what things cost, and how that grows. Nothing here decides a test."""
