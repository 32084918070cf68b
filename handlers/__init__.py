"""One file per service; no file knows another."""
