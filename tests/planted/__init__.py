"""Bugs planted one at a time, each a guard undone, and each caught by the test that is named beside it. One module a wing."""

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
