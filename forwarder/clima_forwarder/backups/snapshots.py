"""Snapshots of our data streams and indices, by Elasticsearch itself.

A snapshot holds all that was acknowledged before it began: Elasticsearch flushes first. What is
counted before is therefore in it. Restored, a data stream has its backing indices and every `_id`
again, so that nothing can be stored twice and `clima audit` finds what it found.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import PurePosixPath
from typing import Any

import msgspec

from clima_core.errors import ClimaError, ConfigurationError, UnavailableError
from clima_elk import elasticsearch as assets
from clima_elk.streams import OURS, Resolved
from clima_forwarder.outputs.elasticsearch import Options
from clima_forwarder.outputs.elasticsearch.connection import Connection

REPOSITORY = "clima"
LONG_S = 7 * 86400.0  # a first snapshot of years copies all of it
_BUSY = "_transform/clima-*"


class _Total(msgspec.Struct, frozen=True):
    value: int


class _Hits(msgspec.Struct, frozen=True):
    total: _Total


class _Counted(msgspec.Struct, frozen=True):
    hits: _Hits


class _Shards(msgspec.Struct, frozen=True):
    total: int
    failed: int


class Snapshot(msgspec.Struct, frozen=True):
    """One snapshot, as the server describes it."""

    snapshot: str
    state: str = ""
    version: str = ""
    indices: list[str] = []
    data_streams: list[str] = []
    reason: str | None = None
    shards: _Shards = _Shards(0, 0)


class _Taken(msgspec.Struct, frozen=True):
    snapshot: Snapshot


class _Listed(msgspec.Struct, frozen=True):
    snapshots: list[Snapshot] = []


class Snapshots:
    """The snapshots of one repository; `location` is where Elasticsearch keeps it."""

    def __init__(
        self, options: Options, location: PurePosixPath, repository: str | None = None
    ) -> None:
        """With `repository` that one is used, which somebody has registered."""
        self.name = repository or REPOSITORY
        self._location = None if repository else location
        self._connection = Connection(options)
        self._patient = Connection(msgspec.structs.replace(options, timeout_s=LONG_S))
        self.url = options.url

    async def aclose(self) -> None:
        await self._connection.close()
        await self._patient.close()

    async def open(self) -> None:
        """Register the repository, which has every node try to write there.

        Raises ConfigurationError with the mend when Elasticsearch may not.
        """
        if self._location is None:
            await self._ask("GET", f"/_snapshot/{self.name}")
            return
        body = {"type": "fs", "settings": {"location": str(self._location)}}
        status, answer = await self._connection.exchange(
            "PUT", f"/_snapshot/{self.name}", msgspec.json.encode(body)
        )
        if status != 200:
            raise self._unusable(status, answer)

    def _unusable(self, status: int, answer: bytes) -> ClimaError:
        reason = assets.reason(answer)
        if "path.repo" in reason:
            return ConfigurationError(
                "Elasticsearch may not keep snapshots there: set path.repo in its elasticsearch.yml"
                " to the folder of the backups, as Elasticsearch sees it, and restart it; or give a"
                f" path below its path.repo with --location ({reason})"
            )
        if status in (400, 500):
            return ConfigurationError(
                f"Elasticsearch cannot write to {self._location}: make that folder its user's"
                f" own, on every node ({reason})"
            )
        return self._connection.refused(status, "the snapshot repository", reason)

    async def version(self) -> str:
        """Of the oldest node."""
        nodes = await self._ask("GET", "/_nodes", filter_path="nodes.*.version")
        return min((node["version"] for node in nodes.get("nodes", {}).values()), default="")

    async def counts(self) -> dict[str, int]:
        """How many documents each data stream and index of ours has, all of them visible."""
        found = await self._resolved()
        names = [each.name for each in (*found.data_streams, *found.indices)]
        if not names:
            return {}
        await self._connection.refresh(*names)
        body = {"size": 0, "track_total_hits": True}
        answers = await self._connection.searches(_Counted, *((name, body) for name in names))
        return {name: answer.hits.total.value for name, answer in zip(names, answers, strict=True)}

    async def take(self, name: str) -> Snapshot:
        """Make a snapshot, however long it takes; ClimaError when it is not whole."""
        body = {
            "indices": OURS,
            "include_global_state": False,
            "ignore_unavailable": True,
            "metadata": {"managed_by": "clima"},
        }
        taken = await self._patient.request(
            "PUT",
            f"/_snapshot/{self.name}/{name}",
            _Taken,
            msgspec.json.encode(body),
            wait_for_completion="true",
        )
        if taken.snapshot.state != "SUCCESS" or taken.snapshot.shards.failed:
            said = taken.snapshot.reason or f"{taken.snapshot.shards.failed} shards failed"
            raise UnavailableError(f"snapshot {name} is {taken.snapshot.state}: {said}")
        return taken.snapshot

    async def list(self) -> list[Snapshot]:
        """The snapshots in the repository that are ours."""
        answer = await self._connection.request(
            "GET", f"/_snapshot/{self.name}/clima-*", _Listed, ignore_unavailable="true"
        )
        return answer.snapshots

    async def delete(self, name: str) -> None:
        """Delete a snapshot, or abort it; one that is not there is as good."""
        status, answer = await self._patient.exchange("DELETE", f"/_snapshot/{self.name}/{name}")
        if status not in (200, 404):
            raise self._connection.refused(status, f"deleting {name}", assets.reason(answer))

    async def clear(self) -> None:
        """Delete our data streams and indices, with all that is in them."""
        found = await self._resolved()
        for stream in found.data_streams:
            await self._ask("DELETE", f"/_data_stream/{stream.name}")
        for index in found.indices:
            await self._ask("DELETE", f"/{index.name}")

    async def restore(self, name: str) -> dict[str, int]:
        """Bring a snapshot's data streams and indices back, in place of those that are there.

        Returns what is in them, counted before anything is added.

        The templates come first: without them a data stream could not roll over. Summaries stand
        still meanwhile, or they would make their index anew.
        """
        try:
            await assets.install(self._connection.exchange)
        except assets.InstallError as error:
            raise self._connection.refusal(error) from error
        body = {"indices": OURS, "include_global_state": False}
        paused = await self._pause()
        try:
            await self.clear()
            answer = await self._patient.request(
                "POST",
                f"/_snapshot/{self.name}/{name}/_restore",
                _Taken,
                msgspec.json.encode(body),
                wait_for_completion="true",
            )
            shards = answer.snapshot.shards
            if shards.failed:
                raise UnavailableError(
                    f"{shards.failed} of {shards.total} shards of {name} could not be"
                    " restored: the log of Elasticsearch says why"
                )
            return await self.counts()
        finally:
            await self._resume(paused)

    async def _pause(self) -> Sequence[str]:
        """Stop our transforms, where the server has any; returns which."""
        status, answer = await self._connection.exchange("GET", f"/{_BUSY}")
        if status != 200:
            return ()
        ids = [each["id"] for each in msgspec.json.decode(answer).get("transforms", ())]
        for each in ids:
            await self._ask(
                "POST", f"/_transform/{each}/_stop", wait_for_completion="true", force="true"
            )
        return ids

    async def _resume(self, ids: Iterable[str]) -> None:
        for each in ids:
            await self._connection.exchange("POST", f"/_transform/{each}/_start")

    async def _resolved(self) -> Resolved:
        return await self._connection.request("GET", f"/_resolve/index/{OURS}", Resolved)

    async def _ask(
        self, method: str, path: str, body: bytes | None = None, **params: str
    ) -> dict[str, Any]:
        answer: dict[str, Any] = await self._connection.request(
            method, path, dict[str, Any], body, **params
        )
        return answer
