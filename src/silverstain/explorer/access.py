"""Who may ask the server for anything.

A page of any other site can send requests to this machine's ports, and can give its own name this machine's address.
So without a token every request must name this machine as its host. With one, whoever asks must give it: in the header
`Authorization: Bearer TOKEN`, or once in the address, `?token=TOKEN`, which becomes a cookie that only our pages send.
In both cases a request that comes from a page must come from ours, and one that changes a file must carry a header of
ours, which other sites cannot set without being asked first.
"""

import hmac
from urllib.parse import parse_qsl, urlencode

from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from silverstain.errors import UsageError
from silverstain.printable import printable

HOSTS = ("127.0.0.1", "localhost", "[::1]")
HEADER = "x-silverstain"
COOKIE = "silverstain-token"
SHORTEST_TOKEN = 16
POLICY = (
    "default-src 'none'; script-src 'self'; worker-src 'self' blob:; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
SAFE = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-cache",
}


class LetIn:
    """Refuses requests of strangers, from pages of other sites, and changes without our header."""

    def __init__(self, app: ASGIApp, token: str | None = None) -> None:
        self.app = app
        self.token = token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request = Request(scope)
        if (why := refused(request, has_token=self.token is not None)) is not None:
            answer: Response | None = JSONResponse({"error": why}, status_code=403, headers=SAFE)
        else:
            answer = None if self.token is None else _asked_for_token(request, self.token)
        await (self.app if answer is None else answer)(scope, receive, send)


def refused(request: Request, *, has_token: bool = False) -> str | None:
    """Why a request is not served, whoever sends it; None if it may be."""
    host = request.headers.get("host", "")
    if not has_token and name_of_host(host) not in HOSTS:
        return f"this server answers for {HOSTS[0]} alone, and was asked for {printable(host, 80)!r}"
    origin = request.headers.get("origin")
    if origin is not None and origin != f"http://{host}":
        return f"this request comes from a page of {printable(origin, 80)!r}"
    if request.headers.get("sec-fetch-site", "none") not in ("same-origin", "none"):
        return "this request comes from a page of another site"
    if request.method not in ("GET", "HEAD") and request.headers.get(HEADER) is None:
        return f"a request that changes a file must carry the header {HEADER}"
    return None


def _asked_for_token(request: Request, token: str) -> Response | None:
    """None for who gives the token; one who gives it in the address is sent on without it, and keeps it as a cookie."""
    in_address = request.query_params.get("token")
    if in_address is not None and request.method == "GET" and is_same(in_address, token):
        rest = urlencode([(name, value) for name, value in parse_qsl(request.url.query) if name != "token"])
        answer = RedirectResponse(request.url.path + (f"?{rest}" if rest else ""), status_code=303, headers=SAFE)
        answer.set_cookie(COOKIE, token, httponly=True, samesite="strict")
        return answer
    kind, _, given = request.headers.get("authorization", "").partition(" ")
    if kind.lower() == "bearer" and is_same(given.strip(), token):
        return None
    if is_same(request.cookies.get(COOKIE, ""), token):
        return None
    why = (
        "this server wants its token: open the address that it printed, or send the header Authorization: Bearer TOKEN"
    )
    return JSONResponse({"error": why}, status_code=401, headers=SAFE | {"www-authenticate": "Bearer"})


def is_same(given: str, token: str) -> bool:
    """Whether they are equal, in a time that tells nothing of where they differ."""
    return hmac.compare_digest(given.encode(), token.encode())


def check_access(host: str, token: str | None) -> None:
    """UsageError for an address that others can reach without a token, and for a token that can be guessed."""
    if token is not None and (len(token) < SHORTEST_TOKEN or not token.isascii() or not token.isprintable()):
        raise UsageError(
            f"a token has at least {SHORTEST_TOKEN} characters of ASCII; make one: "
            'python -c "import secrets; print(secrets.token_urlsafe())"'
        )
    if token is None and host not in ("127.0.0.1", "::1", "localhost"):
        raise UsageError(
            f"at {printable(host, 80)} others can reach the server, run models and write stories; set a token with "
            "--token or SILVERSTAIN_TOKEN, or leave --host away"
        )


def name_of_host(host: str) -> str:
    """A host without its port: 127.0.0.1 of 127.0.0.1:8400."""
    name, colon, port = host.rpartition(":")
    return (name if colon and port.isdigit() else host).lower()
