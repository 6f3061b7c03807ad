"""The two Ontraport accounts of the stand-in, each with its owner and an API key pair."""

import hmac
from dataclasses import dataclass

PASSWORD = "sandbox"  # noqa: S105 - published on the log-in page


@dataclass(frozen=True, kw_only=True)
class Account:
    account_id: int
    name: str
    username: str
    time_zone: str
    app_id: str
    api_key: str


ACCOUNTS = {
    account.username: account
    for account in [
        Account(
            account_id=187157,
            name="Harbour Street Coffee",
            username="owner",
            time_zone="America/Los_Angeles",
            app_id="2_187157_sandbox",
            api_key="sandbox-key-owner",
        ),
        Account(
            account_id=204211,
            name="Northlight Agency",
            username="agency",
            time_zone="Europe/Copenhagen",
            app_id="2_204211_sandbox",
            api_key="sandbox-key-agency",
        ),
    ]
}


def account_of(username: str) -> Account | None:
    """Return the Ontraport account of a person."""
    return ACCOUNTS.get(username)


def account_with_key(app_id: str, api_key: str) -> Account | None:
    for account in ACCOUNTS.values():
        if account.app_id == app_id and hmac.compare_digest(account.api_key.encode(), api_key.encode()):
            return account
    return None
