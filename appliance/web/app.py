"""The appliance over HTTP: is it alive, is it ready and why not, its metrics, and the FHIR server's notifications."""

from collections.abc import Callable

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, generate_latest


def create(
    reasons: Callable[[], list[str]],
    degraded: Callable[[], list[str]] = lambda: [],
    registry: CollectorRegistry = REGISTRY,
    notified: Callable[[str], bool] | None = None,
) -> FastAPI:
    """The application.

    Args:
        reasons: why the appliance is not ready, as words for a machine; empty when it is.
        degraded: what is not as it should be though messages are taken and read.
        registry: whose metrics are shown.
        notified: takes a notification by its Authorization header; False where that is wrong. None where none are taken.
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

    if notified:
        # R4 posts to the endpoint itself, or puts the resource below it. Its body is not read: it may be late, doubled or
        # forged, and the search that it wakes up finds the document at its own server.
        @app.post("/fhir/notification")
        @app.put("/fhir/notification/{path:path}")
        def notification(request: Request) -> Response:
            return Response(status_code=200 if notified(request.headers.get("authorization", "")) else 403)

    return app
