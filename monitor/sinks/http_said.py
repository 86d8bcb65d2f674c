"""What is said of an exchange over HTTP that failed: what was wrong, and what to do about it.

It owns the words, and has nothing in them that a client quotes of headers, of the path or of an answer. It knows no
connection.
"""

from __future__ import annotations

import http.client
import ssl

BAD_REQUEST = 400
CERTIFICATES = {
    10: "renew the receiver's certificate; if it is new, is the clock of this machine right?",
    18: "name the certificate itself under `ca`",
    19: "name the file of its authority under `ca`",
    20: "name the file of its authority under `ca`",
    62: "write the URL with a name that stands in the certificate",
    64: "write the URL with a name that stands in the certificate",
}
"""What to do, by OpenSSL's number of what is wrong with a certificate."""
UNTRUSTED = "put its authority among those that the system trusts (`SSL_CERT_FILE`)"
"""Where the configuration has no `ca`, instead of those that name it."""
OVER_TLS = (
    b"HTTP request to an HTTPS server",  # Go's, and so a Collector's
    b"plain HTTP request was sent to HTTPS port",  # nginx
    b"speaking plain HTTP to an SSL-enabled server port",  # Apache
)


def said(error: Exception, *, has_keys: bool) -> str:
    """Without what a client quotes of headers, of the path or of an answer, which may be or repeat credentials."""
    if isinstance(error, ssl.SSLCertVerificationError):
        hint = CERTIFICATES.get(error.verify_code, "")
        hint = UNTRUSTED if "`ca`" in hint and not has_keys else hint
        return f"its certificate: {error.verify_message}" + (f"\n  hint: {hint}" if hint else "")
    if isinstance(error, ssl.SSLError) and error.reason == "WRONG_VERSION_NUMBER":
        return "what answers does not speak TLS\n  hint: the port, or `http://` on this machine"
    if alert := alert_of(error):
        return f"it refuses the connection: {alert}"
    if isinstance(error, http.client.HTTPException) and not isinstance(error, OSError):
        return f"what answers does not speak HTTP: {type(error).__name__}"
    quotes = isinstance(error, ValueError | http.client.InvalidURL)
    return f"{type(error).__name__}: a header or the URL cannot be sent" if quotes else str(error)


def alert_of(error: Exception) -> str:
    """What a receiver says in TLS before it hangs up, in its words; empty where it does not."""
    reason = error.reason or "" if isinstance(error, ssl.SSLError) else ""
    return reason.partition("_ALERT_")[2].lower().replace("_", " ")


def is_hanging_up(error: Exception) -> bool:
    gone = isinstance(error, ConnectionError | ssl.SSLEOFError)
    return gone and not isinstance(error, ConnectionRefusedError)


def wants_tls(status: int, body: bytes) -> bool:
    """Whether this answer to plain HTTP comes of a port for TLS: it says nothing of what was sent."""
    return status == BAD_REQUEST and any(words in body for words in OVER_TLS)
