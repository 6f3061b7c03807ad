"""The TLS context of this process: one for each trust store, loaded once."""

from __future__ import annotations

import os
import ssl
import sys
import threading

from requests.utils import DEFAULT_CA_BUNDLE_PATH

from ontraport_connect.exceptions import OntraportMisconfigured

TrustStore = tuple[str, int, int, int]

_contexts: dict[str | None, tuple[TrustStore, ssl.SSLContext]] = {}
_lock = threading.Lock()


class _SharedContext(ssl.SSLContext):
    """A context that threads share: ALPN is set once, since to set it again while another thread shakes hands is not safe."""

    def set_alpn_protocols(self, alpn_protocols: object) -> None:
        """Do nothing: every HTTP client calls this for every connection, with the same protocol."""


def trust_store(ca_bundle: str | None) -> TrustStore:
    """Return what identifies the content of a CA bundle; ``None`` is the public CAs that ``requests`` uses.

    Raises ``OntraportMisconfigured`` when the file is missing.
    """
    try:
        status = os.stat(ca_bundle or DEFAULT_CA_BUNDLE_PATH)  # noqa: PTH116  # for every call: a Path takes three times as long
    except (OSError, ValueError):
        raise _unreadable() from None
    return (ca_bundle or "", status.st_ino, status.st_mtime_ns, status.st_size)


def tls_context(ca_bundle: str | None) -> ssl.SSLContext:
    """Return the context that trusts the certificates in ``ca_bundle``, loaded anew only when the file has changed.

    Raises ``OntraportMisconfigured`` when the file is missing, unreadable or without a certificate.
    """
    store = trust_store(ca_bundle)
    with _lock:
        loaded = _contexts.get(ca_bundle)
        if loaded is None or loaded[0] != store:
            loaded = _contexts[ca_bundle] = (store, _load(ca_bundle or DEFAULT_CA_BUNDLE_PATH))
    return loaded[1]


def _load(file: str) -> ssl.SSLContext:
    """Return a context like that of urllib3, whose own function would also read ``SSLKEYLOGFILE`` from the environment."""
    context = _SharedContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_TICKET
    if sys.version_info >= (3, 13):
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN | ssl.VERIFY_X509_STRICT
    ssl.SSLContext.set_alpn_protocols(context, ["http/1.1"])
    try:
        context.load_verify_locations(file)
    except OSError:  # SSLError is one
        raise _unreadable() from None
    if not context.cert_store_stats()["x509"]:
        raise _unreadable()
    return context


def _unreadable() -> OntraportMisconfigured:
    return OntraportMisconfigured(
        "ONTRAPORT_CA_BUNDLE is not a file of CA certificates (PEM) that can be read.", code="ca_bundle"
    )


def _start_anew() -> None:
    """In a forked process: another thread of the parent may have held the lock, or been in the middle of a handshake."""
    global _lock  # noqa: PLW0603
    _lock = threading.Lock()
    _contexts.clear()


getattr(os, "register_at_fork", lambda **hooks: None)(after_in_child=_start_anew)
