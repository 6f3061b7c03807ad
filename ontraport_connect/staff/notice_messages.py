"""One e-mail to one person: its text, and whose fault it is when it cannot be sent."""

from __future__ import annotations

import re
from smtplib import SMTPRecipientsRefused
from typing import Any
from urllib.parse import urlencode, urljoin, urlsplit

from django.conf import settings
from django.core import mail
from django.core.exceptions import ValidationError
from django.core.mail.backends.smtp import EmailBackend
from django.core.validators import validate_email
from django.template.loader import render_to_string
from django.utils import translation

from ontraport_connect.linking import beside
from ontraport_connect.models import OntraportAccount

PERMANENT = 500
"""Reply codes from here on are permanent failures (RFC 5321, 4.2.1)."""

UNSAFE = re.compile(r"[\":/\\@]|\w[.\u3002\uff0e]\w")
"""What ends a quotation, or what mail programs make links of: schemes, paths, addresses, and domain names."""


class RecipientRefused(Exception):
    """This address does not take the message. ``is_permanent``: trying again is of no use."""

    def __init__(self, *, is_permanent: bool) -> None:
        super().__init__("The recipient's address was refused.")
        self.is_permanent = is_permanent


def send(account: OntraportAccount, address: str, redirect_uri: str, timeout: float) -> None:
    """Send the notice about ``account`` to ``address``, in the site's language. A mail server has ``timeout`` seconds for each answer.

    Raises ``RecipientRefused`` when the address is to blame, and anything else for trouble with the mail server or its settings.
    """
    message = _message(account, address, redirect_uri)
    try:
        _connection(timeout).send_messages([message])
    except SMTPRecipientsRefused as refused:
        codes = [code for code, _said in refused.recipients.values()]
        raise RecipientRefused(is_permanent=min(codes) >= PERMANENT) from None
    except (
        ValueError,
        LookupError,
        AttributeError,
        TypeError,
    ):  # Python's email package raises each of them for some addresses
        if _is_valid(address):
            raise
        raise RecipientRefused(is_permanent=True) from None


def _message(account: OntraportAccount, address: str, redirect_uri: str) -> mail.EmailMessage:
    query = urlencode({"account": account.uid})
    context = {
        "account": account,
        "name": safe_name(account),
        "number": name_without_label(account),
        "user": account.user,
        "host": urlsplit(redirect_uri).netloc,
        "site": urljoin(redirect_uri, "/"),
        "url": f"{beside(redirect_uri, 'connect')}?{query}",
    }
    with translation.override(settings.LANGUAGE_CODE):
        subject = " ".join(render_to_string("ontraport_connect/notice_subject.txt", context).split())
        text = render_to_string("ontraport_connect/notice.txt", context)
    return mail.EmailMessage(subject, text, None, [address])


def name_without_label(account: OntraportAccount) -> str:
    return f"Ontraport {account.ontraport_id}" if account.ontraport_id else "Ontraport"


def safe_name(account: OntraportAccount) -> str:
    """Return the account's name for use inside quotes.

    In a tenant a colleague may have typed the label. One that a mail program could turn into a link, that hides characters, or that would
    end the quotation is replaced.
    """
    label = " ".join(account.label.split())
    is_plain = label.isprintable() and not UNSAFE.search(label)
    return label if label and is_plain else name_without_label(account)


def _connection(timeout: float) -> Any:
    """Return the site's mail backend. Without ``EMAIL_TIMEOUT`` Django's would wait for a silent server for ever."""
    mailers: Any = getattr(mail, "mailers", None)  # since Django 6.1
    connection = mail.get_connection() if mailers is None else mailers.default
    if isinstance(connection, EmailBackend):
        connection.timeout = min(connection.timeout or timeout, timeout)
    return connection


def _is_valid(address: str) -> bool:
    try:
        validate_email(address)
    except ValidationError:
        return False
    return True
