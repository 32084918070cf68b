// Two clients made of published packages only: an operator on NATS, who reads the event log through an ordered consumer,
// and an agent on a WebSocket, who stores memory updates. Prints one JSON document: what each of them saw.
//
// From the environment: BC_WS, BC_NATS (addresses), BC_TOKEN (the agent's), BC_USER and BC_PASSWORD (the operator's),
// BC_COUNT (how many updates), BC_PATIENCE (seconds until giving up).
import { randomUUID } from "node:crypto";
import { connect } from "@nats-io/transport-node";
import { DeliverPolicy, jetstream, jetstreamManager } from "@nats-io/jetstream";
import WebSocket from "ws";

const { BC_WS, BC_NATS, BC_TOKEN, BC_USER, BC_PASSWORD } = process.env;
const count = Number(process.env.BC_COUNT ?? 20);
const patience = Number(process.env.BC_PATIENCE ?? 60) * 1000;
const LOG = "BC_EVENTS_main";
const CONTEXT = "bc.main.evt.ctx.main.>";

const deadline = setTimeout(() => {
  console.error(`gave up after ${patience} ms`);
  process.exit(8);
}, patience);

/** Frames of one socket in the order they came; `next` waits for the first one that fits, from where it was last read. */
class Agent {
  #waiting = [];
  frames = [];

  static async open(token) {
    const agent = new Agent();
    agent.socket = new WebSocket(BC_WS, { headers: { "X-Memory-Auth": token } });
    agent.socket.on("message", (text) => agent.#arrived(JSON.parse(text)));
    await new Promise((resolve, reject) => {
      agent.socket.once("open", resolve);
      agent.socket.once("unexpected-response", (_, answer) => reject(Object.assign(new Error("refused"), { status: answer.statusCode })));
      agent.socket.once("error", reject);
    });
    return agent;
  }

  #arrived(frame) {
    const held = { batch: frame.events, catch_up: frame.events, coalesced_update: frame.updates };
    const frames = held[frame.type] ?? [frame];
    this.frames.push(...frames);
    this.#waiting = this.#waiting.filter(({ fits, resolve }) => {
      const found = frames.find(fits);
      if (found !== undefined) resolve(found);
      return found === undefined;
    });
  }

  say(frame) {
    this.socket.send(JSON.stringify(frame));
  }

  find(fits) {
    const found = this.frames.find(fits);
    return found ? Promise.resolve(found) : new Promise((resolve) => this.#waiting.push({ fits, resolve }));
  }
}

function memoryUpdate(number) {
  return {
    type: "memory_update",
    message_id: randomUUID(),
    timestamp: new Date().toISOString(),
    context_id: "main",
    exchange: { content: `observation ${number}: “naïve” \u{1F50D} \u0000 \\ / \n`, topic: "interop", data_refs: [] },
    priority: "normal",
    // Not in the schema: must be kept as it is.
    x_interop: { number, nested: [null, true, 1.5, { "": "" }] },
  };
}

/** The operator's side: reads from the end of the log on, and collects until it has seen `wanted` events. */
async function follow(connection) {
  const manager = await jetstreamManager(connection);
  const { state } = await manager.streams.info(LOG);
  const consumer = await jetstream(connection).consumers.get(LOG, {
    filter_subjects: [CONTEXT],
    deliver_policy: DeliverPolicy.StartSequence,
    opt_start_seq: state.last_seq + 1,
  });
  return consumer.consume();
}

async function collect(messages, wanted) {
  const seen = [];
  for await (const message of messages) {
    seen.push({ sequence: message.seq, subject: message.subject, event: message.json() });
    if (seen.length === wanted) break;
  }
  return seen;
}

async function refusal() {
  try {
    const agent = await Agent.open(`${BC_TOKEN}x`);
    agent.socket.terminate();
    return null;
  } catch (error) {
    return error.status ?? String(error);
  }
}

const operator = await connect({ servers: BC_NATS, user: BC_USER, pass: BC_PASSWORD, timeout: 20_000 });
const messages = await follow(operator);

const agent = await Agent.open(BC_TOKEN);
agent.say({ type: "hello" });
const welcome = await agent.find((frame) => frame.type === "welcome");
await agent.find((frame) => frame.type === "live");

const sent = Array.from({ length: count }, (_, number) => memoryUpdate(number));
sent.forEach((message) => agent.say(message));
const accepted = await Promise.all(
  sent.map(({ message_id }) => agent.find((frame) => frame.type === "accepted" && frame.in_reply_to === message_id)),
);

// The same message again has no second effect: the log must go on with the next one.
agent.say(sent[0]);
const duplicate = await agent.find((frame) => frame.type === "duplicate_ack");
const last = memoryUpdate(count);
agent.say(last);

const stored = await collect(messages, count + 1);
await agent.find((frame) => frame.type === "memory_update" && frame.message_id === last.message_id);
const heard = agent.frames.filter((frame) => frame.type === "memory_update");

const report = {
  welcome,
  sent: [...sent, last],
  accepted,
  duplicate,
  stored,
  heard,
  errors: agent.frames.filter((frame) => frame.type === "error"),
  refusal: await refusal(),
};
await new Promise((resolve) => process.stdout.write(JSON.stringify(report), resolve));
agent.socket.close(1000);
await operator.close();
clearTimeout(deadline);
