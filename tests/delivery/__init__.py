"""The rules about who hears what, and when."""
