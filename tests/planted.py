"""Bugs planted one at a time, each a guard undone, and each caught by the test that is named beside it.

    python -m tests.planted [WORD ...]

The package is copied, so that nothing here is changed; with words, only the bugs whose names hold one of them. A bug that its test
does not catch, or that can no longer be planted because the code has moved on, fails the run.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue

from tests.support.servers import PROJECT

WORKERS = 2
PATIENCE = 120.0
"""Seconds after which a test is taken to hang, which is no way to catch a bug."""


@dataclass(frozen=True)
class Bug:
    name: str
    module: str
    guard: str
    undone: str
    test: str


BUGS = [
    Bug(
        "certificates are not verified",
        "protocol/tls",
        "    context.minimum_version = ssl.TLSVersion.TLSv1_2\n",
        "    context.check_hostname = False\n    context.verify_mode = ssl.CERT_NONE\n",
        "protocol/test_http.py::test_a_certificate_that_nobody_vouches_for_is_refused_before_anything_is_sent",
    ),
    Bug(
        "a body without end is read to its end",
        "protocol/http",
        "        if len(body) > limit:",
        "        if False:",
        "protocol/test_http.py::test_a_body_of_exactly_the_limit_is_read_and_one_byte_more_is_not",
    ),
    Bug(
        "a gzip bomb goes off",
        "protocol/http",
        "inflater.decompress(body, limit + 1)",
        "inflater.decompress(body)",
        "protocol/test_http.py::test_a_hostile_server_ends_in_one_typed_error_in_time_and_in_little_memory",
    ),
    Bug(
        "gzip that was cut is taken",
        "protocol/http",
        "if not inflater.eof or inflater.unused_data:",
        "if False:",
        "protocol/test_http.py::test_a_hostile_server_ends_in_one_typed_error_in_time_and_in_little_memory",
    ),
    Bug(
        "the deadline is later than the settings say",
        "protocol/deadline",
        "time.monotonic() + (sock.gettimeout() or 0)",
        "time.monotonic() + 3",
        "protocol/test_http.py::test_a_hostile_server_ends_in_one_typed_error_in_time_and_in_little_memory",
    ),
    Bug(
        "broken headers go to the log",
        "protocol/deadline",
        "if self.headers.defects or self.headers.get_payload():",
        "if False:",
        "protocol/test_http.py::test_what_a_hostile_server_echoes_in_a_broken_header_reaches_no_log",
    ),
    Bug(
        "the reason phrase is kept for error reporters",
        "protocol/deadline",
        '        self.reason = ""\n',
        "",
        "protocol/test_http.py::test_the_reason_phrase_which_error_reporters_keep_is_dropped",
    ),
    Bug(
        "the passwords of .netrc are used",
        "protocol/http",
        "            ).prepare()\n",
        "            )\n            request = requests.Session().prepare_request(request)\n",
        "protocol/test_http.py::test_no_proxy_and_no_netrc_is_taken_from_the_environment",
    ),
    Bug(
        "a connection that was idle for long carries a refresh token",
        "protocol/connections",
        "KEEP_FOR if method in SAFE_METHODS else REUSE_WITHIN",
        "KEEP_FOR",
        "protocol/test_connections.py::test_what_must_not_be_repeated_goes_over_a_connection_that_was_used_just_now",
    ),
    Bug(
        "a request goes over a connection that is closed",
        "protocol/connections",
        " and connection.is_quiet",
        "",
        "protocol/test_connections.py::test_a_connection_that_the_server_has_closed_is_replaced_before_anything_is_sent",
    ),
    Bug(
        "a forked process speaks on the connections of its parent",
        "protocol/connections",
        "(after_in_child=_start_anew)",
        "(after_in_child=lambda: None)",
        "protocol/test_connections.py::test_a_forked_process_has_connections_of_its_own_and_leaves_those_of_its_parent_alone",
    ),
    Bug(
        "http goes anywhere",
        "protocol/secure_urls",
        '(scheme == "http" and is_loopback(host))',
        'scheme == "http"',
        "protocol/test_http.py::test_credentials_are_sent_over_https_only",
    ),
    Bug(
        "an answer shows its body",
        "protocol/answer",
        "body: bytes = field(repr=False)",
        "body: bytes",
        "protocol/test_http.py::test_an_answer_shows_neither_its_body_nor_its_headers",
    ),
    Bug(
        "duplicate keys are taken",
        "protocol/answer",
        "object_pairs_hook=_unique, ",
        "",
        "protocol/test_http.py::test_json_is_read_strictly",
    ),
    Bug(
        "NaN is taken",
        "protocol/answer",
        ", parse_constant=_no_constant",
        "",
        "protocol/test_http.py::test_json_is_read_strictly",
    ),
    Bug(
        "an undecryptable secret is called nonsense",
        "protocol/http",
        "        except OntraportError as error:\n            return error.with_traceback(None)\n",
        "",
        "protocol/test_http.py::test_a_secret_that_cannot_be_decrypted_is_said_to_be_that_and_nothing_is_sent",
    ),
    Bug(
        "any token type is a bearer token",
        "protocol/oauth_responses",
        'if not isinstance(token_type, str) or token_type.lower() != "bearer":',
        "if not isinstance(token_type, str):",
        "protocol/test_token_responses.py::test_a_hostile_token_response_is_refused_with_one_typed_error_that_shows_nothing_of_it",
    ),
    Bug(
        "an error beside a token is overlooked",
        "protocol/oauth_responses",
        'if "error" in members or ',
        "if ",
        "protocol/test_token_responses.py::test_a_hostile_token_response_is_refused_with_one_typed_error_that_shows_nothing_of_it",
    ),
    Bug(
        "a token may hold anything",
        "protocol/oauth_responses",
        r'TOKEN_TEXT = re.compile(r"[\x21-\x7e]{1,8192}", re.ASCII)',
        'TOKEN_TEXT = re.compile(r".{1,8192}", re.DOTALL)',
        "protocol/test_token_responses.py::test_a_hostile_token_response_is_refused_with_one_typed_error_that_shows_nothing_of_it",
    ),
    Bug(
        "a lifetime may be negative",
        "protocol/oauth_responses",
        "return float(seconds) if seconds > 0 else ASSUMED_LIFETIME",
        "return float(seconds)",
        "protocol/test_token_responses.py::test_a_lifetime_is_always_sane",
    ),
    Bug(
        "an error of a gateway ends the link",
        "protocol/oauth_responses",
        'error = error_of(answer) if answer.status in {400, 401} else ""',
        "error = error_of(answer)",
        "protocol/test_oauth.py::test_each_error_has_its_verdict",
    ),
    Bug(
        "a pause may last for ten years",
        "protocol/retry_after",
        "return min(max(seconds, 1.0), LONGEST_PAUSE)",
        "return seconds",
        "protocol/test_retry_after.py::test_a_pause_is_what_retry_after_says_within_reason",
    ),
    Bug(
        "the challenge is the verifier",
        "protocol/oauth",
        'return str(WebApplicationClient("").create_code_challenge(verifier.reveal(), "S256"))',
        "return verifier.reveal()",
        "protocol/test_oauth.py::test_the_challenge_is_that_of_rfc_7636_appendix_b",
    ),
    Bug(
        "a ciphertext is good in any row",
        "encryption/fields",
        'f"{self.model._meta.label_lower}.{self.column}:{uid}"',
        'f"{self.model._meta.label_lower}.{self.column}"',
        "encryption/test_fields.py::test_of_100_rows_with_2_columns_each_no_ciphertext_is_accepted_in_another_place",
    ),
    Bug(
        "a ciphertext is good in any column",
        "encryption/fields",
        'f"{self.model._meta.label_lower}.{self.column}:{uid}"',
        'f"{self.model._meta.label_lower}:{uid}"',
        "encryption/test_fields.py::test_of_100_rows_with_2_columns_each_no_ciphertext_is_accepted_in_another_place",
    ),
    Bug(
        "what cannot be decrypted is returned as it is",
        "encryption/keys",
        "    if text is None:\n        raise SecretUnreadable(",
        '    if text is None:\n        return sealed.decode("latin-1")\n        raise SecretUnreadable(',
        "encryption/test_fields.py::test_nothing_cut_off_or_added_is_accepted",
    ),
    Bug(
        "a short key encrypts",
        "encryption/keys",
        "if not _is_first_key_fit():",
        "if False:",
        "encryption/test_fields.py::test_an_unfit_key_encrypts_nothing_and_no_frame_of_the_error_shows_it_or_the_secret",
    ),
    Bug(
        "old keys are forgotten",
        "encryption/keys",
        "    for key in encryption_keys():",
        "    for key in encryption_keys()[:1]:",
        "encryption/test_fields.py::test_all_keys_decrypt_and_the_first_encrypts",
    ),
    Bug(
        "plain text goes into the column",
        "encryption/fields",
        "        if not isinstance(value, Sealed):\n",
        "        if False:\n",
        "encryption/test_writes.py::test_update_writes_no_plain_text",
    ),
    Bug(
        "an expression brings plain text into the column",
        "encryption/fields",
        '        if hasattr(value, "as_sql") and not self._is_ciphertext(value):\n',
        "        if False:\n",
        "encryption/test_writes.py::test_update_writes_no_expression_that_is_no_ciphertext",
    ),
    Bug(
        "what stands in place of a secret becomes the secret",
        "encryption/keys",
        "    if is_placeholder(secret",
        "    if False and is_placeholder(secret",
        "encryption/test_writes.py::test_what_is_shown_in_place_of_a_secret_never_becomes_one",
    ),
    Bug(
        "a secret shows itself",
        "encryption/secret",
        "    def __repr__(self) -> str:\n        return MASK",
        "    def __repr__(self) -> str:\n        return self.reveal()",
        "encryption/test_secret.py::test_it_shows_nothing",
    ),
    Bug(
        "a template reveals",
        "encryption/secret",
        "    reveal.alters_data = True",
        "    reveal.alters_data = False",
        "encryption/test_secret.py::test_it_shows_nothing",
    ),
    Bug(
        "a state counts twice",
        "linking/attempts",
        '        raise LinkingFailed("This connection was already completed or tried.", code="used") from None',
        "        pass",
        "pages/test_callback.py::test_an_attempt_counts_once_even_when_the_session_comes_back",
    ),
    Bug(
        "an attempt never ends",
        "linking/attempts",
        "if not 0 <= time.time() - attempt.started <= LIFETIME:",
        "if False:",
        "pages/test_callback.py::test_an_attempt_ends_after_ten_minutes",
    ),
    Bug(
        "attempts pile up in the session",
        "linking/attempts",
        "len(attempts) > MOST or",
        "False or",
        "pages/test_callback.py::test_of_many_attempts_the_last_eight_are_kept",
    ),
    Bug(
        "the verifier stands in the cookie",
        "linking/attempts",
        'return base64.b64encode(seal(verifier, f"verifier:{state}")).decode()',
        "return verifier.reveal()",
        "pages/test_callback.py::test_a_session_cookie_is_small_and_holds_nothing_secret",
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
        "a parameter given twice is taken",
        "protocol/authorization_response",
        "is_repeated=any(",
        "is_repeated=False and any(",
        "pages/test_callback.py::test_a_state_that_is_not_this_browsers_or_anything_repeated_changes_nothing",
    ),
    Bug(
        "a code wins over an error",
        "linking/refusals",
        "    if response.error:\n",
        "    if response.error and not response.code.reveal():\n",
        "pages/test_callback.py::test_an_error_wins_over_a_code_beside_it",
    ),
    Bug(
        "an error description is shown in full",
        "linking/refusals",
        "[:LONGEST_SAID]",
        "",
        "pages/test_callback.py::test_what_the_error_says_is_shown_escaped_and_cut_and_its_uri_is_no_link",
    ),
    Bug(
        "a grant that could not be saved lives on",
        "linking/oauth_links",
        "    except Exception:\n        _revoke_unsaved(attempt, grant)\n        raise\n",
        "",
        "pages/test_callback.py::test_a_grant_that_could_not_be_saved_is_revoked_and_the_customer_gets_a_page",
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
        "a deleted account's grant lives on",
        "refreshing/revoking",
        "            queue(current, grant, using)",
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
    Bug(
        "an error carries the body",
        "protocol/oauth_responses",
        'f"Ontraport answered with status {answer.status}."',
        'f"Ontraport answered with status {answer.status}: {answer.body!r}"',
        "protocol/test_oauth.py::test_each_error_has_its_verdict",
    ),
    Bug(
        "credentials go to any host",
        "using/credentials",
        "    if not is_rest(url) and not is_mcp(url):\n",
        "    if False:\n",
        "using/test_auth.py::test_credentials_are_attached_for_the_configured_hosts_only",
    ),
    Bug(
        "credentials follow a redirect",
        "using/requests_auth",
        "    if response.is_redirect:\n",
        "    if False:\n",
        "using/test_auth.py::test_no_redirect_is_followed_with_credentials",
    ),
    Bug(
        "the links of a deactivated person are used",
        "using/credentials",
        "    if not is_allowed:\n",
        "    if False:\n",
        "using/test_rest_api.py::test_the_links_of_a_person_who_was_deactivated_are_not_used",
    ),
    Bug(
        "an answer over MCP is read to its end",
        "protocol/mcp",
        "left = ANSWER_LIMIT",
        "left = 2**40",
        "using/test_mcp_calls.py::test_each_answer_has_its_verdict",
    ),
    Bug(
        "everybody sees the links of everybody",
        "models/account",
        'return self.filter(user=user, tenant="")',
        'return self.filter(tenant="")',
        "pages/test_views.py::test_an_account_of_somebody_else_is_not_found_and_not_changed",
    ),
    Bug(
        "a stale secret is written in bulk",
        "models/account",
        "        if refused := {*fields} & {*SECRET_FIELDS}:\n",
        "        if refused := {*fields} & set():\n",
        "encryption/test_writes.py::test_bulk_update_keeps_what_stands_and_refuses_plain_text",
    ),
    Bug(
        "a stray answer is remembered",
        "pages/problems",
        'frozenset({"unknown", "other_owner"})',
        "frozenset()",
        "pages/test_callback.py::test_who_started_is_who_completes",
    ),
    Bug(
        "the address of the callback goes along",
        "pages/views",
        'response["Referrer-Policy"] = "no-referrer"',
        'response["Referrer-Policy"] = "unsafe-url"',
        "pages/test_callback.py::test_an_answer_to_ones_own_attempt_links",
    ),
    Bug(
        "a reconnect does not ask whose account it is",
        "linking/oauth_links",
        "    if account.ontraport_id and not identity.ontraport_id:\n",
        "    if False:\n",
        "linking/test_oauth_links.py::test_a_reconnect_that_does_not_say_whose_it_is_changes_nothing",
    ),
]


def copy_project(folder: Path) -> None:
    for name in ("ontraport_connect", "example_project", "tests"):
        shutil.copytree(PROJECT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(PROJECT / "pyproject.toml", folder)


def run(folder: Path, tests: Sequence[str]) -> int:
    """Run tests of the copy on SQLite, and return pytest's exit status; -1 when they hang."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("COVERAGE_", "PYTEST_"))}
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-x",
        "-p",
        "no:cacheprovider",
        *(f"tests/{test}" for test in tests),
    ]
    try:
        return subprocess.run(
            command,
            cwd=folder,
            env={**environ, "TEST_DATABASE": "sqlite", "PYTHONDONTWRITEBYTECODE": "1"},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=PATIENCE,
            check=False,
        ).returncode
    except subprocess.TimeoutExpired:
        return -1


def plant(folder: Path, bug: Bug) -> str:
    """Return what became of a bug: `caught`, or what is wrong."""
    file = folder / "ontraport_connect" / f"{bug.module}.py"
    sound = file.read_text()
    if sound.count(bug.guard) != 1:
        return f"cannot be planted: its guard stands {sound.count(bug.guard)} times in {bug.module}.py"
    file.write_text(sound.replace(bug.guard, bug.undone))
    try:
        status = run(folder, [bug.test])
    finally:
        file.write_text(sound)
    return {0: "NOT CAUGHT", 1: "caught", -1: "HANGS"}.get(status, f"pytest ended with {status}")


def main(words: Sequence[str]) -> int:
    bugs = [bug for bug in BUGS if not words or any(word in bug.name for word in words)]
    with tempfile.TemporaryDirectory(prefix="planted-") as directory:
        folders: SimpleQueue[Path] = SimpleQueue()
        for number in range(WORKERS):
            folder = Path(directory) / str(number)
            copy_project(folder)
            folders.put(folder)
        if run(Path(directory) / "0", sorted({bug.test for bug in bugs})):
            print("The tests fail without any bug planted.", file=sys.stderr)
            return 1

        def attempt(bug: Bug) -> str:
            folder = folders.get()
            try:
                started = time.monotonic()
                verdict = plant(folder, bug)
                print(f"{verdict:10} {time.monotonic() - started:5.1f} s  {bug.name}", flush=True)
                return verdict
            finally:
                folders.put(folder)

        with ThreadPoolExecutor(WORKERS) as threads:
            verdicts = list(threads.map(attempt, bugs))
    caught = verdicts.count("caught")
    print(f"{caught} of {len(bugs)} planted bugs were caught.")
    return int(caught < len(bugs))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
