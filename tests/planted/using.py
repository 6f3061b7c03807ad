"""Bugs in where credentials go."""

from .bug import Bug

BUGS = [
    Bug(
        "a disconnect leaves the session open",
        "using/mcp_requests",
        "    for session in sessions.take_all(account.uid):\n        steps",
        "    for session in ():\n        steps",
        "using/test_mcp_sessions.py::test_a_disconnect_ends_the_session",
    ),
    Bug(
        "a 401 inside a result is the tool's own",
        "using/mcp_requests",
        "if status not in {401, 429}:",
        "if status != 429:",
        "using/test_mcp_refusals.py::test_a_401_inside_a_result_is_one_refresh_and_one_retry",
    ),
    Bug(
        "a forked process uses the sessions of its parent",
        "protocol/mcp_sessions",
        "        sessions.forget_all()\n",
        "        sessions.surplus()\n",
        "using/test_mcp_processes.py::test_a_forked_process_opens_sessions_of_its_own_and_ends_none_of_its_parents",
    ),
    Bug(
        "credentials go to any host",
        "using/credentials",
        "    if origin != _origin(conf.ONTRAPORT_REST_URL) and origin != _origin(conf.ONTRAPORT_MCP_URL):\n",
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
        "a copy of the database uses its keys",
        "using/credentials",
        "        refreshing.require_own_database()\n",
        "",
        "journeys/test_copied_site.py::test_keys_are_neither_used_nor_checked_nor_put_off",
    ),
    Bug(
        "what a list has reserved and not used stays reserved",
        "using/turns_ahead",
        "                rate_limiter.give_back(replace(self._block, requests=unused))\n",
        "                pass\n",
        "using/test_turns_ahead.py::test_a_list_that_ends_gives_back_what_it_has_not_used",
    ),
    Bug(
        "a list uses its turns however late",
        "using/turns_ahead",
        " or not _is_fresh(block):",
        ":",
        "using/test_turns_ahead.py::test_what_was_reserved_long_ago_is_not_used",
    ),
]
