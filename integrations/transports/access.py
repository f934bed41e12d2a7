"""Who may connect to a listener: networks that are let in, and TLS, where senders may have to show a certificate."""

import ipaddress
import ssl
from collections.abc import Iterable
from pathlib import Path

from integrations.transports import TransportError

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def is_loopback(host: str) -> bool:
    """What is sent to `host` stays on this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def is_let_in(host: str, networks: Iterable[Network]) -> bool:
    """`host`, the address of a peer, is in one of the networks; without any, everybody is let in."""
    networks = tuple(networks)
    address = ipaddress.ip_address(host.split("%", 1)[0])
    # A listener on IPv6 sees ::ffff:10.1.2.3 where 10.1.2.3 connects.
    address = getattr(address, "ipv4_mapped", None) or address
    return not networks or any(address in network for network in networks)


def server_context(certificate: Path, key: Path | None, client_ca: Path | None) -> ssl.SSLContext:
    """TLS 1.2 or newer; with `client_ca` only for senders whose certificate one of its authorities has signed.

    Args:
        certificate: the listener's own and those between it and the authority, PEM.
        key: its private key, PEM; None where it stands in `certificate`.
        client_ca: authorities, PEM.
    Raises:
        TransportError: a file cannot be read, holds no certificate, or the key is another one's.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        # An encrypted key would ask at the terminal of a service that has none.
        context.load_cert_chain(certificate, key, password=lambda: "")
    except OSError as error:
        named = certificate if key is None else f"{certificate} with {key}"
        raise TransportError(f"{named} cannot be used ({_reason(error)}); correct [mllp] certificate and key") from None
    if client_ca is not None:
        try:
            context.load_verify_locations(client_ca)
        except OSError as error:
            raise TransportError(f"{client_ca} cannot be used ({_reason(error)}); correct [mllp] client_ca") from None
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def refusal(error: OSError) -> str:
    """Why a handshake failed, quoting nothing of the certificate."""
    return getattr(error, "verify_message", "") or _reason(error)


def _reason(error: OSError) -> str:
    if isinstance(error, ssl.SSLError):
        return (error.reason or type(error).__name__).replace("_", " ").lower()
    return error.strerror or type(error).__name__
