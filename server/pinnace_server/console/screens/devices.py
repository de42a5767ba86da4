"""The device list and one device, with assigning to it and reverting it."""

from __future__ import annotations

from dataclasses import replace

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from pinnace_server.console import series
from pinnace_server.console.desk import Desk
from pinnace_server.console.guard import Form
from pinnace_server.console.query import PAGE_SIZES, DeviceQuery
from pinnace_server.console.sessions import Session
from pinnace_server.console.shown import DeviceDetail, Notice
from pinnace_server.domain.records import Status
from pinnace_server.errors import Refused, ServerError

CHOICES_MAX = 100  # versions offered in a device's assign dialog; older ones are assigned from the version's own page


def routes(desk: Desk) -> list[Route]:
    """Return the routes under /devices."""
    reads, catalogue, guard = desk.services.fleet, desk.services.catalogue, desk.guard

    def show_list(request: Request, session: Session) -> Response:
        query, problem = DeviceQuery.parse(request.query_params), ""
        try:
            devices = reads.devices(query)
        except Refused as refusal:
            # The counts and choices stay; rows that nobody asked for would be taken for the answer.
            problem = str(refusal)
            devices = replace(reads.devices(replace(query, label="")), rows=(), total=0)
        return desk.pages.answer(
            request,
            session,
            "devices.html",
            title="Devices",
            screen="devices",
            query=query,
            devices=devices,
            statuses=tuple(Status),
            sizes=PAGE_SIZES,
            problem=problem,
        )

    def show_one(request: Request, session: Session) -> Response:
        device = reads.device(request.path_params["device"])
        charts = [(one, series.for_canvas(one), series.in_words(one)) for one in device.latency]
        return desk.pages.answer(
            request, session, "device.html", title=device.name, screen="devices", device=device, charts=charts
        )

    def ask_assign(request: Request, session: Session, problem: str = "", status: int = 200) -> Response:
        device = reads.device(request.path_params["device"])
        model = request.query_params.get("model", "")
        models = catalogue.models(1, CHOICES_MAX).rows
        model = model or next((slot.model for slot in device.slots), models[0].name if models else "")
        versions = catalogue.model(model, 1, CHOICES_MAX).versions if model else ()
        return desk.pages.answer(
            request,
            session,
            "device_assign.html",
            title=f"Assign to {device.name}",
            screen="devices",
            status=status,
            device=device,
            model=model,
            models=models,
            versions=[version for version in versions if not version.withdrawn],
            problem=problem,
        )

    def assign(request: Request, session: Session, form: Form) -> Response:
        device = reads.device(request.path_params["device"])
        model, version = form.get("model", ""), form.get("version", "")
        try:
            desk.services.actions.assign(
                model=model, version=version, selector=f"device={device.id}", actor=session.actor
            )
        except ServerError as refusal:
            return ask_assign(request, session, str(refusal), 409)
        text = f"{model} {version} is assigned to {device.name}. What the device makes of it shows below."
        return _back(desk, session, device, text)

    def ask_revert(request: Request, session: Session, problem: str = "", status: int = 200) -> Response:
        device = reads.device(request.path_params["device"])
        model = request.query_params.get("model", "")
        slot = next((slot for slot in device.slots if slot.model == model or (not model and slot.revert_to)), None)
        title = f"Revert {device.name}"
        return desk.pages.answer(
            request,
            session,
            "revert.html",
            title=title,
            screen="devices",
            status=status,
            device=device,
            slot=slot,
            problem=problem,
        )

    def revert(request: Request, session: Session, form: Form) -> Response:
        device = reads.device(request.path_params["device"])
        model = form.get("model", "")
        try:
            version = desk.services.actions.revert(device=device.id, model=model, actor=session.actor)
        except ServerError as refusal:
            return ask_revert(request, session, str(refusal), 409)
        return _back(desk, session, device, f"{device.name} was told to go back to {model} {version}.")

    return [
        Route("/devices", guard.seen(show_list), methods=["GET"], name="devices"),
        Route("/devices/{device}", guard.seen(show_one), methods=["GET"], name="device"),
        Route("/devices/{device}/assign", guard.seen(ask_assign), methods=["GET"], name="device_assign"),
        Route("/devices/{device}/assign", guard.posted(assign), methods=["POST"], name="device_assign_post"),
        Route("/devices/{device}/revert", guard.seen(ask_revert), methods=["GET"], name="device_revert"),
        Route("/devices/{device}/revert", guard.posted(revert), methods=["POST"], name="device_revert_post"),
    ]


def _back(desk: Desk, session: Session, device: DeviceDetail, text: str) -> Response:
    desk.sessions.leave(session.id, Notice(severity="ok", text=text))
    return RedirectResponse(f"/devices/{device.id}", status_code=303)
