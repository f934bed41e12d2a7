"""Where the appliance's own HTTP pages are served."""

from pydantic import BaseModel, ConfigDict, Field


class HttpConfig(BaseModel):
    """`[http]`: where health and metrics are asked for."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    host: str = "127.0.0.1"
    """Address to listen on; the pages have no log-in, so leave them on this machine unless a proxy stands in front."""
    port: int = Field(default=8080, ge=0, le=65535)
    """0 takes any free port."""
