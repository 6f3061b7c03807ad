"""Planted bugs, one module for each wing. Each undoes one guard, and the test named beside it must catch it."""

from . import encryption, linking, models, pages, protocol, refreshing, using
from .bug import Bug

BUGS: list[Bug] = [
    *protocol.BUGS,
    *encryption.BUGS,
    *linking.BUGS,
    *refreshing.BUGS,
    *using.BUGS,
    *models.BUGS,
    *pages.BUGS,
]
