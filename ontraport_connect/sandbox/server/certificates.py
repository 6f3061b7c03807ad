"""A private certificate authority for one run, and a certificate for the stand-in's host."""

from __future__ import annotations

import ipaddress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

LIFETIME = timedelta(days=30)

Issued = tuple[x509.Certificate, ec.EllipticCurvePrivateKey]


def write(folder: Path, hosts: list[str]) -> tuple[Path, Path]:
    """Write the CA's certificate, and one file with a certificate for ``hosts`` and its key. Returns both paths."""
    authority = _issued("Sandbox CA, not Ontraport", None, x509.BasicConstraints(ca=True, path_length=0))
    names = x509.SubjectAlternativeName([_name(host) for host in hosts])
    certificate, key = _issued("Sandbox, not Ontraport", authority, names)
    bundle, chain = folder / "ca.pem", folder / "server.pem"
    bundle.write_bytes(authority[0].public_bytes(serialization.Encoding.PEM))
    chain.touch(mode=0o600)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    chain.write_bytes(certificate.public_bytes(serialization.Encoding.PEM) + private)
    return bundle, chain


def _name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _issued(common_name: str, authority: Issued | None, extension: x509.ExtensionType) -> Issued:
    """Return a certificate with its key, signed by ``authority`` or by itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
    issuer, signer = (authority[0].subject, authority[1]) if authority else (subject, key)
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5))
        .not_valid_after(now + LIFETIME)
        .add_extension(extension, critical=authority is None)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
    )
    if authority is None:
        usage = dict.fromkeys(
            (
                "content_commitment",
                "key_encipherment",
                "data_encipherment",
                "key_agreement",
                "encipher_only",
                "decipher_only",
            ),
            False,
        )
        builder = builder.add_extension(
            x509.KeyUsage(digital_signature=True, key_cert_sign=True, crl_sign=True, **usage), critical=True
        )
    return builder.sign(signer, hashes.SHA256()), key
