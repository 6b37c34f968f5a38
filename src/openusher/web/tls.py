"""TLS: the certificate and key in force, and others in their place without a connection dropped."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import NoReturn

from openusher.errors import SetupError


class Certificate:
    """A certificate with its chain, and its key, from two PEM files. `context` is what connections are made with.

    Raises SetupError for files that are no such pair.
    """

    def __init__(self, chain: Path, key: Path) -> None:
        self._chain = chain
        self._key = key
        self._in_force = _context(chain, key)
        self.context = _context(chain, key)
        # Of one context, certificate and key would be changed one after the other; this way a connection has a pair.
        self.context.sni_callback = self._choose

    def reload(self) -> None:
        """Read both files anew, for the connections that come; those there are keep theirs.

        Raises SetupError for files that are no such pair; the one before then stays in force.
        """
        self._in_force = _context(self._chain, self._key)

    def _choose(self, connection: ssl.SSLSocket | ssl.SSLObject, name: str | None, asked: ssl.SSLContext) -> None:
        """Called for each handshake, also where the client gives no name."""
        connection.context = self._in_force


def _context(chain: Path, key: Path) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.set_alpn_protocols(["http/1.1"])

    def refuse_passphrase() -> NoReturn:
        raise SetupError(f"tls_key: {key} is encrypted, and nobody is there to be asked; decrypt it: openssl pkey")

    for setting, file in (("tls_cert", chain), ("tls_key", key)):
        try:
            file.open("rb").close()
        except OSError as error:
            raise SetupError(f"{setting}: cannot read {file}: {error.strerror}") from error
    try:
        context.load_cert_chain(chain, key, password=refuse_passphrase)
    except (ssl.SSLError, OSError) as error:
        why = getattr(error, "reason", None) or "no PEM"
        raise SetupError(
            f"tls_cert, tls_key: {chain} and {key} are no certificate and its key ({why}); give PEM files, the "
            "certificate first and its chain after it"
        ) from error
    return context
