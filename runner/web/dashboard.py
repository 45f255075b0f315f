"""RQ's own dashboard, to be looked at: at a port of its own, so that nothing in it can act in the page's name.

It has no idea of people, takes jobs for pickles, and requeues jobs even when it is told not to delete any; a GET will
do for that.  So it gets only those requests that show something, and RQ reads JSON alone.
"""

import re
from functools import cached_property
from pathlib import Path

from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from runner.web.door import READING

#: What shows something.
SHOWN = re.compile(r"/|/favicon\.ico|/static/[\w./-]+|/0(/|/view(/[\w./-]*)?|/data/[\w./-]+)?")

#: It has scripts in its pages, and some that make functions of text.
POLICY = (
    "default-src 'none'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; font-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)


class Dashboard:
    """The dashboard as an ASGI application; it is loaded when somebody looks."""

    def __init__(self, redis: str, password: str, authority: str) -> None:
        """Redis as for ``job_queue.connect``."""
        self._redis, self._password, self._authority = redis, password, authority

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Show something, or refuse."""
        if scope["method"] not in READING or not SHOWN.fullmatch(scope["path"]):
            answer: ASGIApp = PlainTextResponse("this dashboard only shows\n", 403)
        else:
            answer = self._app
        await answer(scope, receive, send)

    @cached_property
    def _app(self) -> ASGIApp:
        import flask
        from a2wsgi import WSGIMiddleware
        from rq_dashboard import default_settings, web

        from runner import job_queue

        job_queue.read_json_alone()
        app = flask.Flask(__name__, static_folder=str(Path(web.__file__).parent / "static"))  # its pages ask for it so
        app.config.from_object(default_settings)
        app.config["RQ_DASHBOARD_REDIS_URL"] = job_queue.url(self._redis, self._password, self._authority)
        app.config["RQ_DASHBOARD_DISABLE_DELETE"] = True
        app.register_blueprint(web.blueprint)
        web.setup_rq_connection(app)
        made: ASGIApp = WSGIMiddleware(app)  # type: ignore[assignment, arg-type]  # it has its own names for the same
        return made
