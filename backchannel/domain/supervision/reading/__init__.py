"""Reading: what the parameters of a call reach, in whatever spelling they say it."""
