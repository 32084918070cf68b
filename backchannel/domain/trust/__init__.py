"""Trust: what the outcomes of an agent's calls say, and how much freedom that earns or costs it."""
