"""What `cargo xtask api-fuzz` adds to schemathesis: who the caller is, and a check of its own."""

import json
import os
import urllib.request

import schemathesis

# What a request that the description allows may be refused for all the same: the beginning of the refusal's `detail`, and why no
# schema can say it.
RULES = {
    "settings.removal_delay_ms: longer than election_delay_ms": "two fields are compared",
    "data: a value has at most 8192 bytes": "a schema counts characters",
    "data: a value of s1 to s5 has less than 128 bytes": "a schema counts characters",
    "data: each index is used once": "values of an object are compared",
    "filter.value: at most 8192 bytes": "a schema counts characters",
    "direct_address: an IP address and a port that others can dial": "numbers within a text",
    "skip: 0 to 1000, and 0 together with continuation": "two fields are compared",
    "continuation: ": "only the service can make one",
}


@schemathesis.check
def rules_that_no_schema_can_say(ctx, response, case):
    """A request that the description allows is refused by a rule of the table, or not by a rule at all."""
    if case.operation.definition.raw.get("operationId") in ("put_snapshot", "patch_snapshot"):
        return
    if response.status_code == 422 and case.meta is not None and case.meta.generation.mode.is_positive:
        problem = response.json()
        excused = problem["code"] != "invalid" or any(problem["detail"].startswith(rule) for rule in RULES)
        assert excused, f"the description does not say: {problem['detail']}"


def post(url, body, token=""):
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {token}"}
    request = urllib.request.Request(url, json.dumps(body).encode(), headers)
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.load(answer)


@schemathesis.auth(refresh_interval=300)
class Callers:
    """One player from the first request to the last, whose access tokens live 15 minutes, and one server of the game. Where both may
    ask, each second request is the server's."""

    def __init__(self):
        self.session = None
        self.requests = 0
        key = {"name": "fuzzer", "scopes": ["lobbies:read", "lobbies:write", "members:write"]}
        url = f"http://{os.environ['UNDERSTUDY_ADMIN']}/admin/v1/api-keys"
        self.api_key = post(url, key, os.environ["UNDERSTUDY_ADMIN_TOKEN"])["api_key"]

    def get(self, case, context):
        players = os.environ["UNDERSTUDY_URL"] + "/v1/players"
        if self.session is None:
            self.session = post(players, {"name": "fuzzer"})
        else:
            self.session = post(players + "/refresh", {"refresh_token": self.session["refresh_token"]})
        return self.session["access_token"]

    def set(self, case, data, context):
        asks = {scheme for choice in case.operation.definition.raw.get("security", []) for scheme in choice}
        self.requests += 1
        is_server = asks == {"api_key"} or "api_key" in asks and self.requests % 2 == 0
        case.headers["Authorization"] = f"Bearer {self.api_key if is_server else data}"
