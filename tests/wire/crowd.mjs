// Many pages that ask one question after another, each in a new chat, and compare what they heard with what is stored.
// node crowd.mjs '{"line": URL, "url": URL, "pages": N, "steady": N, "question": TEXT, "chunks": N, "delayMs": MS, "pauseMs": MS,
// "unheardMs": MS}': `line` leads to the daemon over the bad network, which the `steady` pages and all HTTP are spared. A page reads
// its answer for up to twice `pauseMs`. A question of which nothing was heard for `unheardMs` after a cut, and that is not stored,
// never arrived. Says "ready" once all are connected; the first questions come spread over the time of an answer and a pause. Any
// line on standard input means: no more questions; once the running answers have ended it says its counts, as JSON, and exits.
import { randomBytes } from "node:crypto";
import { createInterface } from "node:readline";
import { io } from "socket.io-client";

const options = JSON.parse(process.argv[2]);
const RECONNECT = { reconnectionDelay: 500, reconnectionDelayMax: 1_000 };
const SIGN_INS_AT_ONCE = 20;
const TRIES = 3;
const ANSWER_MS = options.chunks * options.delayMs;
const LATE_MS = 30_000; // what the last answers may take beyond that

const counts = { asked: 0, whole: 0, broken: 0, stray: 0, failed: 0, missing: 0, abandoned: 0, lostOnTheWayUp: 0 };
Object.assign(counts, { cuts: 0, recovered: 0, fresh: 0, connected: 0, latestChunkMs: 0, longestAwayMs: 0 });
const faults = []; // of the first few broken answers, what was heard and what is stored
const CHECKING = {};
let stopping = false;

async function json(path, request) {
  for (let again = TRIES; ; again -= 1) {
    try {
      return await (await fetch(options.url + path, request)).json();
    } catch (error) {
      if (again === 0) throw error; // this process may have been too busy to connect in time
    }
  }
}

class Page {
  answer = null; // the one being heard: {text, chatId, at}; CHECKING: it has ended and is compared
  begun = 0; // chats
  wasThere = false;

  constructor(number) {
    this.steady = number < options.steady;
    this.transports = number % 20 === 19 ? ["polling"] : number % 10 === 9 ? ["polling", "websocket"] : ["websocket"];
  }

  async open() {
    const headers = { "content-type": "application/json" };
    const body = JSON.stringify({ publicKey: "0x" + randomBytes(20).toString("hex") });
    this.user = await json("/api/v1/auth/me", { method: "POST", headers, body });
    const auth = { token: this.user.token };
    this.socket = io(this.steady ? options.url : options.line, { forceNew: true, transports: this.transports, auth, ...RECONNECT });
    this.socket.on("connect", () => this.connected()).on("disconnect", () => this.cut());
    this.socket.on("chat_id", (id) => this.begin(id));
    this.socket.on("bot_chunk", (chunk) => this.hear(chunk.content[0].text.value));
    this.socket.on("bot_end", () => this.end()).on("bot_error", (sentence) => this.fail(sentence));
    await new Promise((done) => this.socket.once("connect", done));
  }

  connected() {
    counts.connected += 1;
    if (this.wasThere) {
      counts[this.socket.recovered ? "recovered" : "fresh"] += 1;
      counts.longestAwayMs = Math.max(counts.longestAwayMs, Date.now() - this.wentAt);
      if (!this.socket.recovered && this.answer && this.answer !== CHECKING) this.giveUp("abandoned");
    }
    this.wasThere = true;
  }

  cut() {
    counts.connected -= 1;
    counts.cuts += 1;
    this.wentAt = Date.now();
    const { answer } = this;
    if (answer && answer !== CHECKING && !answer.chatId) setTimeout(() => this.lookFor(answer), options.unheardMs);
  }

  async lookFor(answer) {
    if (answer !== this.answer || answer.chatId) return;
    const { data: chats } = await this.get("/api/v1/chat?take=100");
    if (answer !== this.answer || answer.chatId) return;
    if (chats.length > this.begun) setTimeout(() => this.lookFor(answer), options.unheardMs);
    else this.giveUp("lostOnTheWayUp");
  }

  get(path) {
    return json(path, { headers: { authorization: `Bearer ${this.user.token}` } });
  }

  ask() {
    counts.asked += 1;
    this.answer = { text: "", chatId: null, at: null };
    this.socket.emit("message", { question: options.question, userId: this.user.id });
  }

  giveUp(why) {
    counts[why] += 1;
    this.next();
  }

  next() {
    this.answer = null;
    this.askWithin(2 * options.pauseMs);
  }

  askWithin(ms) {
    setTimeout(() => stopping || this.ask(), Math.random() * ms);
  }

  begin(chatId) {
    if (!this.answer || this.answer === CHECKING || this.answer.chatId) return void (counts.stray += 1);
    this.begun += 1;
    this.answer.chatId = chatId;
  }

  hear(text) {
    const { answer } = this;
    if (!answer?.chatId) return void (counts.stray += 1);
    if (this.steady && answer.at) counts.latestChunkMs = Math.max(counts.latestChunkMs, Date.now() - answer.at - options.delayMs);
    answer.at = Date.now();
    answer.text += text;
  }

  fail(sentence) {
    counts.failed += 1;
    faults.push({ failed: sentence });
    this.next();
  }

  async end() {
    const { answer } = this;
    if (!answer?.chatId) return void (counts.stray += 1);
    this.answer = CHECKING; // what comes now is stray
    const rows = await this.get(`/api/v1/chat/${answer.chatId}`);
    const whole = rows.length === 2 && rows[1].content === answer.text;
    counts[whole ? "whole" : "broken"] += 1;
    if (!whole) faults.push({ heard: answer.text, stored: rows });
    this.next();
  }
}

const pages = Array.from({ length: options.pages }, (_, number) => new Page(number));

async function stop() {
  stopping = true;
  const until = Date.now() + ANSWER_MS + LATE_MS;
  while (pages.some((page) => page.answer) && Date.now() < until) await new Promise((done) => setTimeout(done, 100));
  counts.missing = pages.filter((page) => page.answer).length;
  console.log(JSON.stringify({ ...counts, faults: faults.slice(0, 3) }));
  process.exit();
}

for (let next = 0; next < pages.length; next += SIGN_INS_AT_ONCE) {
  await Promise.all(pages.slice(next, next + SIGN_INS_AT_ONCE).map((page) => page.open()));
}
console.log(JSON.stringify("ready"));
for (const page of pages) page.askWithin(ANSWER_MS + options.pauseMs);
createInterface({ input: process.stdin })
  .on("line", stop)
  .on("close", () => process.exit());
