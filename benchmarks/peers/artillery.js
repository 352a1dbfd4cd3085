// What Artillery has no step for: messages that come unasked. Its WebSocket engine times nothing by itself.
"use strict";

module.exports = {
  receive(context, events, _done) {
    context.ws.on("message", (data) => {
      const stamp = Number(JSON.parse(data).data.message.timestamp);
      events.emit("histogram", "took", Date.now() - stamp);
    });
  },
  echo(context, events, _done) {
    let sent;
    const ask = () => {
      sent = Date.now();
      context.ws.send('{"action":"ping"}');
    };
    context.ws.on("message", (data) => {
      if (JSON.parse(data).action === "ping") events.emit("histogram", "took", Date.now() - sent);
      ask();
    });
    ask();
  },
};
