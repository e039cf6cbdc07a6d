// A service that answers what it is asked, written from docs/messages.md alone. Prints each message as a JSON line. Of the stream's
// name the last part says how it answers `pick.wanted`: *once*, *twice* (the same event sent again, then another one), *silent*, or
// *late* (when told so by a line on its standard input, which names the errand).
//
//     node answer.js AMQP_URL QUEUE EXCHANGE

const readline = require("node:readline");
const { randomUUID } = require("node:crypto");
const amqplib = require("amqplib");

const [url, queue, exchange] = process.argv.slice(2);
const inbox = new Set(); // a service keeps it in its database, and writes it in the transaction of the effect
const asked = new Map();
const versions = new Map();

async function answer(channel, request, id) {
  const { errand } = request.data;
  const version = (versions.get(errand) ?? 0) + 1;
  versions.set(errand, version);
  const send = () => channel.publish(exchange, "pick.done", Buffer.from(JSON.stringify({ errand, place: `shelf ${version}` })), {
    persistent: true,
    mandatory: true,
    contentType: "application/json",
    messageId: id,
    type: "pick.done",
    headers: {
      "cloudEvents:specversion": "1.0",
      "cloudEvents:id": id,
      "cloudEvents:type": "pick.done",
      "cloudEvents:source": `/${exchange.replace(/\.events$/, "")}`,
      "cloudEvents:time": new Date().toISOString(),
      stream: `pick-${errand}`,
      version,
      correlation_id: request.headers.correlation_id,
      causation_id: request.headers["cloudEvents:id"],
      metadata: JSON.stringify({ hops: (JSON.parse(request.headers.metadata ?? "{}").hops ?? 0) + 1 }),
    },
  });
  send();
  if (errand.endsWith("twice")) send();
  await channel.waitForConfirms();
}

async function handle(channel, message) {
  const { headers } = message.properties;
  const request = { headers, data: JSON.parse(message.content.toString("utf8")) };
  const type = headers["cloudEvents:type"];
  const { errand } = request.data;
  if (inbox.has(headers["cloudEvents:id"])) return;
  inbox.add(headers["cloudEvents:id"]);
  process.stdout.write(`${JSON.stringify({ type, errand, stream: headers.stream, version: headers.version })}\n`);
  if (type !== "pick.wanted") return;
  asked.set(errand, request);
  if (/(once|twice)$/.test(errand)) await answer(channel, request, randomUUID());
  if (errand.endsWith("twice")) await answer(channel, request, randomUUID());
}

async function main() {
  const connection = await amqplib.connect(url);
  const channel = await connection.createConfirmChannel();
  await channel.assertExchange(exchange, "topic", { durable: true });
  let turn = Promise.resolve();
  const onMessage = (message) => {
    turn = turn.then(() => handle(channel, message)).then(() => channel.ack(message));
  };
  await channel.consume(queue, onMessage, { noAck: false });
  for await (const errand of readline.createInterface({ input: process.stdin })) {
    await answer(channel, asked.get(errand), randomUUID());
  }
  await turn;
  await connection.close();
}

main().catch((error) => {
  console.error(error.message);
  process.exit(1);
});
