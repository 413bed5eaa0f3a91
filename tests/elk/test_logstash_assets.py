"""Logstash's pipelines as they lie in the repository: what can be said of them without one."""

from __future__ import annotations

import re
from importlib import resources
from typing import Any

import msgspec

from clima_core.identity import DATA_SETS, DEAD_LETTERS, FORWARDER_LOGS
from clima_core.reading import Record
from clima_forwarder.outputs.elasticsearch.bulks import BLAMELESS, PIPELINE_GONE
from clima_forwarder.outputs.logstash.connection import PIPELINE

FOLDER = resources.files("clima_elk").joinpath("logstash")
TEXTS = {file.name: file.read_text("utf-8") for file in FOLDER.iterdir() if file.is_file()}
CONFIGURATIONS = {name: text for name, text in TEXTS.items() if name.endswith(".conf")}
OUTPUT = {
    "action": '"create"',
    "document_id": '"%{[event][id]}"',
    "data_stream": "false",
    "manage_template": "false",
    "ilm_enabled": "false",
}


def pipelines() -> dict[str, dict[str, Any]]:
    """What pipelines.yml says, by their ids."""
    return {each["pipeline.id"]: each for each in msgspec.yaml.decode(TEXTS["pipelines.yml"])}


def options(text: str, plugin: str) -> list[dict[str, str]]:
    """The simple options of each use of a plugin."""
    bodies = re.findall(rf"^ *{plugin} \{{\n(.*?)^ *\}}\n", text, re.MULTILINE | re.DOTALL)
    return [
        dict(re.findall(r"^ *(\w+) => ([^#\n]+?) *(?:#.*)?$", body, re.MULTILINE))
        for body in bodies
    ]


def test_every_reference_is_explained_and_used() -> None:
    """The README names all that has to be set, with the default that the files give it."""
    found: dict[str, str] = {}
    for name, text in TEXTS.items():
        if name != "README.md":
            for reference, default in re.findall(r"\$\{(CLIMA_\w+)(?::([^}]*))?\}", text):
                assert found.setdefault(reference, default) == default, f"{name}: {reference}"
    rows = re.findall(
        r"^ *\| `(CLIMA_\w+)` \| (?:`([^`]*)`)? *\|", TEXTS["README.md"], re.MULTILINE
    )
    assert dict(rows) == found


def test_no_password_has_a_default() -> None:
    """Logstash does not start without one, rather than with one that everybody knows."""
    for name, text in TEXTS.items():
        assert re.findall(r"\$\{\w*PASSWORD:[^}]*\}", text) == [], name
    for text in CONFIGURATIONS.values():
        for password in re.findall(r"password => (.*)", text):
            assert re.fullmatch(r'"\$\{CLIMA_\w+\}"', password)


def test_each_pipeline_has_its_file_and_a_queue_on_disk() -> None:
    """And the forwarder asks about pipelines that there are."""
    assert {f"{name}.conf" for name in pipelines()} == set(CONFIGURATIONS)
    assert PIPELINE in pipelines()
    for name, settings in pipelines().items():
        assert settings["path.config"].endswith(f"/{name}.conf")
        assert settings["queue.type"] == "persisted"
        assert settings["queue.max_bytes"]


def test_dead_letters_never_go_round() -> None:
    """Only `readings` has a dead letter queue, and that is bounded."""
    on = [name for name, each in pipelines().items() if each.get("dead_letter_queue.enable")]
    assert on == ["readings"]
    assert pipelines()["readings"]["dead_letter_queue.max_bytes"] == "256mb"
    assert 'pipeline_id => "readings"' in CONFIGURATIONS["deadletters.conf"]


def test_what_no_document_is_to_blame_for_is_the_same_on_both_ways() -> None:
    """A record waits for the operator's mend, whether it goes by way of Logstash or straight."""
    text = CONFIGURATIONS["deadletters.conf"]
    listed = re.search(r"blameless = \[(.*?)\]", text)
    assert listed
    assert tuple(re.findall(r'"([^"]+)"', listed[1])) == BLAMELESS
    gone = re.search(r'type == "(\w+)" && reason\.start_with\?\("([^"]+)"\)', text)
    assert gone
    assert gone.groups() == PIPELINE_GONE


def test_what_is_kept_is_what_a_record_may_have() -> None:
    """The allow-list and the contract have the same top-level fields."""
    allowed = re.search(r"@own = \[(.*?)\]", CONFIGURATIONS["readings.conf"], re.DOTALL)
    assert allowed
    fields = {field.encode_name for field in msgspec.structs.fields(Record)}
    assert set(re.findall(r'"([^"]+)"', allowed[1])) == fields


def test_every_output_creates_under_the_identity_and_leaves_templates_alone() -> None:
    """Stored once, in the data stream by name, with the templates that provisioning made."""
    for name, text in CONFIGURATIONS.items():
        (found,) = options(text, "elasticsearch")
        assert {key: found[key] for key in OUTPUT} == OUTPUT, name


def test_the_data_streams_are_the_contracts() -> None:
    """Each stream's letter, data set and type as everybody else has them."""
    text = CONFIGURATIONS["readings.conf"]
    for stream, data_set in DATA_SETS.items():
        guard = (
            f'if [data_stream][dataset] == "{data_set.dataset}"'
            f' and [data_stream][type] == "{data_set.type}" {{\n'
            f'    mutate {{ replace => {{ "[@metadata][stream]" => "{stream}" }} }}'
        )
        assert guard in text
        assert data_set.namespace == "default"
    assert f'index => "{DEAD_LETTERS.name}"' in CONFIGURATIONS["deadletters.conf"]
    assert f'index => "{FORWARDER_LOGS.name}"' in CONFIGURATIONS["logs.conf"]


def test_every_input_asks_for_a_password_and_reads_lines() -> None:
    """With `json` for a codec all lines after the first would be lost."""
    for name in ("readings.conf", "logs.conf"):
        (found,) = options(CONFIGURATIONS[name], "http")
        assert found["user"]
        assert found["password"]
        assert found["codec"] == "json_lines"
        assert found["additional_codecs"] == '{ "application/x-ndjson" => "json_lines" }'
    assert msgspec.yaml.decode(TEXTS["logstash.yml"])["api.auth.type"] == "basic"


def test_the_settings_are_explicit_about_ecs() -> None:
    """The default has changed once already."""
    assert msgspec.yaml.decode(TEXTS["logstash.yml"])["pipeline.ecs_compatibility"] == "disabled"


def test_no_option_is_used_that_a_version_lacks() -> None:
    """From 8.3 to 9: what came later or was taken away since stays out of the files."""
    of_one_version = (
        "clean_consumed", "cacert", "ssl_certificate_authorities", "ssl_enabled", "ssl", "keystore",
        "failure_type_logging_whitelist", "silence_errors_in_log", "dlq_custom_codes",
    )  # fmt: skip
    for name, text in CONFIGURATIONS.items():
        used = set(re.findall(r"^ *(\w+) =>", text, re.MULTILINE))
        assert used.isdisjoint(of_one_version), name
