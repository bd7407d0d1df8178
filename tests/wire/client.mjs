// Drives real socket.io-client sockets. Commands come on standard input, one JSON array a line: ["open", socket, url, options],
// ["emit", socket, event, ...args], ["ask", socket, event, ...args], ["connect", socket], ["disconnect", socket], ["drop", socket]:
// its WebSocket at this end alone, ["forget"]: all of them. What a socket hears goes to standard output, one JSON object a line:
// {socket, heard, args}. Bytes travel as {"$bytes": hex}.
import { createInterface } from "node:readline";
import { io } from "socket.io-client";

const sockets = new Map();

const fromJson = (_key, value) => (value?.$bytes === undefined ? value : Buffer.from(value.$bytes, "hex"));
const toJson = (_key, value) => (value?.type === "Buffer" ? { $bytes: Buffer.from(value.data).toString("hex") } : value);
const say = (socket, heard, ...args) => console.log(JSON.stringify({ socket, heard, args }, toJson));

const commands = {
  open(name, url, options) {
    const socket = io(url, { forceNew: true, ...options });
    sockets.set(name, socket);
    socket.io.on("open", () => socket.io.engine.once("upgrade", (transport) => say(name, "upgrade", transport.name)));
    socket.on("connect", () => {
      const { id, recovered, _pid: pid, io: { engine } } = socket;
      say(name, "connect", id, engine.transport.name, recovered ?? false, { engine: engine.id, pid });
    });
    socket.on("disconnect", (reason) => say(name, "disconnect", reason, socket.active));
    socket.on("connect_error", (error) => say(name, "connect_error", error.message, socket.active));
    socket.on("sure?", (...args) => args.pop()("yes", ...args));
    socket.onAny((event, ...args) => say(name, event, ...args));
  },
  emit: (name, event, ...args) => sockets.get(name).emit(event, ...args),
  ask: (name, event, ...args) => sockets.get(name).emit(event, ...args, (...answer) => say(name, "ack", ...answer)),
  connect: (name) => sockets.get(name).connect(),
  disconnect: (name) => sockets.get(name).disconnect(),
  drop: (name) => sockets.get(name).io.engine.transport.ws.terminate(),
  forget() {
    for (const socket of sockets.values()) socket.offAny().off().disconnect();
    sockets.clear();
    say("", "forgotten");
  },
};

createInterface({ input: process.stdin })
  .on("line", (line) => {
    const [command, ...args] = JSON.parse(line, fromJson);
    commands[command](...args);
  })
  .on("close", () => process.exit());
