"""Bugs in the stand-in that answer wrongly with status 200, that show secrets, or that reach a network."""

from .bug import Bug

BUGS = [
    Bug(
        "numbers are compared as text",
        "sandbox/conditions",
        "    if not numeric:\n",
        "    if True:\n",
        "sandbox/test_queries.py::test_conditions",
    ),
    Bug(
        "sort is ignored",
        "sandbox/queries",
        "    if name:\n",
        "    if False:\n",
        "sandbox/test_queries.py::test_sorted_pages",
    ),
    Bug(
        "a parameter that is not known is ignored",
        "sandbox/rest_objects",
        "    if unknown:\n",
        "    if False:\n",
        "sandbox/test_queries.py::test_what_would_be_answered_wrongly_is_refused",
    ),
    Bug(
        "a deletion that names nothing deletes all",
        "sandbox/rest_objects",
        """    if not any(parameters.get(name) not in (None, "", []) for name in CRITERIA - {"objectID"}):\n""",
        "    if False:\n",
        "sandbox/test_rest.py::test_a_refusal_is_text_that_says_why",
    ),
    Bug(
        "the log shows secrets",
        "sandbox/request_log",
        "MASK if SECRET.search(str(name)) else masked(each)",
        "masked(each)",
        "sandbox/test_memory_grants.py::test_the_log_shows_what_was_sent_and_no_secret",
    ),
    Bug(
        "the stand-in is used where DEBUG is off",
        "conf",
        "        return self.uses_sandbox and not settings.DEBUG and not is_test_run()\n",
        "        return False\n",
        "doors/test_sandbox.py::test_a_check_keeps_it_on_laptops",
    ),
    Bug(
        "a test reaches the network",
        "protocol/http",
        "        if wire is not None:\n",
        "        if False:\n",
        "testing/test_kit.py::test_a_key_pair_writes_what_the_test_sees",
    ),
]
