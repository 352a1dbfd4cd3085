// k6 at the benchmarks' work: WORK, URL, USERS, RATE (a second) and SECONDS come from the environment.
import http from "k6/http";
import { Trend } from "k6/metrics";
import { WebSocket } from "k6/experimental/websockets";

const { WORK, URL, USERS, RATE, SECONDS } = __ENV;
const took = new Trend("took", true);
const PING = '{"action":"ping"}';

export const options = {
  discardResponseBodies: false,
  summaryTrendStats: ["p(50)", "p(99)", "count"],
  scenarios: {
    only:
      WORK === "service"
        ? {
            executor: "constant-arrival-rate",
            rate: Number(RATE),
            timeUnit: "1s",
            duration: `${SECONDS}s`,
            preAllocatedVUs: Number(USERS),
          }
        : { executor: "constant-vus", vus: Number(USERS), duration: `${SECONDS}s`, gracefulStop: "0s" },
  },
};

const works = {
  receive() {
    const socket = new WebSocket(URL);
    socket.onmessage = (event) => took.add(Date.now() - JSON.parse(event.data).data.message.timestamp);
  },
  echo() {
    const socket = new WebSocket(URL);
    let sent;
    const ask = () => {
      sent = Date.now();
      socket.send(PING);
    };
    socket.onopen = ask;
    socket.onmessage = (event) => {
      if (JSON.parse(event.data).action === "ping") took.add(Date.now() - sent);
      ask();
    };
  },
  connect() {
    const socket = new WebSocket(URL);
    socket.onopen = () => socket.close();
  },
  https() {
    http.get(URL).json("success");
  },
  service() {
    http.get(URL).json("success");
  },
};

export default works[WORK];
