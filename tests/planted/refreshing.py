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
        "        _postpone(revocation, error)\n",
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
    Bug(
        "a grant that a connected account shares is revoked",
        "refreshing/revoking",
        "    if _sharing(revocation).exists():",
        "    if False:",
        "linking/test_oauth_links.py::test_connecting_again_does_not_end_the_new_grant",
    ),
    Bug(
        "a grant is sent to a server that did not issue it",
        "refreshing/revoking",
        "    if revocation.issuer and revocation.issuer not in _issuers_of(endpoints):",
        "    if False:",
        "refreshing/test_shared_grants.py::test_a_grant_is_sent_to_the_server_that_issued_it_only",
    ),
]
