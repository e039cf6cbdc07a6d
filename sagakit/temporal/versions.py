"""Versions of the code that sagas run on: each saga is pinned to the build that began it, and ends on it.

A deployment is what is released together, a version one build of it; one version is *current*, and takes the sagas that begin.
Source: Temporal, worker versioning; its version of a task queue is that of the deployment whose workers poll it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from temporalio.api.deployment.v1 import WorkerDeploymentInfo
from temporalio.api.enums.v1 import RoutingConfigUpdateState, WorkerDeploymentVersionStatus
from temporalio.api.workflowservice.v1 import DescribeWorkerDeploymentRequest, SetWorkerDeploymentCurrentVersionRequest
from temporalio.client import Client
from temporalio.common import VersioningBehavior, WorkerDeploymentVersion
from temporalio.service import RPCError, RPCStatusCode
from temporalio.worker import WorkerDeploymentConfig

from sagakit import __version__
from sagakit.errors import InvalidInput, TemporalUnavailable
from sagakit.settings import Settings
from sagakit.temporal.executions import OPEN_AND_PINNED

_PATIENCE = timedelta(seconds=20)
_SPREAD_SECONDS = 60.0
_ARRIVAL_SECONDS = 10.0
_LOOK_SECONDS = 0.1
_IN_PROGRESS = RoutingConfigUpdateState.ROUTING_CONFIG_UPDATE_STATE_IN_PROGRESS
_STATUS = "WORKER_DEPLOYMENT_VERSION_STATUS_"


def deployment_of(settings: Settings, service: str) -> str:
    """Name the deployment of a service."""
    return settings.deployment_name.replace("{service}", service)


def written(deployment: str, build_id: str) -> str:
    """Write a version as Temporal's search attributes do."""
    return f"{deployment}:{build_id}"


def deployment_config(settings: Settings, service: str) -> WorkerDeploymentConfig:
    """Say which version a service's worker is of. Without a build id it is of none, and takes what is of none."""
    is_versioned = settings.build_id is not None
    return WorkerDeploymentConfig(
        # Named in any case, or the SDK hashes every loaded module at each start to make a build id up.
        WorkerDeploymentVersion(deployment_of(settings, service), settings.build_id or __version__),
        use_worker_versioning=is_versioned,
        default_versioning_behavior=VersioningBehavior.PINNED if is_versioned else VersioningBehavior.UNSPECIFIED,
    )


@dataclass(frozen=True)
class Version:
    """One build of a deployment. ``open_sagas`` are pinned to it and have not ended.

    ``status`` is Temporal's: *current* takes the sagas that begin; *draining* still has open ones, *drained* has none, both
    looked at by Temporal every few minutes; *inactive* was never current.
    """

    deployment: str
    build_id: str
    status: str
    open_sagas: int

    @property
    def may_be_stopped(self) -> bool:
        """Tell whether its workers are needed no more."""
        return self.status == "drained" and self.open_sagas == 0


class Versions:
    """The versions of some deployments. Raises `TemporalUnavailable`."""

    def __init__(self, client: Client, deployments: Iterable[str]) -> None:
        """Take a client, and the names of the deployments."""
        self._client, self._deployments = client, tuple(dict.fromkeys(deployments))

    async def listed(self) -> list[Version]:
        """Read the versions that workers have been seen of, by deployment, the newest first."""
        found: list[Version] = []
        for deployment in self._deployments:
            info = await self._described(deployment)
            if info is not None:
                summaries = sorted(info.version_summaries, key=lambda each: each.create_time.ToNanoseconds(), reverse=True)
                found += [await self._version(deployment, summary) for summary in summaries]
        return found

    async def without_current(self) -> list[str]:
        """Name the deployments of which no version is current: a saga that begins waits there."""
        infos = {deployment: await self._described(deployment) for deployment in self._deployments}
        return [deployment for deployment, info in infos.items() if info is None or not _current(info)]

    async def make_current(self, build_id: str) -> list[str]:
        """Let the sagas that begin from here on run on a build, in each deployment; return the deployments that changed.

        Once this returns, every task queue knows of it. Raises `InvalidInput` where a deployment has no such version, before
        anything is changed, and where Temporal refuses it since workers of a queue are missing; then it names what has changed.
        """
        before = {deployment: await self._with_version(deployment, build_id) for deployment in self._deployments}
        changed = [deployment for deployment, info in before.items() if _current(info) != build_id]
        for number, deployment in enumerate(changed):
            await self._set(deployment, build_id, done=changed[:number])
        for deployment in self._deployments:
            await self._known_everywhere(deployment, build_id)
        return changed

    async def _with_version(self, deployment: str, build_id: str) -> WorkerDeploymentInfo:
        info = await self._described(deployment)
        if info is None:
            raise InvalidInput(
                f"Temporal has seen no worker of deployment {deployment!r}: start one with SAGAKIT_BUILD_ID={build_id} first"
            )
        known = [summary.deployment_version.build_id for summary in info.version_summaries]
        if build_id not in known:
            raise InvalidInput(f"deployment {deployment!r} has no build {build_id!r}; known: {', '.join(sorted(known))}")
        return info

    async def _set(self, deployment: str, build_id: str, done: Collection[str]) -> None:
        request = SetWorkerDeploymentCurrentVersionRequest(
            namespace=self._client.namespace, deployment_name=deployment, build_id=build_id, identity=self._client.identity
        )
        patience = time.monotonic() + _ARRIVAL_SECONDS
        while True:
            try:
                await self._client.workflow_service.set_worker_deployment_current_version(request, timeout=_PATIENCE)
            except RPCError as error:
                is_refused = error.status is RPCStatusCode.FAILED_PRECONDITION
                if is_refused and time.monotonic() < patience:  # workers that just started poll one queue after the other
                    await asyncio.sleep(_LOOK_SECONDS)
                    continue
                so_far = f" ({', '.join(done)} has it already)" if done else ""
                said = f"build {build_id} of {deployment} cannot be made current: {error.message}{so_far}"
                raise (InvalidInput(said) if is_refused else TemporalUnavailable(said)) from error
            return

    async def _known_everywhere(self, deployment: str, build_id: str) -> None:
        """Wait until every task queue of the deployment has heard of it: what begins before is still pinned to the old build."""
        until = time.monotonic() + _SPREAD_SECONDS
        while time.monotonic() < until:
            info = await self._described(deployment)
            is_told = info is not None and info.routing_config_update_state != _IN_PROGRESS
            if info is not None and is_told and _current(info) == build_id:
                return
            await asyncio.sleep(_LOOK_SECONDS)
        raise TemporalUnavailable(f"build {build_id} of {deployment} is current, but not every task queue knows of it yet")

    async def _described(self, deployment: str) -> WorkerDeploymentInfo | None:
        request = DescribeWorkerDeploymentRequest(namespace=self._client.namespace, deployment_name=deployment)
        try:
            answer = await self._client.workflow_service.describe_worker_deployment(request, timeout=_PATIENCE)
        except RPCError as error:
            if error.status is RPCStatusCode.NOT_FOUND:
                return None
            raise TemporalUnavailable(f"Temporal does not tell of deployment {deployment}: {error.message}") from error
        return answer.worker_deployment_info

    async def _version(self, deployment: str, summary: Any) -> Version:
        build_id = summary.deployment_version.build_id
        status = WorkerDeploymentVersionStatus.Name(summary.status).removeprefix(_STATUS).lower()
        version = written(deployment, build_id)
        query = f"SagaStatus is not null and {OPEN_AND_PINNED} and TemporalWorkerDeploymentVersion = '{version}'"
        try:
            count = await self._client.count_workflows(query)
        except RPCError as error:
            raise TemporalUnavailable(f"Temporal does not count sagas: {error.message}") from error
        return Version(deployment, build_id, status, count.count)


def _current(info: WorkerDeploymentInfo) -> str:
    return info.routing_config.current_deployment_version.build_id
