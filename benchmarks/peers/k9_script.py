"""k9 at the benchmarks' work: WORK, URL, USERS, RATE (a second) and SECONDS come from the environment."""

import json
import time

import k9

WORK, URL, USERS = k9.env["WORK"], k9.env["URL"], int(k9.env["USERS"])
DURATION = k9.env["SECONDS"] + "s"
PING = '{"action":"ping"}'
took = k9.metrics.Trend("took", time=True)

if WORK == "service":
    load = {
        "executor": "constant-arrival-rate",
        "rate": int(k9.env["RATE"]),
        "timeUnit": "1s",
        "duration": DURATION,
        "preAllocatedVUs": USERS,
    }
else:
    load = {"executor": "constant-vus", "vus": USERS, "duration": DURATION, "gracefulStop": "0s"}
options = {"scenarios": {"only": load}}


async def receive():
    async with k9.ws.connect(URL) as socket:
        async for message in socket:
            stamp = int(json.loads(message)["data"]["message"]["timestamp"])
            took.add((time.monotonic_ns() - stamp) / 1e6)


async def echo():
    async with k9.ws.connect(URL) as socket:
        while True:
            sent = time.monotonic_ns()
            await socket.send(PING)
            json.loads(await socket.recv())
            took.add((time.monotonic_ns() - sent) / 1e6)


async def connect():
    async with k9.ws.connect(URL):
        pass


async def https():
    (await k9.http.get(URL)).json()


service = https
default = globals()[WORK]
