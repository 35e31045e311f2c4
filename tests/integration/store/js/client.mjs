// @clickhouse/client against the store: queries, parameters, streams, inserts, compression, errors.
import assert from "node:assert/strict";
import { createClient } from "@clickhouse/client";

const [url, readerPassword, writerPassword] = process.argv.slice(2);

for (const compression of [{ response: false, request: false }, { response: true, request: true }]) {
  const reader = createClient({ url, username: "reader", password: readerPassword, compression: { response: compression.response } });
  const writer = createClient({ url, username: "writer", password: writerPassword, compression });

  assert.equal((await reader.ping()).success, true);
  assert.equal((await reader.ping({ select: true })).success, true);

  const answer = await reader.query({
    query: "SELECT number, {text:String} AS text FROM numbers({n:UInt32})",
    query_params: { text: "it's\n'ốt'", n: 3 },
    format: "JSONEachRow",
  });
  assert.deepEqual(await answer.json(), [0, 1, 2].map((number) => ({ number, text: "it's\n'ốt'" })));

  const streamed = await reader.query({ query: "SELECT number FROM numbers(300000)", format: "JSONCompactEachRow" });
  let rows = 0;
  for await (const batch of streamed.stream()) rows += batch.length;
  assert.equal(rows, 300000);

  const inserted = await writer.insert({
    table: "cityfleet.wards",
    values: [{ ward_code: "js1", name: "một", kind: "", province_code: "01", version: 1 }],
    format: "JSONEachRow",
  });
  assert.ok(inserted.executed);
  const back = await reader.query({ query: "SELECT name FROM cityfleet.wards FINAL WHERE ward_code = 'js1'", format: "JSONEachRow" });
  assert.deepEqual(await back.json(), [{ name: "một" }]);

  await assert.rejects(reader.query({ query: "SELECT * FROM nowhere" }), (error) => error.code === "60");
  await assert.rejects(reader.command({ query: "DROP TABLE cityfleet.wards" }), (error) => error.code === "164");
  await writer.command({ query: "SELECT 1 FORMAT Null" });

  const controller = new AbortController();
  const slow = reader.query({ query: "SELECT sum(sipHash64(number)) FROM numbers(100000000000)", abort_signal: controller.signal });
  setTimeout(() => controller.abort(), 300);
  await assert.rejects(slow);

  await reader.close();
  await writer.close();
}
console.log("all well");
