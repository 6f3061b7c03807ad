"""One e-mail to one person: its text, and whose fault it is when it cannot be sent."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from smtplib import SMTPRecipientsRefused
from typing import Any
from urllib.parse import urlencode, urlsplit

from django.conf import settings
from django.core import mail
from django.core.exceptions import ValidationError
from django.core.mail.backends.smtp import EmailBackend
from django.core.validators import validate_email
from django.template.loader import render_to_string
from django.utils import timezone, translation
from django.utils.formats import date_format
from django.utils.translation import gettext

from ontraport_connect.conf import conf
from ontraport_connect.linking import beside
from ontraport_connect.models import Method, OntraportAccount, aware, full_name_of

PERMANENT = 500
"""Reply codes from here on are permanent failures (RFC 5321, 4.2.1)."""

UNSAFE = re.compile(
    r"[\"\u201c\u201d\u201e\u201f\u275d\u275e\u301d-\u301f\u00ab\u00bb\u2039\u203a:/\\@]"
    r"|\w[.\u3002\uff0e\uff61]\w"
    r"|\d(?:[\s()\-\u2010-\u2015.]*\d){6}"
)
"""What ends a quotation in some language, or what mail programs make links of: schemes, paths, addresses, domain names with the dots of
IDNA (RFC 3490, 3.1), and telephone numbers.
"""


class RecipientRefused(Exception):
    """This address does not take the message. ``is_permanent``: trying again is of no use."""

    def __init__(self, *, is_permanent: bool) -> None:
        super().__init__("The recipient's address was refused.")
        self.is_permanent = is_permanent


@dataclass(frozen=True, kw_only=True, slots=True)
class Texts:
    """The templates of one kind of e-mail."""

    subject: str
    text: str
    html: str


NEEDS_YOU = Texts(
    subject="ontraport_connect/notice_subject.txt",
    text="ontraport_connect/notice.txt",
    html="ontraport_connect/mail/notice.html",
)
CHANGED = Texts(
    subject="ontraport_connect/mail/change_subject.txt",
    text="ontraport_connect/mail/change.txt",
    html="ontraport_connect/mail/change.html",
)


def send(account: OntraportAccount, address: str, redirect_uri: str, timeout: float) -> None:
    """Send the notice that ``account`` needs its person to ``address``; see ``deliver``."""
    url = f"{beside(redirect_uri, 'connect')}?{urlencode({'account': account.uid})}"
    context = {"account": account, "is_key": account.method == Method.API_KEY}
    deliver(NEEDS_YOU, account, address, url=url, context=context, timeout=timeout)


def deliver(
    texts: Texts, account: OntraportAccount, address: str, *, url: str, context: Mapping[str, Any], timeout: float
) -> None:
    """Send one e-mail about ``account`` to ``address``, in the language of the account's user where it is known, else the site's.

    ``url`` is absolute, and where the e-mail leads. A mail server has ``timeout`` seconds for each answer. Raises ``RecipientRefused`` when
    the address is to blame, and anything else for trouble with the mail server or its settings.
    """
    message = _message(texts, account, address, url, context)
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


def _message(
    texts: Texts, account: OntraportAccount, address: str, url: str, context: Mapping[str, Any]
) -> mail.EmailMultiAlternatives:
    user: Any = account.user
    values = {
        **context,
        "name": safe_name(account),
        "person": _plain(full_name_of(user)),
        "user": user,
        "site": conf.ONTRAPORT_SITE_NAME or urlsplit(url).netloc,
        "url": url,
    }
    with translation.override(language_of(user)):
        if "at" in context:
            values["time"] = _moment(context["at"])
        subject = " ".join(render_to_string(texts.subject, values).split())
        message = mail.EmailMultiAlternatives(subject, render_to_string(texts.text, values), None, [address])
        message.attach_alternative(render_to_string(texts.html, values), "text/html")
    return message


def _moment(at: datetime) -> str:
    local = timezone.localtime(aware(at))
    return f"{date_format(local, 'DATETIME_FORMAT')} {local.tzname()}"


LANGUAGE_ATTRIBUTES = ("language_code", "preferred_language", "language", "locale")
"""Where user models keep a person's language; Django's own does not."""


def language_of(user: Any) -> str:
    """Return the language of this person, as far as their row tells one that the site has, else the site's; English where there are no
    translations for it.
    """
    code = settings.LANGUAGE_CODE
    for name in LANGUAGE_ATTRIBUTES:
        value = getattr(user, name, None)
        if isinstance(value, str):
            with suppress(LookupError):
                code = translation.get_supported_language_variant(value.replace("_", "-").lower())
                break
    with translation.override(code):
        return code if gettext("Reconnect Ontraport") != "Reconnect Ontraport" else "en"


def name_without_label(account: OntraportAccount) -> str:
    return f"Ontraport {account.ontraport_id}" if account.ontraport_id else "Ontraport"


def safe_name(account: OntraportAccount) -> str:
    """Return the account's name for use inside quotes.

    In a tenant a colleague may have typed the label. One that a mail program could turn into a link, that hides characters, or that would
    end the quotation is replaced.
    """
    return _plain(account.label) or name_without_label(account)


def _plain(text: str) -> str:
    """Return the text on one line, or an empty string for one that a mail program or a reader could take for something else."""
    line = " ".join(text.split())
    as_read = unicodedata.normalize("NFKC", line)  # as browsers read the name of a host
    return line if line.isprintable() and not UNSAFE.search(line) and not UNSAFE.search(as_read) else ""


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
