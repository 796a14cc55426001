"""The application: every route, one shape of error, and the check of whom a request is for."""

from __future__ import annotations

from litestar import Litestar
from litestar.datastructures import State
from litestar.types import ASGIApp, ControllerRouterHandler

from cavvy import defaults
from cavvy.api.addressing import Addressed
from cavvy.api.batch import submit_batch
from cavvy.api.dispatch import dispatch_router
from cavvy.api.erasing import erase_job
from cavvy.api.events import job_events
from cavvy.api.health import health_router
from cavvy.api.jobs import jobs_router
from cavvy.api.keys import keys_router
from cavvy.api.legacy import connect_legacy_worker
from cavvy.api.listing import list_jobs
from cavvy.api.metrics import metrics
from cavvy.api.openapi import describe, openapi_document
from cavvy.api.problems import MethodsByPath, exception_handlers
from cavvy.api.retrying import retry_job
from cavvy.api.services import Services
from cavvy.api.stop import stop_router
from cavvy.api.tenant_events import tenant_events
from cavvy.api.tenants import tenants_router
from cavvy.api.trust import trust_router
from cavvy.api.whoami import whoami_router
from cavvy.api.workers import workers_router

__all__ = ["ROUTES", "create_app"]

ROUTES: tuple[ControllerRouterHandler, ...] = (
    jobs_router,
    submit_batch,
    dispatch_router,
    list_jobs,
    job_events,
    stop_router,
    tenant_events,
    erase_job,
    retry_job,
    metrics,
    workers_router,
    trust_router,
    connect_legacy_worker,
    keys_router,
    tenants_router,
    health_router,
    whoami_router,
    openapi_document,
)


def create_app(services: Services) -> ASGIApp:
    """The ASGI application over a running engine."""
    app = Litestar(
        route_handlers=ROUTES,
        state=State({"services": services}),
        exception_handlers=exception_handlers,
        request_max_body_size=defaults.MAX_BODY_BYTES,
        openapi_config=None,
        logging_config=None,
        debug=False,
    )
    app.state["openapi"] = describe(app)
    app.state["methods"] = MethodsByPath(app)
    return Addressed(app, services.reach)
