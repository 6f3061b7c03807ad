"""The rules of the authorization server where they differ from django-oauth-toolkit's."""

from __future__ import annotations

import hashlib
from contextlib import suppress
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

import urllib3
from django.utils import timezone
from oauth2_provider import cimd
from oauth2_provider.models import get_access_token_model, get_application_model, get_refresh_token_model
from oauth2_provider.oauth2_validators import OAuth2Validator

from .grants import revoke_siblings
from .world import stand_in

LOOPBACK_HOSTS = {"127.0.0.1", "::1", "localhost"}


def is_loopback_client_id(client_id: str | None) -> bool:
    parts = urlsplit(client_id or "")
    return parts.scheme == "http" and parts.hostname in LOOPBACK_HOSTS


def was_spent(refresh_token: str) -> bool:
    """Return whether this refresh token has a successor. Presenting it is then a reuse, and not a late use of a revoked one."""
    tokens = get_refresh_token_model().objects
    checksum = hashlib.sha256(refresh_token.encode()).hexdigest()
    spent = tokens.filter(token_checksum=checksum, revoked__isnull=False).first()
    return spent is not None and tokens.filter(token_family=spent.token_family, pk__gt=spent.pk).exists()


def has_ended(refresh_token: Any) -> bool:
    """Return whether a refresh token is older than the switch lets it be. The toolkit counts from the end of its access token."""
    lifetime = stand_in.switches.settings.refresh_token_lifetime
    return bool(lifetime) and refresh_token.created + timedelta(seconds=lifetime) <= timezone.now()


class SandboxValidator(OAuth2Validator):  # type: ignore[misc]
    def _extract_basic_auth(self, request: Any) -> None:
        """Refuse ``client_secret_basic``: Ontraport publishes ``client_secret_post`` and ``none``."""
        return

    def _load_application(self, client_id: str | None, request: Any) -> Any:
        """Fetch the metadata documents of sites under development, which have neither TLS nor a public host."""
        if is_loopback_client_id(client_id):
            known = get_application_model().objects.filter(client_id=client_id)
            if not known.filter(cimd_expires_at__gt=timezone.now()).exists():
                # when the site is down, its last good document stays
                with suppress(cimd.CIMDError):
                    cimd._fetch_validate_upsert(client_id)  # noqa: SLF001 - the public way demands https
        return super()._load_application(client_id, request)

    def validate_refresh_token(self, refresh_token: str, client: Any, request: Any, *args: Any, **kwargs: Any) -> bool:
        valid: bool = super().validate_refresh_token(refresh_token, client, request, *args, **kwargs)
        if not valid and was_spent(refresh_token):
            stand_in.switches.count("reuse_detected")
        return valid and not has_ended(request.refresh_token_instance)

    def revoke_token(self, token: str, token_type_hint: str, request: Any, *args: Any, **kwargs: Any) -> None:
        """Revoke a token, and with it all grants of its person and client where these are one grant (RFC 7009, 2.1)."""
        checksum = hashlib.sha256(token.encode()).hexdigest()
        models = (get_refresh_token_model(), get_access_token_model())
        found = [model.objects.filter(token_checksum=checksum, application=request.client).first() for model in models]
        super().revoke_token(token, token_type_hint, request, *args, **kwargs)
        for each in filter(None, found):
            revoke_siblings(each.user_id, each.application_id)


class LoopbackMetadataFetcher(cimd.SafeMetadataFetcher):  # type: ignore[misc]
    """django-oauth-toolkit's fetcher, which also allows plain http on loopback hosts."""

    def fetch(self, client_id: str) -> Any:
        if not is_loopback_client_id(client_id):
            return super().fetch(client_id)
        with urllib3.PoolManager(retries=False, timeout=urllib3.Timeout(total=5)) as pool:
            try:
                response = pool.request("GET", client_id, redirect=False, preload_content=False)
                document, _ = self._read_document(response)
            except urllib3.exceptions.HTTPError as error:
                raise cimd.CIMDError("the client metadata document cannot be fetched") from error
        return document, 2  # seconds: a site under development changes
