"""The core: what may be said, what follows from it, who hears it."""
