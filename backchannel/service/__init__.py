"""How a handler is declared and run."""
