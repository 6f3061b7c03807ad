"""Bugs in how a link is made."""

from .bug import Bug

BUGS = [
    Bug(
        "a state counts twice",
        "linking/attempts",
        '        raise LinkingFailed("This connection was already completed or tried.", code="used") from None',
        "        pass",
        "pages/test_attempts.py::test_an_attempt_counts_once_even_when_the_session_comes_back",
    ),
    Bug(
        "an attempt never ends",
        "linking/attempts",
        "if not 0 <= time.time() - attempt.started <= LIFETIME:",
        "if False:",
        "pages/test_attempts.py::test_an_attempt_ends_after_ten_minutes",
    ),
    Bug(
        "attempts pile up in the session",
        "linking/attempts",
        "len(attempts) > MOST or",
        "False or",
        "pages/test_attempts.py::test_of_many_attempts_the_last_eight_are_kept",
    ),
    Bug(
        "the verifier stands in the cookie",
        "linking/attempts",
        'return base64.b64encode(seal(verifier, f"verifier:{state}")).decode()',
        "return verifier.reveal()",
        "pages/test_attempts.py::test_a_session_cookie_is_small_and_holds_nothing_secret",
    ),
    Bug(
        "somebody else may complete",
        "linking/oauth_links",
        "if attempt.owner != str(owner.user.pk) or attempt.tenant != owner.tenant:",
        "if attempt.tenant != owner.tenant:",
        "pages/test_callback.py::test_who_started_is_who_completes",
    ),
    Bug(
        "another tenant may complete",
        "linking/oauth_links",
        "if attempt.owner != str(owner.user.pk) or attempt.tenant != owner.tenant:",
        "if attempt.owner != str(owner.user.pk):",
        "pages/test_callback.py::test_an_attempt_of_another_tenant_is_refused",
    ),
    Bug(
        "the issuer is not compared",
        "linking/oauth_links",
        "if issuer is not None and response.issuer != issuer:",
        "if False:",
        "pages/test_callback.py::test_an_issuer_that_is_not_ontraport_to_the_letter_is_refused_before_the_code_is_sent",
    ),
    Bug(
        "the issuer is compared after tidying up",
        "linking/oauth_links",
        "response.issuer != issuer:",
        'response.issuer.strip().rstrip("/").lower() != issuer:',
        "pages/test_callback.py::test_an_issuer_that_is_not_ontraport_to_the_letter_is_refused_before_the_code_is_sent",
    ),
    Bug(
        "a code wins over an error",
        "linking/refusals",
        "    if response.error:\n",
        "    if response.error and not response.code.reveal():\n",
        "pages/test_callback_input.py::test_an_error_wins_over_a_code_beside_it",
    ),
    Bug(
        "an error description is shown in full",
        "linking/refusals",
        "[:LONGEST_SAID]",
        "",
        "pages/test_callback_input.py::test_what_the_error_says_is_shown_escaped_and_cut_and_its_uri_is_no_link",
    ),
    Bug(
        "a grant that could not be saved lives on",
        "linking/oauth_links",
        "    except Exception:\n        _revoke_unsaved(attempt, grant)\n        raise\n",
        "",
        "pages/test_attempts.py::test_a_grant_that_could_not_be_saved_is_revoked_and_the_customer_gets_a_page",
    ),
    Bug(
        "an error in the callback is reported with its address",
        "linking/oauth_links",
        "Context().run(log, *args)",
        "log(*args)",
        "journeys/test_canaries.py::test_a_callback_that_fails_reports_its_error_without_its_address",
    ),
    Bug(
        "a reconnect may become another account",
        "linking/oauth_links",
        "if account.ontraport_id and account.ontraport_id != identity.ontraport_id:",
        "if False:",
        "linking/test_oauth_links.py::test_a_reconnect_that_comes_back_as_another_account_is_refused_and_its_grant_revoked",
    ),
    Bug(
        "a reconnect does not ask whose account it is",
        "linking/oauth_links",
        "    if account.ontraport_id and not identity.ontraport_id:\n",
        "    if False:\n",
        "linking/test_oauth_links.py::test_a_reconnect_that_does_not_say_whose_it_is_changes_nothing",
    ),
]
