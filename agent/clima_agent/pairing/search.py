"""Looks for forwarders in the local network, by mDNS: hints where to ask, and nothing more.

Whoever is found proves by the digits who he is. One in a container is not found: multicast does not
leave a Docker bridge.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from clima_agent.pairing.client import Peer
from clima_core.errors import ConfigurationError, UnavailableError
from clima_core.pairing import SERVICE

if TYPE_CHECKING:
    from zeroconf import Zeroconf

LOOK_S = 3.0
MOST = 20


class Found(NamedTuple):
    """One that says that it is there."""

    name: str
    peer: Peer


def forwarders(interfaces: Sequence[str] | None = None, look_s: float = LOOK_S) -> list[Found]:
    """Those that answer within the time, by name; `UnavailableError` where one cannot look.

    `interfaces`: addresses of those to use; all, when left out.
    """
    try:
        # imported here: it takes 17 MB, and the running agent has no use for it
        import zeroconf  # noqa: PLC0415
    except ImportError as error:
        raise UnavailableError("zeroconf is missing; pip install 'clima[agent]'") from error

    names: set[str] = set()

    def changed(*, name: str, state_change: zeroconf.ServiceStateChange, **_: object) -> None:
        if state_change is not zeroconf.ServiceStateChange.Removed and len(names) < MOST:
            names.add(name)

    try:
        network = zeroconf.Zeroconf(interfaces=interfaces or zeroconf.InterfaceChoice.All)
    except ValueError as error:
        hint = "expected an IP address of this machine"
        raise ConfigurationError(f"--interface: {error}; {hint}") from error
    except OSError as error:
        raise UnavailableError(f"mDNS: {error.strerror or error}; name the ADDRESS") from error
    try:
        zeroconf.ServiceBrowser(network, SERVICE, handlers=[changed])
        time.sleep(look_s)
        return sorted(filter(None, (_found(network, name) for name in sorted(names))))
    finally:
        network.close()


def _found(network: Zeroconf, name: str) -> Found | None:
    """Where it is; None when it does not say."""
    info = network.get_service_info(SERVICE, name, timeout=1000)
    addresses = info.parsed_addresses() if info else []
    if not info or not info.port or not addresses:
        return None
    shown = "".join(each for each in name.removesuffix(f".{SERVICE}") if each.isprintable())
    return Found(shown[:63], Peer(addresses[0], info.port))
