"""The appliance over HTTP: is it alive, is it ready and why not, and its metrics."""

from collections.abc import Callable

from fastapi import FastAPI, Response
from fastapi.responses import JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, generate_latest


def create(
    reasons: Callable[[], list[str]],
    degraded: Callable[[], list[str]] = lambda: [],
    registry: CollectorRegistry = REGISTRY,
) -> FastAPI:
    """The application.

    Args:
        reasons: why the appliance is not ready, as words for a machine; empty when it is.
        degraded: what is not as it should be though messages are taken and read.
        registry: whose metrics are shown.
    """
    app = FastAPI(title="clinappliance", openapi_url=None)

    @app.get("/livez")
    def livez() -> dict[str, bool]:
        return {"alive": True}

    @app.get("/readyz")
    def readyz() -> JSONResponse:
        why_not = reasons()
        found = {"ready": not why_not, "reasons": why_not, "degraded": degraded()}
        return JSONResponse(found, 503 if why_not else 200)

    @app.get("/metrics")
    def metrics() -> Response:
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)

    return app
