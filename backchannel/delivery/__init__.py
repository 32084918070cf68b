"""Rules about who hears it, and when: pure as well."""
