// Consumes a queue of sagakit, written from docs/messages.md alone: checks each payload against the exported JSON Schemas, keeps an
// inbox of event ids, acknowledges. Prints one JSON line for each message, and ends after so many of them, or with a queue that goes
// out of use, which it deletes.
//
//     node consume.js AMQP_URL QUEUE FOLDER_OF_SCHEMAS COUNT

const fs = require("node:fs");
const path = require("node:path");
const amqplib = require("amqplib");
const { default: Ajv } = require("ajv/dist/2020");
const { default: addFormats } = require("ajv-formats");

const PREFETCH = 50;
const [url, queue, folder, count] = process.argv.slice(2);

function loadSchemas() {
  const ajv = addFormats(new Ajv({ strict: false, allErrors: false }));
  const validators = new Map();
  for (const file of fs.readdirSync(folder)) {
    const schema = JSON.parse(fs.readFileSync(path.join(folder, file), "utf8"));
    validators.set(path.basename(file, ".json"), ajv.compile(schema));
  }
  return validators;
}

function read(message, validators) {
  const { headers } = message.properties;
  const type = headers["cloudEvents:type"];
  const schemaVersion = headers.schema_version ?? 1;
  const validate = validators.get(`${type}.${schemaVersion}`);
  if (!validate) throw new Error(`no schema for ${type} ${schemaVersion}`);
  const data = JSON.parse(message.content.toString("utf8"));
  if (!validate(data)) throw new Error(`${validate.errors[0].instancePath} ${validate.errors[0].message}`);
  return {
    id: headers["cloudEvents:id"],
    type,
    service: headers.service,
    stream: headers.stream,
    version: headers.version,
    position: headers.position,
    time: headers["cloudEvents:time"],
    correlationId: headers.correlation_id,
    causationId: headers.causation_id ?? null,
    traceparent: headers.traceparent ?? null,
    metadata: JSON.parse(headers.metadata ?? "{}"),
    data,
  };
}

async function main() {
  const validators = loadSchemas();
  const inbox = new Set(); // a service keeps it in its database, and writes it in the transaction of the effect
  const connection = await amqplib.connect(url);
  const channel = await connection.createChannel();
  await channel.prefetch(PREFETCH);
  let left = Number(count);
  await new Promise((resolve, reject) => {
    channel.on("error", reject);
    const onMessage = (message) => {
      if (message === null) return reject(new Error("the broker cancelled the consumer"));
      const { type, headers: marks } = message.properties;
      if (type === "sagakit.retire" && marks.sagakit_retire === queue) {
        process.stdout.write(`${JSON.stringify({ retired: queue })}\n`);
        const cancelled = channel.cancel(message.fields.consumerTag);
        return cancelled.then(() => channel.deleteQueue(queue)).then(resolve, reject);
      }
      let line;
      try {
        line = read(message, validators);
        line.isRepeat = inbox.has(line.id);
        inbox.add(line.id);
      } catch (error) {
        line = { refused: error.message, id: message.properties.messageId ?? null }; // set aside, never put back into the queue
      }
      process.stdout.write(`${JSON.stringify(line)}\n`);
      channel.ack(message);
      left -= 1;
      if (left === 0) resolve();
    };
    channel.consume(queue, onMessage, { noAck: false }).catch(reject);
  });
  await channel.close();
  await connection.close();
}

main().catch((error) => {
  console.error(error.message);
  process.exit(1);
});
