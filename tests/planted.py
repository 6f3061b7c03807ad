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

from tests.servers import PROJECT

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
        "transport",
        "verify=True",
        "verify=False",
        "test_transport.py::test_a_certificate_that_nobody_vouches_for_is_refused_before_anything_is_sent",
    ),
    Bug(
        "a body without end is read to its end",
        "transport",
        "        if len(body) > limit:",
        "        if False:",
        "test_transport.py::test_a_body_of_exactly_the_limit_is_read_and_one_byte_more_is_not",
    ),
    Bug(
        "a gzip bomb goes off",
        "transport",
        "inflater.decompress(body, limit + 1)",
        "inflater.decompress(body)",
        "test_transport.py::test_a_hostile_server_ends_in_one_typed_error_in_time_and_in_little_memory",
    ),
    Bug(
        "gzip that was cut is taken",
        "transport",
        "if not inflater.eof or inflater.unused_data:",
        "if False:",
        "test_transport.py::test_a_hostile_server_ends_in_one_typed_error_in_time_and_in_little_memory",
    ),
    Bug(
        "the deadline is later than the settings say",
        "bounded",
        "time.monotonic() + (sock.gettimeout() or 0)",
        "time.monotonic() + 3",
        "test_transport.py::test_a_hostile_server_ends_in_one_typed_error_in_time_and_in_little_memory",
    ),
    Bug(
        "broken headers go to the log",
        "bounded",
        "if self.headers.defects or self.headers.get_payload():",
        "if False:",
        "test_transport.py::test_what_a_hostile_server_echoes_in_a_broken_header_reaches_no_log",
    ),
    Bug(
        "the reason phrase is kept for error reporters",
        "bounded",
        '        self.reason = ""\n',
        "",
        "test_transport.py::test_the_reason_phrase_which_error_reporters_keep_is_dropped",
    ),
    Bug(
        "the proxy of the environment is used",
        "transport",
        "proxies={}",
        "proxies=requests.utils.get_environ_proxies(url)",
        "test_transport.py::test_no_proxy_and_no_netrc_is_taken_from_the_environment",
    ),
    Bug(
        "http goes anywhere",
        "transport",
        '(scheme == "http" and is_loopback(host))',
        'scheme == "http"',
        "test_transport.py::test_credentials_are_sent_over_https_only",
    ),
    Bug(
        "an answer shows its body",
        "transport",
        "body: bytes = field(repr=False)",
        "body: bytes",
        "test_transport.py::test_an_answer_shows_neither_its_body_nor_its_headers",
    ),
    Bug(
        "duplicate keys are taken",
        "transport",
        "object_pairs_hook=_unique, ",
        "",
        "test_transport.py::test_json_is_read_strictly",
    ),
    Bug(
        "NaN is taken",
        "transport",
        ", parse_constant=_no_constant",
        "",
        "test_transport.py::test_json_is_read_strictly",
    ),
    Bug(
        "an undecryptable secret is called nonsense",
        "transport",
        "        except OntraportError as error:\n            return error.with_traceback(None)\n",
        "",
        "test_transport.py::test_a_secret_that_cannot_be_decrypted_is_said_to_be_that_and_nothing_is_sent",
    ),
    Bug(
        "any token type is a bearer token",
        "provider",
        'if not isinstance(token_type, str) or token_type.lower() != "bearer":',
        "if not isinstance(token_type, str):",
        "test_provider.py::test_a_hostile_token_response_is_refused_with_one_typed_error_that_shows_nothing_of_it",
    ),
    Bug(
        "an error beside a token is overlooked",
        "provider",
        'if "error" in members or ',
        "if ",
        "test_provider.py::test_a_hostile_token_response_is_refused_with_one_typed_error_that_shows_nothing_of_it",
    ),
    Bug(
        "a token may hold anything",
        "provider",
        r'TOKEN_TEXT = re.compile(r"[\x21-\x7e]{1,8192}", re.ASCII)',
        'TOKEN_TEXT = re.compile(r".{1,8192}", re.DOTALL)',
        "test_provider.py::test_a_hostile_token_response_is_refused_with_one_typed_error_that_shows_nothing_of_it",
    ),
    Bug(
        "a lifetime may be negative",
        "provider",
        "return float(seconds) if seconds > 0 else ASSUMED_LIFETIME",
        "return float(seconds)",
        "test_provider.py::test_a_lifetime_is_always_sane",
    ),
    Bug(
        "an error of a gateway ends the link",
        "provider",
        'error = _error_of(answer) if answer.status in {400, 401} else ""',
        "error = _error_of(answer)",
        "test_provider.py::test_each_error_has_its_verdict",
    ),
    Bug(
        "a pause may last for ten years",
        "pauses",
        "return min(max(seconds, 1.0), LONGEST_PAUSE)",
        "return seconds",
        "test_provider.py::test_a_pause_is_what_retry_after_says_within_reason",
    ),
    Bug(
        "the challenge is the verifier",
        "provider",
        'return str(WebApplicationClient("").create_code_challenge(verifier.reveal(), "S256"))',
        "return verifier.reveal()",
        "test_provider.py::test_the_challenge_is_that_of_rfc_7636_appendix_b",
    ),
    Bug(
        "a ciphertext is good in any row",
        "fields",
        'f"{self.model._meta.label_lower}.{self.column}:{uid}"',
        'f"{self.model._meta.label_lower}.{self.column}"',
        "test_fields.py::test_of_100_rows_with_2_columns_each_no_ciphertext_is_accepted_in_another_place",
    ),
    Bug(
        "a ciphertext is good in any column",
        "fields",
        'f"{self.model._meta.label_lower}.{self.column}:{uid}"',
        'f"{self.model._meta.label_lower}:{uid}"',
        "test_fields.py::test_of_100_rows_with_2_columns_each_no_ciphertext_is_accepted_in_another_place",
    ),
    Bug(
        "what cannot be decrypted is returned as it is",
        "fields",
        "    if text is None:\n        raise SecretUnreadable(",
        '    if text is None:\n        return sealed.decode("latin-1")\n        raise SecretUnreadable(',
        "test_fields.py::test_nothing_cut_off_or_added_is_accepted",
    ),
    Bug(
        "a short key encrypts",
        "fields",
        "if conf.ONTRAPORT_ENCRYPTION_KEYS and not _is_fit(conf.ONTRAPORT_ENCRYPTION_KEYS[0]):",
        "if False:",
        "test_fields.py::test_an_unfit_key_encrypts_nothing_and_no_frame_of_the_error_shows_it_or_the_secret",
    ),
    Bug(
        "old keys are forgotten",
        "fields",
        "    for key in encryption_keys():",
        "    for key in encryption_keys()[:1]:",
        "test_fields.py::test_all_keys_decrypt_and_the_first_encrypts",
    ),
    Bug(
        "plain text goes into the column",
        "fields",
        "        if not isinstance(value, Sealed):\n            raise TypeError(",
        "        if False:\n            raise TypeError(",
        "test_fields.py::test_update_writes_no_plain_text",
    ),
    Bug(
        "a secret shows itself",
        "secret",
        '    def __repr__(self) -> str:\n        return "[secret]"',
        "    def __repr__(self) -> str:\n        return self.reveal()",
        "test_secret.py::test_it_shows_nothing",
    ),
    Bug(
        "a template reveals",
        "secret",
        "    reveal.alters_data = True",
        "    reveal.alters_data = False",
        "test_secret.py::test_it_shows_nothing",
    ),
    Bug(
        "a state counts twice",
        "state",
        '        raise LinkingFailed("This connection was already completed or tried.", code="used") from None',
        "        pass",
        "test_callback.py::test_an_attempt_counts_once_even_when_the_session_comes_back",
    ),
    Bug(
        "an attempt never ends",
        "state",
        "if not 0 <= time.time() - attempt.started <= LIFETIME:",
        "if False:",
        "test_callback.py::test_an_attempt_ends_after_ten_minutes",
    ),
    Bug(
        "attempts pile up in the session",
        "state",
        "len(attempts) > MOST or",
        "False or",
        "test_callback.py::test_of_many_attempts_the_last_eight_are_kept",
    ),
    Bug(
        "the verifier stands in the cookie",
        "state",
        'return base64.b64encode(seal(verifier, f"verifier:{state}")).decode()',
        "return verifier.reveal()",
        "test_callback.py::test_a_session_cookie_is_small_and_holds_nothing_secret",
    ),
    Bug(
        "somebody else may complete",
        "linking",
        "if attempt.owner != str(owner.user.pk) or attempt.tenant != owner.tenant:",
        "if attempt.tenant != owner.tenant:",
        "test_callback.py::test_who_started_is_who_completes",
    ),
    Bug(
        "another tenant may complete",
        "linking",
        "if attempt.owner != str(owner.user.pk) or attempt.tenant != owner.tenant:",
        "if attempt.owner != str(owner.user.pk):",
        "test_callback.py::test_an_attempt_of_another_tenant_is_refused",
    ),
    Bug(
        "the issuer is not compared",
        "linking",
        "if issuer is not None and response.issuer != issuer:",
        "if False:",
        "test_callback.py::test_an_issuer_that_is_not_ontraport_to_the_letter_is_refused_before_the_code_is_sent",
    ),
    Bug(
        "the issuer is compared after tidying up",
        "linking",
        "response.issuer != issuer:",
        'response.issuer.strip().rstrip("/").lower() != issuer:',
        "test_callback.py::test_an_issuer_that_is_not_ontraport_to_the_letter_is_refused_before_the_code_is_sent",
    ),
    Bug(
        "a parameter given twice is taken",
        "authorization",
        "is_repeated=any(",
        "is_repeated=False and any(",
        "test_callback.py::test_a_state_that_is_not_this_browsers_or_anything_repeated_changes_nothing",
    ),
    Bug(
        "a code wins over an error",
        "authorization",
        "    if response.error:\n",
        "    if response.error and not response.code.reveal():\n",
        "test_callback.py::test_an_error_wins_over_a_code_beside_it",
    ),
    Bug(
        "an error description is shown in full",
        "authorization",
        "[:LONGEST_SAID]",
        "",
        "test_callback.py::test_what_the_error_says_is_shown_escaped_and_cut_and_its_uri_is_no_link",
    ),
    Bug(
        "a grant that could not be saved lives on",
        "linking",
        "    except Exception:\n        _revoke_unsaved(attempt, grant)\n        raise\n",
        "",
        "test_callback.py::test_a_grant_that_could_not_be_saved_is_revoked_and_the_customer_gets_a_page",
    ),
    Bug(
        "an error in the callback is reported with its address",
        "linking",
        "Context().run(log, *args)",
        "log(*args)",
        "test_canaries.py::test_a_callback_that_fails_reports_its_error_without_its_address",
    ),
    Bug(
        "a reconnect may become another account",
        "linking",
        "if account.ontraport_id and account.ontraport_id != identity.ontraport_id:",
        "if False:",
        "test_linking.py::test_a_reconnect_that_comes_back_as_another_account_is_refused_and_its_grant_revoked",
    ),
    Bug(
        "a deleted account's grant lives on",
        "revoking",
        "            queue(current, grant, using)",
        "            pass",
        "test_revoking.py::test_accounts_deleted_in_bulk_are_revoked",
    ),
    Bug(
        "a revocation that failed is forgotten",
        "revoking",
        "        _put_off(revocation, error)\n",
        "        revocation.delete()\n",
        "test_revoking.py::test_when_ontraport_is_away_the_grant_is_kept_encrypted_and_told_later",
    ),
    Bug(
        "a disconnect is announced before it happened",
        "revoking",
        "    transaction.on_commit(\n        lambda: account_disconnected",
        "    (lambda step, using: step())(\n        lambda: account_disconnected",
        "test_revoking.py::test_a_disconnect_that_is_rolled_back_never_happened",
    ),
    Bug(
        "an error carries the body",
        "provider",
        'f"Ontraport answered with status {answer.status}."',
        'f"Ontraport answered with status {answer.status}: {answer.body!r}"',
        "test_provider.py::test_each_error_has_its_verdict",
    ),
    Bug(
        "credentials go to any host",
        "access",
        "    if not is_rest(url) and not is_mcp(url):\n",
        "    if False:\n",
        "test_access.py::test_credentials_are_attached_for_the_configured_hosts_only",
    ),
    Bug(
        "credentials follow a redirect",
        "access",
        "    if response.is_redirect:\n",
        "    if False:\n",
        "test_access.py::test_no_redirect_is_followed_with_credentials",
    ),
    Bug(
        "the links of a deactivated person are used",
        "access",
        "    if not is_allowed:\n",
        "    if False:\n",
        "test_rest.py::test_the_links_of_a_person_who_was_deactivated_are_not_used",
    ),
    Bug(
        "an answer over MCP is read to its end",
        "mcp_client",
        "left = ANSWER_LIMIT",
        "left = 2**40",
        "test_mcp.py::test_each_answer_has_its_verdict",
    ),
    Bug(
        "everybody sees the links of everybody",
        "models",
        'return self.filter(user=user, tenant="")',
        'return self.filter(tenant="")',
        "test_views.py::test_an_account_of_somebody_else_is_not_found_and_not_changed",
    ),
    Bug(
        "a stale secret is written in bulk",
        "models",
        "        if refused := {*fields} & {*SECRET_FIELDS}:\n",
        "        if refused := {*fields} & set():\n",
        "test_fields.py::test_bulk_update_keeps_what_stands_and_refuses_plain_text",
    ),
    Bug(
        "a stray answer is remembered",
        "problems",
        'frozenset({"unknown", "other_owner"})',
        "frozenset()",
        "test_callback.py::test_who_started_is_who_completes",
    ),
    Bug(
        "the address of the callback goes along",
        "views",
        'response["Referrer-Policy"] = "no-referrer"',
        'response["Referrer-Policy"] = "unsafe-url"',
        "test_callback.py::test_an_answer_to_ones_own_attempt_links",
    ),
    Bug(
        "a reconnect does not ask whose account it is",
        "linking",
        "    if account.ontraport_id and not identity.ontraport_id:\n",
        "    if False:\n",
        "test_linking.py::test_a_reconnect_that_does_not_say_whose_it_is_changes_nothing",
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
