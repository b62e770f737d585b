"""The server's certificate."""

from __future__ import annotations

import ssl

from pgchroma.server.settings import InvalidSettingError, ServerSettings

__all__ = ("tls_context",)


def tls_context(settings: ServerSettings) -> ssl.SSLContext | None:
    """Return the TLS context of the settings' certificate; `None` without one.

    Raises:
        InvalidSettingError: The certificate or the key cannot be used.
    """
    if settings.ssl_certificate is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    try:
        context.load_cert_chain(settings.ssl_certificate, settings.ssl_key)
    except OSError as error:
        reason = f"ssl_certificate and ssl_key cannot be used: {error.strerror or error}"
        raise InvalidSettingError("ssl_certificate", reason) from error
    return context
