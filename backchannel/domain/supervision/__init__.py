"""Supervision: how risky an action is, whether it may be done, who is asked, and what an answer means."""
