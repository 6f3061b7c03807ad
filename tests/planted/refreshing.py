"""Bugs in how grants are kept and revoked."""

from .bug import Bug

BUGS = [
    Bug(
        "a deleted account's grant lives on",
        "refreshing/revoking",
        "            queue_revocation(current, grant, using)",
        "            pass",
        "refreshing/test_revoking.py::test_accounts_deleted_in_bulk_are_revoked",
    ),
    Bug(
        "a revocation that failed is forgotten",
        "refreshing/revoking",
        "        _put_off(revocation, error)\n",
        "        revocation.delete()\n",
        "refreshing/test_revoking.py::test_when_ontraport_is_away_the_grant_is_kept_encrypted_and_told_later",
    ),
    Bug(
        "a disconnect is announced before it happened",
        "refreshing/revoking",
        "    transaction.on_commit(\n        lambda: account_disconnected",
        "    (lambda step, using: step())(\n        lambda: account_disconnected",
        "refreshing/test_revoking.py::test_a_disconnect_that_is_rolled_back_never_happened",
    ),
]
