"""Planted bugs, one module for each wing. Each undoes one guard, and the test named beside it must catch it."""

from . import encryption, linking, models, pages, protocol, refreshing, sandbox, staff, using
from .bug import Bug

BUGS: list[Bug] = [
    *refreshing.BUGS,
    *pages.BUGS,
    *protocol.BUGS,
    *staff.BUGS,
    *encryption.BUGS,
    *using.BUGS,
    *models.BUGS,
    *linking.BUGS,
    *sandbox.BUGS,
]
