"""`compose/compose.yaml` against the Compose specification's own schema, and against the rules of the house."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import yaml

ROOT = Path(__file__).resolve().parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "compose/compose.yaml").read_text())


def test_it_fits_the_specification() -> None:
    jsonschema.validate(COMPOSE, json.loads((ROOT / "tests/support/compose-spec.json").read_text()))


def test_ports_are_on_loopback_only() -> None:
    ports = [port for service in COMPOSE["services"].values() for port in service.get("ports", [])]
    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_every_lasting_service_has_a_health_check_and_a_pinned_image() -> None:
    for name, service in COMPOSE["services"].items():
        assert ":" in service["image"], name
        assert not service["image"].endswith(":latest"), name
        if service.get("restart") != "no":
            assert "healthcheck" in service, name


def test_every_one_shot_is_waited_for_by_a_lasting_service() -> None:
    """`docker compose up --wait` fails when a container ends, unless a service depends on its success."""
    one_shots = {name for name, service in COMPOSE["services"].items() if service.get("restart") == "no"}
    awaited = {
        name
        for service in COMPOSE["services"].values()
        if service.get("restart") != "no"
        for name, dependency in service.get("depends_on", {}).items()
        if dependency["condition"] == "service_completed_successfully"
    }
    assert one_shots == awaited == {"temporal-schema", "temporal-namespace"}


def test_temporal_has_a_database_of_its_own() -> None:
    assert COMPOSE["services"]["temporal"]["environment"]["POSTGRES_SEEDS"] == "temporal-postgres"
    assert {"postgres", "temporal-postgres", "rabbitmq", "temporal", "temporal-ui", "traces"} <= COMPOSE["services"].keys()


def test_what_it_mounts_is_here() -> None:
    mounts = [mount for service in COMPOSE["services"].values() for mount in service.get("volumes", []) if mount.startswith(".")]
    assert mounts
    assert all((ROOT / "compose" / mount.partition(":")[0]).is_file() for mount in mounts)
