"""`@track` above a route's decorator: one warning with the order to write, and no false one."""

from __future__ import annotations

import functools
import warnings

import aiohttp.web
import fastapi
import flask
import pytest
import starlette.applications
import starlette.routing

from otel_studio import DecoratorOrderWarning, service, track
from otel_studio.base import guard

SERVICE = "routes"
tracked = track(service=SERVICE)

application = flask.Flask(__name__)


def test_flask():
    """An application and a blueprint, in the function that makes them or in their module."""
    app, pages = flask.Flask("shop"), flask.Blueprint("pages", "shop")
    with pytest.warns(
        DecoratorOrderWarning, match=r"view.*Write @app\.route\(\.\.\.\) above @track"
    ):

        @tracked
        @app.route("/")
        @app.route("/again")
        def view() -> str: ...

    with pytest.warns(DecoratorOrderWarning, match=r"@pages\.route\(\.\.\.\) above @track"):

        @tracked
        @pages.get("/page")
        def page() -> str: ...

    with pytest.warns(DecoratorOrderWarning, match=r"@application\.route") as said:

        @tracked
        @application.post("/global")
        def global_view() -> str: ...

    assert len(said) == 1
    assert said[0].filename == __file__


def test_fastapi_and_starlette():
    """Applications, routers and sockets."""
    app, router = fastapi.FastAPI(), fastapi.APIRouter()
    with pytest.warns(DecoratorOrderWarning, match=r"Write @app\.get\(\.\.\.\) above @track"):

        @tracked
        @app.get("/")
        def show() -> str: ...

    with pytest.warns(DecoratorOrderWarning, match=r"@router\.post\(\.\.\.\)"):

        @service(SERVICE).track
        @router.post("/")
        async def store() -> str: ...

    with pytest.warns(DecoratorOrderWarning, match=r"@app\.route\(\.\.\.\)"):

        @track("socket", service=SERVICE)
        @app.websocket("/socket")
        async def socket(websocket: fastapi.WebSocket) -> None: ...


def test_aiohttp():
    """A table of routes."""
    routes = aiohttp.web.RouteTableDef()
    with pytest.warns(DecoratorOrderWarning, match=r"@routes\.put\(\.\.\.\)"):

        @tracked
        @routes.put("/")
        async def put(request: aiohttp.web.Request) -> aiohttp.web.Response: ...


def test_a_decorator_in_between():
    """What is tracked is made of the registered function: no request meets it either."""
    app = flask.Flask("shop")

    def other(function):
        @functools.wraps(function)
        def wrapper(*args):
            return function(*args)

        return wrapper

    with pytest.warns(DecoratorOrderWarning):

        @tracked
        @other
        @app.route("/")
        def view() -> str: ...


def test_it_is_silent_where_it_is_not_certain(s):
    """The right order; another function; one that is tracked below; one that is tracked by name."""
    app, api = flask.Flask("shop"), fastapi.FastAPI()
    routes = aiohttp.web.RouteTableDef()
    starlette_app = starlette.applications.Starlette(
        routes=[starlette.routing.Mount("/m", routes=[])]
    )
    assert starlette_app.routes
    with warnings.catch_warnings():
        warnings.simplefilter("error")

        @tracked
        def before() -> str: ...

        @app.route("/")
        @api.get("/")
        @routes.get("/")
        @tracked
        def view() -> str:
            return "seen"

        @tracked
        def after() -> str: ...

        @track("outer", service=SERVICE)
        @app.route("/twice")
        @tracked
        def twice() -> str: ...

        @app.route("/plain")
        def plain() -> str:
            return "plain"

        job = tracked(plain)  # to be called elsewhere

    assert job() == "plain"
    assert app.test_client().get("/").text == "seen"
    assert app.test_client().get("/plain").text == "plain"
    s.assert_operation(SERVICE, "view", count=1)
    s.assert_operation(SERVICE, "plain", count=1)


def test_what_cannot_be_looked_into_is_left(s):
    """An application that is in no state to be asked breaks no decoration."""
    broken = flask.Flask("broken")
    broken.view_functions = 5

    @tracked
    def work() -> int:
        return 1

    assert work() == 1
    assert guard.internal_errors == {"looking for routes of a function": 1}
    assert broken.view_functions == 5
    guard.forget_said()
