"""Says in the local network, by mDNS, that there is a forwarder to pair with.

It runs in a thread of its own, and is only a hint: who is found that way proves by the digits who
he is. From a container nobody would hear it (multicast does not leave a Docker bridge), so there it
is turned off.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

import structlog

from clima_core.pairing import SERVICE, VERSION

if TYPE_CHECKING:
    from zeroconf import Zeroconf

log = structlog.get_logger("clima_forwarder.pairing")


class Advertisement:
    """Of one endpoint; `start` and `stop` never fail, whatever the network does."""

    def __init__(
        self, port: int, interfaces: Sequence[str] | None = None, host: str | None = None
    ) -> None:
        """`interfaces`: addresses of those to use; all, when left out. `host`: this one's name."""
        self._port = port
        self._host = host or socket.gethostname().split(".")[0] or "forwarder"
        self._interfaces = interfaces
        self._zeroconf: Zeroconf | None = None

    async def start(self) -> None:
        """Begin to say it."""
        try:
            self._zeroconf = await asyncio.to_thread(self._register)
        except Exception as error:  # noqa: BLE001 - whatever it is, readings come first
            log.warning("pairing_not_advertised", reason=str(error) or type(error).__name__)

    async def stop(self) -> None:
        """Say that it is over."""
        if self._zeroconf is not None:
            with suppress(Exception):
                await asyncio.to_thread(self._zeroconf.close)

    def _register(self) -> Zeroconf:
        # imported here: it takes 17 MB, and who does not advertise need not have it
        from zeroconf import InterfaceChoice, ServiceInfo, Zeroconf  # noqa: PLC0415

        made = Zeroconf(interfaces=self._interfaces or InterfaceChoice.All)
        try:
            info = ServiceInfo(
                SERVICE,
                f"{self._host}.{SERVICE}",
                parsed_addresses=list(self._interfaces or _addresses()),
                port=self._port,
                server=f"{self._host}.local.",
                properties={"version": str(VERSION)},
            )
            made.register_service(info, allow_name_change=True)
        except BaseException:
            made.close()
            raise
        return made


def _addresses() -> list[str]:
    """This host's, but for loopback."""
    import ifaddr  # noqa: PLC0415 - zeroconf brings it

    ips = [ip for adapter in ifaddr.get_adapters() for ip in adapter.ips]
    found = [ip.ip if isinstance(ip.ip, str) else ip.ip[0] for ip in ips]
    return [each for each in found if not each.startswith(("127.", "::1", "fe80"))]
