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
    Bug(
        "a copy of the database refreshes",
        "refreshing/circuit_breaker",
        "    installation.require_own_row(row)\n",
        "",
        "journeys/test_copied_database.py::test_the_tasks_of_a_copy_do_nothing",
    ),
    Bug(
        "a copy of the database revokes",
        "refreshing/revoking",
        "    if not installation.is_own_database():\n        return _Result.KEPT\n",
        "",
        "journeys/test_copied_site.py::test_grants_are_revoked_by_nobody",
    ),
    Bug(
        "a copy of the database queues revocations",
        "refreshing/revoking",
        "            installation.require_own_database(using)",
        "            pass",
        "journeys/test_copied_database.py::test_deleting_people_in_a_copy_revokes_nothing",
    ),
    Bug(
        "a copy of the database is believed as long as the process lives",
        "refreshing/installation",
        "time.monotonic() < seen_at + LOOK_AGAIN_AFTER",
        "True",
        "refreshing/test_installation.py::test_a_database_that_is_replaced_beneath_a_running_process_is_noticed",
    ),
    Bug(
        "a copy of the database is marked inside a transaction",
        "refreshing/installation",
        "    if _in_transaction(using):\n        return\n",
        "",
        "refreshing/test_installation.py::test_inside_a_transaction_nothing_is_recorded_that_it_could_undo_or_lock",
    ),
    Bug(
        "a copy of the database drops links when it is adopted and tells of them",
        "refreshing/installation",
        "        if delete_links or not keep_revocations:\n",
        "        if False:\n",
        "doors/test_adopt_database.py::test_a_copy_from_before_marks_is_adopted_without_a_word_either",
    ),
]
