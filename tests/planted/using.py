"""Bugs in where credentials go."""

from .bug import Bug

BUGS = [
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
        "a copy of the database uses its keys",
        "using/credentials",
        "        refreshing.require_own_database()\n",
        "",
        "journeys/test_copied_site.py::test_keys_are_neither_used_nor_checked_nor_put_off",
    ),
]
