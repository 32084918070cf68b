"""How handlers run."""
