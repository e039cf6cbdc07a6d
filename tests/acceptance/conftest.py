from __future__ import annotations

import uuid
from pathlib import Path

import pytest

from tests.acceptance.worker import System


@pytest.fixture
def embedded(tmp_path: Path, temporal_binary: Path) -> System:
    return System(tmp_path / "data", {"SAGAKIT_TEMPORAL_BINARY": str(temporal_binary)})


@pytest.fixture
def real(tmp_path: Path, postgres_url: str, rabbitmq_url: str, fresh_temporal: str) -> System:
    """Real PostgreSQL, RabbitMQ and Temporal; databases of its own, and a virtual host of its own would need rights."""
    run = uuid.uuid4().hex[:8]
    settings = {
        "SAGAKIT_DATABASE": f"{postgres_url}/t{run}_{{service}}",
        "SAGAKIT_BUS": rabbitmq_url,
        "TEMPORAL_ADDRESS": fresh_temporal,
    }
    return System(tmp_path / "real", settings)
