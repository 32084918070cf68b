"""The copies of the audit trail on this machine, their check, and the signed checkpoints."""
