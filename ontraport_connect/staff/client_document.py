"""What Ontraport gets when it fetches the client metadata document of a site without a client id"""

from __future__ import annotations

from collections.abc import Iterator

from ontraport_connect.conf import conf
from ontraport_connect.exceptions import OntraportError
from ontraport_connect.linking import beside
from ontraport_connect.protocol import Answer, Transport

from .findings import Finding, Level, finding

USUAL_CAUSES = (
    "Everybody must get the document itself there: no redirect (PREPEND_WWW, SECURE_SSL_REDIRECT without SECURE_PROXY_SSL_HEADER), no page"
    " to sign in or of a site under maintenance. Or set ONTRAPORT_CLIENT_ID."
)


def check_client_document(transport: Transport) -> Iterator[Finding]:
    """Fetch the document from the address by which Ontraport knows this site, as Ontraport does, and compare the two.

    Nothing is said where the site has a client id, or where its own address is not known.
    """
    if conf.ONTRAPORT_CLIENT_ID is not None or not conf.ONTRAPORT_REDIRECT_URI:
        return
    url = beside(conf.ONTRAPORT_REDIRECT_URI, "client_metadata")
    try:
        flaw = _flaw_of(transport.send("GET", url), url)
    except OntraportError as error:
        hint = f"Ontraport fetches {url}. This machine cannot, and may be unable to where others can."
        yield finding("endpoints", Level.WARNING, f"client document: {error}", hint)
        return
    if flaw:
        yield finding("endpoints", Level.ERROR, f"client document: {url} {flaw}, so nobody can connect", USUAL_CAUSES)
    else:
        yield finding("endpoints", Level.OK, f"client document: {url} answers")


def _flaw_of(answer: Answer, url: str) -> str:
    """Return in words what is wrong with the answer, or ""."""
    if 300 <= answer.status < 400:
        return f"answers with a redirect ({answer.status})"
    if answer.status != 200:
        return f"answers with status {answer.status}"
    try:
        document = answer.json()
    except ValueError:
        return "is no JSON"
    named = document.get("client_id") if isinstance(document, dict) else None
    return "" if named == url else "is not this site's document: its client_id is another one"
