// An operator with MQTT.js, MQTT 5: watches with a wildcard at QoS 2, takes topic aliases, and finds its session again.
// Usage: node watch.mjs PORT USERNAME TOKEN; prints what happened as one line of JSON.
import mqtt from "mqtt";

const [port, username, password] = process.argv.slice(2);
const options = {
  protocolVersion: 5,
  clientId: "js-watch",
  username,
  password,
  clean: false,
  reconnectPeriod: 0,
  properties: { sessionExpiryInterval: 300, topicAliasMaximum: 10, receiveMaximum: 3 },
};
const seen = [];

async function until(count) {
  const deadline = Date.now() + 10000;
  while (seen.length < count) {
    if (Date.now() > deadline) throw new Error(`only ${seen.length} of ${count} messages`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

function watch(client) {
  client.on("message", (topic, payload, packet) => {
    const { subscriptionIdentifier, userProperties } = packet.properties ?? {};
    seen.push([topic, String(payload), packet.qos, subscriptionIdentifier, userProperties ?? null]);
  });
  return client;
}

let client = watch(await mqtt.connectAsync(`mqtt://127.0.0.1:${port}`, options));
const granted = await client.subscribeAsync("plain/+", { qos: 2, properties: { subscriptionIdentifier: 77 } });
const other = await mqtt.connectAsync(`mqtt://127.0.0.1:${port}`, { ...options, clientId: "js-other", clean: true });
for (let i = 0; i < 6; i++) {
  await other.publishAsync(`plain/${i % 2}`, `${i}`, { qos: i % 3, properties: { userProperties: { n: `${i}` } } });
}
await until(6);
await client.endAsync();
await other.publishAsync("plain/0", "while away", { qos: 2 });
const back = watch(mqtt.connect(`mqtt://127.0.0.1:${port}`, options));
const present = await new Promise((resolve) => back.once("connect", (packet) => resolve(packet.sessionPresent)));
await until(7);
console.log(JSON.stringify({ granted: granted[0].qos, present, seen }));
await back.endAsync(true);
await other.endAsync(true);
