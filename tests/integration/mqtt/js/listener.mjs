// One device with MQTT.js over any listener: publishes at QoS 0 and 1, then waits for one downlink.
// Usage: node listener.mjs URL PROTOCOL_VERSION [CA_FILE]; prints the downlink as one line of JSON.
import { readFileSync } from "node:fs";
import mqtt from "mqtt";

const [url, version, caFile] = process.argv.slice(2);
const client = await mqtt.connectAsync(url, {
  protocolVersion: Number(version),
  clientId: "js-1",
  username: "wl-1",
  password: "token-wl-1",
  reconnectPeriod: 0,
  ...(caFile ? { ca: readFileSync(caFile) } : {}),
});
const downlink = new Promise((resolve) => client.once("message", (topic, payload) => resolve([topic, String(payload)])));
await client.subscribeAsync("cf/v1/d/wl-1/commands", { qos: 1 });
await client.publishAsync("cf/v1/d/wl-1/telemetry", "zero", { qos: 0 });
await client.publishAsync("cf/v1/d/wl-1/telemetry", "one", { qos: 1 });
console.log(JSON.stringify(await downlink));
await client.endAsync();
