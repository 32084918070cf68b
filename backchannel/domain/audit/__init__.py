"""The audit trail, as rules: what a record says, how records are chained, what a check finds."""

from backchannel.domain.audit.deed import CATEGORIES, Category, Deed, Phase
from backchannel.domain.audit.link import GENESIS, Damaged, Link, chained, read_link

__all__ = [
    "CATEGORIES",
    "GENESIS",
    "Category",
    "Damaged",
    "Deed",
    "Link",
    "Phase",
    "chained",
    "read_link",
]
