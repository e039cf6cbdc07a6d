// Publishes events of a service that is not sagakit, written from docs/messages.md alone. Reads JSON lines from its standard input:
//
//     {"type": "warehouse.parcel_packed", "stream": "parcel-7", "version": 1, "data": {...}}
//
// and, where given, id, time, schema_version, correlation_id, causation_id, traceparent, tracestate, metadata (an object). Prints the
// id of each event once the broker has taken it for certain. Ends with 0 only when every line was taken by at least one queue.
//
//     node publish.js AMQP_URL EXCHANGE        (the exchange is called <service>.events)

const readline = require("node:readline");
const { randomUUID } = require("node:crypto");
const amqplib = require("amqplib");

const OPTIONAL = ["schema_version", "correlation_id", "causation_id", "traceparent", "tracestate"];
const [url, exchange] = process.argv.slice(2);
const service = exchange.replace(/\.events$/, "");

function headersOf(event, id) {
  const headers = {
    "cloudEvents:specversion": "1.0",
    "cloudEvents:id": id,
    "cloudEvents:type": event.type,
    "cloudEvents:source": `/${service}`,
    "cloudEvents:time": event.time ?? new Date().toISOString(),
    stream: event.stream,
    version: event.version,
  };
  for (const name of OPTIONAL) if (event[name] !== undefined) headers[name] = event[name];
  if (event.metadata) headers.metadata = JSON.stringify(event.metadata);
  return headers;
}

async function main() {
  const connection = await amqplib.connect(url);
  const channel = await connection.createConfirmChannel();
  await channel.assertExchange(exchange, "topic", { durable: true });
  const returned = new Set();
  // A returned message is confirmed too, after it was returned: the broker holds it nowhere.
  channel.on("return", (message) => returned.add(message.properties.messageId));
  for await (const line of readline.createInterface({ input: process.stdin })) {
    if (!line.trim()) continue;
    const event = JSON.parse(line);
    const id = event.id ?? randomUUID(); // a real service stores it with the event: sent again, it is the same
    const options = {
      persistent: true,
      mandatory: true,
      contentType: "application/json",
      messageId: id,
      type: event.type,
      headers: headersOf(event, id),
    };
    channel.publish(exchange, event.type, Buffer.from(JSON.stringify(event.data)), options);
    await channel.waitForConfirms();
    if (returned.has(id)) throw new Error(`no queue takes ${event.type} from ${exchange}`);
    process.stdout.write(`${id}\n`);
  }
  await channel.close();
  await connection.close();
}

main().catch((error) => {
  console.error(error.message);
  process.exit(1);
});
