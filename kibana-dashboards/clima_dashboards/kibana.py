"""A Kibana, by the parts of its HTTP interface that 8.3 has and 9.x still has.

Every failure is one of Clima's errors and says the mend. Nothing is sent twice.
"""

from __future__ import annotations

import base64
import copy
import json
import secrets
import ssl
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from clima_core.errors import ClimaError, ConfigurationError, UnavailableError

OLDEST = (8, 3)
TIMEOUT_S = 60.0
_MENDS = {
    401: "the credentials are wrong: check --username and --password-file, or --api-key-file",
    403: "the user may not do this: it needs the privileges of the role clima_dashboards, that is"
    " all of Kibana's features in the space",
    404: "there is no Kibana at this address: check --kibana, and its server.basePath",
}


class Identity(NamedTuple):
    """The name of a saved object."""

    type: str
    id: str


class RefusedError(ClimaError):
    """Kibana answered, and refused: `status` and what it said."""

    def __init__(self, what: str, status: int, said: str) -> None:
        super().__init__(f"Kibana refused {what}: {status} {said}")
        self.status, self.said = status, said


class Kibana:
    """One space of one Kibana."""

    def __init__(
        self,
        url: str,
        *,
        username: str | None = None,
        password: str | None = None,
        api_key: str | None = None,
        authority: Path | None = None,
        space: str = "default",
    ) -> None:
        """`authority` is the file of a certificate authority that the system does not know."""
        self.url, self.space = url.rstrip("/"), space
        if not self.url.startswith(("http://", "https://")):
            raise ConfigurationError(f"{url}: expected http://… or https://…")
        self._headers = {"kbn-xsrf": "clima"}
        if api_key:
            self._headers["Authorization"] = f"ApiKey {api_key}"
        elif username:
            login = base64.b64encode(f"{username}:{password or ''}".encode()).decode()
            self._headers["Authorization"] = f"Basic {login}"
        self._tls = ssl.create_default_context(cafile=authority and str(authority))

    @property
    def by_key(self) -> bool:
        """Whether it is logged in to by an API key."""
        return self._headers.get("Authorization", "").startswith("ApiKey ")

    def __repr__(self) -> str:
        return f"Kibana({self._base!r})"

    def of_space(self, space: str) -> Kibana:
        """Another space of the same Kibana, as the same user."""
        other = copy.copy(self)
        other.space = space
        return other

    @property
    def _base(self) -> str:
        return self.url if self.space == "default" else f"{self.url}/s/{self.space}"

    @property
    def headers(self) -> Mapping[str, str]:
        """What a browser has to send along to be let in."""
        return {name: text for name, text in self._headers.items() if name == "Authorization"}

    def page(self, path: str) -> str:
        """The address of a page, for people."""
        return f"{self._base}{path}"

    def version(self) -> tuple[int, int, int]:
        """ConfigurationError when it is older than what the dashboards are written for."""
        status = self.request("GET", "/api/status")
        number = str(status.get("version", {}).get("number", ""))
        try:
            major, minor, patch = (int(part) for part in number.partition("-")[0].split("."))
        except ValueError:
            raise ConfigurationError(f"{self.url}: is no Kibana that tells its version") from None
        if (major, minor) < OLDEST:
            raise ConfigurationError(
                f"{self.url}: is Kibana {number}, and the dashboards need 8.3 or newer;"
                " nothing was changed"
            )
        return major, minor, patch

    def export(self, wanted: Sequence[Identity]) -> list[dict[str, Any]]:
        """Those of the objects that are there."""
        left = list(wanted)
        while left:
            body = {
                "objects": [each._asdict() for each in left],
                "excludeExportDetails": True,
                "includeReferencesDeep": False,
            }
            try:
                found = self._bytes("POST", "/api/saved_objects/_export", json.dumps(body).encode())
                return _lines(found)
            except RefusedError as error:
                missing = _missing(error)
                if not missing:
                    raise
                left = [each for each in left if each not in missing]
        return []

    def referring(self, wanted: Sequence[Identity], types: Sequence[str]) -> list[dict[str, Any]]:
        """The objects of these types that refer to any of those."""
        body = {
            "type": list(types),
            "hasReference": [each._asdict() for each in wanted],
            "excludeExportDetails": True,
        }
        return _lines(self._bytes("POST", "/api/saved_objects/_export", json.dumps(body).encode()))

    def import_(self, ndjson: str) -> dict[str, Any]:
        """Import a file over what is there; Kibana's answer, which may name errors."""
        boundary = secrets.token_hex(16)
        head = (
            f"--{boundary}\r\n"
            'Content-Disposition: form-data; name="file"; filename="clima.ndjson"\r\n'
            "Content-Type: application/ndjson\r\n\r\n"
        )
        body = f"{head}{ndjson}\r\n--{boundary}--\r\n".encode()
        kind = f"multipart/form-data; boundary={boundary}"
        path = "/api/saved_objects/_import?overwrite=true"
        answer: dict[str, Any] = json.loads(self._bytes("POST", path, body, kind))
        return answer

    def delete(self, objects: Sequence[Identity]) -> None:
        """Delete objects; those that are not there are left alone."""
        for kind, own in objects:
            self.gone(f"/api/saved_objects/{kind}/{own}?force=true")

    def gone(self, path: str) -> bool:
        """Delete what is at the path; False when nothing was."""
        try:
            self._bytes("DELETE", path)
        except RefusedError as error:
            if error.status == 404:
                return False
            raise
        return True

    def set_up(self, changes: Mapping[str, object]) -> None:
        """Change advanced settings of the space."""
        self._of_settings("POST", {"changes": changes})

    def settings(self) -> dict[str, Any]:
        """The advanced settings of the space that somebody has set."""
        found = self._of_settings("GET")["settings"]
        return {name: each["userValue"] for name, each in found.items() if "userValue" in each}

    def _of_settings(self, method: str, body: object = None) -> dict[str, Any]:
        """Their path has been `internal` since some 8.x; before, there was none of that name."""
        try:
            return self.request(method, "/internal/kibana/settings", body)
        except RefusedError as error:
            if error.status != 404:
                raise
            return self.request(method, "/api/kibana/settings", body)

    def request(self, method: str, path: str, body: object = None) -> dict[str, Any]:
        """JSON there and back."""
        sent = None if body is None else json.dumps(body).encode()
        answer: dict[str, Any] = json.loads(self._bytes(method, path, sent) or b"{}")
        return answer

    def list(self, path: str) -> list[dict[str, Any]]:
        """A list that Kibana keeps."""
        found: list[dict[str, Any]] = json.loads(self._bytes("GET", path))
        return found

    def _bytes(
        self, method: str, path: str, body: bytes | None = None, kind: str = "application/json"
    ) -> bytes:
        headers = self._headers | {"x-elastic-internal-origin": "clima"}
        if body is not None:
            headers["Content-Type"] = kind
        request = urllib.request.Request(  # noqa: S310 - the scheme was checked
            f"{self._base}{path}", method=method, data=body, headers=headers
        )
        try:
            with urllib.request.urlopen(  # noqa: S310
                request, timeout=TIMEOUT_S, context=self._tls
            ) as answer:
                return bytes(answer.read())
        except urllib.error.HTTPError as error:
            raise self._failed(method, path, error) from None
        except (OSError, ValueError) as error:
            reason = getattr(error, "reason", error)
            raise UnavailableError(
                f"{self.url}: Kibana cannot be reached ({reason}); is it up?"
            ) from None

    def _failed(self, method: str, path: str, error: urllib.error.HTTPError) -> ClimaError:
        said = error.read()
        if error.code == 503:
            return UnavailableError(f"{self.url}: Kibana is not ready yet; try again in a minute")
        if error.code in _MENDS and not (error.code == 404 and _by_kibana(said)):
            return ConfigurationError(f"{self.url}: {error.code}: {_MENDS[error.code]}")
        return RefusedError(
            f"{method} {path.partition('?')[0]}", error.code, said.decode("utf-8", "replace")
        )


def _lines(found: bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in found.splitlines() if line.strip()]


def _by_kibana(said: bytes) -> bool:
    """Whether it is Kibana that answers 404, and not some other server."""
    try:
        return bool(json.loads(said)["statusCode"] == 404)
    except (ValueError, LookupError, TypeError):
        return False


def _missing(error: RefusedError) -> set[Identity]:
    """Which objects an export did not find."""
    try:
        objects = json.loads(error.said)["attributes"]["objects"]
        return {Identity(each["type"], each["id"]) for each in objects if "error" in each}
    except (ValueError, LookupError, TypeError):
        return set()
