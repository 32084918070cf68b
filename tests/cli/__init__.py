"""The command line, as the program that people and scripts run."""
