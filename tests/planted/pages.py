"""Bugs in what a customer's browser gets."""

from .bug import Bug

BUGS = [
    Bug(
        "the button of Jinja2 forgets where it leads",
        "jinja2",
        "next_url=next",
        'next_url=""',
        "journeys/test_other_frameworks.py::test_the_button_in_a_template_of_jinja_leads_to_the_page_that_it_is_told",
    ),
    Bug(
        "a start is led in circles between a host and its www",
        "pages/addresses",
        'if settings.PREPEND_WWW and not there.startswith("www."):',
        "if False:",
        "journeys/test_where_linking_starts.py::test_a_site_that_puts_www_in_front_of_its_host_does_not_lead_in_circles",
    ),
    Bug(
        "a view that calls Ontraport is in a transaction of another database",
        "pages/view_decorators",
        "transaction.non_atomic_requests(using=name)(view)",
        "transaction.non_atomic_requests(view)",
        "journeys/test_databases.py::test_the_apps_tables_alone_are_in_a_second_database",
    ),
    Bug(
        "what is no text counts as an empty one",
        "pages/json_messages",
        "            raise TextError(name)\n        try:",
        '            return ""\n        try:',
        "pages/test_json_faults.py::test_what_has_to_be_a_text_and_is_none_changes_nothing",
    ),
    Bug(
        "caches keep what comes with a person's session cookie",
        "pages/views",
        "conf.ONTRAPORT_REDIRECT_URI and not request.COOKIES",
        "conf.ONTRAPORT_REDIRECT_URI",
        "pages/test_client_metadata.py::test_no_cache_keeps_the_session_cookie_of_a_person_who_looks_at_the_metadata",
    ),
    Bug(
        "a stray answer is remembered",
        "pages/problems",
        'frozenset({"unknown", "other_owner", "switched_tenant"})',
        "frozenset()",
        "pages/test_callback.py::test_who_started_is_who_completes",
    ),
    Bug(
        "who left the tenant links for it",
        "pages/tenancy",
        """    if not linking.may(request, attempt.tenant, "link"):
        raise PermissionDenied
""",
        "",
        "journeys/test_tenant_hosts.py::test_who_left_the_tenant_while_at_ontraport_links_nothing_for_it",
    ),
    Bug(
        "the address of the callback goes along",
        "pages/responses",
        'response["Referrer-Policy"] = "no-referrer"',
        'response["Referrer-Policy"] = "unsafe-url"',
        "pages/test_callback.py::test_an_answer_to_ones_own_attempt_links",
    ),
]
