"""A load client that never retries: a program of its own, in a pod or on this machine.

From the API's first answers on, clients with a kept connection each send requests at a steady rate,
until the file STOP is there. Each acknowledged task is printed at once as a line of JSON, and a
summary at the end. It needs nothing but Python:
`python load.py URL STOP --rate 60 --mix nap=1,read=9`, the key in API_KEY.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import threading
import time
from collections import Counter
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

REQUEST_SECONDS = 30.0
BEGIN_SECONDS = 60.0
ANSWERS = 10
"""So many in a row, each by a connection of its own, and the load begins: until then the network
may not know the Service yet, or this pod."""
SHOWN = 20
"""So many refusals are told with all they said; of what had no answer at all, everything is."""


class Load:
    """What all clients share."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.began = time.monotonic()
        self.acknowledged: list[str] = []
        self.answers: Counter[str] = Counter()
        self.answers_by_second: Counter[int] = Counter()
        self.failures: list[dict[str, Any]] = []
        self.slowest = 0.0
        self._lock = threading.Lock()

    def sent(self, call: str, began: float, status: int, reply: dict[str, Any] | str) -> None:
        """Take note of one request. Status 0: no answer came, and `reply` says why."""
        now = time.monotonic()
        with self._lock:
            self.answers[f"{call} {status}"] += 1
            self.slowest = max(self.slowest, now - began)
            if status:
                self.answers_by_second[int(now - self.began)] += 1
            if status == 202 and isinstance(reply, dict):
                self.acknowledged.append(reply["task_id"])
                say({"task_id": reply["task_id"], "call": call, "at": round(now - self.began, 3)})
            elif status != 200:
                if status and len(self.failures) >= SHOWN:
                    return
                failure = {"at": round(began - self.began, 3), "seconds": round(now - began, 3)}
                self.failures.append(failure | {"call": call, "status": status, "reply": reply})

    def summary(self) -> dict[str, Any]:
        """All in all."""
        seconds = int(time.monotonic() - self.began)  # the last one is not whole
        return {
            "answers": dict(self.answers),
            "answers_by_second": [self.answers_by_second[second] for second in range(seconds)],
            "failures": self.failures,
            "slowest_seconds": round(self.slowest, 3),
        }


def await_answers(options: argparse.Namespace) -> None:
    """Wait until the API is served."""
    url = urlsplit(options.url)
    headers = {"Host": options.host} if options.host else {}
    end = time.monotonic() + BEGIN_SECONDS
    answers = 0
    while answers < ANSWERS:
        connection = HTTPConnection(url.hostname or "", url.port, timeout=2.0)
        try:
            connection.request("GET", url.path + "/healthz", headers=headers)
            answers = answers + 1 if connection.getresponse().status == 200 else 0
        except (OSError, HTTPException):
            answers = 0
        finally:
            connection.close()
        if time.monotonic() > end:
            sys.exit(f"{options.url} does not answer")
        time.sleep(0.1)


def run_client(load: Load, number: int) -> None:
    """One client: a request each `clients / rate` seconds, later ones sooner after a slow one."""
    options = load.options
    dice = random.Random(number)
    calls, weights = zip(*options.mix.items(), strict=True)
    url = urlsplit(options.url)
    connection = HTTPConnection(url.hostname or "", url.port, timeout=REQUEST_SECONDS)
    interval = options.clients / options.rate
    due = time.monotonic() + dice.random() * interval
    while not options.stop.exists():
        time.sleep(max(0.0, due - time.monotonic()))
        due += interval
        [call] = dice.choices(calls, weights)
        if call == "read" and not load.acknowledged:
            call = "stats"
        send(load, connection, url.path, call, dice)
    connection.close()


def send(
    load: Load, connection: HTTPConnection, prefix: str, call: str, dice: random.Random
) -> None:
    """One request, and what came of it."""
    headers = {"X-API-Key": os.environ["API_KEY"], "Content-Type": "application/json"}
    if load.options.host:
        headers["Host"] = load.options.host
    method, path, body = request(load, call, dice)
    began = time.monotonic()
    try:
        connection.request(method, prefix + path, body, headers)
        reply = connection.getresponse()
        text = reply.read()
    except (OSError, HTTPException) as error:
        connection.close()
        load.sent(call, began, 0, f"{type(error).__name__}: {error}")
        return
    try:
        load.sent(call, began, reply.status, json.loads(text))
    except ValueError:
        load.sent(call, began, reply.status, text.decode(errors="replace")[:500])


def request(load: Load, call: str, dice: random.Random) -> tuple[str, str, str | None]:
    """Method, path and body."""
    if call == "nap":
        seconds = round(dice.uniform(*load.options.nap_seconds), 3)
        return "POST", "/api/tasks/nap", json.dumps({"payload": {"seconds": seconds}})
    if call == "hello":
        body = json.dumps({"variables": {"name": "load"}})
        return "POST", "/api/workflows/hello/execute?async_execute=true", body
    if call == "read":
        return "GET", f"/api/tasks/{dice.choice(load.acknowledged)}", None
    return "GET", "/api/workflows/queue/stats", None


def say(line: dict[str, Any]) -> None:
    """A line of the report."""
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


def mix(text: str) -> dict[str, float]:
    """`nap=1,read=9`: how often each call is made."""
    pairs = (pair.split("=") for pair in text.split(","))
    return {call: float(weight) for call, weight in pairs}


def main() -> None:
    """Run until STOP is there."""
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("stop", type=Path)
    parser.add_argument("--host", default="", help="the Host header, where it is not the URL's")
    parser.add_argument("--rate", type=float, default=60.0, help="requests a second, all clients")
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--mix", type=mix, default=mix("nap=1,hello=1,read=16,stats=1"))
    parser.add_argument("--nap-seconds", type=float, nargs=2, default=(1.0, 30.0))
    options = parser.parse_args()
    await_answers(options)
    load = Load(options)
    clients = [
        threading.Thread(target=run_client, args=(load, number))
        for number in range(load.options.clients)
    ]
    for client in clients:
        client.start()
    for client in clients:
        client.join()
    say(load.summary())


if __name__ == "__main__":
    main()
