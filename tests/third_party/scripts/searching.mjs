// Chroma's JavaScript client: searches, which only Chroma's cloud answers.
//
//   node --input-type=module - <base-url> [<api-key>] < searching.mjs

import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { ChromaClient, GroupBy, K, Knn, MinK, Rrf, Search, Val } from "chromadb";

const [url, key] = process.argv.slice(2);
const client = new ChromaClient({
  host: new URL(url).hostname,
  port: Number(new URL(url).port),
  ssl: false,
  headers: key ? { "x-chroma-token": key } : {},
});

const collection = await client.createCollection({
  name: `searched-${randomUUID()}`,
  embeddingFunction: null,
});
await collection.add({
  ids: ["mars", "venus", "earth"],
  embeddings: [
    [1, 0],
    [0, 1],
    [-1, 0],
  ],
  documents: ["a red planet", "a hot planet", "a blue one 🌍"],
  metadatas: [{ moons: 2, life: false }, { life: false }, { moons: 1, life: true }],
});

// A search by a vector, with a filter, a page and selected fields.
const nearest = new Search()
  .where(K("life").eq(false))
  .rank(Knn({ query: [1, 0], limit: 2 }))
  .limit(2)
  .select(K.DOCUMENT, K.SCORE, "moons");
const [rows] = (await collection.search(nearest)).rows();
assert.deepEqual(
  rows.map((row) => [row.id, row.document, row.score]),
  [
    ["mars", "a red planet", 0],
    ["venus", "a hot planet", 2],
  ],
);
assert.deepEqual(rows[0].metadata, { moons: 2 });

// A fusion of two searches.
const ranks = [[1, 0], [-1, 0]].map((query) =>
  Knn({ query, limit: 1, returnRank: true, default: 100 }),
);
const fused = await collection.search(new Search().rank(Rrf({ ranks })).select(K.SCORE));
assert.deepEqual(fused.ids, [["mars", "earth"]]);

// Arithmetic, groups and a batch.
const grouped = new Search()
  .rank(Knn({ query: [1, 0] }).multiply(2).add(Val(1)))
  .groupBy(new GroupBy([K("life")], new MinK([K.SCORE], 1)))
  .select(K.SCORE);
const batch = await collection.search([grouped, new Search().where(K.ID.isIn(["earth"]))]);
assert.deepEqual(batch.ids, [["mars", "earth"], ["earth"]]);
assert.deepEqual(batch.scores, [[1, 9], null]);

await client.deleteCollection({ name: collection.name });
