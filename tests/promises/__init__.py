"""The ledger, row by row, through a running platform."""
