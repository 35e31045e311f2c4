"""Device tokens: made here, shown once, kept as SHA-256.

A plain hash is enough because a token of ours has 256 bits of entropy: there is no dictionary to try, so salt and
stretching would add cost to every CONNECT and no safety. Who brings his own token answers for its entropy.
"""

import hashlib
import secrets

from registry.errors import Violation

MIN_LENGTH, MAX_LENGTH = 16, 256


def new_token() -> str:
    """32 random bytes, URL-safe (43 characters)."""
    return secrets.token_urlsafe(32)


def digest(token: str) -> bytes:
    """SHA-256 of the token's UTF-8 bytes."""
    return hashlib.sha256(token.encode()).digest()


def check_token(token: str) -> list[Violation]:
    """What is wrong with a token that a client brings."""
    if not MIN_LENGTH <= len(token) <= MAX_LENGTH:
        text = f"a token has {MIN_LENGTH} to {MAX_LENGTH} characters, not {len(token)}; leave it empty for a random one"
        return [Violation("token", "TOKEN_LENGTH", text)]
    if not (token.isascii() and token.isprintable()) or " " in token:
        return [Violation("token", "TOKEN_CHARACTERS", "a token is printable ASCII without spaces")]
    return []
