"""Where the gateway listens: `HOST:PORT` or `[IPV6]:PORT`."""

import ipaddress

from recloser.gateway.settings import GatewaySettings


def address(listen: str) -> tuple[str, int]:
    """Host and port of `HOST:PORT` or `[IPV6]:PORT`; ValueError if it is neither."""
    host, colon, port = listen.rpartition(":")
    host = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    digits = port.isascii() and port.isdecimal() and len(port) <= 5
    if not colon or not host or not digits or int(port) > 65535 or any(c in host for c in " /[]@"):
        raise ValueError(f"{listen!r} is no HOST:PORT, such as '127.0.0.1:8686' or '[::1]:8686'")
    return host, int(port)


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach that address."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def wrong_listen(gateway: GatewaySettings) -> str | None:
    """What is wrong with where the gateway is to listen, or None."""
    try:
        host, _ = address(gateway.listen)
    except ValueError as error:
        return str(error)
    if not gateway.keys and not is_loopback(host):
        return f"without [gateway] keys only loopback may be listened on, and {host!r} is not loopback"
    return None
