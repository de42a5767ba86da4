"""Who may call: everything but health, enrolment and the documentation needs the admin token, reading included.

Loopback is shared by every user of this machine.
"""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from pinnace_server.errors import Unauthorized
from pinnace_server.service.services import Services

_bearer = HTTPBearer(auto_error=False, description="The admin token that the first start prints.")


def services(request: Request) -> Services:
    """Return the services that this application was built over."""
    found: Services = request.app.state.services
    return found


def actor(request: Request, credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]) -> str:
    """Return who calls.

    Raises:
        Unauthorized
    """
    name = services(request).door.actor_of(credentials.credentials) if credentials else None
    if name is None:
        raise Unauthorized("this needs the admin token", hint="send it as Authorization: Bearer TOKEN")
    return name


Served = Annotated[Services, Depends(services)]
Actor = Annotated[str, Depends(actor)]
