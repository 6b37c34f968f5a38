"""A certificate of a test's own authority, and what a browser is told to trust it by."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path
from typing import NamedTuple

import trustme
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat


class Certificate(NamedTuple):
    """`chain` and `key` are PEM files; `fingerprint` is that of the public key, as Chromium's options take it."""

    chain: Path
    key: Path
    fingerprint: str


def make_certificate(folder: Path, *hosts: str, authority: trustme.CA | None = None) -> Certificate:
    """Write a certificate for `hosts` into `folder`; without an `authority`, by one that nobody knows."""
    issued = (authority or trustme.CA()).issue_cert(*hosts)
    chain, key = folder / "chain.pem", folder / "key.pem"
    chain.write_bytes(b"".join(each.bytes() for each in issued.cert_chain_pems))
    issued.private_key_pem.write_to_path(str(key))
    public_key = x509.load_pem_x509_certificate(chain.read_bytes()).public_key()
    digest = hashlib.sha256(public_key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).digest()
    return Certificate(chain, key, base64.b64encode(digest).decode())
