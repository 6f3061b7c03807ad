"""The grants that people gave: the family of refresh tokens that began with one consent."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.db.models import Count, Max, Min, Q
from oauth2_provider.models import get_refresh_token_model

from ontraport_connect.sandbox import ACCOUNTS

from .world import stand_in


def all_grants() -> list[dict[str, Any]]:
    """Every grant, the newest first, without any token."""
    families = (
        get_refresh_token_model()
        .objects.values("token_family", "application__client_id", "application__name", "user__username")
        .annotate(
            issued=Count("id"),
            live=Count("id", filter=Q(revoked__isnull=True, access_token__isnull=False)),
            access_token_expires_at=Max("access_token__expires"),
            granted_at=Min("created"),
            newest=Max("created"),
        )
        .order_by("-granted_at")
    )
    return [
        {
            "id": str(family["token_family"]),
            "client_id": family["application__client_id"],
            "client_name": family["application__name"],
            "account_id": ACCOUNTS[family["user__username"]].account_id,
            "username": family["user__username"],
            "alive": family["live"] > 0,
            "refreshes": family["issued"] - 1,
            "granted_at": family["granted_at"],
            "refreshed_at": family["newest"] if family["issued"] > 1 else None,
            "access_token_expires_at": family["access_token_expires_at"],
        }
        for family in families
    ]


def revoke_grant(family: UUID) -> bool:
    """Revoke a grant, as a customer does inside Ontraport. Returns ``False`` when there is no grant with this id."""
    refresh_token = get_refresh_token_model()
    token = refresh_token.objects.filter(token_family=family).first()
    if token is None:
        return False
    refresh_token.revoke_family(family)
    revoke_siblings(token.user_id, token.application_id)
    return True


def revoke_siblings(user_id: int, application_id: int) -> None:
    """Revoke all grants of a person for a client, if the setting says that they are one grant (RFC 7009, 2.1)."""
    if stand_in.switches.settings.one_grant_per_client:
        _revoke_families(user_id=user_id, application_id=application_id)


def revoke_all_grants() -> None:
    _revoke_families()


def _revoke_families(**filters: int) -> None:
    refresh_token = get_refresh_token_model()
    live = refresh_token.objects.filter(revoked__isnull=True, **filters).values_list("token_family", flat=True)
    for family in set(live):
        refresh_token.revoke_family(family)
