// One device with MQTT.js: subscribes, publishes at QoS 0 and 1, waits for one downlink, then tries a foreign topic.
// Usage: node client.mjs PORT PROTOCOL_VERSION; prints what happened as one line of JSON.
import mqtt from "mqtt";

const [port, protocolVersion] = process.argv.slice(2).map(Number);
const client = await mqtt.connectAsync(`mqtt://127.0.0.1:${port}`, {
  protocolVersion,
  clientId: "js-1",
  username: "wl-1",
  password: "token-wl-1",
  reconnectPeriod: 0,
});
const downlink = new Promise((resolve) => client.once("message", (topic, payload) => resolve([topic, String(payload)])));
const granted = await client.subscribeAsync("cf/v1/d/wl-1/commands/#", { qos: 1 });
const refused = await client.subscribeAsync("cf/v1/d/wl-2/#", { qos: 1 }).then(
  (grants) => grants[0].qos,
  (error) => error.packet?.granted?.[0] ?? String(error),
);
await client.publishAsync("cf/v1/d/wl-1/telemetry", "zero", { qos: 0 });
await client.publishAsync("cf/v1/d/wl-1/telemetry", "one", { qos: 1 });
const [topic, payload] = await downlink;
const closed = new Promise((resolve) => client.once("close", () => resolve("closed")));
const foreign = await Promise.race([
  client.publishAsync("cf/v1/d/wl-2/telemetry", "x", { qos: 1 }).then(
    () => "taken",
    (error) => error.code ?? String(error),
  ),
  closed,
]);
console.log(JSON.stringify({ granted: granted[0].qos, refused, topic, payload, foreign }));
await client.endAsync(true);
